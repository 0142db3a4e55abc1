"""Read a trained run back: its checkpoint, its config, its predictor. Never a pickle: `weights_only=True`."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from medseg.config import from_dict
from medseg.config.errors import ConfigError
from medseg.config.schema import Config
from medseg.data.images import IMAGE_SUFFIXES
from medseg.data.labels import LabelSchema
from medseg.data.preparation import Preparer
from medseg.errors import RunError
from medseg.inference.postprocessing import FILE as POSTPROCESSING
from medseg.inference.postprocessing import Postprocessing, read_postprocessing
from medseg.inference.precision import autocast_dtype, resolve_device, resolve_precision
from medseg.inference.predictor import Predictor
from medseg.inference.sliding_window import Blending
from medseg.networks import SegmentationNetwork, build_network

_PREFIX = "network."

PACKAGE_SUFFIX = ".medseg"
"""Of model packages; a damaged one is known by it alone."""


@dataclass(frozen=True)
class SavedRun:
    """What a checkpoint of medseg remembers."""

    path: Path
    """The checkpoint file."""
    config: Config
    channels: tuple[str, ...]
    labels: LabelSchema
    suffix: str
    """Suffix of the data set's label files; predictions are written with it."""
    statistics: dict[str, Any] | None
    """Intensity statistics of the training cases, where the normalisation needs them."""
    weights: Mapping[str, torch.Tensor]
    """State dict of the network."""
    heads: Mapping[str, int] = field(default_factory=dict)
    """Channels of each auxiliary head, which prediction leaves out."""
    postprocessing: Postprocessing | None = None
    """What follows the network: chosen on the validation cases (the run's `postprocessing.json`), else what the config says."""

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.config.data.patch_size)

    def network(self) -> SegmentationNetwork:
        """Build the network and fill it, in eval mode.

        Raises:
            RunError: When the weights do not fit the network that the config describes.
        """
        section, outputs = self.config.network, self.labels.num_outputs(self.config.loss.activation)
        # The checkpoint's own weights replace the encoder's: fetching those would be in vain, and needs a network or a file.
        params = {name: None if name == "encoder_weights" else value for name, value in section.params.items()}
        network = build_network(section.name, params, len(self.channels), outputs, self.spatial_dims, self.heads)
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()]
            raise RunError(
                f"{self.path}: its weights do not fit its network '{section.name}' ({' '.join(lines[1:2]) or lines[0]}); "
                "the file is damaged, or made by another version of medseg"
            ) from error
        return network.eval()


def load_predictor(
    run: Path,
    device: str = "auto",
    *,
    window: Sequence[int] | None = None,
    overlap: float | None = None,
    blending: Blending | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
) -> Predictor:
    """Load a run for prediction.

    Args:
        run: A run folder (its best checkpoint is taken, or the last where there is no best), a checkpoint file or a model package.
        device: `auto`, `cpu`, `gpu`, `mps`, or a torch device such as `cuda:1`.
        window: Overrides the config's `inference.window`, and so do the others theirs.
        overlap: `inference.overlap`.
        blending: `inference.blending`.
        batch_size: `inference.batch_size`.
        precision: `trainer.precision`; float16 is for GPUs, so that a run trained in it takes `auto` elsewhere.

    Raises:
        RunError: When there is no checkpoint, or it is no checkpoint of medseg, or damaged.
    """
    return make_predictor(
        read_run(run), device, window=window, overlap=overlap, blending=blending, batch_size=batch_size, precision=precision
    )


def make_predictor(
    saved: SavedRun,
    device: str = "auto",
    *,
    window: Sequence[int] | None = None,
    overlap: float | None = None,
    blending: Blending | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
) -> Predictor:
    """Build the predictor of a run that was read; arguments as in `load_predictor`."""
    options, data = saved.config.inference, saved.config.data
    target = resolve_device(device)
    if precision is None:
        precision = saved.config.trainer.precision if saved.config.trainer.precision != "16-mixed" or target.type == "cuda" else "auto"
    network = saved.network()
    if saved.config.trainer.channels_last:
        network.to(memory_format=torch.channels_last_3d if saved.spatial_dims == 3 else torch.channels_last)
    return Predictor(
        network,
        Preparer(data.normalisation, data.spacing, saved.statistics),
        saved.labels,
        saved.config.loss.activation,
        window=window or options.window or data.patch_size,
        overlap=options.overlap if overlap is None else overlap,
        blending=blending or options.blending,
        batch_size=batch_size or options.batch_size,
        device=target,
        mirror_axes=options.mirror_axes,
        skip=options.skip,
        precision=autocast_dtype(resolve_precision(precision, target.type)),
        postprocessing=saved.postprocessing,
    )


