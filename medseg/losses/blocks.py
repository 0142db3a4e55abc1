"""How the pass over the voxels is cut up, and in which precision it runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

CPU_BLOCK = 1 << 18
"""Elements of a work buffer for each thread: 1 MiB in float32, half of a core's L2 cache."""
BINARY_BLOCK = 1 << 17
"""The same where six buffers are in use."""
LEAST_BLOCK = 1 << 16
"""Below which calls cost more than the work."""
DEVICE_BLOCK = 1 << 24
"""The same elsewhere, where blocks only bound the memory."""


def working_dtype(logits: Tensor) -> torch.dtype:
    """float32 for half-precision logits, whose sums would overflow or be noise; float64 stays, for gradient checks."""
    return torch.promote_types(logits.dtype, torch.float32)


def counting_dtype(logits: Tensor) -> torch.dtype:
    """float64 for sums over voxels, where the device has it: float32 cannot count beyond 2^24."""
    return torch.float32 if logits.device.type == "mps" else torch.float64


def block_size(logits: Tensor, per_thread: int | None = None) -> int:
    """Elements of a block; on a CPU at most a 16th of the logits, so that work buffers stay small beside them."""
    if logits.device.type != "cpu":
        return DEVICE_BLOCK
    most = (per_thread or CPU_BLOCK) * torch.get_num_threads()
    return min(most, max(LEAST_BLOCK, logits.numel() // 16))


def blocks(logits: Tensor, size: int | None = None) -> Iterator[tuple[slice, slice]]:
    """Samples and voxels of each block of logits (B, C, N): several whole samples where they are small, else a piece of one."""
    batch, channels, voxels = logits.shape
    per_block = max(256, (size or block_size(logits)) // channels)
    samples = max(1, per_block // max(1, voxels))
    for first in range(0, batch, samples):
        for start in range(0, voxels, per_block):
            yield slice(first, min(first + samples, batch)), slice(start, min(start + per_block, voxels))
