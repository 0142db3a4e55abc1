"""What a sampler is: from random numbers to a case and the voxel that a patch is centred on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medseg.data.labels import LabelSchema
from medseg.errors import DataError

if TYPE_CHECKING:
    from medseg.data.store.index import CaseIndex

Voxel = tuple[int, ...]
"""Coordinates in the prepared grid."""


class Sampler(ABC):
    """Chooses what patches are centred on, a function of the generator alone (and, for hard cases, of the errors so far).

    Keyword-only parameters of a subclass are keys of `data.sampling[].params`.

    Args:
        cases: What the prepared store knows of each training case.
        labels: Names of the classes, in the order of the cases' `counts`.
    """

    def __init__(self, cases: Sequence[CaseIndex], labels: LabelSchema) -> None:
        self.cases = cases
        self.labels = labels

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws the number of a case and the coordinates of a voxel in it."""


class Choice:
    """Draws 0, 1, ... with probability proportional to given weights, in a microsecond or two.

    Args:
        weights: At least one, none below 0, not all 0.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self._upper = np.cumsum(weights, dtype=np.float64)
        self._last = int(np.flatnonzero(weights)[-1])

    def draw(self, rng: np.random.Generator) -> int:
        """Draws one number."""
        # Rounding may carry the product up to the sum itself, which lies behind the last number.
        return min(int(self._upper.searchsorted(rng.random() * self._upper[-1], side="right")), self._last)


def pick(numbers: np.ndarray, rng: np.random.Generator) -> int:
    """Draws one of several whole numbers, each equally likely."""
    return int(numbers[rng.integers(len(numbers))])


def any_voxel(case: CaseIndex, rng: np.random.Generator) -> Voxel:
    """Draws a voxel of a case, each equally likely."""
    return tuple(int(rng.random() * size) for size in case.shape)


def class_voxel(case: CaseIndex, rng: np.random.Generator) -> Voxel:
    """Draws one of the classes that a case shows, each equally likely, and then a voxel of it; any voxel of a case without foreground."""
    shown = np.flatnonzero(case.counts)
    return case.draw_class(rng, pick(shown, rng)) if len(shown) else any_voxel(case, rng)


def nothing_to_centre_on(what: str, cases: Sequence[CaseIndex]) -> DataError:
    """The error of a sampler that finds nothing in any case."""
    return DataError(
        f"none of the {len(cases)} training cases has {what} to centre patches on; "
        "check the labels, or draw patches anywhere: data.sampling=[{name: random}]"
    )