def read_run(run: Path) -> SavedRun:
    """Read what a run folder's best checkpoint, a checkpoint file or a model package remembers.

    Raises:
        RunError: As `load_predictor`.
    """
    path = find_checkpoint(run)
    if path.suffix == PACKAGE_SUFFIX or _is_package(path):
        from medseg.inference.export.package import read_package  # here, since packages are made of runs that were read

        return read_package(path)
    checkpoint = load_checkpoint(path)
    saved = checkpoint["medseg"]
    try:
        if saved["dataset"]["suffix"] not in IMAGE_SUFFIXES:  # it becomes a part of file names
            raise ValueError(f"label files cannot end in {saved['dataset']['suffix']!r}")
        read = SavedRun(
            path=path,
            config=from_dict(saved["config"], str(path)),
            channels=tuple(saved["dataset"]["channels"]),
            labels=LabelSchema.from_dict(saved["dataset"]["labels"]),
            suffix=saved["dataset"]["suffix"],
            statistics=saved["statistics"],
            weights={key.removeprefix(_PREFIX): value for key, value in checkpoint["state_dict"].items() if key.startswith(_PREFIX)},
            heads={name: len(outputs) for name, outputs in saved.get("heads", {}).items()},
        )
        return replace(read, postprocessing=_postprocessing(read))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path}: its description of the run is incomplete ({error!r}); the file is damaged or made by another tool"
        ) from error
    except ConfigError as error:
        version = saved.get("version", "an unknown version")
        raise RunError(f"{path}: its config, written by medseg {version}, is not valid in this version:\n{error}") from error


def _postprocessing(saved: SavedRun) -> Postprocessing | None:
    """The run's own post-processing where it was chosen, else its config's; None where there is nothing to do.

    Raises:
        RunError: It names a class that the run does not have, or its file is damaged.
    """
    activation = saved.config.loss.activation
    chosen = saved.path.parent.parent / POSTPROCESSING
    if saved.path.parent.name == "checkpoints" and chosen.is_file():
        found = read_postprocessing(chosen, saved.labels, activation)
        return found if found.active else None
    try:
        return Postprocessing.from_config(saved.config.inference.postprocessing, saved.labels, activation)
    except RunError as error:
        raise RunError(f"{saved.path}: its config's inference.{error}") from error


def _is_package(path: Path) -> bool:
    """Whether a file is a model package, whatever its name; torch's checkpoints are ZIP archives too."""
    return "model.json" in _members(path)


def _is_export(path: Path) -> bool:
    """Whether a path is an ONNX or TorchScript file or a MONAI bundle; only TorchScript's archives hold code."""
    if path.is_dir():
        return (path / "configs" / "metadata.json").is_file()
    return path.suffix in (".onnx", ".ts") or any("/code/" in name for name in _members(path))


def _members(path: Path) -> list[str]:
    """Names of what a ZIP archive holds; none of any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def find_checkpoint(run: Path) -> Path:
    """The checkpoint file that a run folder or file means.

    Raises:
        RunError: When there is none.
    """
    if run.exists() and _is_export(run):
        raise RunError(
            f"{run}: is an export for other tools, which medseg itself cannot use; give the run folder, a checkpoint or a .medseg package"
        )
    if run.is_file():
        return run
    if not run.is_dir():
        raise RunError(f"{run}: no such run folder or checkpoint; runs lie in runs/<name>/<timestamp>-<id>")
    for name in ("best.ckpt", "last.ckpt"):
        if (run / "checkpoints" / name).is_file():
            return run / "checkpoints" / name
    raise RunError(f"{run}: holds no checkpoints/best.ckpt or last.ckpt; give a run that finished an epoch, or a .ckpt file")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint of medseg on the CPU, without ever executing code from it.

    Raises:
        RunError: When the file is missing, damaged, holds pickled objects, or was not written by medseg.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint; give a run folder or a .ckpt file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{path}: not a checkpoint that can be loaded safely (it holds other objects than tensors and plain values, or is damaged)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        text = "" if isinstance(error, KeyError) else str(error)  # a KeyError's text is only a number of torch's
        reason = next(iter(text.splitlines()), "it is none")
        raise RunError(f"{path}: cannot be read as a checkpoint ({reason}); the file is damaged or truncated: copy it again") from error
    if not isinstance(checkpoint, dict) or "medseg" not in checkpoint or "state_dict" not in checkpoint:
        raise RunError(
            f"{path}: is no checkpoint of medseg; give one that `medseg train` wrote, below runs/<name>/<timestamp>-<id>/checkpoints"
        )
    return checkpoint
