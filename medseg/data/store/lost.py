"""Lesions that resampling loses: those that fall between the voxels of the new grid, and those that run into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.data.store.index import CaseIndex

TOLERATED = 0.02
"""Share of a class's lesions whose loss is not worth a word."""


def lost_lesions(classes: Sequence[str], cases: Sequence[CaseIndex], spacing: Sequence[float] | None) -> list[str]:
    """Says which classes lose lesions by resampling; nothing where cases keep their own grid.

    A lesion that vanishes and one that another breaks into do not make up for each other, unless they are in the same case.

    Args:
        classes: Names of the classes.
        cases: What the store knows of each case; those without label count for nothing.
        spacing: What they were resampled to, in mm.

    Returns:
        One warning for each class of which more than `TOLERATED` are lost or merged.
    """
    if spacing is None or not cases:
        return []
    native = np.array([case.native_lesions for case in cases])
    stored = np.array([np.bincount(case.lesions.classes, minlength=len(classes)) for case in cases])
    before, after = native.sum(axis=0), np.minimum(native, stored).sum(axis=0)
    grid = ", ".join(f"{size:g}" for size in spacing)
    return [
        f"resampling to [{grid}] mm leaves {left} of {total} lesions of '{name}', the others vanish or run into one; "
        "set data.spacing finer, or to null"
        for name, total, left in zip(classes, before.tolist(), after.tolist(), strict=True)
        if total - left > TOLERATED * total
    ]
