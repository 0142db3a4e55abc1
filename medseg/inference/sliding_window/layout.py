"""Where windows lie in an image, and how much each of their voxels counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Blending = Literal["gaussian", "constant"]

Start = tuple[int, ...]
"""First voxel of a window, in voxels of the image; negative where the window sticks out of an image that is smaller."""


SLAB_VOXELS = 2**16
"""Voxels of a slab, as far as whole rows allow: so few that several slabs do not show beside the sums of the windows."""


def at_once(row: int) -> int:
    """How many rows of so many voxels make a slab."""
    return max(1, SLAB_VOXELS // max(row, 1))


@dataclass(frozen=True)
class Layout:
    r"""The windows of an image, laid out as MONAI's `sliding_window_inference` does.

    Along an axis of $n$ voxels, windows of $w$ start every $\lfloor w (1 - o) \rfloor$ voxels; the last one is moved back to end with the
    image. An image smaller than the window lies in its middle, the odd voxel behind it.

    Args:
        image: Voxels of the image along each axis.
        window: Voxels of a window along each axis.
        overlap: Share of a window that overlaps its neighbour, $o$ in [0, 1).
    """

    image: tuple[int, ...]
    window: tuple[int, ...]
    overlap: float

    @property
    def pads(self) -> bool:
        """Whether windows stick out of the image."""
        return any(n < w for n, w in zip(self.image, self.window, strict=True))

    def starts(self, axis: int) -> list[int]:
        """Where windows begin along an axis, ascending."""
        size, window = self.image[axis], self.window[axis]
        if size <= window:
            return [-((window - size) // 2)]
        step = max(1, int(window * (1 - self.overlap)))
        return [min(number * step, size - window) for number in range(math.ceil((size - window) / step) + 1)]

    def windows(self, first: int) -> list[Start]:
        """All windows, in ascending order of the axis `first`, then of the others."""
        order = [first, *(axis for axis in range(len(self.image)) if axis != first)]
        found = itertools.product(*(self.starts(axis) for axis in order))
        return [tuple(start[order.index(axis)] for axis in range(len(order))) for start in found]

    def inside(self, start: Start) -> tuple[slice, ...]:
        """The part of the image that a window covers."""
        return tuple(slice(max(0, s), min(n, s + w)) for s, n, w in zip(start, self.image, self.window, strict=True))

    def covered(self, start: Start) -> tuple[slice, ...]:
        """The part of a window that lies in the image."""
        return tuple(slice(max(0, -s), min(w, n - s)) for s, n, w in zip(start, self.image, self.window, strict=True))

    def cut(self, image: Tensor, starts: Sequence[Start], outside: Tensor | None, out: Tensor) -> None:
        """Copies windows out of an image.

        Args:
            image: (C, *spatial).
            starts: Which windows, B of them.
            outside: (C,), the value of each channel outside the image; None where no window sticks out.
            out: (B, C, *window), where they go.
        """
        if outside is not None:
            out.copy_(outside.view(-1, *(1,) * len(self.window)))
        for window, start in zip(out, starts, strict=True):
            window[(slice(None), *self.covered(start))] = image[(slice(None), *self.inside(start))]


def importance_map(window: Sequence[int]) -> Tensor:
    r"""What each voxel of a window counts, the same as in MONAI: a Gaussian around its middle.

    $\exp(-\sum_a x_a^2 / 2 \sigma_a^2)$ with $\sigma_a$ an eighth of the window, but at least 0.001.

    Returns:
        float32 (*window).
    """
    weights = torch.ones(())
    for size in window:
        offsets = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        weights = weights[..., None] * torch.exp(offsets**2 / (-2 * (size / 8) ** 2))
    return weights.clamp(min=max(float(weights.min()), 1e-3))
