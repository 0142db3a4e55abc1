"""One metric of all methods on the same cases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import DataError
from medseg.evaluation.compare.methods import Method
from medseg.evaluation.compare.runs import ScoredRun
from medseg.evaluation.statistics import Scores
from medseg.metrics import metric_of


@dataclass(frozen=True)
class Cases:
    """The cases of a comparison, fold after fold."""

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    folds: np.ndarray
    """(cases,): number of the fold; all 0 without folds."""
    classes: tuple[str, ...]

    @classmethod
    def of(cls, methods: Sequence[Method], folds: Sequence[tuple[str, ...]]) -> Cases:
        """The cases of all folds.

        Raises:
            DataError: When a patient lies in two folds.
        """
        group_of = {case: group for run in methods[0].runs for case, group in zip(run.table.cases, run.table.groups, strict=True)}
        ids = tuple(case for fold in folds for case in fold)
        numbers = np.repeat(np.arange(len(folds)), [len(fold) for fold in folds])
        fold_of: dict[str, int] = {}
        for case, fold in zip(ids, numbers.tolist(), strict=True):
            if fold_of.setdefault(group_of[case], fold) != fold:
                raise DataError(
                    f"{methods[0].runs[0].path}: patient {group_of[case]} of case {case} lies in two folds, so that one of them trained on "
                    "the patient it was tested on; split by patient (groups.csv) and train again"
                )
        return cls(ids, tuple(group_of[case] for case in ids), numbers, methods[0].runs[0].table.classes)


@dataclass(frozen=True)
class MetricTable:
    """One metric: values of all methods that are finite, or NaN for a case and class that is left out of all methods alike.

    A class that is empty in the reference has no value where the prediction is empty too (rule `exclude`), which is right, and a poor
    one where something was predicted. To leave such cases out of the pairs would hide the false alarm, so where *any* run of the comparison
    has a value, those that rightly predicted nothing get the best one (counted as `rewarded`). Where no run has a value the case says
    nothing and is left out. Where a run has no value for another reason (penalty `nan`, or a metric that is not defined there) the case
    is left out for all (`left_out`).
    """

    metric: str
    values: list[np.ndarray]
    """Of each method: (runs, cases, classes)."""
    counted: list[dict[str, np.ndarray]]
    """Of each method: what is counted beside its mean, each (runs, cases, classes): `penalised` values, structures that are empty in
    the prediction alone (`missed`), in the reference alone (`invented`) or in both (`both_empty`), and those of the last that got the
    best value (`rewarded`)."""
    left_out: np.ndarray
    """(cases, classes)."""
    groups: tuple[str, ...]
    folds: np.ndarray
    own: list[np.ndarray]
    """Of each method: (runs, cases, classes), as its own report has them: no case left out for another method's sake, none rewarded."""

    @classmethod
    def of(cls, metric: str, methods: Sequence[Method], cases: Cases) -> MetricTable:
        """Gather a metric of all runs."""
        values = [_gather(method, cases, lambda run: run.table.values[metric]) for method in methods]
        both_empty = [_gather(method, cases, lambda run: run.table.both_empty) > 0 for method in methods]
        missing = [np.isnan(value) for value in values]
        left_out = _any([gap & ~empty for gap, empty in zip(missing, both_empty, strict=True)])
        in_play = _any([~gap for gap in missing]) & ~left_out
        rewarded = [gap & in_play for gap in missing]
        best = metric_of(metric).best
        filled = [np.where(reward, best, np.where(in_play, value, np.nan)) for reward, value in zip(rewarded, values, strict=True)]
        # A metric that no run computes for a class (a tolerance of its own) is not left out: it does not exist there.
        exists = _any([~gap | empty for gap, empty in zip(missing, both_empty, strict=True)]).any(axis=0)
        counted = [
            {
                "penalised": _gather(method, cases, lambda run: run.table.penalised[metric]) > 0,
                "missed": _gather(method, cases, lambda run: run.table.missed) > 0,
                "invented": _gather(method, cases, lambda run: run.table.invented) > 0,
                "both_empty": empty,
                "rewarded": reward,
            }
            for method, empty, reward in zip(methods, both_empty, rewarded, strict=True)
        ]
        return cls(metric, filled, counted, left_out & exists, cases.groups, cases.folds, values)

    @property
    def finite(self) -> bool:
        """Whether no value is infinite: statistics need that."""
        return not any(np.isinf(value).any() for value in self.values)

    @property
    def used(self) -> np.ndarray:
        """(cases, classes): where all methods have a value."""
        result: np.ndarray = ~np.isnan(self.values[0][0])
        return result

    def scores(self) -> list[Scores]:
        """Each method's values by patient."""
        return [Scores.of(value, self.groups, self.folds) for value in self.values]

    def case_means(self, method: int, column: int = 0) -> np.ndarray:
        """A method's value of each case, averaged over runs, (cases,): of a class (1, 2, ...) or of the mean over classes (0)."""
        mean = self.values[method].mean(axis=0)
        if column:
            result: np.ndarray = mean[:, column - 1]
            return result
        known = ~np.isnan(mean)
        number = known.sum(axis=1)
        return np.divide(np.where(known, mean, 0.0).sum(axis=1), number, out=np.full(len(mean), np.nan), where=number > 0)


def _gather(method: Method, cases: Cases, read: Callable[[ScoredRun], np.ndarray]) -> np.ndarray:
    """What is read of each run, (cases, classes), put together: (runs, cases, classes), a run of each fold making up one."""
    place = {case: at for at, case in enumerate(cases.ids)}
    number = len(method.runs) // len(np.unique(cases.folds))
    result = np.full((number, len(cases.ids), len(cases.classes)), np.nan)
    repeated: Counter[tuple[str, ...]] = Counter()
    for run in method.runs:
        result[repeated[run.table.cases], [place[case] for case in run.table.cases]] = read(run)
        repeated[run.table.cases] += 1
    return result


def _any(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Whether it is so in any run of any method: (runs, cases, classes) -> (cases, classes)."""
    result: np.ndarray = np.any([array.any(axis=0) for array in arrays], axis=0)
    return result
