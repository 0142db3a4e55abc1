"""Cases that the network still gets wrong, drawn more often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from medseg.data.labels import LabelSchema
from medseg.data.sampling.base import Choice, Sampler, Voxel, any_voxel, class_voxel
from medseg.errors import DataError

if TYPE_CHECKING:
    from medseg.data.store.index import CaseIndex


class HardCase(Sampler):
    """On cases with a large error: each case with a probability proportional to its error when it was last scored.

    The error is 1 - mean Dice over the classes, in the case's own grid, between 0 and 1; a case counts as 1 until it has been scored.
    While all errors are 0, cases are equally likely. `medseg.training.hard_cases` scores some cases after each validation and writes
    `errors`, which lies in shared memory: the loader's processes see it.

    Args:
        cases: What the prepared store knows of each training case.
        labels: Names of the classes.
        exponent: Power of the error: 0 draws all cases alike, 2 prefers hard ones more strongly.
        cases_per_validation: Training cases scored after each validation, in turns.
        inner: What a patch of the case is centred on: each of its classes equally likely, each of its lesions, or any voxel. A case
            without foreground gives any voxel.

    Raises:
        DataError: A parameter is out of range.
    """

    def __init__(
        self,
        cases: Sequence[CaseIndex],
        labels: LabelSchema,
        *,
        exponent: float = 1.0,
        cases_per_validation: int = 8,
        inner: Literal["class", "lesion", "random"] = "class",
    ) -> None:
        super().__init__(cases, labels)
        if exponent < 0:
            raise DataError(f"exponent={exponent:g} must be at least 0: below, the easiest cases would be drawn")
        if cases_per_validation < 1:
            raise DataError(f"cases_per_validation={cases_per_validation} must be at least 1")
        self.exponent, self.cases_per_validation, self.inner = exponent, cases_per_validation, inner
        self.errors = torch.ones(len(cases), dtype=torch.float32).share_memory_()
        """Error of each case, (cases,); to be changed in place, between epochs only."""

    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws a case by its error, then a voxel."""
        errors = self.errors.numpy().astype(np.float64)
        largest = errors.max()
        number = Choice((errors / largest) ** self.exponent if largest > 0 else np.ones_like(errors)).draw(rng)
        return number, self._voxel(self.cases[number], rng)

    def _voxel(self, case: CaseIndex, rng: np.random.Generator) -> Voxel:
        if self.inner == "class":
            return class_voxel(case, rng)
        lesions = len(case.lesions) if self.inner == "lesion" else 0
        return case.draw_lesion(rng, int(rng.integers(lesions))) if lesions else any_voxel(case, rng)
