"""What a comparison found: plain data, from which all its outputs are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.evaluation.compare.methods import Method
from medseg.evaluation.compare.tables import Cases, MetricTable
from medseg.evaluation.statistics import Interval, Ranking

FEW_PATIENTS = 30
"""Below this the percentile bootstrap is too narrow and the t interval stands beside it."""

FEW_RUNS = 3
"""Repetitions of the training that should stand behind a claim."""

ALPHA = 0.05

SHORT = 14
"""Letters of a name that every chart shows."""


@dataclass(frozen=True)
class Mean:
    """One metric of one method, over the cases of a class or (class None) as mean over the classes."""

    method: int
    metric: str
    class_name: str | None
    interval: Interval
    """Mean and 95 % interval: over patients, and over runs or folds where training was repeated."""
    t: Interval | None
    """t interval, below 30 patients."""
    sd: float
    """Between cases, each averaged over runs and classes."""
    median: float
    q25: float
    q75: float
    p5: float
    """5th percentile from the worse end."""
    runs: tuple[float, ...]
    """Mean of each run on its own cases, in the method's order of runs."""
    values: int
    """Values in the mean: cases x classes x runs on each."""
    cases: int
    patients: int
    penalised: int
    """Distances that are the penalty of a structure that is empty in just one of the masks, and all values of cases without prediction."""
    missed: int
    """Structures of the reference that are empty in the prediction: overlap 0, distances penalised."""
    invented: int
    """Structures of the prediction that are empty in the reference: likewise."""
    both_empty: int
    """Cases, classes and runs where both masks are empty."""
    rewarded: int
    """Of these: in the mean with the best value, since another run predicted something there."""
    left_out: int
    """Cases and classes that are left out of all methods, as one of them has no value."""
    failed: int
    """Dice below 0.1; 0 for other metrics."""
    own: float
    """Mean over the runs of what each run's own report says, by its own rule for empty masks."""
    own_cases: int
    """Cases in it."""
    basis: str
    """What the interval rests on: `3 runs`, `5 folds`, `12 patients`."""


@dataclass(frozen=True)
class Pair:
    """Two methods on the same cases: the difference is first minus second."""

    first: int
    second: int
    metric: str
    class_name: str | None
    difference: Interval
    """With its 95 % interval."""
    narrow: Interval
    """With the 90 % interval that is compared with the margin."""
    t: Interval | None
    """t interval, below 30 patients."""
    wins: int
    """Patients for whom the first is better."""
    ties: int
    losses: int
    repeated: bool
    """Whether training was repeated for both, so that the chance in it is part of the interval and of the test."""
    training: float
    """Share of the variance of the difference that is due to the chance in training; NaN where it cannot be told."""
    equal: bool
    """Whether the 90 % interval lies within the margin."""
    identical: bool
    """Whether all scores are the same in every case."""
    basis: str
    """What the interval rests on: `3 runs`, `5 folds`, `12 patients`."""
    p_sign_flip: float = float("nan")
    p_wilcoxon: float = float("nan")
    effect: float = float("nan")
    """Matched-pairs rank-biserial correlation."""
    p_hierarchical: float = float("nan")
    """Of training and patients together; NaN without repetitions."""
    p_holm: float = float("nan")
    """Of `p_hierarchical`, or else of `p_sign_flip`, corrected for all pairs."""

    @property
    def p(self) -> float:
        """The p-value that is corrected."""
        return self.p_hierarchical if self.repeated else self.p_sign_flip

    @property
    def differs(self) -> bool:
        """Whether the difference survives Holm's correction."""
        return self.p_holm < ALPHA

    @property
    def claimed(self) -> bool:
        """Whether it may be said of the methods, and not just of the trained models."""
        return self.differs and self.repeated


@dataclass(frozen=True)
class Comparison:
    """Everything about a comparison."""

    methods: tuple[Method, ...]
    what: str
    """`losses` or `methods`."""
    cases: Cases
    primary: str
    declared: bool
    """Whether every run declared the primary metric before training."""
    margin: float | None
    baseline: int
    metrics: tuple[str, ...]
    tables: Mapping[str, MetricTable]
    means: tuple[Mean, ...]
    tests: tuple[Pair, ...]
    """All pairs on the primary metric, mean over classes: the only ones that are tested and corrected."""
    explored: tuple[Pair, ...]
    """Pairs by class and against the baseline by other metrics: intervals without tests."""
    rankings: Mapping[str, Ranking]
    options: Mapping[str, Any]
    definitions: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the methods."""
        return [method.name for method in self.methods]

    @property
    def labels(self) -> list[str]:
        """Names for charts, which cut them: with a letter before them where they are long, so that none look the same."""
        if max(map(len, self.names)) <= SHORT:
            return self.names
        return [f"{letter} {name}" for letter, name in zip(self.letters, self.names, strict=True)]

    @property
    def letters(self) -> list[str]:
        """A, B, ..., Z, A2, B2, ..."""
        return [chr(ord("A") + at % 26) + (str(at // 26 + 1) if at >= 26 else "") for at in range(len(self.methods))]

    def trained(self, *methods: int) -> bool:
        """Whether all of these (none given: all) are trained runs, and none a folder of scores, which may come from anything."""
        return all(run.config is not None for at in methods or range(len(self.methods)) for run in self.methods[at].runs)

    @property
    def patients(self) -> int:
        """Units that were resampled."""
        return len(set(self.cases.groups))

    @property
    def folds(self) -> int:
        """Folds; 1 without cross-validation."""
        return len(np.unique(self.cases.folds))

    @property
    def repeated(self) -> bool:
        """Whether the training of all methods was repeated."""
        return all(pair.repeated for pair in self.tests)

    def mean(self, method: int, metric: str, class_name: str | None = None) -> Mean:
        """The mean of a method."""
        return next(one for one in self.means if (one.method, one.metric, one.class_name) == (method, metric, class_name))

    def order(self) -> list[int]:
        """Methods, best mean of the primary metric first."""
        ranks = self.rankings["mean"].ranks
        return sorted(range(len(self.methods)), key=lambda at: (ranks[at], at))

    def pair(self, first: int, second: int) -> Pair:
        """The test of two methods, in the order in which it was made."""
        return next(one for one in self.tests if {one.first, one.second} == {first, second})
