"""What a report is made of: the tables of an evaluation and, for a run, its config and its training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from medseg.config import ConfigError, from_dict
from medseg.config.schema import Config
from medseg.errors import DataError
from medseg.evaluation.scores import read_calibration, read_candidates, read_lesions, read_rows, read_summary
from medseg.metrics import CalibrationRow, CandidateRow, LesionRow, MetricOptions, Row
from medseg.metrics.measures import METRICS, Metric, metric_of


@dataclass(frozen=True)
class Source:
    """A folder that `medseg evaluate` wrote, or a run's.

    Args:
        folder: As the user gave it.
        rows: Of cases.csv.
        lesions: Of lesions.csv.
        candidates: Of candidates.csv; empty where no probabilities were looked at.
        calibration: Of calibration.csv; likewise.
        summary: summary.json.
        config: The run's; None where the folder belongs to no run.
        config_text: The run's config.yaml.
        environment: Name -> what the run's environment.txt says.
        epochs: The rows of the run's metrics.csv.
        postprocessing: The run's postprocessing.json; None where none was chosen.
    """

    folder: Path
    rows: Sequence[Row]
    lesions: Sequence[LesionRow]
    candidates: Sequence[CandidateRow]
    calibration: Sequence[CalibrationRow]
    summary: Mapping[str, Any]
    config: Config | None = None
    config_text: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    epochs: Sequence[Mapping[str, float]] = ()
    postprocessing: Mapping[str, Any] | None = None

    @classmethod
    def open(cls, folder: Path) -> Source:
        """Read a folder.

        Raises:
            DataError: It holds no finished evaluation.
        """
        folder = Path(folder)
        run = (folder / "config.yaml").is_file()
        tables = folder / "evaluation" if run else folder
        if not (tables / "summary.json").is_file():
            if run:
                raise DataError(f"{folder}: the run has no evaluation yet; let it finish (`medseg resume {folder}`), then report it")
            raise DataError(
                f"{folder}: neither a run nor an evaluation: no config.yaml and no summary.json in it; give a folder that has one"
            )
        content: dict[str, Any] = {
            "rows": read_rows(tables / "cases.csv"),
            "lesions": read_lesions(tables / "lesions.csv") if (tables / "lesions.csv").is_file() else [],
            "candidates": read_candidates(tables / "candidates.csv") if (tables / "candidates.csv").is_file() else [],
            "calibration": read_calibration(tables / "calibration.csv") if (tables / "calibration.csv").is_file() else [],
            "summary": read_summary(tables / "summary.json"),
        }
        if not content["rows"]:
            raise DataError(f"{tables / 'cases.csv'}: holds no case; run `medseg evaluate` again")
        if run:
            text = (folder / "config.yaml").read_text(encoding="utf-8")
            content |= {"config": _config(text, folder / "config.yaml"), "config_text": text}
            content |= {"environment": _environment(folder / "environment.txt"), "epochs": _epochs(folder / "metrics.csv")}
            content["postprocessing"] = _chosen(folder / "postprocessing.json")
        return cls(folder, **content)

    @property
    def predictions(self) -> Path:
        """Folder of the predicted label maps."""
        return Path(self.summary["predictions"]) if "predictions" in self.summary else self.folder / "predictions"

    @cached_property
    def unusable(self) -> dict[str, str]:
        """Case -> why it has no prediction that could be scored."""
        gone = dict.fromkeys(self.summary.get("missing") or (), "no prediction")
        return {**gone, **(self.summary.get("unusable") or {})}

    @property
    def name(self) -> str:
        """Of the run, or of the folder."""
        return self.config.name if self.config is not None else self.folder.resolve().name

    @cached_property
    def classes(self) -> list[str]:
        """In the order of the tables."""
        return list(dict.fromkeys(row.class_name for row in self.rows))

    @cached_property
    def metrics(self) -> list[str]:
        """Names as in the rows (`nsd_2mm`), the primary first."""
        found = list(dict.fromkeys(row.metric for row in self.rows))
        return sorted(found, key=lambda name: name != self.primary)

    @cached_property
    def cases(self) -> list[str]:
        """Ids, sorted."""
        return sorted({row.case_id for row in self.rows})

    @property
    def primary(self) -> str:
        """The metric that was declared to count; Dice where none was."""
        wanted = str(self.summary.get("primary") or (self.config.evaluation.primary if self.config is not None else "dice"))
        names = list(dict.fromkeys(row.metric for row in self.rows))
        return next((name for name in (wanted, *(one for one in names if one.startswith(f"{wanted}_")), "dice") if name in names), names[0])

    @property
    def options(self) -> MetricOptions:
        """The rules of the metrics."""
        given = dict(self.summary.get("options") or {})
        tolerances = given.get("tolerances")
        if isinstance(tolerances, Mapping):
            given["tolerances"] = {name: tuple(values) for name, values in tolerances.items()}
        elif tolerances is not None:
            given["tolerances"] = tuple(tolerances)
        if "metrics" in given:
            given["metrics"] = tuple(given["metrics"])
        return MetricOptions(**given)

    @cached_property
    def table(self) -> dict[tuple[str, str], dict[str, Row]]:
        """(metric, class) -> case -> row."""
        found: dict[tuple[str, str], dict[str, Row]] = {}
        for row in self.rows:
            found.setdefault((row.metric, row.class_name), {})[row.case_id] = row
        return found

    def of(self, metric: str, class_name: str) -> list[Row]:
        """The rows of a metric and a class, in the order of `cases`."""
        found = self.table.get((metric, class_name), {})
        return [found[case] for case in self.cases if case in found]

    def per_class(self, class_name: str) -> list[Row]:
        """One row a case of a class, whatever its metric: for volumes and counts."""
        return self.of(self.metrics[0], class_name)

    def aggregate(self, metric: str, class_name: str | None = None) -> Mapping[str, Any]:
        """What summary.json says of a metric; empty where it says nothing."""
        found: Mapping[str, Any] = self.summary["metrics"].get(metric if class_name is None else f"{metric}/{class_name}", {})
        return found

    @property
    def flat(self) -> bool:
        """Whether the cases are 2-D."""
        return len(self.rows[0].spacing) == 2

    @cached_property
    def pixels(self) -> bool:
        """Whether the cases are pictures that know no millimetres."""
        return self.flat and all(set(row.spacing) == {1.0} for row in self.rows)

    @property
    def length_unit(self) -> str:
        """Of distances."""
        return "pixels" if self.pixels else "mm"

    @property
    def size_unit(self) -> str:
        """Of lesions."""
        return "pixels" if self.pixels else "mm²" if self.flat else "mm³"

    @property
    def volume_unit(self) -> str:
        """Of whole classes."""
        return self.size_unit if self.flat else "mL"

    def volume(self, row: Row, side: str) -> float:
        """Volume of a class in a case in `volume_unit`; `side` is `ref` or `pred`."""
        if self.flat:
            return float(getattr(row, f"{side}_voxels")) * math.prod(row.spacing)
        return float(getattr(row, f"{side}_ml"))

    def metric(self, name: str) -> Metric | None:
        """The metric of a row's name; None for one of another version of medseg."""
        try:
            return metric_of(name)
        except ValueError:
            return None

    def title(self, name: str) -> str:
        """For headers: `HD95 (max of directed)`, with tolerance and unit where it has them."""
        metric = self.metric(name)
        if metric is None:
            return name.replace("_", " ")
        title = metric.title
        if metric.per_tolerance and name not in METRICS:
            title += f" at {name.rpartition('_')[2].removesuffix('mm')} {self.length_unit}"
        unit = self.length_unit if metric.unit == "mm" else metric.unit
        return f"{title}, {unit}" if unit else title

    def definition(self, name: str) -> str:
        """What a metric is, and by which rule empty masks count."""
        texts = self.summary.get("definitions", {})
        metric = self.metric(name)
        key = next((key for key in (name, next((k for k, one in METRICS.items() if one is metric), name)) if key in texts), None)
        said = [texts[key]] if key else [metric.definition] if metric else []
        if metric is not None:
            said.append({"higher": "Higher is better.", "lower": "Lower is better.", "zero": "Best at 0."}[metric.better])
            if metric.family == "lesion" and "lesion" in texts:
                said.append(f"Lesions: {texts['lesion']}.")
        if "empty" in texts:
            said.append(f"Empty masks: {texts['empty']}.")
        return "\n".join(said)

    def digits(self, name: str) -> int | None:
        """Digits behind the point: three for scores, two for millimetres, else three significant ones."""
        metric = self.metric(name)
        if metric is None or metric.unit == "mL" or metric.better == "zero" or "count" in name:
            return None
        return 2 if metric.unit == "mm" else 3


def badness(source: Source, row: Row) -> float:
    """How bad a value is: ascending from the best to the worst, undefined ones as infinitely bad."""
    metric = source.metric(row.metric)
    if math.isnan(row.value):
        return math.inf
    if metric is None or metric.better == "higher":
        return -row.value
    return abs(row.value) if metric.better == "zero" else row.value


def _config(text: str, path: Path) -> Config | None:
    """The config; None where this version of medseg does not understand it: the report can do without."""
    try:
        return from_dict(yaml.safe_load(text), str(path))
    except (ConfigError, yaml.YAMLError, TypeError, AttributeError):
        return None


def _chosen(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}); choose again with `medseg postprocess {path.parent}`, or remove it") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no steps; choose again with `medseg postprocess {path.parent}`, or remove it")
    return found


def _environment(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = (line.partition(": ") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: value for name, _, value in lines if value}


def _epochs(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value not in ("", None)} for row in csv.DictReader(file)]
    except ValueError as error:
        raise DataError(f"{path}: holds something that is no number ({error}); restore the file or remove it") from error
