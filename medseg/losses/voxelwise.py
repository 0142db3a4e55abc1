r"""Functions of one voxel's negative log-probability: what a voxelwise loss does with $n = -\log p_t \ge 0$.

They know neither classes nor weights: those act on sums by class (see `statistics.py`), so that terms which differ only in weights share
one function, one evaluation and one slope. Each states its own derivative, because the pass over the voxels is differentiated by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from medseg.losses.powers import power, power_slope

Kernel = tuple[str, float, float]
"""A kind of function that the fused kernels know (see `kernels/functions.py`), and its parameters."""


class VoxelFunction(Protocol):
    """A hashable function of n; equal functions are evaluated once."""

    @property
    def linear(self) -> bool:
        """Whether the function is n itself, so that its slope needs no n."""

    @property
    def everywhere(self) -> bool:
        """Whether softmax too must sum it over the voxels outside each class (`WrongFunction`), at a pass over all probabilities."""

    @property
    def kernel(self) -> Kernel | None:
        """What the fused kernels know it by; None leaves it, and any sum that needs it, to the eager pass."""

    def value(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The loss of each voxel; `miss` is 1 - p_t = 1 - exp(-n), from a caller who has it already."""

    def slope(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The derivative with respect to n, finite at 0."""


class WrongFunction(VoxelFunction, Protocol):
    """A voxel function that softmax also sums over the probabilities of the classes that do not hold."""

    def wrong(self, p: Tensor) -> Tensor:
        """The loss of a probability of a class that does not hold, f(-log(1 - p))."""

    def wrong_slope(self, p: Tensor) -> Tensor:
        """Its derivative with respect to p."""


def everywhere(functions: Sequence[VoxelFunction]) -> list[WrongFunction]:
    """Those that softmax sums over the wrong classes too."""
    return [cast(WrongFunction, function) for function in functions if function.everywhere]


def _missed(n: Tensor, miss: Tensor | None) -> Tensor:
    """1 - p_t."""
    return -torch.expm1(-n) if miss is None else miss


@dataclass(frozen=True)
class LogLoss:
    """n itself: cross entropy."""

    linear = True
    everywhere = False
    kernel = ("log", 0.0, 0.0)

    def value(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The loss of each voxel."""
        return n

    def slope(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The derivative with respect to n."""
        return torch.ones_like(n)


LOG_LOSS = LogLoss()


@dataclass(frozen=True)
class FocalLogLoss:
    r"""$(1 - e^{-n})^\gamma\,n$: focal loss. Its slope at 0 is 0 for any $\gamma > 0$, also below 1."""

    gamma: float
    linear = False
    everywhere = False

    @property
    def kernel(self) -> Kernel:
        """What the fused kernels know it by."""
        return "focal", float(self.gamma), 0.0

    def value(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The loss of each voxel."""
        return _missed(n, miss) ** self.gamma * n

    def slope(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The derivative with respect to n."""
        q = _missed(n, miss)
        p = 1 - q
        if self.gamma < 1:
            return q.clamp_min(torch.finfo(q.dtype).tiny) ** (self.gamma - 1) * (q + self.gamma * p * n)
        return q ** (self.gamma - 1) * (q + self.gamma * p * n)


@dataclass(frozen=True)
class PowerLogLoss:
    r"""$n^g$: the voxelwise part of the exponential-logarithmic loss, with a bounded slope (see `power`)."""

    exponent: float
    join: float
    linear = False
    everywhere = False

    @property
    def kernel(self) -> Kernel:
        """What the fused kernels know it by."""
        return "power_log", float(self.exponent), float(self.join)

    def value(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The loss of each voxel."""
        return power(n, self.exponent, self.join)

    def slope(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The derivative with respect to n."""
        return power_slope(n, self.exponent, self.join)


@dataclass(frozen=True)
class MissPower:
    r"""$(1 - e^{-n})^g = (1 - p_t)^g$, $g \ge 1$: the probability that missed the label, to a power.

    With `everywhere` softmax also sums $p_c^g$ over the voxels of other classes (sigmoid always does, as $n = -\log(1 - p)$ there).
    """

    exponent: float
    everywhere: bool = False
    linear = False

    @property
    def kernel(self) -> Kernel:
        """What the fused kernels know it by."""
        return "miss", float(self.exponent), 0.0

    def value(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The loss of each voxel."""
        return _missed(n, miss) ** self.exponent

    def slope(self, n: Tensor, miss: Tensor | None = None) -> Tensor:
        """The derivative with respect to n."""
        q = _missed(n, miss)
        return self.exponent * q ** (self.exponent - 1) * (1 - q)

    def wrong(self, p: Tensor) -> Tensor:
        """The loss of a probability of a class that does not hold."""
        return p**self.exponent

    def wrong_slope(self, p: Tensor) -> Tensor:
        """Its derivative with respect to p."""
        return self.exponent * p ** (self.exponent - 1)


SQUARED_MISS = MissPower(2.0, everywhere=True)
"""The squared error of hard labels."""
