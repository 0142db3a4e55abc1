"""From the tables of all methods to means, paired differences, tests and rankings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from medseg.evaluation.compare.comparison import FEW_PATIENTS, Mean, Pair
from medseg.evaluation.compare.tables import MetricTable
from medseg.evaluation.statistics import (
    Interval,
    Ranking,
    Resampling,
    Scores,
    hierarchical_interval,
    holm,
    practically_equal,
    rank_by_case_ranks,
    rank_by_mean,
    rank_by_tests,
    sign_flip,
    standard_error,
    wilcoxon,
    win_tie_loss,
)
from medseg.evaluation.statistics.equivalence import LEVEL
from medseg.metrics import metric_of

RESAMPLES, RANK_RESAMPLES, FLIPS, SEED = 2000, 1000, 10_000, 0
FAILED = 0.1


class MetricAnalysis:
    """One metric of all methods, with its resamples drawn once.

    Args:
        table: Values of all methods.
        classes: Names of the classes.
    """

    def __init__(self, table: MetricTable, classes: Sequence[str]) -> None:
        self.table = table
        self.columns: list[str | None] = [None, *classes]
        self.higher = metric_of(table.metric).better == "higher"
        self.signed = metric_of(table.metric).better == "zero"
        if table.finite:
            self.scores = table.scores()
            self.resampling = Resampling(self.scores, RESAMPLES, SEED)
            self.draws = self.resampling.means(self.scores)

    @property
    def _range(self) -> tuple[float, float]:
        """What a value can be: a share in [0, 1] where higher is better, else a size, or a signed difference."""
        if self.higher:
            return 0.0, 1.0
        return (-np.inf if self.signed else 0.0), np.inf

    def _apart(self, difference: Interval) -> Interval:
        """A difference, cut off at what it can be: shares differ by 1 at most."""
        return difference.within(-1.0, 1.0) if self.higher else difference

    def _basis(self, *methods: int) -> str:
        """What an interval rests on: the repetitions of the training, else the patients."""
        if (folds := len(np.unique(self.table.folds))) > 1:
            return f"{folds} folds"
        runs = [len(self.table.values[at]) for at in methods if len(self.table.values[at]) > 1]
        return f"{min(runs)} runs" if runs else f"{self._patients(self.table.used)} patients"

    def means(self) -> list[Mean]:
        """Of each method, over classes and by class."""
        result = []
        for method, value in enumerate(self.table.values):
            found, ts = self._intervals(method)
            intervals = [one.within(*self._range) for one in found]
            ts = [one and one.within(*self._range) for one in ts]
            for column, name in enumerate(self.columns):
                classes = slice(None) if column == 0 else slice(column - 1, column)
                used = self.table.used[:, classes]
                known = value[:, :, classes][:, used]
                cases = self.table.case_means(method, column)
                cases = cases[~np.isnan(cases)]
                own = self.table.own[method][:, :, classes]
                own_runs = np.array(self._run_means(own))
                result.append(
                    Mean(
                        method,
                        self.table.metric,
                        name,
                        intervals[column],
                        ts[column],
                        *_spread(cases, self.higher, self.signed),
                        runs=self._run_means(value[:, :, classes]),
                        values=known.size,
                        cases=cases.size,
                        patients=self._patients(used),
                        **{what: int(np.count_nonzero(flags[:, :, classes])) for what, flags in self.table.counted[method].items()},
                        left_out=int(np.count_nonzero(self.table.left_out[:, classes])),
                        failed=int(np.count_nonzero(known < FAILED)) if self.table.metric == "dice" else 0,
                        own=float(own_runs[~np.isnan(own_runs)].mean()) if not np.isnan(own_runs).all() else float("nan"),
                        own_cases=int((~np.isnan(own)).any(axis=(0, 2)).sum()),
                        basis=self._basis(method),
                    )
                )
        return result

    def pair(self, first: int, second: int, columns: Sequence[int], margin: float | None) -> list[Pair]:
        """Differences of two methods, without tests; none where values are infinite."""
        if not self.table.finite:
            return []
        a, b = self.scores[first], self.scores[second]
        values, others = (np.sort(self.table.values[method], axis=0) for method in (first, second))
        wide, narrow = (hierarchical_interval(a, self.draws[first], b, self.draws[second], level) for level in (0.95, LEVEL))
        error, estimate = standard_error(a, b), a.means()[0] - b.means()[0]
        result = []
        for column in columns:
            differences = self._patient_values(first, column) - self._patient_values(second, column)
            few = 2 <= np.count_nonzero(~np.isnan(differences)) < FEW_PATIENTS
            classes = slice(None) if column == 0 else slice(column - 1, column)
            wins, ties, losses = win_tie_loss(differences, self.higher)
            result.append(
                Pair(
                    first,
                    second,
                    self.table.metric,
                    self.columns[column],
                    self._apart(wide[column]),
                    self._apart(narrow[column]),
                    self._apart(error.t_interval(estimate, column)) if few else None,
                    wins,
                    ties,
                    losses,
                    repeated=a.repeated and b.repeated,
                    training=float(error.training[column]),
                    equal=margin is not None and practically_equal(narrow[column], margin),
                    identical=bool(
                        wide[column].estimate == 0 and np.array_equal(values[:, :, classes], others[:, :, classes], equal_nan=True)
                    ),
                    basis=self._basis(first, second),
                )
            )
        return result

    def tests(self, margin: float | None) -> list[Pair]:
        """All pairs on the mean over classes, tested and corrected together."""
        pairs = []
        for first, second in combinations(range(len(self.scores)), 2):
            a, b = self.scores[first], self.scores[second]
            ranks = wilcoxon(a.patient_means() - b.patient_means())
            p = standard_error(a, b).p_value(a.means()[0] - b.means()[0])[0] if a.repeated and b.repeated else np.nan
            pairs.append(
                replace(
                    self.pair(first, second, [0], margin)[0],
                    p_sign_flip=sign_flip(a.contributions() - b.contributions(), FLIPS, SEED),
                    p_wilcoxon=ranks.p,
                    effect=ranks.effect,
                    p_hierarchical=float(p),
                )
            )
        return [replace(pair, p_holm=float(p)) for pair, p in zip(pairs, holm([pair.p for pair in pairs]), strict=True)]

    def rankings(self, tests: Sequence[Pair]) -> dict[str, Ranking]:
        """By the mean, by the tests, and by the ranks in each case, each with its resamples.

        Resampled tests take the standard errors of all data: differences move, their errors do not.
        """
        means = np.stack([one.means()[0, 0] for one in self.scores])[None]
        draws = np.stack([one[:RANK_RESAMPLES, 0] for one in self.draws], axis=1)
        pairs = list(combinations(range(len(self.scores)), 2))
        p_draws = np.stack(
            [standard_error(self.scores[a], self.scores[b]).p_value(draws[:, [a]] - draws[:, [b]], columns=[0])[:, 0] for a, b in pairs],
            axis=1,
        )
        gaps = np.stack([draws[:, a] - draws[:, b] for a, b in pairs], axis=1)
        p_values, full_gaps = np.array([[pair.p for pair in tests]]), np.array([[pair.difference.estimate for pair in tests]])
        return {
            "mean": Ranking.of(rank_by_mean(means, self.higher)[0], rank_by_mean(draws, self.higher)),
            "tests": Ranking.of(rank_by_tests(p_values, full_gaps, self.higher)[0], rank_by_tests(p_draws, gaps, self.higher)),
            "cases": self._rank_cases(),
        }

    def _rank_cases(self) -> Ranking:
        methods = len(self.scores)
        by_run = [_mean_over_classes(value) for value in self.table.values]  # (runs, cases)
        full = np.stack([one.mean(axis=0) for one in by_run], axis=1)[None]
        once = np.ones((1, full.shape[1]))
        _, group_of_case = np.unique(self.table.groups, return_inverse=True)
        weights = self.resampling.patients[:RANK_RESAMPLES, group_of_case]
        if all(len(runs) == 1 for runs in self.resampling.runs):
            resampled = rank_by_case_ranks(full, weights, self.higher)
        else:
            resampled = np.empty((len(weights), methods), dtype=np.int64)
            for start in range(0, len(weights), 50):  # bounds the memory
                part = slice(start, start + 50)
                runs = [np.broadcast_to(one, (RESAMPLES, one.shape[1]))[:RANK_RESAMPLES][part] for one in self.resampling.runs]
                drawn = np.stack([one @ values for one, values in zip(runs, by_run, strict=True)], axis=2)
                resampled[part] = rank_by_case_ranks(drawn, weights[part], self.higher)
        return Ranking.of(rank_by_case_ranks(full, once, self.higher)[0], resampled)

    def _intervals(self, method: int) -> tuple[list[Interval], list[Interval | None]]:
        if not self.table.finite:
            # An infinite penalty: the mean is infinite, and nothing can be said of its spread.
            means = [_infinite_mean(self.table.values[method], column) for column in range(len(self.columns))]
            return [Interval(mean, float("nan"), float("nan")) for mean in means], [None] * len(means)
        scores = self.scores[method]
        error, estimate = standard_error(scores), scores.means()[0]
        intervals = hierarchical_interval(scores, self.draws[method])
        ts: list[Interval | None] = []
        for column in range(len(self.columns)):
            used = self.table.used if column == 0 else self.table.used[:, [column - 1]]
            ts.append(error.t_interval(estimate, column) if 2 <= self._patients(used) < FEW_PATIENTS else None)
        return intervals, ts

    def _patients(self, used: np.ndarray) -> int:
        """Patients with a value: of (cases, classes)."""
        return len({self.table.groups[at] for at in np.flatnonzero(used.sum(axis=1))})

    def _patient_values(self, method: int, column: int) -> np.ndarray:
        scores = self.scores[method]
        if column == 0:
            return scores.patient_means()
        only = slice(column - 1, column)
        return Scores(scores.sums[:, :, only], scores.counts[:, only], scores.blocks).patient_means()

    def _run_means(self, value: np.ndarray) -> tuple[float, ...]:
        """Of each trained run on its own cases: (runs, cases, classes) -> runs of the first fold, of the second, ..."""
        result = []
        for fold in np.unique(self.table.folds):
            result += [float(_mean_of_means(run[self.table.folds == fold])) for run in value]
        return tuple(result)


def explore(analyses: Mapping[str, MetricAnalysis], primary: str, baseline: int, margin: float | None, classes: int) -> list[Pair]:
    """Differences that are not tested: all pairs by class on the primary metric, and every method against the baseline on the others."""
    pairs = []
    methods = range(len(analyses[primary].table.values))
    by_class = list(range(1, classes + 1)) if classes > 1 else []
    for first, second in combinations(methods, 2):
        pairs += analyses[primary].pair(first, second, by_class, margin) if by_class else []
    for metric, analysis in analyses.items():
        if metric != primary:
            for method in methods:
                if method != baseline:
                    pairs += analysis.pair(method, baseline, [0, *by_class], None)
    return pairs


def _spread(cases: np.ndarray, higher: bool, signed: bool) -> tuple[float, float, float, float, float]:
    """Standard deviation, median, quartiles and the 5th percentile from the worse end."""
    if not cases.size:
        return (float("nan"),) * 5
    sd = float(cases.std(ddof=1)) if cases.size > 1 and np.isfinite(cases).all() else float("nan")
    median, q25, q75 = (_percentile(cases, percent) for percent in (50, 25, 75))
    worst = _percentile(cases, 5) if higher else _percentile(np.abs(cases) if signed else cases, 95)
    return sd, median, q25, q75, worst


def _percentile(values: np.ndarray, percent: float) -> float:
    """Linear between neighbours; the higher of two where some are infinite."""
    return float(np.percentile(values, percent, method="linear" if np.isfinite(values).all() else "higher"))


def _mean_of_means(values: np.ndarray) -> float:
    """(cases, classes) -> mean over classes of the means over cases; NaN where there is nothing."""
    means = [column[~np.isnan(column)].mean() for column in values.T if not np.isnan(column).all()]
    return float(np.mean(means)) if means else float("nan")


def _infinite_mean(value: np.ndarray, column: int) -> float:
    flat = value.mean(axis=0)
    return _mean_of_means(flat if column == 0 else flat[:, [column - 1]])


def _mean_over_classes(values: np.ndarray) -> np.ndarray:
    """(runs, cases, classes) -> (runs, cases)."""
    known = ~np.isnan(values)
    number = known.sum(axis=2)
    return np.divide(np.where(known, values, 0.0).sum(axis=2), number, out=np.full(number.shape, np.nan), where=number > 0)
