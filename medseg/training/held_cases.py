"""Validation cases held on disk while post-processing is chosen: memory holds one case at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.data.labels import LabelSchema
from medseg.inference.postprocessing import Postprocessing
from medseg.metrics import METRICS, score_case
from medseg.metrics.measures import metric_of
from medseg.metrics.options import MetricOptions

LOWEST = 0.05
"""A class is looked at where it is above this probability, or predicted; no threshold that is tried lies below."""


@dataclass(frozen=True)
class HeldCase:
    """A predicted case: its label map without post-processing, its reference, and its probabilities in the box where there are any."""

    case_id: str
    group: str
    spacing: tuple[float, ...]
    files: Path
    """What the names of its arrays begin with."""
    box: tuple[slice, ...]
    """Where any class is looked at: its probabilities are held."""
    boxes: Mapping[str, tuple[slice, ...]]
    """Where each class is, within `box`."""

    @classmethod
    def hold(
        cls,
        folder: Path,
        plain: Postprocessing,
        probabilities: Any,
        reference: np.ndarray,
        spacing: Sequence[float],
        case_id: str,
        group: str,
        number: int,
    ) -> HeldCase:
        """Write a case into `folder` under a number of its own; `plain` decides without any thresholds.

        Shape:
            probabilities float (C', *spatial), tensor or array; reference uint8 (*spatial).
        """
        prob = torch.as_tensor(probabilities)
        ids, labels = plain.decide(prob).numpy(), plain.labels
        channels = prob[1:] if plain.activation == "softmax" else prob
        box = _box((channels.amax(dim=0) > LOWEST).numpy() | (ids > 0))
        held, masks = prob[(slice(None), *box)], labels.masks(ids[box])
        places = {
            name: _box((channel > LOWEST).numpy() | mask)
            for name, channel, mask in zip(labels.classes, held[-labels.num_classes :], masks, strict=True)
        }
        case = cls(case_id, group, tuple(float(size) for size in spacing), folder / str(number), box, places)
        for name, array in (("ids", ids), ("reference", reference), ("prob", held.half().numpy())):
            case._save(name, array)
        return case

    @property
    def reference(self) -> np.ndarray:
        """uint8 ids (*spatial)."""
        return self._load("reference")

    def predict(self, chosen: Postprocessing, threshold_of: str | None = None) -> np.ndarray:
        """The label map with post-processing, uint8 ids (*spatial).

        Args:
            chosen: Its thresholds are those kept so far, but for one class's.
            threshold_of: That class.
        """
        return chosen.clean(self._decide(chosen, threshold_of), self.spacing)

    def keep(self, chosen: Postprocessing, threshold_of: str) -> None:
        """Go on from new thresholds, of which one class's is new."""
        self._save("ids", self._decide(chosen, threshold_of))

    def _decide(self, chosen: Postprocessing, threshold_of: str | None) -> np.ndarray:
        """Decide anew where a class is; elsewhere it cannot win, whatever its threshold. Probabilities are float16."""
        ids = self._load("ids")
        if threshold_of is not None:
            place = self.boxes[threshold_of]
            prob = np.load(self._file("prob"), mmap_mode="r", allow_pickle=False)[(slice(None), *place)]
            ids[self.box][place] = chosen.decide(torch.from_numpy(np.array(prob)).float()).numpy()
        return ids

    def _save(self, name: str, array: np.ndarray) -> None:
        np.save(self._file(name), np.ascontiguousarray(array), allow_pickle=False)

    def _file(self, name: str) -> Path:
        return self.files.with_name(f"{self.files.name}.{name}.npy")

    def _load(self, name: str) -> np.ndarray:
        return np.load(self._file(name), allow_pickle=False)


class Scorer:
    """One metric of each class of a held case, turned so that more is better.

    Args:
        labels: The classes.
        metric: A key of `METRICS`, with its tolerance where it has one.
        options: The other rules.

    Raises:
        ValueError: There is no such metric.
    """

    def __init__(self, labels: LabelSchema, metric: str, options: MetricOptions) -> None:
        self.labels, self.metric = labels, metric
        found = metric_of(metric)
        key = next(key for key, known in METRICS.items() if known is found)
        self.better = found.better
        self.options = replace(options, metrics=(key,))
        self._inside = np.zeros((256, labels.num_classes), dtype=np.bool_)
        self._inside[: len(labels.values)] = labels.membership.T

    def goodness(self, value: float) -> float:
        """The metric so that more is better: itself, or minus its distance from 0."""
        return value if self.better == "higher" else -abs(value)

    def of(self, held: HeldCase, ids: np.ndarray, reference: np.ndarray, classes: Sequence[int] | None = None) -> dict[int, float]:
        """Index of each class -> goodness, NaN where the metric is not defined; of some classes, or of all."""
        indices = list(range(self.labels.num_classes)) if classes is None else list(classes)
        if not indices:
            return {}
        names = [self.labels.classes[index] for index in indices]
        membership = self.labels.membership[indices]
        scores = score_case(held.case_id, held.group, ids, reference, names, membership, held.spacing, self.options, list_lesions=False)
        values = {row.class_name: self.goodness(row.value) for row in scores.rows if row.metric == self.metric}
        return {index: values.get(name, float("nan")) for index, name in zip(indices, names, strict=True)}

    def changed(self, ids: np.ndarray, before: np.ndarray) -> list[int]:
        """The classes whose masks differ between two label maps."""
        differ = ids != before
        pairs = np.unique(ids[differ].astype(np.uint16) << 8 | before[differ])
        return np.flatnonzero((self._inside[pairs >> 8] != self._inside[pairs & 255]).any(axis=0)).tolist()


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The box that holds a mask, of no voxel where it is empty."""
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
    return tuple(box)
