"""A store in memory and augmentations whose every voxel is known, for tests of sampling and of patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.data.augmentation.base import Augmentation, Draw
from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities
from medseg.data.preparation import PreparedCase
from medseg.data.store.index import CaseIndex, build_index

LESION = LabelSchema.exclusive({"lesion": 1, "ignore": 2})
ORGANS = LabelSchema.exclusive({"liver": 1, "kidney": 2, "spleen": 3, "ignore": 9})
REGIONS = LabelSchema(("whole", "core"), ((1, 2), (2,)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def index_of(label: np.ndarray, labels: LabelSchema = LESION, spacing: Sequence[float] | None = None) -> CaseIndex:
    intensities = Intensities((0.0,), (1.0,), (0.0,), (1.0,), eight_bit=False, picture=False)
    image = np.zeros((1, *label.shape), np.uint8)
    return build_index(label.astype(np.uint8), labels, spacing or (1.0,) * label.ndim, image, intensities)


def expected_within(count: int, trials: int, probability: float) -> bool:
    """Whether a count of successes lies within 5 standard deviations of what the probability says."""
    return abs(count - trials * probability) <= 5 * math.sqrt(trials * probability * (1 - probability)) + 1e-9


class FakeStore:
    """Stored cases that lie in memory, with images whose voxels all differ."""

    def __init__(self, labels: Sequence[np.ndarray], schema: LabelSchema = LESION, spacing: Sequence[float] | None = None) -> None:
        self.labels = [label.astype(np.uint8) for label in labels]
        self.images = [(np.arange(label.size, dtype=np.float32).reshape(1, *label.shape) + 1 + 1e4 * n) for n, label in enumerate(labels)]
        self.spacing = tuple(spacing or (1.0,) * labels[0].ndim)
        self.indices = [index_of(label, schema, self.spacing) for label in self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def case(self, i: int) -> Case:
        return Case(f"case{i}", (Path(f"{i}.nii"),), Path(f"{i}_label.nii"), f"patient{i}")

    def index(self, i: int) -> CaseIndex:
        return self.indices[i]

    def read(self, i: int, start: Sequence[int], size: Sequence[int], flips: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
        image, label = crop(self.images[i], start, size, fill=self.images[i].min()), crop(self.labels[i], start, size, fill=0)
        return np.flip(image, tuple(axis + 1 for axis in flips)), np.flip(label, tuple(flips))

    def whole(self, i: int, reference: bool = True) -> PreparedCase:
        label = self.labels[i]
        geometry = Geometry(label.shape, np.diag([*self.spacing, *[1.0] * (4 - label.ndim)]))
        return PreparedCase(self.case(i), self.images[i], label, geometry, geometry, label if reference else None)


class Still(Augmentation):
    """Changes nothing."""

    mirrored_axes = ()

    def draw(self, start: Any, patch_size: Any, channels: int, spacing: Any, rng: np.random.Generator) -> Draw:
        return Draw(tuple(start), tuple(patch_size))

    def apply(self, image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        return image, label


class Shaky(Augmentation):
    """Reads a larger box, takes a patch out of it at a random place and adds a random number to each channel."""

    mirrored_axes = ()

    on_device = True
    margin = 2

    def draw(self, start: Any, patch_size: Any, channels: int, spacing: Any, rng: np.random.Generator) -> Draw:
        self.last_spacing = tuple(spacing)
        margins = rng.integers(self.margin + 1, size=len(start))
        parameters = {"shift": tuple(margins.tolist()), "patch": tuple(patch_size), "add": rng.normal(size=channels).astype(np.float32)}
        return Draw(
            tuple(int(a - m) for a, m in zip(start, margins, strict=True)),
            tuple(int(p + m) for p, m in zip(patch_size, margins, strict=True)),
            parameters,
        )

    def apply(self, image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        add = draw.parameters["add"].reshape(-1, *[1] * label.ndim)
        shift, patch = draw.parameters["shift"], draw.parameters["patch"]
        return crop(image, shift, patch, fill=0) + add, crop(label, shift, patch, fill=0)

    def apply_batch(
        self, images: Sequence[torch.Tensor], labels: Sequence[torch.Tensor], draws: Sequence[Draw]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        made = [self.apply(i.cpu().numpy(), ids.cpu().numpy(), d) for i, ids, d in zip(images, labels, draws, strict=True)]
        return torch.stack([torch.from_numpy(i) for i, _ in made]), torch.stack([torch.from_numpy(ids)[None] for _, ids in made])


def crop(array: np.ndarray, start: Sequence[int], patch: Sequence[int], fill: np.ndarray | int) -> np.ndarray:
    """Copies a patch out of the last axes of `array`.

    Args:
        array: (*leading, *spatial).
        start: First voxel, one coordinate a spatial axis; may lie outside.
        patch: Size in voxels.
        fill: Value of voxels outside the array, broadcast against (*leading, *patch).
    """
    spatial = array.shape[-len(patch) :]
    inside = [(min(max(a, 0), s), max(min(a + p, s), 0)) for a, p, s in zip(start, patch, spatial, strict=True)]
    source: tuple[Any, ...] = (..., *(slice(low, high) for low, high in inside))
    part = array[source]
    if part.shape[-len(patch) :] == tuple(patch):
        return part.copy()
    out = np.empty((*array.shape[: -len(patch)], *patch), dtype=array.dtype)
    out[...] = fill
    target: tuple[Any, ...] = (..., *(slice(low - a, high - a) for (low, high), a in zip(inside, start, strict=True)))
    if part.size:
        out[target] = part
    return out
