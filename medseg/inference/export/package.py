"""A whole model in one file `<name>.medseg`: weights, config, labels, statistics, post-processing, model card and licence.

A zip of `model.json`, `weights.pt`, `MODEL_CARD.md` and `LICENSE`. It is read in memory, never unpacked; nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import medseg
from medseg.config import from_dict, to_dict
from medseg.config.errors import ConfigError
from medseg.data.images import IMAGE_SUFFIXES
from medseg.data.labels import LabelSchema
from medseg.errors import RunError
from medseg.files import atomic_path
from medseg.inference.postprocessing import Postprocessing

if TYPE_CHECKING:
    from medseg.inference.load import SavedRun

FORMAT = 1
"""Version of the package's layout."""

DESCRIPTION, WEIGHTS, CARD, LICENCE = "model.json", "weights.pt", "MODEL_CARD.md", "LICENSE"

MOST_TEXT = 16 * 2**20
"""Bytes that a member other than the weights may unpack to."""

_STAMP = (1980, 1, 1, 0, 0, 0)  # the same model makes the same file, whenever it is written


def write_package(saved: SavedRun, path: Path, card: str, licence: str) -> Path:
    """Write a run as a package, atomically. The folders of the machine that trained it are left out of its config.

    Args:
        saved: The run.
        path: The file.
        card: The model card, in Markdown.
        licence: Its licence: a text, or its name.
    """
    weights = io.BytesIO()
    torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in saved.weights.items()}, weights)
    parts = {WEIGHTS: weights.getvalue(), CARD: card.encode(), LICENCE: (licence.rstrip() + "\n").encode()}
    description = {
        "format": FORMAT,
        "medseg": medseg.__version__,
        "config": without_folders(to_dict(saved.config)),
        "channels": list(saved.channels),
        "labels": saved.labels.to_dict(),
        "suffix": saved.suffix,
        "statistics": saved.statistics,
        "heads": dict(saved.heads),
        "postprocessing": None if saved.postprocessing is None else saved.postprocessing.to_dict(),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()},
    }
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        _add(file, DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode(), zipfile.ZIP_DEFLATED)
        for name, content in parts.items():
            _add(file, name, content, zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED)
    return path


def read_package(path: Path) -> SavedRun:
    """Read a package: what a checkpoint remembers.

    Raises:
        RunError: The file is missing, damaged, changed after it was written, of another format, or holds anything else than a package does.
    """
    try:
        with zipfile.ZipFile(path) as file:
            _check_members(path, file)
            description = json.loads(file.read(DESCRIPTION))
            parts = {name: file.read(name) for name in (WEIGHTS, CARD, LICENCE)}
    except FileNotFoundError as error:
        raise RunError(f"{path}: no such model package; give a file that `medseg export --to package` wrote") from error
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, OverflowError) as error:
        raise RunError(f"{path}: cannot be read as a model package ({error}); the file is damaged: copy it again") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        raise RunError(f"{path}: is a package of format {found!r}, this version of medseg reads {FORMAT}; export the run again")
    digests = description.get("sha256")
    for name, content in parts.items():
        if not isinstance(digests, dict) or digests.get(name) != hashlib.sha256(content).hexdigest():
            raise RunError(f"{path}: its {name} is not what was packed; get the file again from where it was made")
    return _restore(path, description, _weights(path, parts[WEIGHTS]))


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the paths of the machine that trained it, which no one needs to predict."""
    data = {**config["data"], "root": None, "split_file": None}
    params = config["network"]["params"]
    if params.get("encoder_weights") is not None:
        params = {**params, "encoder_weights": None}
    return {**config, "data": data, "network": {**config["network"], "params": params}}


def _add(file: zipfile.ZipFile, name: str, content: bytes, compression: int) -> None:
    member = zipfile.ZipInfo(name, _STAMP)
    member.external_attr = 0o644 << 16
    file.writestr(member, content, compress_type=compression)


def _check_members(path: Path, file: zipfile.ZipFile) -> None:
    """Refuse other members than a package has, and sizes out of proportion, before anything is unpacked."""
    names = [member.filename for member in file.infolist()]
    if sorted(names) != sorted((DESCRIPTION, WEIGHTS, CARD, LICENCE)):
        raise RunError(
            f"{path}: is no model package, or truncated: it must hold {DESCRIPTION}, {WEIGHTS}, {CARD} and {LICENCE}, and nothing else; "
            "copy it again"
        )
    for member in file.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise RunError(
                f"{path}: its {member.filename} is compressed by a method that medseg never uses; the file is damaged or foreign"
            )
        if member.filename == WEIGHTS and member.compress_type != zipfile.ZIP_STORED:
            raise RunError(f"{path}: its {WEIGHTS} is compressed, which medseg never does; get the file from where it was made")
        if member.filename != WEIGHTS and member.file_size > MOST_TEXT:
            raise RunError(f"{path}: its {member.filename} would take {member.file_size} bytes, at most {MOST_TEXT} are read")


def _weights(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    try:
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: its {WEIGHTS} cannot be loaded safely; it holds other objects than tensors, or is damaged") from error
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise RunError(f"{path}: its {WEIGHTS} is no state dict; the file was made by another tool")
    return weights


def _restore(path: Path, description: dict[str, Any], weights: dict[str, torch.Tensor]) -> SavedRun:
    from medseg.inference.load import SavedRun  # which imports this module

    try:
        config = from_dict(description["config"], str(path))
        labels = LabelSchema.from_dict(description["labels"])
        if description["suffix"] not in IMAGE_SUFFIXES:  # it becomes a part of file names
            raise ValueError(f"label files cannot end in {description['suffix']!r}")
        chosen = description["postprocessing"]
        return SavedRun(
            path=path,
            config=config,
            channels=tuple(description["channels"]),
            labels=labels,
            suffix=description["suffix"],
            statistics=description["statistics"],
            weights=weights,
            heads={name: int(channels) for name, channels in description["heads"].items()},
            postprocessing=None if chosen is None else Postprocessing.from_dict(chosen, labels, config.loss.activation),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path}: its description is incomplete ({error!r}); the file is damaged or made by another tool") from error
    except ConfigError as error:
        version = description.get("medseg", "an unknown version")
        raise RunError(f"{path}: its config, written by medseg {version}, is not valid in this version:\n{error}") from error
