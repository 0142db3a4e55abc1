"""Powers that keep a bounded slope at zero."""

from __future__ import annotations

from torch import Tensor
from torch import where as choose


def power(x: Tensor, exponent: float, join: float) -> Tensor:
    r"""$x^g$ for $x \ge 0$, with a finite slope at 0 also for $g < 1$.

    Above `join` ($d$) it is exactly $x^g$. Below, where the slope of the true power runs to infinity, it is the parabola
    $x\,d^{g-1}\,((2-g) + (g-1)\,x/d)$, which meets the power in value and slope at $d$ and passes through 0 with slope $(2-g)\,d^{g-1}$.
    (The usual $(x+d)^g - d^g$ is as safe, but wrong by up to $d^g$ everywhere: 0.13 for $g = 0.3$, $d = 10^{-3}$.)

    >>> import torch
    >>> power(torch.tensor([0.0, 0.0625]), 0.5, join=1e-3)
    tensor([0.0000, 0.2500])
    """
    if exponent >= 1:
        return x**exponent
    near = x < join
    beyond = choose(near, join, x) ** exponent  # never a power of 0, whose gradient would be NaN even where it is not chosen
    below = x * ((2 - exponent) + (exponent - 1) / join * x) * join ** (exponent - 1)
    return choose(near, below, beyond)


def power_slope(x: Tensor, exponent: float, join: float) -> Tensor:
    """The derivative of `power` with respect to x."""
    if exponent >= 1:
        return exponent * x ** (exponent - 1)
    near = x < join
    beyond = exponent * choose(near, join, x) ** (exponent - 1)
    below = ((2 - exponent) + 2 * (exponent - 1) / join * x) * join ** (exponent - 1)
    return choose(near, below, beyond)
