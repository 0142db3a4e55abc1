"""The standard error of a mean and of a difference, by source: which patients were tested, and the chance in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medseg.evaluation.statistics.bootstrap import Interval
from medseg.evaluation.statistics.scores import Scores


@dataclass(frozen=True)
class StandardError:
    """Of each column of `Scores.means`: (1 + classes,)."""

    error: np.ndarray
    freedom: np.ndarray
    """Degrees of freedom of `error`; NaN where there is no error."""
    training: np.ndarray
    """Share of the variance that is due to the chance in training, in [0, 1]; NaN where runs were not repeated on the same patients."""

    def p_value(self, estimate: np.ndarray, columns: Sequence[int] | slice = slice(None)) -> np.ndarray:
        """Two-sided p of `estimate / error` under Student's t, of (..., columns) estimates; NaN where there is no error."""
        error, size = self.error[columns], np.abs(estimate)
        ratio = np.divide(size, error, out=np.where(size == 0, 0.0, np.inf), where=error > 0)
        return np.where(np.isnan(error) | np.isnan(size), np.nan, 2 * stats.t.sf(ratio, self.freedom[columns]))

    def t_interval(self, estimate: np.ndarray, column: int, level: float = 0.95) -> Interval:
        """`estimate -+ t * error`, the classical interval: closer to its level than the percentile bootstrap below 30 patients."""
        half = stats.t.ppf((1 + level) / 2, self.freedom[column]) * self.error[column]
        return Interval(float(estimate[column]), float(estimate[column] - half), float(estimate[column] + half))


def standard_error(scores: Scores, other: Scores | None = None) -> StandardError:
    """Standard error of the mean of `scores`, or of its difference to `other` on the same patients.

    Runs (seeds) and patients are crossed: every run is tested on every patient. With influences u (see `Scores.influence`), S runs
    and n patients, of each method

        V_run     = sum_s (sum_g u_sg)^2 / (S (S - 1))                    between the runs of a method
        V_patient = n / (n - 1) sum_g (mean_s u_sg - mean_s u'_sg)^2      between patients, of the difference
        V_rest    = n / (n - 1) sum_sg r_sg^2 / (S (S - 1))               r: u without its run's and its patient's mean
        V         = V_run + V_patient - V_rest, at least the larger of the two

    since both the first and the second hold the rest. This is the analysis of several readers and many cases (Obuchowski & Rockette,
    Commun Stat 1995) with trained runs as readers nested in methods. The degrees of freedom are Satterthwaite's (Biometrics 1946; Hillis,
    Stat Med 2007): V^2 / (sum_m V_run,m^2 / (S_m - 1) + (V - V_run)^2 / (n - 1)).

    With K folds each patient was tested once, by its fold's run: the folds are the units (Cameron & Miller, J Hum Resour 2015),
    V = K / (K - 1) sum_k (sum of the influences of fold k)^2 with K - 1 degrees of freedom. Training sets of folds overlap, which no
    estimate from one cross-validation can account for (Bengio & Grandvalet, JMLR 2004); in a paired difference most of it cancels.

    With one run and no folds V = V_patient: it says how sure a difference between *these trained models* is, and nothing of the methods.
    """
    if other is not None and not (np.array_equal(scores.counts, other.counts) and np.array_equal(scores.blocks, other.blocks)):
        raise ValueError("both methods must be scored on the same patients")
    methods = [scores] if other is None else [scores, other]
    influences = [one.influence() for one in methods]
    by_patient = influences[0].mean(axis=0) - (influences[1].mean(axis=0) if other is not None else 0.0)
    if scores.folds > 1:
        folds = np.stack([by_patient[scores.blocks == block].sum(axis=0) for block in np.unique(scores.blocks)])
        number = len(folds)
        error = np.sqrt(number / (number - 1) * (folds**2).sum(axis=0))
        return _known(scores, StandardError(error, np.full(error.shape, number - 1.0), np.full(error.shape, np.nan)))
    units = np.concatenate([[scores.counts.any(axis=1).sum()], (scores.counts > 0).sum(axis=0)]).astype(np.float64)
    correction = np.divide(units, units - 1, out=np.full(units.shape, np.nan), where=units > 1)
    patient = correction * (by_patient**2).sum(axis=0)
    runs = [_between_runs(influence) for influence in influences]
    rest = sum(_rest(influence, correction) for influence in influences)
    run = sum(runs)
    variance = np.maximum(patient + run - rest, np.maximum(patient, run))
    spread = sum(one**2 / max(1, method.runs - 1) for one, method in zip(runs, methods, strict=True))
    spread = spread + (variance - run) ** 2 / np.where(units > 1, units - 1, np.nan)
    freedom = np.divide(variance**2, spread, out=units - 1, where=spread > 0)
    repeated = all(method.runs > 1 for method in methods)
    share = np.divide(run, variance, out=np.zeros_like(variance), where=variance > 0) if repeated else np.full(variance.shape, np.nan)
    return _known(scores, StandardError(np.sqrt(variance), freedom, share))


def _between_runs(influence: np.ndarray) -> np.ndarray:
    runs = len(influence)
    result: np.ndarray = (influence.sum(axis=1) ** 2).sum(axis=0) / max(1, runs * (runs - 1))
    return result


def _rest(influence: np.ndarray, correction: np.ndarray) -> np.ndarray:
    runs = len(influence)
    rest = influence - influence.mean(axis=1, keepdims=True) - influence.mean(axis=0) + influence.mean(axis=(0, 1))
    result: np.ndarray = correction * (rest**2).sum(axis=(0, 1)) / max(1, runs * (runs - 1))
    return result


def _known(scores: Scores, error: StandardError) -> StandardError:
    """NaN for columns without any value."""
    known = np.concatenate([[scores.counts.any()], scores.counts.any(axis=0)])
    return StandardError(*(np.where(known, part, np.nan) for part in (error.error, error.freedom, error.training)))
