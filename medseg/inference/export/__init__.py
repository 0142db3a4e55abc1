"""Trained networks for others: ONNX, TorchScript, a MONAI bundle, or everything in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rich.console import Console

from medseg.errors import RunError
from medseg.inference.export.card import NOT_STATED, model_card, read_evaluation
from medseg.inference.export.package import SUFFIX, read_package, write_package
from medseg.inference.load import SavedRun, read_run

Target = Literal["onnx", "torchscript", "bundle", "package"]

SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torchscript": ".ts", "package": SUFFIX}
"""Of the files; a bundle is a folder."""


def export_run(run: Path, out: Path, to: Target, *, licence: str | None = None, console: Console | None = None) -> Path:
    """Turn a run into something that others can use, and prove that it computes the same.

    Args:
        run: Run folder (its best checkpoint is taken), checkpoint, or package.
        out: The file to write, or an existing folder for it, named after the run then; of a bundle the folder itself, new or empty.
        to: `onnx`, `torchscript`, `bundle` or `package`.
        licence: Of the model: a name or a text; None: the card says that it is not stated.
        console: Where the largest difference is shown; None shows nothing.

    Returns:
        The file, or the folder.

    Raises:
        RunError: The run cannot be read or exported, the copy computes something else, or `out` cannot be written to.
    """
    saved = read_run(run)
    console = console or Console(quiet=True)
    path = _target(saved, out, to)
    if to in ("package", "bundle"):
        folder = saved.path.parent.parent if saved.path.parent.name == "checkpoints" else saved.path.parent
        card = model_card(saved, read_evaluation(folder), licence)
        if to == "package":
            write_package(saved, path, card, licence or NOT_STATED)
            read_package(path)  # what was written can be read, and holds what was packed
            return path
        from medseg.inference.export.bundle import write_bundle

        checked = write_bundle(saved, path, card, licence or NOT_STATED)
    elif to == "onnx":
        from medseg.inference.export.onnx import write_onnx

        checked = write_onnx(saved, path)
    elif to == "torchscript":
        from medseg.inference.export.torchscript import write_torchscript

        checked = write_torchscript(saved, path)
    else:
        raise RunError(f"there is no export to {to!r}; choose onnx, torchscript, bundle or package")
    console.print(f"{path.name}: {checked}", markup=False, highlight=False, soft_wrap=True)
    return path


def _target(saved: SavedRun, out: Path, to: str) -> Path:
    if to == "bundle":
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise RunError(f"{out}: exists already and is not an empty folder; give a new folder for the bundle")
        return out
    suffix = SUFFIXES.get(to, "")
    path = out / f"{saved.config.name}{suffix}" if out.is_dir() else out
    if path.suffix != suffix:
        raise RunError(f"{path}: a file of this kind ends in {suffix}; name it {path.with_suffix(suffix).name}, or give a folder")
    return path


__all__ = ["Target", "export_run", "model_card", "read_package", "write_package"]
