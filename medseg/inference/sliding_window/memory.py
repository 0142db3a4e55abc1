"""Where memory ends: how it shows, and how it is said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

Notify = Callable[[str], None]

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""What CUDA's libraries, Apple's GPUs and the allocators of the CPU say."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short; every other error is a fault that must be seen."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def notice(text: str) -> None:
    """Say in one line what is done because memory is short."""
    logging.getLogger("medseg.inference").warning("%s", text)


def or_on_cpu(step: Callable[[Tensor], Tensor], part: Tensor) -> Tensor:
    """`step(part)` where `part` is, or on the CPU if the memory there does not suffice."""
    try:
        return step(part)
    except (RuntimeError, MemoryError) as error:
        if part.device.type == "cpu" or not out_of_memory(error):
            raise
    return step(part.cpu())
