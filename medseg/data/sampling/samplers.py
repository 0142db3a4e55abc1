"""What patches are centred on: anywhere, foreground, classes, cases, lesions. In the registry `medseg.data.SAMPLERS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from medseg.data.labels import LabelSchema
from medseg.data.sampling.base import Choice, Sampler, Voxel, any_voxel, class_voxel, nothing_to_centre_on, pick
from medseg.errors import DataError

if TYPE_CHECKING:
    from medseg.data.store.index import CaseIndex


class Random(Sampler):
    """Anywhere: each case equally likely, then each of its voxels."""

    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws a case and a voxel."""
        number = int(rng.integers(len(self.cases)))
        return number, any_voxel(self.cases[number], rng)


class Foreground(Sampler):
    """On foreground: each voxel of foreground in the data set equally likely, so that what is large is seen most.

    A voxel of several overlapping classes counts once for each. Cases without foreground are never drawn.

    Raises:
        DataError: No case has foreground.
    """

    def __init__(self, cases: Sequence[CaseIndex], labels: LabelSchema) -> None:
        super().__init__(cases, labels)
        counts = class_counts(cases, labels)
        if not counts.any():
            raise nothing_to_centre_on("any foreground", cases)
        self._classes = counts.shape[1]
        self._choice = Choice(counts.ravel())

    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws case and class by the number of voxels, then a voxel of it."""
        number, index = divmod(self._choice.draw(rng), self._classes)
        return number, self.cases[number].draw_class(rng, index)


class ClassBalanced(Sampler):
    """On a class: each class of the data set equally likely whatever its size, then each case that shows it, then each voxel of it.

    A voxel of several overlapping classes counts for each. A class that no training case shows is left out; cases without foreground
    are never drawn.

    Raises:
        DataError: No case has foreground.
    """

    def __init__(self, cases: Sequence[CaseIndex], labels: LabelSchema) -> None:
        super().__init__(cases, labels)
        counts = class_counts(cases, labels)
        self._shown = [(index, np.flatnonzero(column)) for index, column in enumerate(counts.T) if column.any()]
        if not self._shown:
            raise nothing_to_centre_on("any foreground", cases)

    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws a class, a case, a voxel."""
        index, numbers = self._shown[int(rng.integers(len(self._shown)))]
        number = pick(numbers, rng)
        return number, self.cases[number].draw_class(rng, index)


class CaseBalanced(Sampler):
    """On foreground of a case: each case equally likely, then each class that it shows, then each voxel of that; else any voxel.

    Unlike all but `random` it draws cases without foreground too, as often as the others.
    """

    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws a case, a class, a voxel."""
        number = int(rng.integers(len(self.cases)))
        return number, class_voxel(self.cases[number], rng)


class LesionBalanced(Sampler):
    """On a lesion, a connected component of one class (26 neighbours in 3-D, 8 in 2-D), each equally likely whatever its size.

    Drawn by voxel, 99.7 % of the patches of a case with one lesion of 60 voxels across and ten of 4 would show the large one.

    Args:
        cases: What the prepared store knows of each training case.
        labels: Names of the classes.
        size_exponent: Lesions are drawn in proportion to this power of their number of voxels: 0 all alike, 1 by their size, below 0
            the smaller the more often.
        by: `dataset`: each lesion of the data set equally likely, so that cases with many are seen often. `case`: each case that has
            one equally likely, then each of its lesions.
        classes: Names of the classes whose lesions are meant; None: all.

    Raises:
        DataError: No case has such a lesion, or there is no class of a name.
    """

    def __init__(
        self,
        cases: Sequence[CaseIndex],
        labels: LabelSchema,
        *,
        size_exponent: float = 0.0,
        by: Literal["dataset", "case"] = "dataset",
        classes: list[str] | None = None,
    ) -> None:
        super().__init__(cases, labels)
        wanted = np.isin(np.arange(labels.num_classes), class_numbers(labels, classes))
        self._lesions = [np.flatnonzero(wanted[case.lesions.classes]) for case in cases]
        sizes = {n: cases[n].lesions.voxels[kept].astype(np.float64) for n, kept in enumerate(self._lesions) if len(kept)}
        if not sizes:
            raise nothing_to_centre_on("any lesion" if classes is None else f"any lesion of {', '.join(classes)}", cases)
        self._within = {number: Choice(_powers(size, size, size_exponent)) for number, size in sizes.items()}
        every = np.concatenate(list(sizes.values()))
        shares = {number: _powers(size, every, size_exponent).sum() if by == "dataset" else 1.0 for number, size in sizes.items()}
        self._case = Choice(np.array([shares.get(number, 0.0) for number in range(len(cases))]))

    def draw(self, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws a case, a lesion, a voxel of it."""
        number = self._case.draw(rng)
        lesion = self._lesions[number][self._within[number].draw(rng)]
        return number, self.cases[number].draw_lesion(rng, int(lesion))


def class_counts(cases: Sequence[CaseIndex], labels: LabelSchema) -> np.ndarray:
    """Voxels of each class in each case: (cases, K)."""
    return np.array([case.counts for case in cases], dtype=np.int64).reshape(len(cases), labels.num_classes)


def class_numbers(labels: LabelSchema, names: Sequence[str] | None) -> list[int]:
    """Places of named classes among all; None stands for all of them.

    Raises:
        DataError: There is no class of a name.
    """
    names = labels.classes if names is None else names
    unknown = [name for name in names if name not in labels.classes]
    if unknown or not names:
        raise DataError(f"classes: no class named {', '.join(unknown) or '(none given)'}; there are {', '.join(labels.classes)}")
    return [labels.classes.index(name) for name in names]


def _powers(sizes: np.ndarray, among: np.ndarray, exponent: float) -> np.ndarray:
    """Powers of sizes in proportion to the largest such power `among` all, since those of millions of voxels may fit into no number."""
    return (sizes / (among.max() if exponent >= 0 else among.min())) ** exponent
