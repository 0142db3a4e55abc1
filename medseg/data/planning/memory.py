"""What the U-Net of a plan looks like, and the memory that a training step of it takes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SMALLEST_EDGE = 4

FEATURES = 32

RESERVE = 2**30
"""Bytes that the device's own software and the workspace of convolutions take."""

WORKING = {2: 1.5, 4: 1.25}
"""Bytes a value -> peak of a step in units of what is kept for the backward pass, as measured: gradients and copies add to it."""


@dataclass(frozen=True)
class Level:
    """One level of the network.

    Args:
        size: Voxels along each axis there.
        stride: Step from the level above, one number an axis.
        features: Channels.
        kernel: Kernel size along each axis.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    features: int
    kernel: tuple[int, ...]


def levels_of(patch: Sequence[int], spacing: Sequence[float]) -> list[Level]:
    """The levels that network `dynunet` makes of a patch and a spacing: the same rule, which a test holds together.

    Each axis is halved while it is even and 4 voxels are left; an axis more than twice as coarse as the finest waits.
    """
    size, step = list(patch), list(spacing)
    most = 320 if len(size) == 3 else 512
    stride = [1] * len(size)
    levels: list[Level] = []
    while True:
        features = min(FEATURES * 2 ** len(levels), most)
        levels.append(Level(tuple(size), tuple(stride), features, tuple(1 if s > 2 * min(step) else 3 for s in step)))
        able = [n % 2 == 0 and n // 2 >= SMALLEST_EDGE for n in size]
        if not any(able):
            return levels
        finest = min(s for s, yes in zip(step, able, strict=True) if yes)
        halved = [yes and s <= 2 * finest for s, yes in zip(step, able, strict=True)]
        stride = [2 if yes else 1 for yes in halved]
        size = [n // s for n, s in zip(size, stride, strict=True)]
        step = [s * k for s, k in zip(step, stride, strict=True)]


def training_bytes(levels: Sequence[Level], batch: int, channels: int, outputs: int, half: bool) -> int:
    r"""Estimates the peak memory of a training step of `dynunet` with AdamW.

    A block of two convolutions keeps four maps for the backward pass; on the way up the joined maps make six. What a value costs at the
    peak was measured: see `WORKING`. Weights cost 16 bytes each: themselves, their gradient and AdamW's two moments.

    Args:
        levels: The network.
        batch: Patches a step.
        channels: Image channels.
        outputs: Logits a voxel.
        half: Whether maps are kept in 16 bits.
    """
    width = 2 if half else 4
    values = 0
    for number, level in enumerate(levels):
        maps = 4 if number == len(levels) - 1 else 10
        values += maps * level.features * int(np.prod(level.size, dtype=np.int64))
    voxels = int(np.prod(levels[0].size, dtype=np.int64))
    ends = voxels * (4 * channels + 12 * outputs)
    return int(batch * (values * width * WORKING[width] + ends)) + 16 * _weights(levels, channels, outputs) + RESERVE


def _weights(levels: Sequence[Level], channels: int, outputs: int) -> int:
    total, before = levels[0].features * outputs, channels
    for level in levels:
        total += level.features * (before + level.features) * int(np.prod(level.kernel))
        before = level.features
    for upper, lower in itertools.pairwise(levels):
        total += lower.features * upper.features * int(np.prod(lower.stride)) + 3 * upper.features**2 * int(np.prod(lower.kernel))
    return total
