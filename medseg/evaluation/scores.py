"""The files of an evaluation: tidy tables as CSV, and summary.json, which holds what follows from them and by which rules."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import medseg
from medseg.errors import DataError
from medseg.evaluation.detection import summarise_calibration, summarise_detection
from medseg.files import atomic_path, write_text
from medseg.metrics import CalibrationRow, CandidateRow, LesionRow, MetricOptions, Row, aggregate, definitions

_BOOTSTRAP, _SEED = 2000, 0

T = TypeVar("T")


def write_scores(
    folder: Path,
    rows: Sequence[Row],
    lesions: Sequence[LesionRow] = (),
    candidates: Sequence[CandidateRow] = (),
    calibration: Sequence[CalibrationRow] = (),
    *,
    options: MetricOptions | None = None,
    primary: str = "dice",
    **about: Any,
) -> dict[str, Any]:
    """Write the tables and last `summary.json` into a folder, each atomically.

    `cases.csv` and `lesions.csv` are always written, `candidates.csv` and `calibration.csv` where probabilities were looked at; of an
    earlier evaluation without, they are removed.

    Args:
        folder: Where to; made if need be.
        rows: One row per case, class and metric.
        lesions: One row per connected component.
        candidates: One row per candidate of a detection curve.
        calibration: One row per case, class and bin of probabilities.
        options: The rules by which the rows were made; None: the standard ones.
        primary: The one metric that was declared before training.
        about: More keys for the summary, in JSON types: missing cases, checkpoint, ...

    Returns:
        The summary.
    """
    summary = summarise(rows, lesions, candidates, calibration, options=options, primary=primary, **about)
    _write_table(folder / "cases.csv", Row, rows)
    _write_table(folder / "lesions.csv", LesionRow, lesions)
    for name, row_type, found in (("candidates", CandidateRow, candidates), ("calibration", CalibrationRow, calibration)):
        if candidates or calibration:
            _write_table(folder / f"{name}.csv", row_type, found)
        else:
            (folder / f"{name}.csv").unlink(missing_ok=True)
    write_text(folder / "summary.json", json.dumps(_encoded(summary), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return summary


def summarise(
    rows: Sequence[Row],
    lesions: Sequence[LesionRow] = (),
    candidates: Sequence[CandidateRow] = (),
    calibration: Sequence[CalibrationRow] = (),
    *,
    options: MetricOptions | None = None,
    primary: str = "dice",
    **about: Any,
) -> dict[str, Any]:
    """Aggregate rows into a plain dict, with the definitions of all that it states; undefined numbers are None.

    Args: as `write_scores`.
    """
    options = options or MetricOptions()
    summary = {
        "medseg": medseg.__version__,
        "cases": len({row.case_id for row in rows}),
        "groups": len({row.group for row in rows}),
        **about,
        "primary": primary,
        "metrics": {key: asdict(one) for key, one in aggregate(rows, bootstrap=_BOOTSTRAP, seed=_SEED).items()},
        "definitions": definitions(options),
        "options": options.to_dict(),
        "bootstrap": {"resamples": _BOOTSTRAP, "seed": _SEED, "level": 0.95},
    }
    if candidates or calibration:
        seen = {row.case_id for row in calibration} | {row.case_id for row in candidates}
        classes = dict.fromkeys(row.class_name for row in rows)
        summary["detection"] = summarise_detection(candidates, lesions, classes, seen)
        summary["calibration"] = summarise_calibration(calibration)
    return dict(_without_nan(summary))


def read_rows(path: Path) -> list[Row]:
    """Read a `cases.csv` back, exactly.

    Raises:
        DataError: When the file is missing or is no such table.
    """
    return _read_table(path, Row)


def read_lesions(path: Path) -> list[LesionRow]:
    """Read a `lesions.csv` back, exactly.

    Raises:
        DataError: When the file is missing or is no such table.
    """
    return _read_table(path, LesionRow)


def read_candidates(path: Path) -> list[CandidateRow]:
    """Read a `candidates.csv` back, exactly.

    Raises:
        DataError: When the file is missing or is no such table.
    """
    return _read_table(path, CandidateRow)


def read_calibration(path: Path) -> list[CalibrationRow]:
    """Read a `calibration.csv` back, exactly.

    Raises:
        DataError: When the file is missing or is no such table.
    """
    return _read_table(path, CalibrationRow)


def read_summary(path: Path) -> dict[str, Any]:
    """Read a `summary.json`: what `write_scores` returned.

    Raises:
        DataError: When the file is missing or is no summary.
    """
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        metrics = {key: {name: _decoded(value) for name, value in one.items()} for key, one in summary["metrics"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as a summary ({error!r}); run `medseg evaluate` again") from error
    return {**summary, "metrics": metrics}


def _write_table(path: Path, row_type: type, rows: Iterable[Any]) -> None:
    names = [field.name for field in fields(row_type)]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)


def _read_table(path: Path, row_type: type[T]) -> list[T]:
    parsers = {name: _PARSERS[kind] for name, kind in get_type_hints(row_type).items()}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row_type(**{name: parse(line[name]) for name, parse in parsers.items()}) for line in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read as a table of this version ({error!r}); run `medseg evaluate` again") from error


def _cell(value: Any) -> Any:
    return " ".join(repr(part) for part in value) if isinstance(value, tuple) else value


_PARSERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"True": True, "False": False}[text],
    tuple[float, ...]: lambda text: tuple(float(part) for part in text.split()),
    tuple[int, ...]: lambda text: tuple(int(part) for part in text.split()),
}


def _without_nan(value: Any) -> Any:
    """Plain types of JSON, but for infinity."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _encoded(value: Any) -> Any:
    """JSON has no infinity, which a penalty may be: it becomes the text that `float` reads."""
    if isinstance(value, dict):
        return {key: _encoded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _decoded(value: Any) -> Any:
    return float(value) if value in ("inf", "-inf") else value
