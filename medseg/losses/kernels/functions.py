"""The voxel functions inside a kernel: of n = -log p_t with p = p_t and q = 1 - p_t at hand, each as precise as it comes.

`KIND`, `A` and `B` are a function's `kernel` description (see `voxelwise.py`); being compile-time constants they leave only the
arithmetic of the one function. Value and slope are those of `voxelwise.py` and `powers.py`, to rounding.
"""

from __future__ import annotations

import triton
import triton.language as tl

SMALLEST = tl.constexpr(2.0**-126)
"""The least normal number; one below it would turn the arithmetic to float64."""


@triton.jit
def longer(sums, one_more):
    """A tuple of sums with one more; kernels know no list."""
    return sums + (one_more,)  # noqa: RUF005, nor any unpacking


@triton.jit
def log1p(x, u):
    """log(1 + x) from u = 1 + x as rounded: exact to rounding also where u is 1."""
    return tl.where(u == 1.0, x, tl.log(u) * (x / tl.where(u == 1.0, 1.0, u - 1.0)))


@triton.jit
def raised(x, EXPONENT: tl.constexpr):
    """x^EXPONENT for x >= 0, and x > 0 where the exponent is negative."""
    if EXPONENT == 0.0:
        y = tl.full(x.shape, 1.0, tl.float32)
    elif EXPONENT == 1.0:
        y = x
    elif EXPONENT == 2.0:
        y = x * x
    elif EXPONENT == 0.5:
        y = tl.sqrt(x)
    elif EXPONENT == -0.5:
        y = 1.0 / tl.sqrt(x)
    else:
        y = tl.where(x > 0.0, tl.exp2(EXPONENT * tl.log2(tl.where(x > 0.0, x, 1.0))), 0.0)
    return y


@triton.jit
def value(n, p, q, KIND: tl.constexpr, A: tl.constexpr, B: tl.constexpr):
    """f(n)."""
    if KIND == "log":
        y = n
    elif KIND == "focal":
        y = raised(q, A) * n
    elif KIND == "miss":
        y = raised(q, A)
    elif A >= 1.0:
        y = raised(n, A)
    else:
        below = n * ((2.0 - A) + (A - 1.0) / B * n) * (B ** (A - 1.0))
        y = tl.where(n < B, below, raised(tl.maximum(n, B), A))
    return y


@triton.jit
def slope(n, p, q, KIND: tl.constexpr, A: tl.constexpr, B: tl.constexpr):
    """f'(n), finite at 0."""
    if KIND == "log":
        y = tl.full(n.shape, 1.0, tl.float32)
    elif KIND == "focal":
        low: tl.constexpr = SMALLEST if A < 1.0 else 0.0
        y = raised(tl.maximum(q, low), A - 1.0) * (q + A * p * n)
    elif KIND == "miss":
        y = A * raised(q, A - 1.0) * p
    elif A >= 1.0:
        y = A * raised(n, A - 1.0)
    else:
        below = ((2.0 - A) + 2.0 * (A - 1.0) / B * n) * (B ** (A - 1.0))
        y = tl.where(n < B, below, A * raised(tl.maximum(n, B), A - 1.0))
    return y
