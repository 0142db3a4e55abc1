"""Passes that are differentiated by hand, once: what asks for more is refused, not answered wrongly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Backward = Callable[..., Any]


def differentiable_once(backward: Backward) -> Backward:
    """For the backward of an autograd function: a gradient through its gradient raises.

    torch's own `once_differentiable` does so only where the incoming gradient depends on the input; for a cross entropy it is a constant,
    and a gradient penalty would silently be left out.
    """

    @functools.wraps(backward)
    def once(ctx: Any, *grads: Tensor) -> Any:
        with torch.no_grad():
            results = backward(ctx, *grads)
        if not torch.is_grad_enabled():
            return results
        return tuple(result if result is None else _Refuse.apply(result.requires_grad_()) for result in results)

    return once


class _Refuse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError("once_differentiable: the losses have no second derivative, so no gradient penalty can go through them")
