"""How many lesions of each size a patch shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from medseg.data.store.index import CaseIndex

MAX_BINS = 6


class LesionSizes:
    """The lesions of the training cases in bins of size, a power of ten each, the largest six where there are more.

    A lesion is a connected component of one class. The lowest bin holds all below its upper bound, the highest all from its lower bound
    on; a bin without any lesion in the data set is left out.

    Args:
        cases: What the prepared store knows of each training case.

    Attributes:
        names: Of the bins, from small to large: `below_10mm3`, `10-100mm3`, `from_100mm3`; mm2 in 2-D, and px, the pixels of the files,
            where all cases are pictures, which have no millimetres. `all` where there is one bin.
        totals: Lesions of the data set in each bin.
    """

    def __init__(self, cases: Sequence[CaseIndex]) -> None:
        volumes = [np.asarray(case.lesions.volume, dtype=np.float64) for case in cases]
        every = np.concatenate(volumes) if volumes else np.empty(0)
        bounds = [10.0**power for power in range(*_powers(every))]
        totals = np.bincount(np.searchsorted(bounds, every, side="right"), minlength=len(bounds) + 1)
        filled = np.flatnonzero(totals)
        self.names = [_names(bounds, _unit(cases))[index] for index in filled]
        self.totals = totals[filled].tolist()
        self._place = np.cumsum(totals > 0) - 1
        self._bins = [self._place[np.searchsorted(bounds, volume, side="right")] for volume in volumes]
        # The middle of voxel i lies at i + 1/2 of the axis on which the voxel reaches from i to i + 1.
        self._centres = [np.asarray(case.lesions.centroids, dtype=np.float64) + 0.5 for case in cases]

    def seen(self, case: int, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
        """Counts the lesions of a case whose centroid lies in a box, in each bin: int64 (bins,)."""
        bins = self._bins[case]
        if not len(bins):
            return np.zeros(len(self.names), dtype=np.int64)
        centres = self._centres[case] - start
        inside = ((centres >= 0) & (centres < size)).all(axis=1)
        return np.bincount(bins[inside], minlength=len(self.names))


def _powers(volumes: np.ndarray) -> tuple[int, int]:
    """The powers of ten that part the bins: from the first to before the second."""
    if not len(volumes):
        return 0, 0
    low, high = (math.floor(math.log10(volume)) for volume in (volumes.min(), volumes.max()))
    return max(low, high - MAX_BINS + 1) + 1, high + 1


def _unit(cases: Sequence[CaseIndex]) -> str:
    if not len(cases) or len(cases[0].shape) == 3:
        return "mm3"
    return "px" if all(case.intensities.picture for case in cases) else "mm2"


def _names(bounds: Sequence[float], unit: str) -> list[str]:
    if not bounds:
        return ["all"]
    numbers = [np.format_float_positional(bound, trim="-") for bound in bounds]
    between = [f"{low}-{high}{unit}" for low, high in pairwise(numbers)]
    return [f"below_{numbers[0]}{unit}", *between, f"from_{numbers[-1]}{unit}"]
