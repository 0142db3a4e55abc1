"""One method's scores by trained run, patient and class: what every mean, interval and test of a comparison is a function of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scores:
    """Sums over the cases of each patient, since the patient is the unit that is resampled.

    All means are `mean over classes of (mean over cases of the class)`; several runs of a method are averaged.
    Columns of all results: first the mean over classes, then each class.
    """

    sums: np.ndarray
    """(runs, patients, classes): of the values of the patient's cases."""
    counts: np.ndarray
    """(patients, classes): how many values these are; the same for all runs."""
    blocks: np.ndarray
    """(patients,): the fold that each was tested in; all 0 where every run was tested on every patient."""

    @classmethod
    def of(cls, values: np.ndarray, groups: Sequence[str], blocks: np.ndarray | None = None) -> Scores:
        """Sum values per patient.

        Args:
            values: (runs, cases, classes). NaN leaves a case and class out, of all runs alike.
            groups: (cases,): the patient of each case.
            blocks: (cases,): the fold of each case; None: no folds.

        Raises:
            ValueError: When a value is infinite, or NaN in some runs only, or a patient lies in two folds.
        """
        used = ~np.isnan(values[0])
        if not (used == ~np.isnan(values)).all() or np.isinf(values).any():
            raise ValueError("values must be finite, or NaN in all runs alike")
        names, of_case = np.unique(np.asarray(groups), return_inverse=True)
        member = np.zeros((len(names), len(of_case)))
        member[of_case, np.arange(len(of_case))] = 1.0
        fold = np.zeros(len(of_case), dtype=np.int64) if blocks is None else np.asarray(blocks)
        of_patient = np.zeros(len(names), dtype=np.int64)
        of_patient[of_case] = fold
        if not (of_patient[of_case] == fold).all():
            raise ValueError("a patient lies in two folds")
        return cls(member @ np.nan_to_num(values), member @ used, of_patient)

    @property
    def runs(self) -> int:
        """Trained runs that scored each patient."""
        return len(self.sums)

    @property
    def patients(self) -> int:
        """Patients."""
        return len(self.blocks)

    @property
    def folds(self) -> int:
        """Folds of the patients; 1 where every run scored every patient."""
        return len(np.unique(self.blocks))

    @property
    def repeated(self) -> bool:
        """Whether training was repeated, so that the chance in it can be told from the method: two runs, or two folds."""
        return self.runs > 1 or self.folds > 1

    def means(self, patients: np.ndarray | None = None, runs: np.ndarray | None = None) -> np.ndarray:
        """Weighted means, (draws, 1 + classes); NaN for a class without a value.

        Args:
            patients: (draws, patients): how often each patient counts; None: once, in one draw.
            runs: (draws, runs): how often each run counts, its rows adding up to 1; None: alike.
        """
        patients = np.ones((1, self.patients)) if patients is None else patients
        runs = np.full((1, self.runs), 1 / self.runs) if runs is None else runs
        total = sum(runs[:, [index]] * (patients @ of_run) for index, of_run in enumerate(self.sums))
        count = patients @ self.counts
        classes = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
        present = ~np.isnan(classes)
        number = present.sum(axis=1, keepdims=True)
        overall = np.divide(np.nansum(classes, axis=1, keepdims=True), number, out=np.full(number.shape, np.nan), where=number > 0)
        return np.concatenate([overall, classes], axis=1)

    def influence(self) -> np.ndarray:
        """How far each run and patient pulls the mean, (runs, patients, 1 + classes).

        Summed over patients it is the deviation of a run's mean from the mean of all runs; summed over all it is 0. For a mean over cases
        this is (sum of the patient's values - number of them x mean) / number of cases, the infinitesimal jackknife (Efron, 1982,
        chapter 6), by which the variance of a ratio of sums is found without resampling.
        """
        mean = self.means()[0, 1:]
        number = self.counts.sum(axis=0)
        centred = self.sums - self.counts * np.nan_to_num(mean)
        classes = np.divide(centred, number, out=np.zeros_like(centred), where=number > 0)
        overall = classes.sum(axis=2, keepdims=True) / max(1, np.count_nonzero(number))
        return np.concatenate([overall, classes], axis=2)

    def patient_means(self) -> np.ndarray:
        """Each patient's mean over runs, cases and classes, (patients,); NaN where there is no value."""
        counts = self.counts.sum(axis=1)
        return np.divide(self.sums.mean(axis=0).sum(axis=1), counts, out=np.full(len(counts), np.nan), where=counts > 0)

    def contributions(self) -> np.ndarray:
        """What each patient adds to the mean over classes, averaged over runs: (patients,), adding up to it."""
        number = self.counts.sum(axis=0)
        shares = np.divide(self.sums.mean(axis=0), number, out=np.zeros(self.sums.shape[1:]), where=number > 0)
        total: np.ndarray = shares.sum(axis=1) / max(1, np.count_nonzero(number))
        return total
