"""What an augmentation is: first every random number of a patch, then the patch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Everything random about one patch, drawn before any voxel is read.

    Args:
        start: First voxel of the box to read, in the image's grid; may lie outside.
        size: Size of that box in voxels: the patch itself, or larger where it will be turned, shrunk or bent.
        parameters: What `apply` needs, in small arrays and numbers, made by the same augmentation.
        flips: Axes along which the box is read backwards, which costs nothing while it is read.
    """

    start: tuple[int, ...]
    size: tuple[int, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    flips: tuple[int, ...] = ()


class Augmentation(ABC):
    """Random changes of training patches, a function of the generator alone, whoever applies them and wherever."""

    on_device: ClassVar[bool] = False
    """Whether `apply_batch` may run on the accelerator; otherwise patches are made in the loader's processes."""

    @property
    @abstractmethod
    def mirrored_axes(self) -> tuple[int, ...]:
        """The axes that may be flipped; what copies lesions flips them along the same ones."""

    @abstractmethod
    def draw(
        self, start: tuple[int, ...], patch_size: tuple[int, ...], channels: int, spacing: Sequence[float], rng: np.random.Generator
    ) -> Draw:
        """Draw the changes of the patch whose first voxel is `start`.

        Args:
            start: First voxel of the patch in the image's grid.
            patch_size: In voxels.
            channels: Image channels.
            spacing: Voxel size in mm.
            rng: Generator of this patch.
        """

    @abstractmethod
    def apply(self, image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Turn the box that was read into the patch; the arrays given may be changed.

        Shape:
            image (C, *draw.size) float32 -> (C, *patch) float32; label (*draw.size) uint8 ids -> (*patch) uint8. Labels gain no id and
            keep 255.
        """

    def apply_batch(self, images: Sequence[Tensor], labels: Sequence[Tensor], draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """The same for a batch, on the device of the tensors; only where `on_device` is true.

        Shape:
            images: B boxes (C, *size), labels: B boxes (*size) uint8 -> (B, C, *patch) float32, (B, 1, *patch) uint8.
        """
        raise NotImplementedError(f"{type(self).__name__} works in the loader's processes only")
