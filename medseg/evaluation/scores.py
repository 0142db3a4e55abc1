"""The files of an evaluation: cases.csv and lesions.csv are the tidy tables, summary.json what follows from them and by which rules."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import medseg
from medseg.errors import DataError
from medseg.files import atomic_path, write_text
from medseg.metrics import DEFINITIONS, LesionRow, Row, aggregate

_BOOTSTRAP, _SEED = 2000, 0


def write_scores(folder: Path, rows: Sequence[Row], lesions: Iterable[LesionRow] = (), **about: Any) -> dict[str, Any]:
    """Write `cases.csv`, `lesions.csv` and last `summary.json` into a folder, each atomically.

    Args:
        folder: Where to; made if need be.
        rows: One row per case, class and metric.
        lesions: One row per connected component.
        about: More keys for the summary, in JSON types: missing cases, checkpoint, ...

    Returns:
        The summary.
    """
    _write_table(folder / "cases.csv", Row, rows)
    _write_table(folder / "lesions.csv", LesionRow, lesions)
    summary = summarise(rows, **about)
    write_text(folder / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return summary


def summarise(rows: Sequence[Row], **about: Any) -> dict[str, Any]:
    """Aggregate rows into a plain dict, with the definitions of all that it states; undefined numbers are None."""
    metrics = {key: _without_nan(asdict(one)) for key, one in aggregate(rows, bootstrap=_BOOTSTRAP, seed=_SEED).items()}
    return {
        "medseg": medseg.__version__,
        "cases": len({row.case_id for row in rows}),
        "groups": len({row.group for row in rows}),
        **about,
        "metrics": metrics,
        "definitions": DEFINITIONS,
        "bootstrap": {"resamples": _BOOTSTRAP, "seed": _SEED, "level": 0.95},
    }


def read_rows(path: Path) -> list[Row]:
    """Read a `cases.csv` back, exactly.

    Raises:
        DataError: When the file is missing or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [Row(**{name: parse(line[name]) for name, parse in _PARSERS.items()}) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a table of cases ({error!r}); run `medseg evaluate` again") from error


def read_summary(path: Path) -> dict[str, Any]:
    """Read a `summary.json`.

    Raises:
        DataError: When the file is missing or is no summary.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if "metrics" not in summary:
            raise ValueError("no 'metrics' in it")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a summary ({error}); run `medseg evaluate` again") from error
    return dict(summary)


def _write_table(path: Path, row_type: type, rows: Iterable[Any]) -> None:
    names = [field.name for field in fields(row_type)]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)


def _cell(value: Any) -> Any:
    return " ".join(repr(part) for part in value) if isinstance(value, tuple) else value


def _flag(text: str) -> bool:
    return {"True": True, "False": False}[text]


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split())


_PARSERS: dict[str, Callable[[str], Any]] = {
    "case_id": str,
    "group": str,
    "class_name": str,
    "metric": str,
    "value": float,
    "ref_empty": _flag,
    "pred_empty": _flag,
    "ref_voxels": int,
    "pred_voxels": int,
    "ref_ml": float,
    "pred_ml": float,
    "ref_lesions": int,
    "pred_lesions": int,
    "spacing": _numbers,
}


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
