"""Several trained networks that predict together: the mean of their probabilities or logits, slab by slab."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import LabelSchema
from medseg.data.preparation import CaseArrays, PreparedCase, Preparer
from medseg.errors import DataError
from medseg.inference.cases import as_stored
from medseg.inference.postprocessing import Postprocessing
from medseg.inference.predictor import Predictor
from medseg.inference.restoring import slab_axis
from medseg.inference.sliding_window import or_on_cpu

Average = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class Predicted:
    """What became of a case, in the grid of its own files."""

    ids: np.ndarray
    """uint8 (*spatial)."""
    probabilities: np.ndarray | None
    """float16 (C', *spatial) where they were asked for."""
    original: Geometry
    """Grid of the case's files."""


class Ensemble:
    """One or several predictors of the same classes.

    Members may differ in everything else: network, spacing, normalisation, window. Each predicts in the grid of the case's own files, where
    the maps are averaged slab by slab, so that no more of them is in memory than the slabs that are open.

    Args:
        members: The predictors, of one `labels` and one `activation`.
        average: What is averaged: probabilities, or logits (the geometric mean of probabilities, up to a factor). Of one member nothing is.
        postprocessing: What follows the averaging; None takes the class of the labels' own rule.

    Raises:
        ValueError: Without members, or when labels or activations differ.
    """

    def __init__(
        self, members: Sequence[Predictor], average: Average = "probabilities", postprocessing: Postprocessing | None = None
    ) -> None:
        if not members or any((one.labels, one.activation) != (members[0].labels, members[0].activation) for one in members):
            raise ValueError("an ensemble needs members, all with the same labels and activation")
        self.members, self.average, self.postprocessing = tuple(members), average, postprocessing

    @property
    def labels(self) -> LabelSchema:
        """The classes."""
        return self.members[0].labels

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self.members[0].spatial_dims

    def prepare(self, case: Case, measure: Callable[[CaseArrays], CaseArrays] | None = None) -> tuple[PreparedCase, ...]:
        """Prepare a case for each member; files are read once per spacing, and what members share is one array.

        Args:
            case: The case.
            measure: Corrects what was measured of the files, where there are none.

        Raises:
            DataError: A file cannot be used, or the case has another number of axes or channels than the networks.
        """
        read: dict[tuple[float, ...] | None, CaseArrays] = {}
        made: dict[str, PreparedCase] = {}
        result = []
        for member in self.members:
            preparer = member.preparer
            key = json.dumps([preparer.normalisation, preparer.spacing, preparer.statistics])
            if key not in made:
                if preparer.spacing not in read:
                    arrays = preparer.arrays(case, self.labels)
                    read[preparer.spacing] = arrays if measure is None else measure(arrays)
                made[key] = normalised(preparer, read[preparer.spacing])
            result.append(made[key])
        return tuple(result)

    def predict(self, prepared: Sequence[PreparedCase], probabilities: bool = False) -> Predicted:
        """Predict a case that `prepare` prepared.

        Args:
            prepared: The case for each member.
            probabilities: Whether to keep the probabilities as well, in float16.
        """
        prepared = tuple(prepared)
        if len(self.members) == 1 and not probabilities:
            return _stored(prepared[0], self.members[0].predict(prepared[0]), None)
        grid = prepared[0].original
        ids = np.empty(grid.shape, np.uint8)
        maps = np.empty((self.labels.num_outputs(self.members[0].activation), *grid.shape), np.float16) if probabilities else None
        for place, prob in self._slabs(prepared):
            ids[place] = self._decide(prob)
            if maps is not None:
                maps[(slice(None), *place)] = prob.cpu().numpy()
        if self.postprocessing is not None:
            ids = self.postprocessing.clean(ids, grid.spacing)
        return _stored(prepared[0], ids, maps)

    def _slabs(self, prepared: Sequence[PreparedCase]) -> Iterator[tuple[tuple[slice, ...], Tensor]]:
        """Averaged probabilities, and where they lie in the original grid."""
        logits = self.average == "logits" and len(self.members) > 1
        before = (slice(None),) * slab_axis(prepared[0].original.shape)
        streams = [one.slabs(case, logits=logits) for one, case in zip(self.members, prepared, strict=True)]
        for slabs in zip(*streams, strict=True):  # which are cut alike, whatever the members' windows and spacings
            mean = slabs[0][1]
            for _, other in slabs[1:]:
                mean = mean + other.to(mean.device)
            if len(slabs) > 1:
                mean = mean / len(slabs)
            if logits:
                mean = mean.softmax(dim=0) if self.members[0].activation == "softmax" else mean.sigmoid()
            yield (*before, slabs[0][0]), mean

    def _decide(self, prob: Tensor) -> np.ndarray:
        decide = self.postprocessing.decide if self.postprocessing is not None else self._by_labels
        return or_on_cpu(decide, prob).cpu().numpy()

    def _by_labels(self, prob: Tensor) -> Tensor:
        return self.labels.ids_from_probabilities(prob, self.members[0].activation)


def normalised(preparer: Preparer, arrays: CaseArrays) -> PreparedCase:
    """Normalise a case that was read: the second half of `Preparer.prepare`.

    Raises:
        DataError: The case has another number of channels than the normalisation.
    """
    try:
        image = preparer.normaliser(arrays.image, arrays.intensities)
    except DataError as error:
        raise DataError(f"{arrays.case.images[0]}: {error}") from error
    return PreparedCase(arrays.case, image, arrays.label, arrays.geometry, arrays.original, arrays.reference, arrays.intensities)


def _stored(prepared: PreparedCase, ids: np.ndarray, maps: np.ndarray | None) -> Predicted:
    stored, geometry = as_stored(prepared.case, ids, prepared.original)
    return Predicted(stored, None if maps is None else as_stored(prepared.case, maps, prepared.original)[0], geometry)
