"""The loss library: a weighted sum of terms from a config, exact and finite, for the price of one pass over the voxels.

    loss = build_loss({"activation": "softmax", "terms": [{"name": "cross_entropy"}, {"name": "dice"}]}, num_classes=3)
    total = loss(logits, target)                     # scalar
    total, terms = loss.with_terms(logits, target)   # and {"cross_entropy": ..., "dice": ...}

The parts, in the order of the flow: `inputs` checks what comes in and `outputs` takes a network's heads apart; `softmax` (many classes),
`binary` (two classes, regions) and `sigmoid`, `soft` (soft labels) pass over the voxels, on a GPU `fused` does; `statistics` hands their
sums to the terms, a family a file in `terms`, through a `view`, which also shows the `voxels` and `maps` of the target to the few terms
that need them; `term` treats empty references, `weighted` adds, `shares` and `balance` look at the gradients.
To add a term: a class on the view, one line in `TERMS`. Keyword-only arguments of its constructor are its parameters in a config.
Which loss for which lesion: `GUIDE.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.config.schema import LossConfig
from medseg.losses.build import build
from medseg.losses.errors import LossConfigError, LossInputError
from medseg.losses.heads import Boxes, Embedding, SignedDistance
from medseg.losses.terms.boundary import Boundary, HausdorffDistanceTransform
from medseg.losses.terms.boxes import CompleteIoU, DistanceIoU, GeneralizedIoU
from medseg.losses.terms.compound import Combo, ExponentialLogarithmic
from medseg.losses.terms.confusion import MatthewsCorrelation, SensitivitySpecificity
from medseg.losses.terms.cross_entropy import BalancedBinaryCrossEntropy, BinaryCrossEntropy, CrossEntropy
from medseg.losses.terms.dice import Dice, DicePlusPlus, LogCoshDice, SquaredDice
from medseg.losses.terms.divergence import KLDivergence
from medseg.losses.terms.embedding import Center
from medseg.losses.terms.focal import Focal, Poly
from medseg.losses.terms.generalized_dice import GeneralizedDice
from medseg.losses.terms.hard_examples import Hinge, TopK
from medseg.losses.terms.instance import Blob, Component
from medseg.losses.terms.jaccard import DiceSemimetric, Jaccard, JaccardMetric
from medseg.losses.terms.lovasz import LovaszHinge, LovaszSoftmax
from medseg.losses.terms.perceptual import Perceptual
from medseg.losses.terms.regression import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError
from medseg.losses.terms.topology import CenterlineDice
from medseg.losses.terms.tversky import FBeta, FocalTversky, Tversky
from medseg.losses.terms.unified_focal import UnifiedFocal
from medseg.losses.weight_maps import InverseComponent
from medseg.losses.weighted import WeightedLoss

__all__ = ["HEADS", "TERMS", "WEIGHT_MAPS", "LossConfigError", "LossInputError", "WeightedLoss", "build_loss"]

TERMS: dict[str, Any] = {
    "bce": BinaryCrossEntropy,
    "balanced_bce": BalancedBinaryCrossEntropy,
    "cross_entropy": CrossEntropy,
    "focal": Focal,
    "poly": Poly,
    "topk": TopK,
    "hinge": Hinge,
    "kl_divergence": KLDivergence,
    "dice": Dice,
    "squared_dice": SquaredDice,
    "dice_plus_plus": DicePlusPlus,
    "log_cosh_dice": LogCoshDice,
    "jaccard": Jaccard,
    "jaccard_metric": JaccardMetric,
    "dice_semimetric": DiceSemimetric,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "f_beta": FBeta,
    "generalized_dice": GeneralizedDice,
    "sensitivity_specificity": SensitivitySpecificity,
    "mcc": MatthewsCorrelation,
    "combo": Combo,
    "exp_log": ExponentialLogarithmic,
    "unified_focal": UnifiedFocal,
    "boundary": Boundary,
    "hausdorff_dt": HausdorffDistanceTransform,
    "blob": Blob,
    "component": Component,
    "lovasz_hinge": LovaszHinge,
    "lovasz_softmax": LovaszSoftmax,
    "cl_dice": CenterlineDice,
    "perceptual": Perceptual,
    "mse": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "huber": Huber,
    "log_cosh": LogCosh,
    "giou": GeneralizedIoU,
    "diou": DistanceIoU,
    "ciou": CompleteIoU,
    "center": Center,
}
"""Config name -> term."""

HEADS: dict[str, Any] = {
    "signed_distance": SignedDistance,
    "boxes": Boxes,
    "embedding": Embedding,
}
"""Config name -> auxiliary head of the network."""

WEIGHT_MAPS: dict[str, Any] = {
    "inverse_component": InverseComponent,
}
"""Config name -> source of a weight map."""


def build_loss(config: Mapping[str, Any] | LossConfig, num_classes: int, heads: Mapping[str, Any] | None = None) -> WeightedLoss:
    """Build the loss that a config's `loss:` section describes.

    Args:
        config: The section, as a `LossConfig` or a plain mapping with the same keys; only `activation` and `terms` must be given.
        num_classes: Channels of the logits; with softmax the background is one of them, the first.
        heads: The config's `network.heads`: name -> `Component`, or a mapping with `name` and `params`. Every one must be used by a term.

    Raises:
        LossConfigError: Unknown keys, names or parameters, values out of range, settings that contradict each other; all of them at once.

    >>> import torch
    >>> loss = build_loss({"activation": "softmax", "terms": [{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}]}, num_classes=2)
    >>> total, terms = loss.with_terms(torch.zeros(1, 2, 4), torch.tensor([[0, 0, 1, 1]]))
    >>> {name: round(value.item(), 4) for name, value in terms.items()}
    {'cross_entropy': 0.6931, 'dice': 0.5}
    """
    return build(config, num_classes, TERMS, WEIGHT_MAPS, heads or {}, HEADS)
