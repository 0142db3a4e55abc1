"""Hierarchical bootstrap: the chance in training and the choice of patients are both drawn anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from medseg.evaluation.statistics.bootstrap import Interval, patient_draws, percentile_interval
from medseg.evaluation.statistics.scores import Scores
from medseg.evaluation.statistics.variance import standard_error


class Resampling:
    """The draws of one comparison: the same patients for all methods, so that differences stay paired, and runs of each method apart.

    Runs (seeds): each method's S runs are drawn with replacement, then the n patients, and all drawn runs are tested on all drawn
    patients (the "pigeonhole" bootstrap of crossed factors: Owen, Ann Appl Stat 2007). S - 1 of the S runs are drawn (Rao & Wu, JASA
    1988): S of S would understate the variance between runs by (S - 1) / S, which is a half at two runs.

    Folds: whole folds are drawn, K - 1 of the K, with all their patients: the fold's run and its patients come and go together. To draw
    patients within the drawn folds as well would count their variance twice (Davison & Hinkley, 1997, 3.8).

    Args:
        methods: Scores of each method on the same patients.
        resamples: Draws.
        seed: Of the draws.
    """

    def __init__(self, methods: Sequence[Scores], resamples: int = 2000, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        first = methods[0]
        if first.folds > 1:
            _, fold_of_patient = np.unique(first.blocks, return_inverse=True)
            self.patients = _draw(first.folds, resamples, generator)[:, fold_of_patient]
        else:
            self.patients = patient_draws(first.patients, resamples, generator)
        # Runs of a fold are drawn with their fold.
        self.runs = [
            np.full((1, method.runs), 1 / method.runs)
            if method.runs == 1 or method.folds > 1
            else _draw(method.runs, resamples, generator) / (method.runs - 1)
            for method in methods
        ]
        """Of each method: (resamples, runs) or (1, runs), rows adding up to 1."""

    def means(self, methods: Sequence[Scores]) -> list[np.ndarray]:
        """Resampled means of each method, (resamples, 1 + classes)."""
        return [method.means(self.patients, runs) for method, runs in zip(methods, self.runs, strict=True)]


def hierarchical_interval(
    scores: Scores, draws: np.ndarray, other: Scores | None = None, others: np.ndarray | None = None, level: float = 0.95
) -> list[Interval]:
    """Interval of a method's mean, or of its difference to another's, for the mean over classes and each class.

    With one run and no folds, the percentile interval over patients. Where training was repeated, the quantiles of the draws about
    their mean, stretched to the standard error and Student's t of `standard_error`: with three runs a bare percentile interval holds
    the truth in 85 % of cases instead of 95 % (Hesterberg, Am Stat 2015, calls this expanding it).

    Args:
        scores: The method.
        draws: Its resampled means, from `Resampling.means`.
        other: The method that is subtracted; None for the interval of a mean.
        others: Its resampled means.
        level: Share of intervals that are to hold the truth.
    """
    estimate = scores.means()[0]
    if other is not None and others is not None:
        estimate, draws = estimate - other.means()[0], draws - others
    units = [int(np.count_nonzero(scores.counts.any(axis=1))), *np.count_nonzero(scores.counts, axis=0)]
    if not (scores.repeated or (other is not None and other.repeated)):
        return [percentile_interval(float(one), draws[:, k], level, int(units[k])) for k, one in enumerate(estimate)]
    error = standard_error(scores, other)
    expand = stats.t.ppf((1 + level) / 2, error.freedom) / stats.norm.ppf((1 + level) / 2)
    result = []
    for k, one in enumerate(estimate):
        plain = percentile_interval(float(one), draws[:, k], level, int(units[k]))
        spread = float(np.nanstd(draws[:, k])) if not np.isnan(plain.low) else 0.0
        if spread == 0 or np.isnan(error.error[k]):
            result.append(plain)
            continue
        centre = float(np.nanmean(draws[:, k]))
        stretch = error.error[k] / spread * expand[k]
        result.append(Interval(float(one), float(one + stretch * (plain.low - centre)), float(one + stretch * (plain.high - centre))))
    return result


def _draw(units: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """All but one of the units, with replacement."""
    return generator.multinomial(units - 1, np.full(units, 1 / units), size=resamples).astype(np.float64)
