"""How the voxels are shared out: tiles that fit the registers, and runs of tiles for each program."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

Description = tuple[tuple[str, float, float], ...]
"""Kind and parameters of each voxel function."""

NOT_SPECIAL = ("programs", "tiles", "per_program", "ignore")
"""Arguments that vary with the patch and are worth no compilation of their own."""
LONGEST = 64
"""Tiles that a program sums in float32 before its sums go on in float64: a hundred additions cost no digit, thousands do."""


class Plan(NamedTuple):
    """A tile of BC classes by BN voxels, both powers of two, and the warps that work on it."""

    BC: int
    BN: int
    warps: int


def plan_softmax(classes: int, rows: int) -> Plan:
    """All classes of some voxels; 8 elements a thread, of each of which every row of sums takes a register."""
    whole = power_of_two(classes)
    warps = 4 if whole <= 64 else 8 if whole <= 128 else 16
    elements = 32 * warps * (8 if rows <= (8 if warps == 16 else 12) else 4)
    return Plan(whole, max(1, elements // whole), warps)


def plan_sigmoid(logits: Tensor, rows: int) -> Plan:
    """Voxels of one channel, or of several where a voxel's channels lie side by side (channels_last)."""
    _, channels, _ = logits.shape
    beside = logits.stride(1) < logits.stride(2)
    channels = min(64, power_of_two(channels)) if beside else 1
    return Plan(channels, (1024 if rows <= 12 else 512) // channels, 4)


def programs_of(tile: int, voxels: int, groups: int, logits: Tensor) -> tuple[int, int, int]:
    """Programs for each group (sample, or block of channels of one), tiles, and tiles for each program."""
    processors = torch.cuda.get_device_properties(logits.device).multi_processor_count if logits.is_cuda else 1
    tiles = -(-voxels // tile)
    per_program = min(LONGEST, max(1, tiles * groups // (8 * processors)))
    return -(-tiles // per_program), tiles, per_program


def power_of_two(number: int) -> int:
    """The smallest that is not below the number."""
    return 1 << (number - 1).bit_length()


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Where kernels are launched: Triton takes the current device, whatever its arguments lie on."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
