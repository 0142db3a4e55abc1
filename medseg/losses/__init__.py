"""The loss library: a weighted sum of terms from a config, exact and finite, for the price of one pass over the voxels.

    loss = build_loss({"activation": "softmax", "terms": [{"name": "cross_entropy"}, {"name": "dice"}]}, num_classes=3)
    total = loss(logits, target)                     # scalar
    total, terms = loss.with_terms(logits, target)   # and {"cross_entropy": ..., "dice": ...}

The parts, in the order of the flow: `inputs` checks what comes in, `softmax` and `sigmoid` pass over the voxels (the only code that sees
them), `statistics` hands the sums to the terms of `distribution`, `region` and `compound`, `term` treats empty references, `weighted` adds.
To add a term: a class on the statistics, one line in `TERMS`. Keyword-only arguments of its constructor are its parameters in a config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.config.schema import LossConfig
from medseg.losses.build import build
from medseg.losses.errors import LossConfigError, LossInputError
from medseg.losses.terms.compound import Combo, ExponentialLogarithmic
from medseg.losses.terms.distribution import BinaryCrossEntropy, CrossEntropy, Focal
from medseg.losses.terms.region import Dice, FocalTversky, GeneralizedDice, Tversky
from medseg.losses.weighted import WeightedLoss

__all__ = ["TERMS", "LossConfigError", "LossInputError", "WeightedLoss", "build_loss"]

TERMS: dict[str, Any] = {
    "bce": BinaryCrossEntropy,
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "dice": Dice,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "generalized_dice": GeneralizedDice,
    "combo": Combo,
    "exp_log": ExponentialLogarithmic,
}
"""Config name -> term."""


def build_loss(config: Mapping[str, Any] | LossConfig, num_classes: int) -> WeightedLoss:
    """Build the loss that a config's `loss:` section describes.

    Args:
        config: The section, as a `LossConfig` or a plain mapping with the same keys; only `activation` and `terms` must be given.
        num_classes: Channels of the logits; with softmax the background is one of them, the first.

    Raises:
        LossConfigError: Unknown keys, names or parameters, values out of range, settings that contradict each other; all of them at once.

    >>> import torch
    >>> loss = build_loss({"activation": "softmax", "terms": [{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}]}, num_classes=2)
    >>> total, terms = loss.with_terms(torch.zeros(1, 2, 4), torch.tensor([[0, 0, 1, 1]]))
    >>> {name: round(value.item(), 4) for name, value in terms.items()}
    {'cross_entropy': 0.6931, 'dice': 0.5}
    """
    return build(config, num_classes, TERMS)
