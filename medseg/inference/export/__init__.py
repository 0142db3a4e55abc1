"""Trained networks for others: ONNX, TorchScript, a MONAI bundle, or everything in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from medseg.errors import RunError
from medseg.inference.export.card import NOT_STATED, is_of, model_card, read_evaluation
from medseg.inference.export.package import read_package, write_package
from medseg.inference.load import PACKAGE_SUFFIX, SavedRun, read_run

Target = Literal["onnx", "torchscript", "bundle", "package"]

SUFFIXES: dict[str, tuple[str, ...]] = {"onnx": (".onnx",), "torchscript": (".ts", ".pt"), "package": (PACKAGE_SUFFIX,)}
"""Of the files, the usual one first; a bundle is a folder."""


def export_run(
    run: Path, out: Path, to: Target, *, licence: str | None = None, overwrite: bool = False, console: Console | None = None
) -> Path:
    """Turn a run into something that others can use, and prove that it computes the same.

    Args:
        run: Run folder (its best checkpoint is taken), checkpoint, or package.
        out: The file to write (.onnx, .ts or .pt, .medseg), or an existing folder for it, named after the run then; of a bundle the
            folder itself, new or empty.
        to: `onnx`, `torchscript`, `bundle` or `package`.
        licence: Of the model: a name or a text; None: the card says that it is not stated.
        overwrite: Replace a file, or a bundle, that is there already.
        console: Where the largest difference is shown; None shows nothing.

    Returns:
        The file, or the folder.

    Raises:
        RunError: The run cannot be read or exported, the copy computes something else, or `out` is there already or cannot be written to.
    """
    saved = read_run(run)
    console = console or Console(quiet=True)
    path = _target(saved, out, to, overwrite)
    if to in ("package", "bundle"):
        folder = saved.path.parent.parent if saved.path.parent.name == "checkpoints" else saved.path.parent
        summary = read_evaluation(folder)
        card = model_card(saved, summary, licence)
        if summary is not None and not is_of(summary, saved):
            line = f"{folder}: not scored with its present post-processing, so the model card has no scores; run medseg evaluate {folder}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if to == "package":
            write_package(saved, path, card, licence or NOT_STATED)
            read_package(path)  # what was written can be read, and holds what was packed
            return path
        from medseg.inference.export.bundle import write_bundle

        checked = write_bundle(saved, path, card, licence or NOT_STATED)
    elif to == "onnx":
        from medseg.inference.export.onnx import write_onnx

        checked = write_onnx(saved, path)
    else:
        from medseg.inference.export.torchscript import write_torchscript

        checked = write_torchscript(saved, path)
    console.print(f"{path.name}: {checked}", markup=False, highlight=False, soft_wrap=True)
    return path


def _target(saved: SavedRun, out: Path, to: str, overwrite: bool) -> Path:
    if to == "bundle":
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            if not (out / "configs" / "metadata.json").is_file():
                raise RunError(f"{out}: exists already and is neither an empty folder nor a bundle; give a new folder for the bundle")
            _refuse_existing(out, overwrite)
        return out
    suffixes = SUFFIXES.get(to)
    if suffixes is None:
        raise RunError(f"there is no export to {to!r}; choose onnx, torchscript, bundle or package")
    path = out / f"{saved.config.name}{suffixes[0]}" if out.is_dir() else out
    if path.suffix not in suffixes:
        raise RunError(
            f"{path}: a file of this kind ends in {' or '.join(suffixes)}; name it {path.with_suffix(suffixes[0]).name}, or give a folder"
        )
    if path.exists():
        _refuse_existing(path, overwrite)
    return path


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if not overwrite:
        raise RunError(f"{path}: exists already; give another name, or --overwrite to replace it")


__all__ = ["Target", "export_run", "model_card", "read_package", "write_package"]
