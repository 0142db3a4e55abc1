"""Losses on the connectedness of thin structures: vessels, airways, fibres, where one missing voxel cuts a tree.

They look along centre lines, so a break costs as much in a thin branch as in a thick one. They know nothing of width and of compact
structures: sum them with a region loss, which Shit et al. give half of the weight or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.once import differentiable_once
from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.term import Term, check_range, ratio, region_mean
from medseg.losses.view import View


class CenterlineDice(Term):
    r"""Dice of centre lines: rewards a thin structure that stays connected, whatever its width; for vessels, beside `dice`.

    $$ L = 1 - \frac{2\,P\,R}{P + R}, \qquad P = \frac{\sum w\,S(p)\,y + s}{\sum w\,S(p) + s}, \qquad
       R = \frac{\sum w\,S(y)\,p + s}{\sum w\,S(y) + s} $$
    of each foreground channel: the share $P$ of the predicted skeleton that lies in the reference, and the share $R$ of the reference's
    skeleton that is predicted; $w$ the weight map, $s$ `smooth`; the mean over the channels of the batch or of each sample. The soft
    skeleton $S$ sums, as $S \leftarrow S + (1 - S)\,\delta$, what an opening removes, $\delta = \max(0, x - \mathrm{dilate}(\mathrm{erode}
    (x)))$, from an image $x$ and its first `iterations` erosions; erosion takes the minimum of a voxel and its neighbours along the axes,
    dilation the maximum of the box of 3 voxels along each axis.

    Shape:
        Any that the sum takes; value a scalar in [0, 1]. The background of softmax has no centre line and is left out, whatever
        `include_background`.

    Empty foreground:
        `empty: smooth`: the reference's skeleton is empty too and $R = 1$, so $S_P/(S_P + 2s)$ with $S_P$ the sum of the predicted
        skeleton, whose voxels alone have a gradient. Other options of `empty` as for region terms; `volume` is the fraction of
        voxels predicted. Ignored voxels, and those of weight 0, are background in both skeletons.

    Precision:
        Skeletons in float32, sums in float64, the loss as error over error plus hit. Of equal neighbours the voxel itself, then the first
        takes the gradient. The skeleton of the reference is made without a graph; that of the prediction keeps about 12 bytes a voxel and
        iteration. Soft skeletons have gaps, mostly around branchings, so a cut just there goes unseen.

    Args:
        iterations: Erosions, >= 0: at least the largest radius in voxels of any structure. Fewer leave thick ones without a skeleton, and
            more cost time only.
        smooth: $s$ in voxels of a skeleton, >= 0.

    Source:
        Shit, Paetzold et al., CVPR 2021, algorithms 1 and 2 ($k$ is `iterations`). Their code sums over the batch and all channels at once,
        and so does MONAI, background included, which hides a missed vessel.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "cl_dice", "params": {"smooth": 0}}]}, num_classes=1)
        >>> y = torch.tensor([[[[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]]])  # a line, of which the first half is predicted
        >>> z = torch.where(torch.tensor([True, True, False, False]), 200.0 * y - 100, -100.0)
        >>> round(loss(z, y).item(), 6)  # P = 1, R = 1/2: 1 - 1 / 1.5
        0.333333
    """

    looks_at = ("reduce_over", "empty")

    def __init__(self, setting: Setting, *, iterations: int = 10, smooth: float = 1.0) -> None:
        super().__init__(setting)
        if not isinstance(iterations, int) or iterations < 0:
            raise ValueError(f"iterations must be an integer, at least 0, got {iterations}")
        self.iterations = iterations
        self.smooth = check_range("smooth", smooth, 0)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        voxels, foreground = view.voxels, self.setting.foreground
        p, y = voxels.probabilities[:, foreground], voxels.reference[:, foreground]
        w = voxels.foreground_weight
        if w is not None:
            p, y = p.masked_fill(w == 0, 0), y.masked_fill(w == 0, 0)
        of_p = soft_skeleton(p, self.iterations)
        with torch.no_grad():
            of_y = soft_skeleton(y, self.iterations)

        def total(values: Tensor) -> Tensor:
            """Of each sample, and of all channels as the counts are."""
            sums = (values if w is None else values * w).flatten(2).sum(-1, dtype=counting_dtype(values))
            return torch.cat([torch.zeros_like(sums[:, :1]), sums], 1) if voxels.softmax else sums

        sums = [total(of_p * y), total(of_p * (1 - y)), total(of_y * p), total(of_y * (1 - p))]
        return region_mean(view, self._loss, sums=sums, classes=lambda counts: counts.foreground() if voxels.softmax else counts)

    def _loss(self, counts: Counts, counted: Tensor) -> Tensor:
        """One minus the harmonic mean of precision and sensitivity, from hits and errors of both skeletons."""
        hit_p, error_p, hit_y, error_y = counts.more
        precision, invented = _shares(hit_p + self.smooth, error_p)
        sensitivity, missed = _shares(hit_y + self.smooth, error_y)
        both = precision + sensitivity
        return torch.where(both > 0, ratio(precision * missed + sensitivity * invented, both), 1.0)


def _shares(hit: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """What hit and error are of their sum; without either all is hit."""
    return torch.where(hit + error > 0, ratio(hit, hit + error), 1.0), ratio(error, hit + error)


def soft_skeleton(image: Tensor, iterations: int) -> Tensor:
    """The soft skeleton of images (B, F, *spatial) in [0, 1]: what openings remove from them and their erosions.

    >>> soft_skeleton(torch.tensor([[[0, 0, 1, 1, 1, 0, 0.5]]]), 1)
    tensor([[[0.0000, 0.0000, 0.0000, 1.0000, 0.0000, 0.0000, 0.5000]]])
    """
    skeleton = torch.zeros_like(image)
    for _ in range(iterations + 1):
        eroded = _erode(image)
        delta = torch.relu(image - _dilate(eroded))  # a box is no cross: the opening can also add
        skeleton = torch.addcmul(skeleton, delta, 1 - skeleton)
        image = eroded
    return skeleton


def _erode(image: Tensor) -> Tensor:
    """The least of each voxel and its neighbours along the axes."""
    return -_Greatest.apply(-image, range(2, image.ndim))


def _dilate(image: Tensor) -> Tensor:
    """The greatest of the box of three voxels along every axis, one axis after the other."""
    for axis in range(2, image.ndim):
        image = _Greatest.apply(image, [axis])
    return image


class _Greatest(torch.autograd.Function):
    """The greatest of each voxel and its two neighbours along some axes; those outside the image do not count.

    Keeps a byte a voxel, where pooling keeps eight, and adds gradients up in a fixed order.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, axes: Sequence[int]) -> Tensor:
        """The greatest, and which it was."""
        best = image.clone(memory_format=torch.contiguous_format)
        winner = torch.zeros_like(best, dtype=torch.uint8) if ctx.needs_input_grad[0] else None
        for number, (here, there) in enumerate(_neighbours(image.shape, axes), start=1):
            if winner is not None:
                winner[here].masked_fill_(image[there] > best[here], number)
            torch.maximum(best[here], image[there], out=best[here])
        ctx.axes = axes
        ctx.save_for_backward(winner)
        return best

    @staticmethod
    @differentiable_once
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """To the winner of each."""
        (winner,) = ctx.saved_tensors
        result = grad * (winner == 0)
        for number, (here, there) in enumerate(_neighbours(grad.shape, ctx.axes), start=1):
            result[there] += grad[here] * (winner[here] == number)
        return result, None


def _neighbours(shape: Sequence[int], axes: Sequence[int]) -> list[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """For each direction along the axes: the voxels that have a neighbour there, and those neighbours."""
    pairs = []
    for axis in axes:
        first, last = slice(0, max(0, shape[axis] - 1)), slice(1, None)
        before = (slice(None),) * axis
        pairs += [((*before, last), (*before, first)), ((*before, first), (*before, last))]
    return pairs
