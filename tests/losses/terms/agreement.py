"""Whether a region term agrees with its independent reference, whatever the settings."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.losses.problems import problem, single


def soft_labels(activation: str, shape: tuple[int, ...] = (3, 3, 5, 4), seed: int = 5) -> Tensor:
    """Random soft labels (B, C, *spatial), float64; with softmax they sum to 1."""
    y = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return y / y.sum(1, keepdim=True) if activation == "softmax" else y


def check_agreement(
    reference: Callable[..., float], name: str, activation: str, params: dict[str, Any] | None = None, *, soft: bool = False
) -> None:
    """Value for value, under every setting: weights, ignored voxels, and a class that a sample, or all of them, lack."""
    params = params or {}
    logits, hard = problem(activation)
    generator = torch.Generator().manual_seed(1)
    weight_map = 3 * torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    ignored = torch.rand(3, 5, 4, generator=generator) < 0.3
    for lacking in (slice(0), slice(1), slice(3)):
        target = soft_labels(activation) if soft else hard.clone()
        if target.ndim == 4:
            target[lacking, 0] += target[lacking, 2] * (activation == "softmax")
            target[lacking, 2] = 0
        else:
            target[lacking] = torch.where(target[lacking] == 2, 0, target[lacking])
        target[ignored.unsqueeze(1).expand_as(target) if target.ndim == 4 else ignored] = 255
        for reduce_over, empty, background in product(("batch", "sample"), ("smooth", "skip", "volume", "batch"), (False, True)):
            settings = {"reduce_over": reduce_over, "empty": empty, "include_background": background, "ignore_index": 255}
            value = single(name, activation, 3, params, **settings)(logits, target, weight_map).item()
            expected = reference(logits.numpy(), target.numpy(), weight_map=weight_map.numpy(), activation=activation, **settings, **params)
            assert value == pytest.approx(expected, rel=1e-9), (settings, lacking)
