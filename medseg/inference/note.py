"""`predictions.json`: whose predictions an output folder holds, so that another run's are never taken for this one's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.errors import DataError
from medseg.files import write_text
from medseg.inference.claims import Claims
from medseg.inference.ensemble import Ensemble

FILE = "predictions.json"


def describe(checkpoints: Sequence[Path], model: Ensemble) -> dict[str, Any]:
    """What decides on a label map: the weights, how they are applied, and what follows.

    One checkpoint has the keys `checkpoint` and `checkpoint_sha256`; several are listed so under `checkpoints`, with `average`.
    """
    files = [{"checkpoint": str(path), "checkpoint_sha256": _digest(path)} for path in checkpoints]
    settings = [
        {
            "window": list(one.window),
            "overlap": one.overlap,
            "blending": one.blending,
            "mirror_axes": list(one.mirror_axes),
            "skip": one.skip,
        }
        for one in model.members
    ]
    about: dict[str, Any] = files[0] if len(files) == 1 else {"checkpoints": files, "average": model.average}
    about["inference"] = settings[0] if all(one == settings[0] for one in settings) else settings
    about["postprocessing"] = None if model.postprocessing is None else model.postprocessing.to_dict()
    return about


def sign(output: Path, about: dict[str, Any], names: Sequence[str], overwrite: bool) -> None:
    """Note in the output folder whose predictions it holds.

    Args:
        output: The folder; made if need be.
        about: What `describe` returned.
        names: Files that are going to be written.
        overwrite: Whether those of other predictions may be removed. They all are, at once: an interrupted overwrite must not leave a
            mixture.

    Raises:
        DataError: Such files of other weights or settings are there already, or another process is just making them.
    """
    with Claims(output) as claims, claims.taken(FILE):
        note = output / FILE
        if _identity(_read(note)) != _identity(about):
            if claims.others():
                raise DataError(
                    f"{output}: another process predicts into it with another checkpoint or other settings; give another folder"
                )
            present = [name for name in names if (output / name).is_file()]
            if present and not overwrite:
                raise DataError(
                    f"{output}: holds {present[0]}, predicted by another checkpoint or with other settings; give another folder, "
                    "or --overwrite"
                )
            for name in present:
                (output / name).unlink()
        write_text(note, json.dumps(about, indent=1) + "\n")


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not ours
        return None


def _identity(about: Any) -> Any:
    """The note without the places of the checkpoints: a run that was moved is the same."""
    if isinstance(about, dict):
        return {key: _identity(value) for key, value in about.items() if key != "checkpoint"}
    return [_identity(value) for value in about] if isinstance(about, list) else about


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
