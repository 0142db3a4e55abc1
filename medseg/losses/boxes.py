"""How badly one box fits another: losses of pairs of axis-parallel boxes, in any number of dimensions.

A box is its low and its high corner, (..., axes) each, high >= low. The losses are 0 for equal boxes and have a gradient for disjoint ones.
Value and gradient are finite for equal, disjoint and zero-size boxes; a pair without any volume counts as disjoint.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMALLEST_SIDE = 1e-6
"""Shorter sides count as this long in a box's angle, whose gradient grows with the inverse of its diagonal."""


def generalized_iou_loss(lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
    r"""$1 - GIoU = (U - I)/U + (H - U)/H$ with $I$ the intersection's, $U$ the union's and $H$ the volume of the box around both.

    Shape:
        four times (..., axes); value (...) in [0, 2].

    Source:
        Rezatofighi et al., CVPR 2019, algorithm 1. `torchvision.ops.generalized_box_iou_loss` in 2-D, up to its epsilon.

    >>> low, high = torch.tensor([0.0, 0.0]), torch.tensor([2.0, 2.0])
    >>> generalized_iou_loss(low, high, low + 6, high + 6)  # disjoint: 1 + (64 - 8) / 64
    tensor(1.8750)
    """
    common, union = _overlap(lows, highs, target_lows, target_highs)
    hull = _volume(torch.maximum(highs, target_highs) - torch.minimum(lows, target_lows))
    return _one_minus_iou(common, union) + _ratio((hull - union).clamp_min(0), hull)


def distance_iou_loss(lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
    r"""$1 - DIoU = (U - I)/U + \rho^2 / c^2$ with $\rho$ the distance of the centres and $c$ the diagonal of the box around both.

    Shape:
        four times (..., axes); value (...) in [0, 2).

    Source:
        Zheng et al., AAAI 2020, eq. 5 to 7. `torchvision.ops.distance_box_iou_loss` in 2-D, up to its epsilon.

    >>> low, high = torch.tensor([0.0, 0.0]), torch.tensor([2.0, 2.0])
    >>> distance_iou_loss(low, high, low + 6, high + 6)  # disjoint: 1 + 72 / 128
    tensor(1.5625)
    """
    common, union = _overlap(lows, highs, target_lows, target_highs)
    diagonal = (torch.maximum(highs, target_highs) - torch.minimum(lows, target_lows)).square().sum(-1)
    apart = ((lows + highs - target_lows - target_highs) / 2).square().sum(-1)
    return _one_minus_iou(common, union) + _ratio(apart, diagonal)


def complete_iou_loss(lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
    r"""$1 - CIoU = 1 - DIoU + \alpha v$, $v = \frac{4}{\pi^2} (\Delta \arctan \frac{w}{h})^2$, $\alpha = \frac{v}{1 - IoU + v}$; 2-D only.

    $w$ and $h$ are the sides; which is called the width changes nothing. $\alpha$ has no gradient, and is 0 where it would be 0 / 0: for
    equal boxes, where the formula as it stands is NaN.

    Shape:
        four times (..., 2); value (...) in [0, 3).

    Source:
        Zheng et al., AAAI 2020, eq. 8 to 11. `torchvision.ops.complete_box_iou_loss`, up to its epsilon.

    Raises:
        ValueError: Boxes of another number of axes, which have no single aspect ratio.

    >>> low, high = torch.tensor([0.0, 0.0]), torch.tensor([2.0, 2.0])
    >>> complete_iou_loss(low, high, low, high)
    tensor(0.)
    """
    if lows.shape[-1] != 2:
        raise ValueError(f"the complete IoU compares the aspect ratio of 2-D boxes, got {lows.shape[-1]} axes; take the distance IoU")
    common, union = _overlap(lows, highs, target_lows, target_highs)
    aspect = 4 / math.pi**2 * (_angle(highs - lows) - _angle(target_highs - target_lows)).square()
    share = _ratio(aspect, _one_minus_iou(common, union) + aspect).detach()
    return distance_iou_loss(lows, highs, target_lows, target_highs) + share * aspect


def _overlap(lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> tuple[Tensor, Tensor]:
    """Volumes of intersection and union; each side is clipped at 0, else two gaps would make a positive area."""
    common = _volume((torch.minimum(highs, target_highs) - torch.maximum(lows, target_lows)).clamp_min(0))
    return common, _volume(highs - lows) + _volume(target_highs - target_lows) - common


def _volume(sides: Tensor) -> Tensor:
    """The product of the sides; `prod` would look for zeros in its backward, and wait for the device."""
    volume, *others = sides.unbind(-1)
    for side in others:
        volume = volume * side
    return volume


def _one_minus_iou(common: Tensor, union: Tensor) -> Tensor:
    return torch.where(union > 0, _ratio((union - common).clamp_min(0), union), 1.0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """0 / 0 is 0, without gradient."""
    return torch.where(whole > 0, part / torch.where(whole > 0, whole, 1.0), 0.0)


def _angle(sides: Tensor) -> Tensor:
    width, height = sides.clamp_min(SMALLEST_SIDE).unbind(-1)
    return torch.atan2(width, height)
