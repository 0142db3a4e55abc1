"""What follows the network: the probability from which a voxel may belong to a class, and what is done to a label map's components."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medseg.config.schema import PostprocessingConfig
from medseg.data.labels import Activation, LabelSchema
from medseg.errors import RunError
from medseg.files import write_text

FILE = "postprocessing.json"
"""Name of a run's own post-processing, beside its `checkpoints/`."""

_STEPS = ("thresholds", "minimum_size", "largest_component", "fill_holes")


@dataclass(frozen=True)
class Postprocessing:
    """Thresholds, smallest sizes, largest components and hole filling, by class.

    Components are connected by faces, edges or corners (26 neighbours, 8 in 2-D), holes by faces alone. First components are removed, class
    by class, the largest kept before the smallest size is asked for; then holes are filled, so that a false lesion within an organ becomes
    organ again.

    Args:
        labels: The classes.
        activation: `softmax` or `sigmoid`, as in the loss that trained the network.
        thresholds: Class -> probability in [0, 1) above which a voxel may belong to it. Of exclusive classes, the most probable one above
            its own threshold wins. A class without: 0.5 with sigmoid, and the background's probability with softmax.
        minimum_size: Class -> its components below this many mm^3 (mm^2 in 2-D) are removed.
        largest_component: Classes of which only the largest component is kept; of equal ones the first.
        fill_holes: Classes whose holes are filled: voxels that a path by faces cannot lead out of the image without crossing the class.
            Of exclusive classes, no voxel of another class is taken.

    Overlapping classes: a voxel that loses a class takes the label that stands for most of its other classes and for none beyond them, so
    that a region goes with the one which always contains it. A voxel that gains one keeps the others; where no label stands for the
    result, it stays as it is.

    Raises:
        RunError: An unknown class, or a number that is no threshold or size.
    """

    labels: LabelSchema
    activation: Activation
    thresholds: Mapping[str, float] = field(default_factory=dict)
    minimum_size: Mapping[str, float] = field(default_factory=dict)
    largest_component: Sequence[str] = ()
    fill_holes: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.labels.num_outputs(self.activation)  # refuses overlapping classes with softmax
        for step in _STEPS:
            names = list(getattr(self, step))
            unknown = [str(name) for name in names if name not in self.labels.classes]
            if unknown:
                known = ", ".join(self.labels.classes)
                raise RunError(f"postprocessing.{step}: there is no class {', '.join(unknown)}; the classes are {known}")
        for name, value in self.thresholds.items():
            if not _is_number(value) or not 0 <= value < 1:
                raise RunError(f"postprocessing.thresholds.{name}: is {value!r}; give a probability from 0 to below 1")
        for name, value in self.minimum_size.items():
            if not _is_number(value) or not 0 <= value < math.inf:
                raise RunError(f"postprocessing.minimum_size.{name}: is {value!r}; give a size in mm^3 (mm^2 in 2-D), 0 or more")

    @classmethod
    def from_config(cls, section: PostprocessingConfig, labels: LabelSchema, activation: Activation) -> Postprocessing | None:
        """What a config's `inference.postprocessing` says, None where that is nothing; `choose` is for training.

        Raises:
            RunError: As the class.
        """
        chosen = cls.from_dict(asdict(section), labels, activation)
        return chosen if chosen.active else None

    @property
    def active(self) -> bool:
        """Whether it does anything at all."""
        return any(getattr(self, step) for step in _STEPS)

    def decide(self, prob: Tensor) -> Tensor:
        """Turn probabilities into ids, voxel by voxel; without thresholds as `LabelSchema.ids_from_probabilities`.

        Shape:
            softmax (K + 1, ...), sigmoid (K, ...) -> uint8 (...), for any part of a case and any number of axes, on the same device.

        Raises:
            ValueError: For another number of channels.
        """
        if not self.thresholds or prob.shape[0] != self.labels.num_outputs(self.activation):
            return self.labels.ids_from_probabilities(prob, self.activation)
        softmax = self.activation == "softmax"
        channels = prob[1:] if softmax else prob
        limits: list[float | Tensor] = [self.thresholds.get(name, prob[0] if softmax else 0.5) for name in self.labels.classes]
        if self.labels.overlapping:
            above = torch.stack([channel > limit for channel, limit in zip(channels, limits, strict=True)])
            return self.labels.ids_from_probabilities(above.to(prob.dtype), self.activation)
        ids = torch.zeros(prob.shape[1:], dtype=torch.uint8, device=prob.device)
        best = torch.zeros_like(prob[0])
        for channel, limit, value in zip(channels, limits, self._painted, strict=True):
            wins = (channel > limit) & (channel > best)
            ids[wins] = value
            best = torch.where(wins, channel, best)
        return ids

    def clean(self, ids: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """Remove components and fill holes. The work is bounded by each class's box.

        Args:
            ids: uint8 (*spatial), a whole case; it is not changed.
            spacing: Voxel size in mm along each axis of `ids`.

        Returns:
            uint8 (*spatial); `ids` itself where there is nothing to do. A class that is empty stays so.
        """
        if not (self.minimum_size or self.largest_component or self.fill_holes) or not ids.any():
            return ids
        ids, voxel = ids.copy(), float(math.prod(spacing))
        for index, mask, part in self._boxes(ids, {*self.minimum_size, *self.largest_component}):
            name = self.labels.classes[index]
            smallest = math.ceil(self.minimum_size.get(name, 0) / voxel - 1e-6)  # a size of whole voxels survives rounding
            lost = _lost(mask, name in self.largest_component, smallest)
            if lost is not None:
                part[lost] = self._without[index][part[lost]]
        for index, mask, part in self._boxes(ids, set(self.fill_holes)):
            holes = _holes(mask)
            if holes is not None:
                part[holes] = self._with[index][part[holes]]
        return ids

    def to_dict(self) -> dict[str, Any]:
        """The four steps in plain JSON types, as in a config's `inference.postprocessing`."""
        return {
            "thresholds": {name: float(value) for name, value in self.thresholds.items()},
            "minimum_size": {name: float(value) for name, value in self.minimum_size.items()},
            "largest_component": list(self.largest_component),
            "fill_holes": list(self.fill_holes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], labels: LabelSchema, activation: Activation) -> Postprocessing:
        """Inverse of `to_dict`; other keys are left alone.

        Raises:
            RunError: As the class, and for a step that is missing or of another type.
        """
        steps = {step: data.get(step) for step in _STEPS}
        for step, value in steps.items():
            wanted = dict if step in ("thresholds", "minimum_size") else list
            if not isinstance(value, wanted):
                kind = "a mapping of class to number" if wanted is dict else "a list of classes"
                raise RunError(f"postprocessing.{step}: is {value!r}; give {kind}")
        return cls(labels, activation, **steps)  # type: ignore[arg-type]

    def write(self, path: Path, **about: Any) -> None:
        """Write it as JSON, atomically, with more keys in JSON types: how it was chosen."""
        write_text(path, json.dumps(self.to_dict() | about, indent=1, allow_nan=False) + "\n")

    def _boxes(self, ids: np.ndarray, names: set[str]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Index, mask and ids (a view) of each named class in the box that holds it; classes without a voxel are left out."""
        for index, name in enumerate(self.labels.classes):
            box = self._box(ids, index) if name in names else None
            if box is not None:
                part = ids[box]
                yield index, self._inside[index][part], part

    def _box(self, ids: np.ndarray, index: int) -> tuple[slice, ...] | None:
        values = [value for value in np.flatnonzero(self._inside[index]) if value]
        mask = ids == values[0] if len(values) == 1 else self._inside[index][ids]
        box = []
        for axis in range(ids.ndim):  # each axis's reduction sees only what the axes before have left
            used = np.flatnonzero(mask.any(axis=tuple(other for other in range(ids.ndim) if other != axis)))
            if not len(used):
                return None
            box.append(slice(int(used[0]), int(used[-1]) + 1))
            mask = mask[(slice(None),) * axis + (box[-1],)]
        return tuple(box)

    @cached_property
    def _painted(self) -> list[int]:
        """The id that is written for each class."""
        outputs = self.labels.num_outputs(self.activation)
        painted: list[int] = self.labels.ids_from_probabilities(torch.eye(outputs), self.activation).tolist()
        return painted[-self.labels.num_classes :]

    @cached_property
    def _inside(self) -> np.ndarray:
        """Bool (K, 256): whether an id belongs to a class."""
        table = np.zeros((self.labels.num_classes, 256), dtype=np.bool_)
        table[:, : len(self.labels.values)] = self.labels.membership
        return table

    @cached_property
    def _without(self) -> np.ndarray:
        """uint8 (K, 256): what an id becomes when its voxel loses the class."""
        sets = self.labels.membership.T  # (V, K)
        table = np.tile(np.arange(256, dtype=np.uint8), (self.labels.num_classes, 1))
        for index in range(self.labels.num_classes):
            for value in np.flatnonzero(sets[:, index]):
                rest = sets[value] & (np.arange(len(sets[value])) != index)
                allowed = ~(sets & ~rest).any(axis=1)
                table[index, value] = np.where(allowed, (sets & rest).sum(axis=1), -1).argmax()
        return table

    @cached_property
    def _with(self) -> np.ndarray:
        """uint8 (K, 256): what an id becomes when its voxel gains the class."""
        sets = self.labels.membership.T
        table = np.tile(np.arange(256, dtype=np.uint8), (self.labels.num_classes, 1))
        for index, painted in enumerate(self._painted):
            for value in np.flatnonzero(~sets[:, index]):
                union = sets[value] | (np.arange(len(sets[value])) == index)
                exact = np.flatnonzero((sets == union).all(axis=1))
                if painted in exact or value == 0:
                    table[index, value] = painted
                elif len(exact):
                    table[index, value] = exact[0]
        return table


def read_postprocessing(path: Path, labels: LabelSchema, activation: Activation) -> Postprocessing:
    """Read what `Postprocessing.write` wrote.

    Raises:
        RunError: The file is missing, damaged, or for other classes.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it is no mapping")
        return Postprocessing.from_dict(data, labels, activation)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as post-processing ({error}); choose it again, or remove the file") from error
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def _lost(mask: np.ndarray, largest: bool, smallest: int) -> np.ndarray | None:
    """The voxels of the components that are removed: all but the largest, and those of fewer than `smallest` voxels; None: none."""
    components, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    sizes = np.bincount(components.ravel(), minlength=count + 1)
    lost = sizes < smallest
    if largest:
        lost |= np.arange(count + 1) != 1 + sizes[1:].argmax()
    lost[0] = False
    return lost[components] if lost.any() else None


def _holes(mask: np.ndarray) -> np.ndarray | None:
    """The voxels outside of a mask from which no path by faces leads out of the array; None: there is none."""
    outside, count = ndimage.label(~mask)
    hole = np.ones(count + 1, dtype=np.bool_)
    hole[0] = False
    for axis in range(mask.ndim):
        hole[np.take(outside, [0, -1], axis=axis)] = False
    return hole[outside] if hole.any() else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
