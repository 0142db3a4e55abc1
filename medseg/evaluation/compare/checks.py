"""What must be the same before two numbers may be compared."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.errors import DataError, RunError
from medseg.evaluation.compare.methods import Method
from medseg.evaluation.compare.runs import ScoredRun
from medseg.evaluation.options import metric_options
from medseg.metrics import metric_of

_SHOWN = 3


def check_options(runs: Sequence[ScoredRun]) -> dict[str, Any]:
    """All runs were scored by the same rules; which metrics were computed may differ.

    Returns:
        The rules.

    Raises:
        RunError: Naming the run and the rule.
    """
    rules = [_rules(run) for run in runs]
    for run, rule in zip(runs[1:], rules[1:], strict=True):
        for key in sorted(rules[0].keys() | rule.keys()):
            mine, theirs = rule.get(key), rules[0].get(key)
            if mine != theirs:
                raise RunError(
                    f"{run.path}: scored with {key} = {mine}, but {runs[0].path} with {key} = {theirs}; "
                    f"score both alike: `medseg evaluate --pred <run>/predictions ...` with evaluation.{key} set, and compare these folders"
                )
    return rules[0]


def check_references(runs: Sequence[ScoredRun]) -> None:
    """All runs know the same classes, and a case that two of them scored had the same reference, patient and voxel size.

    Raises:
        DataError: Naming the run, the case and what differs.
    """
    first = runs[0]
    seen: dict[str, tuple[ScoredRun, int]] = {}
    for run in runs:
        if run.table.classes != first.table.classes:
            raise DataError(
                f"{run.path}: scored the classes {', '.join(run.table.classes)}, but {first.path} scored {', '.join(first.table.classes)}; "
                "compare runs on the same classes (`medseg evaluate --classes` scores a choice)"
            )
        for at, case in enumerate(run.table.cases):
            other, there = seen.setdefault(case, (run, at))
            mine, theirs = run.table.reference[at], other.table.reference[there]
            if not np.allclose(mine, theirs, rtol=1e-6, atol=0, equal_nan=True):
                worst = int(np.argmax(np.nan_to_num(np.abs(mine - theirs)).max(axis=1)))
                raise DataError(
                    f"{run.path}: the reference of case {case}, class {run.table.classes[worst]}, has {mine[worst, 0]:g} voxels of "
                    f"{mine[worst, 1]:g} mm^3 (mm^2), but {theirs[worst, 0]:g} of {theirs[worst, 1]:g} in {other.path}; "
                    "score both against the same reference files"
                )
            if run.table.groups[at] != other.table.groups[there]:
                raise DataError(
                    f"{run.path}: case {case} belongs to patient {run.table.groups[at]}, but to {other.table.groups[there]} in "
                    f"{other.path}; give both the same groups.csv"
                )


def folds_of(methods: Sequence[Method]) -> list[tuple[str, ...]]:
    """The sets of cases that runs were tested on together: one, or the folds of a cross-validation; the same for all methods.

    Raises:
        RunError: When two runs of a method overlap in part, or were repeated unevenly, or methods were tested on other cases.
    """
    first = _folds(methods[0])
    for method in methods[1:]:
        folds = _folds(method)
        if folds != first:
            raise RunError(_difference(method, folds, methods[0], first))
    return first


def choose_metric(runs: Sequence[ScoredRun], metric: str | None) -> tuple[str, bool]:
    """The metric that is tested, and whether every run declared it before training.

    Raises:
        RunError: When the runs declare different ones and none is given, or a run lacks it, or it is a signed number.
    """
    declared = {run.primary: run for run in reversed(runs) if run.primary is not None}
    if metric is None:
        if len(declared) > 1:
            said = " and ".join(f"'{name}' ({run.path})" for name, run in list(declared.items())[:2])
            raise RunError(f"the runs declare different primary metrics: {said}; choose one with --metric")
        metric = next(iter(declared), "dice")
    for run in runs:
        if metric not in run.table.values:
            known = ", ".join(run.table.values)
            raise RunError(f"{run.path}: has no metric '{metric}' (it has {known}); choose one of these with --metric, or score it again")
    if metric_of(metric).better == "zero":
        raise RunError(f"'{metric}' is a signed number, of which neither more nor less is better; choose a metric that has a better end")
    return metric, set(declared) == {metric} and all(run.primary for run in runs)


def choose_margin(runs: Sequence[ScoredRun], metric: str, margin: float | None) -> float | None:
    """The difference that does not matter: given, or declared for the primary metric by all runs; None: no margin for this metric.

    Raises:
        RunError: When it is not above 0, or the runs declare different ones.
    """
    if margin is not None:
        if not margin > 0:
            raise RunError(f"the margin is {margin:g}; give one above 0, in the metric's unit")
        return margin
    found = {run.margin: run for run in reversed(runs) if run.primary == metric and run.margin is not None}
    if len(found) > 1:
        said = " and ".join(f"{value:g} ({run.path})" for value, run in list(found.items())[:2])
        raise RunError(f"the runs declare different margins of practical equality: {said}; choose one with --margin")
    return next(iter(found), None)


def _rules(run: ScoredRun) -> dict[str, Any]:
    options: Mapping[str, Any] | None = run.summary.get("options")
    if options is None and run.config is not None:
        options = metric_options(run.config.evaluation).to_dict()
    plain: dict[str, Any] = json.loads(json.dumps(options or {}))  # as JSON knows it: no tuples
    plain.pop("metrics", None)
    return plain


def _folds(method: Method) -> list[tuple[str, ...]]:
    by_cases: dict[tuple[str, ...], list[ScoredRun]] = defaultdict(list)
    for run in method.runs:
        by_cases[run.table.cases].append(run)
    owner: dict[str, ScoredRun] = {}
    for cases, runs in by_cases.items():
        for case in cases:
            other = owner.setdefault(case, runs[0])
            if other is not runs[0]:
                raise RunError(
                    f"{runs[0].path}: tested on some of the cases of {other.path}, but not on the same "
                    f"({_few(set(cases) ^ set(other.table.cases))} in one of them alone); "
                    "runs of one method are tested on the same cases, or, as folds, on none in common"
                )
    counts = {len(runs) for runs in by_cases.values()}
    if len(counts) > 1:
        runs = min(by_cases.values(), key=len)
        raise RunError(
            f"{runs[0].path}: its fold was trained {len(runs)} time(s), another fold of '{method.name}' {max(counts)} times; "
            "train every fold with the same seeds, or leave runs out"
        )
    return sorted(by_cases)


def _difference(method: Method, folds: list[tuple[str, ...]], first: Method, other: list[tuple[str, ...]]) -> str:
    mine, theirs = {case for fold in folds for case in fold}, {case for fold in other for case in fold}
    heads = method.runs[0].path, first.runs[0].path
    if mine == theirs:
        return (
            f"{heads[0]}: '{method.name}' was tested in {len(folds)} fold(s), '{first.name}' ({heads[1]}) in {len(other)} or others, "
            "so that their folds cannot be paired; train both with the same folds and split_seed"
        )
    parts = [
        f"{len(only)} case(s) ({_few(only)}) that '{one.name}' lacks"
        for only, one in ((mine - theirs, first), (theirs - mine, method))
        if only
    ]
    return (
        f"{heads[0]}: '{method.name}' was tested on other cases than '{first.name}' ({heads[1]}): {' and '.join(parts)}; "
        "compare runs on the same cases: the same data, folds, split_seed and test_fraction, or `medseg evaluate` on the same references"
    )


def _few(cases: set[str]) -> str:
    shown = sorted(cases)[:_SHOWN]
    return ", ".join(shown) + (", ..." if len(cases) > _SHOWN else "")
