"""Problems that the loss tests share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from medseg.config.losses import idle_settings
from medseg.losses import TERMS, WeightedLoss, build_loss

P = torch.tensor([0.9, 0.4, 0.2, 0.1], dtype=torch.float64)
Y = torch.tensor([1, 1, 0, 0])
"""The four voxels of the golden values."""

ACTIVATIONS = ("softmax", "sigmoid")
NEED_MORE = ("perceptual", "giou", "diou", "ciou", "center")
"""Terms that need a file or an auxiliary head; they are tested in their own files."""
CASES = [
    (name, activation)
    for name, term in TERMS.items()
    for activation in ACTIVATIONS
    if name not in NEED_MORE and term.activation in (None, activation)
]
"""Every other term with every activation that it works with."""
VOXELWISE = ("bce", "balanced_bce", "cross_entropy", "focal", "poly", "topk", "hinge", "kl_divergence", "mse", "mae", "huber", "log_cosh")
SHAPES = ("boundary", "hausdorff_dt", "cl_dice", "blob", "component")
"""Terms to which neighbourhood matters."""
REGIONAL = [(name, activation) for name, activation in CASES if name not in (*VOXELWISE, *SHAPES)]
DENSE = ("topk", "hinge", "kl_divergence", "lovasz_hinge", "lovasz_softmax", "mse", "mae", "huber", "log_cosh", *SHAPES)
"""Terms that look at the voxels themselves."""
ONE_PASS = [(name, activation) for name, activation in CASES if name not in DENSE]


def cases_but(*names: str) -> list[tuple[str, str]]:
    """All cases without those of some terms."""
    return [case for case in CASES if case[0] not in names]


def single(name: str, activation: str, num_classes: int, params: dict[str, Any] | None = None, **settings: Any) -> WeightedLoss:
    """A loss of one term, under those of the settings that it looks at."""
    terms = [{"name": name, "params": params or {}}]
    return build_loss({"activation": activation, "terms": terms, **effective([name], activation, settings)}, num_classes)


def effective(names: Iterable[str], activation: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a sum without those that change nothing, which `build_loss` refuses."""
    looked_at = {key for name in names for key in TERMS[name].looks_at}
    idle = {key for key, _ in idle_settings({"activation": activation, **settings}, looked_at)}
    return {key: value for key, value in settings.items() if key not in idle}


def problem(activation: str, shape: tuple[int, ...] = (3, 3, 5, 4), seed: int = 0, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Random float64 logits and a target of every class."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
    batch, classes, *spatial = shape
    if activation == "softmax":
        return logits, torch.randint(0, classes, (batch, *spatial), generator=generator)
    return logits, torch.randint(0, 2, shape, generator=generator)


def golden(activation: str) -> tuple[Tensor, Tensor]:
    """The golden voxels: one channel of sigmoid, or two classes of softmax."""
    if activation == "sigmoid":
        return torch.logit(P).reshape(1, 1, 4), Y.reshape(1, 1, 4)
    return torch.stack([1 - P, P]).log().unsqueeze(0), Y.unsqueeze(0)


def certain(target: Tensor, activation: str, classes: int, strength: float) -> Tensor:
    """Logits that predict the target, or with a negative strength its opposite."""
    if activation == "sigmoid":
        return strength * (2.0 * target.float() - 1)
    return strength * torch.nn.functional.one_hot(target.long(), classes).movedim(-1, 1).float()


def masks_of(target: Tensor, activation: str, classes: int) -> Tensor:
    """Boolean masks (B, C, *spatial) of a target."""
    if activation == "sigmoid":
        return target > 0
    return torch.nn.functional.one_hot(target.long(), classes).movedim(-1, 1) > 0


def value_and_gradient(loss: WeightedLoss, logits: Tensor, target: Tensor, weight_map: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The loss and the gradient of the logits, of the logits' own type."""
    z = logits.detach().requires_grad_()
    value = loss(z, target, weight_map)
    (gradient,) = torch.autograd.grad(value, z)
    return value.detach(), gradient
