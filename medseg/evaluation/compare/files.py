"""comparison.json and comparison.csv."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import medseg
from medseg.evaluation.compare.analysis import FLIPS, RANK_RESAMPLES, RESAMPLES, SEED
from medseg.evaluation.compare.comparison import ALPHA, Comparison, Mean, Pair
from medseg.evaluation.compare.verdicts import cautions, repetitions, towards, verdict
from medseg.files import atomic_path, write_text


def write_json(path: Path, comparison: Comparison) -> None:
    """Write everything that was found; undefined numbers are null, infinite ones the text `inf`."""
    write_text(path, json.dumps(_plain(as_dict(comparison)), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """A comparison as dicts and lists, with names in place of numbers of methods."""
    names = comparison.names
    return {
        "medseg": medseg.__version__,
        "primary": comparison.primary,
        "declared_before_training": comparison.declared,
        "margin": comparison.margin,
        "baseline": names[comparison.baseline],
        "methods": [
            {"name": one.name, "runs": [str(run.path) for run in one.runs], "seeds": [run.seed for run in one.runs]}
            for one in comparison.methods
        ],
        "cases": len(comparison.cases.ids),
        "patients": comparison.patients,
        "folds": comparison.folds,
        "warnings": cautions(comparison),
        "means": [{**asdict(one), "method": names[one.method]} for one in comparison.means],
        "tests": [_pair(comparison, one) for one in comparison.tests],
        "explored": [_pair(comparison, one, tested=False) for one in comparison.explored],
        "rankings": {
            rule: {
                "ranks": dict(zip(names, one.ranks.tolist(), strict=True)),
                "interval": {name: [int(one.low[at]), int(one.high[at])] for at, name in enumerate(names)},
                "frequency": dict(zip(names, one.frequency.tolist(), strict=True)),
                "kendall_tau": one.tau,
            }
            for rule, one in comparison.rankings.items()
        },
        "options": dict(comparison.options),
        "definitions": dict(comparison.definitions),
        "statistics": {
            "resamples": RESAMPLES,
            "rank_resamples": RANK_RESAMPLES,
            "flips": FLIPS,
            "seed": SEED,
            "level": 0.95,
            "equivalence_level": 0.9,
            "alpha": ALPHA,
        },
    }


def write_csv(path: Path, comparison: Comparison) -> None:
    """Write one line a metric, class and method, with its difference to the baseline; p-values stand at the primary metric alone."""
    base = comparison.baseline
    pairs = {(one.metric, one.class_name, one.first, one.second): one for one in (*comparison.tests, *comparison.explored)}
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for one in comparison.means:
            forward, backward = ((one.metric, one.class_name, *ends) for ends in ((one.method, base), (base, one.method)))
            sign, pair = (1, pairs.get(forward)) if forward in pairs else (-1, pairs.get(backward))
            writer.writerow([*_mean_cells(comparison, one), *_difference_cells(sign, pair)])


_COLUMNS = [
    *("metric", "role", "class", "method", "repetitions", "cases", "patients", "values"),
    *(
        "mean",
        "own_mean",
        "own_cases",
        "ci95_low",
        "ci95_high",
        "t95_low",
        "t95_high",
        "sd",
        "median",
        "q25",
        "q75",
        "p5",
        "sd_between_runs",
    ),
    *("penalised", "missed", "invented", "both_empty", "both_empty_as_best", "left_out", "failed"),
    *("difference_to_baseline", "difference_ci95_low", "difference_ci95_high", "p", "p_holm"),
]


def _mean_cells(comparison: Comparison, one: Mean) -> list[Any]:
    runs = np.array(one.runs)
    spread = float(runs.std(ddof=1)) if len(runs) > 1 and comparison.folds == 1 and np.isfinite(runs).all() else math.nan
    ends = (one.t.low, one.t.high) if one.t else (math.nan, math.nan)
    role = "primary" if one.metric == comparison.primary and one.class_name is None else "exploratory"
    numbers = [one.interval.low, one.interval.high, *ends, one.sd, one.median, one.q25, one.q75, one.p5, spread]
    return [
        *(one.metric, role, one.class_name or "", comparison.names[one.method], repetitions(comparison, one.method)),
        *(one.cases, one.patients, one.values, _number(one.interval.estimate), _number(one.own), one.own_cases, *map(_number, numbers)),
        *(one.penalised, one.missed, one.invented, one.both_empty, one.rewarded, one.left_out, one.failed),
    ]


def _difference_cells(sign: int, pair: Pair | None) -> list[str]:
    if pair is None:
        return [""] * 5
    found = towards(pair, pair.first if sign > 0 else pair.second)
    return [_number(value) for value in (found.estimate, found.low, found.high, pair.p, pair.p_holm)]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _pair(comparison: Comparison, one: Pair, tested: bool = True) -> dict[str, Any]:
    names = comparison.names
    values = {**asdict(one), "first": names[one.first], "second": names[one.second]}
    if not tested:
        return {key: value for key, value in values.items() if not key.startswith("p_") and key != "effect"}
    return {**values, "verdict": verdict(comparison, one)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
