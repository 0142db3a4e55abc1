"""`predictions.json`: whose predictions an output folder holds, so that another run's are never taken for this one's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medseg.data.images import IMAGE_SUFFIXES, files_of, stem_of, suffix_of
from medseg.errors import DataError
from medseg.files import write_text
from medseg.inference.claims import Claims
from medseg.inference.ensemble import Ensemble

FILE = "predictions.json"
_SUFFIXES = "suffixes"


def describe(checkpoints: Sequence[Path], model: Ensemble) -> dict[str, Any]:
    """What decides on a label map: the weights, how they are applied, and what follows.

    `members` lists every checkpoint or package with its `path` and `sha256`, whether it is one or an ensemble of several, which have an
    `average` besides.
    """
    about: dict[str, Any] = {"members": [{"path": str(path), "sha256": _digest(path)} for path in checkpoints]}
    if len(checkpoints) > 1:
        about["average"] = model.average
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
        DataError: Such files of other weights or settings, or label maps of the same cases in another format, are there already, or
            another process is just making them.
    """
    with Claims(output) as claims, claims.taken(FILE):
        note = output / FILE
        before = _read(note)
        same = _identity(before) == _identity(about)
        old = [] if same else [output / name for name in names if (output / name).is_file()]
        suffixes = _suffixes(before)
        twins = _twins(output, names, suffixes)
        if (not same or twins) and claims.others():
            raise DataError(f"{output}: another process predicts into it with another checkpoint or other settings; give another folder")
        if old and not overwrite:
            raise DataError(
                f"{output}: holds {old[0].name}, predicted by another checkpoint or with other settings; give another folder, "
                "or --overwrite"
            )
        if twins and not overwrite:
            raise DataError(
                f"{output}: holds {twins[0].name}, and two label maps of a case would be mixed up; give another folder, "
                "or --overwrite, which removes the old ones"
            )
        for path in [*old, *(file for twin in twins for file in files_of(twin))]:
            path.unlink(missing_ok=True)
        suffixes |= {suffix_of(name) for name in names} - {""}
        write_text(note, json.dumps(about | {_SUFFIXES: sorted(suffixes)}, indent=1) + "\n")


def _suffixes(note: Any) -> set[str]:
    """Formats of label maps that predictions in this folder were written in."""
    found = note.get(_SUFFIXES) if isinstance(note, dict) else None
    return set(found) & set(IMAGE_SUFFIXES) if isinstance(found, list) and all(isinstance(one, str) for one in found) else set()


def _twins(output: Path, names: Sequence[str], suffixes: set[str]) -> list[Path]:
    """Label maps that were predicted of the same cases in another format."""
    ours = set(names)
    others = sorted({f"{stem_of(name)}{suffix}" for name in names if suffix_of(name) for suffix in suffixes} - ours)
    return [output / name for name in others if (output / name).is_file()]


def _read(note: Path) -> Any:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none, or not ours
        return None


def _identity(about: Any) -> Any:
    """The note without the places of the members, since a run that was moved is the same, and without the formats."""
    if isinstance(about, dict):
        return {key: _identity(value) for key, value in about.items() if key not in ("path", _SUFFIXES)}
    return [_identity(value) for value in about] if isinstance(about, list) else about


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
