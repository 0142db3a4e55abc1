"""HD95 of each lesion with the components that touch it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from medseg.metrics.lesions.cells import Cells, box, painted
from medseg.metrics.lesions.distant import distant_hd95
from medseg.metrics.lesions.runs import Runs
from medseg.metrics.lesions.table import Lesions
from medseg.metrics.surface import hd95, surfels

_HUGE = 1 << 15  # voxels of the box around a component from which on it may be huge: below, measuring it is no trouble
_RATIO = 8  # a huge one's box is this many times the lesion's


def lesion_hd95(table: Lesions, lesions: np.ndarray, touching: np.ndarray, missed: float) -> np.ndarray:
    """HD95 over surface elements, in mm, of some lesions.

    A component much larger than a lesion, as an untrained network predicts it, touches many lesions: its surface is found once, and
    measured no more than the percentile needs.

    Args:
        table: Lesions and components.
        lesions: int64 (n,), the lesions asked for.
        touching: int64 (k, 2), lesion and component that serves it.
        missed: What stands for a lesion without any component.

    Returns:
        float64 (n,).
    """
    components = np.unique(touching[np.isin(touching[:, 0], lesions), 1])
    of_component = _Parts(table.pred, table.pred_component, components)
    of_lesion = _Parts(table.ref, table.ref_component, lesions)
    sizes = {component: _box_size(of_component.runs([component])) for component in components.tolist()}
    huge_cells = lru_cache(maxsize=None)(lambda component: Cells.of(of_component.runs([component]), table.spacing))

    def one(lesion: int) -> float:
        partners = touching[touching[:, 0] == lesion, 1].tolist()
        if not partners:
            return missed
        own = of_lesion.runs([lesion])
        limit = max(_HUGE, _RATIO * _box_size(own))
        huge = [component for component in partners if sizes[component] > limit]
        rest = of_component.runs([component for component in partners if sizes[component] <= limit])
        if huge:
            others = [huge_cells(component) for component in huge] + ([Cells.of(rest, table.spacing)] if len(rest) else [])
            return distant_hd95(Cells.of(own, table.spacing, blocks=False), others, table.spacing)
        boxes = [box(own), box(rest)]
        low = np.min([first for first, _ in boxes], axis=0)
        extent = np.max([first + size for first, size in boxes], axis=0) - low
        reference, prediction = painted(own, low, extent), painted(rest, low, extent)
        return hd95(surfels(prediction, reference, np.array([[False, True]]), table.spacing)[0])

    return np.array([one(lesion) for lesion in lesions.tolist()])


class _Parts:
    """The runs of some components, found once."""

    def __init__(self, runs: Runs, component: np.ndarray, wanted: np.ndarray) -> None:
        chosen = np.flatnonzero(np.isin(component, wanted))
        order = chosen[np.argsort(component[chosen], kind="stable")]
        bounds = np.searchsorted(component[order], [wanted, wanted + 1])
        self._all = runs
        self._places = {number: order[low:high] for number, low, high in zip(wanted.tolist(), *bounds.tolist(), strict=True)}

    def runs(self, components: list[int]) -> Runs:
        """Of some of them together."""
        found = [self._places[number] for number in components]
        return self._all.take(np.sort(np.concatenate(found)) if found else np.empty(0, dtype=np.int64))


def _box_size(runs: Runs) -> int:
    return int(box(runs)[1].prod())
