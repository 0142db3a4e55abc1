"""Optimisers by name; keyword-only parameters are what a config may set."""

from __future__ import annotations

from torch import nn, optim


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Split the trainable parameters in two: weights of layers decay, biases and normalisation scales do not."""
    trainable = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]


def adamw(module: nn.Module, *, lr: float = 1e-3, weight_decay: float = 1e-2, betas: list[float] | None = None) -> optim.Optimizer:
    """AdamW (Loshchilov & Hutter, ICLR 2019)."""
    first, second = betas or (0.9, 0.999)
    return optim.AdamW(parameter_groups(module, weight_decay), lr=lr, betas=(first, second))


def sgd(
    module: nn.Module, *, lr: float = 1e-2, momentum: float = 0.99, nesterov: bool = True, weight_decay: float = 3e-5
) -> optim.Optimizer:
    """Stochastic gradient descent with momentum; the defaults are nnU-Net's."""
    return optim.SGD(parameter_groups(module, weight_decay), lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)
