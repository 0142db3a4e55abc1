"""The augmentation of volumes and pictures: one move in space, then changes of the intensities, the same on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from medseg.data.augmentation.base import Augmentation, Draw
from medseg.data.augmentation.intensity import Change, apply_changes
from medseg.data.augmentation.spatial import Move, Spatial, still_axis


class Fused(Augmentation):
    """Mirroring, rotation, scaling and bending as at most one interpolation, then changes of intensity in order.

    Of a patch that is only mirrored no voxel is interpolated. `apply` and `apply_batch` agree to rounding for the same draws.

    Args:
        spatial: Draws the moves.
        changes: Changes of the intensities.
        lateral: (256,) uint8, the id that takes an id's place when `lateral_axis` is mirrored; None: ids stay.
        lateral_axis: The axis from left to right.
    """

    on_device: ClassVar[bool] = True

    def __init__(self, spatial: Spatial, changes: Sequence[Change], lateral: np.ndarray | None = None, lateral_axis: int = 0) -> None:
        self.spatial = spatial
        self.changes = tuple(changes)
        self.lateral = lateral
        self.lateral_axis = lateral_axis

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        """The axes that may be flipped."""
        return self.spatial.mirror_axes

    def draw(
        self, start: tuple[int, ...], patch_size: tuple[int, ...], channels: int, spacing: Sequence[float], rng: np.random.Generator
    ) -> Draw:
        """Draws move and changes; the box holds what the patch will show, so that its corners are image wherever there is any."""
        patch = tuple(patch_size)
        move, box_start, box_size = self.spatial.draw(tuple(start), patch, spacing, rng)
        still = still_axis(patch, spacing)
        drawn = [change.draw(channels, patch, still, rng) for change in self.changes]
        flips = move.mirrored if move.motion is None else ()
        return Draw(box_start, box_size, {"move": move, "changes": drawn}, flips)

    def apply(self, image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Makes a patch of the box. Where nothing is interpolated the box, read with its flips, is the patch, and is changed in place."""
        move: Move = draw.parameters["move"]
        changes: list[np.ndarray | None] = draw.parameters["changes"]
        changed = any(numbers is not None for numbers in changes)
        if move.motion is not None:
            box = (torch.from_numpy(np.require(array, requirements=["C", "W"])) for array in (image, label))
            image, label = (tensor.numpy() for tensor in move.apply(*box))
        if changed:
            image = np.require(image, requirements=["C", "W"])
            apply_changes(torch.from_numpy(image)[None], self.changes, [[numbers] for numbers in changes])
        if self._swaps(move):
            assert self.lateral is not None
            label = self.lateral[label]
        return image, label

    def apply_batch(self, images: Sequence[Tensor], labels: Sequence[Tensor], draws: Sequence[Draw]) -> tuple[Tensor, Tensor]:
        """The same for a batch; moves one sample after the other, changes together."""
        moves: list[Move] = [draw.parameters["move"] for draw in draws]
        # Elsewhere an autocast around the training step would round the coordinates to 8 bits.
        with torch.no_grad(), torch.autocast(images[0].device.type, enabled=False):
            moved = [move.apply(image, label) for move, image, label in zip(moves, images, labels, strict=True)]
            batch = torch.stack([image for image, _ in moved])
            ids = torch.stack([label for _, label in moved])[:, None]
            apply_changes(batch, self.changes, list(zip(*(draw.parameters["changes"] for draw in draws), strict=True)))
            for number, move in enumerate(moves):
                if self._swaps(move):
                    assert self.lateral is not None
                    ids[number] = torch.from_numpy(self.lateral).to(ids.device, non_blocking=True)[ids[number].long()]
        return batch, ids

    def _swaps(self, move: Move) -> bool:
        """Whether left and right change places: mirrored, or turned by more than a right angle."""
        if self.lateral is None:
            return False
        if move.motion is None or move.still == self.lateral_axis:
            return self.lateral_axis in move.mirrored
        place = self.lateral_axis - (move.still is not None and move.still < self.lateral_axis)
        return bool(move.motion.matrix[place, place] < 0)
