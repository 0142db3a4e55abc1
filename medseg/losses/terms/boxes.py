"""Losses of the boxes that a `boxes` head sees around lesions.

Each lesion voxel guesses the bounding box of its lesion; its loss says how badly the guess fits, in terms of overlap rather than of single
sides, so that it has no unit. A lesion's voxels share one vote. `giou` pulls boxes over each other, `diou` their centres as well, `ciou`
(2-D) also their shape. For lesions of fewer than five voxels overlap jumps with every voxel: `mae` on the same head is calmer.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from medseg.losses import boxes
from medseg.losses.errors import LossInputError
from medseg.losses.heads import Boxes
from medseg.losses.outputs import Head
from medseg.losses.setting import Setting
from medseg.losses.term import Term
from medseg.losses.view import View


class BoxTerm(Term):
    """The mean over lesions of the mean over their voxels of a loss of two boxes."""

    kinds = ("boxes",)
    needs_head = True

    def __init__(self, setting: Setting, head: Head) -> None:
        super().__init__(setting, head)

    def of_boxes(self, lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
        """The loss of each pair of boxes, given by corners (N, axes)."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        sides = cast(Boxes, self.head).sides(view)
        (low, high), (target_low, target_high) = sides.predicted.unbind(1), sides.target.unbind(1)
        losses = self.of_boxes(-low, high, -target_low, target_high)  # seen from the voxel, so that no precision is lost to its place
        return view.mean_over_ranks((sides.share * losses).sum(), sides.lesions)


class GeneralizedIoU(BoxTerm):
    r"""Overlap of boxes, with a pull where there is none; the robust first choice for a `boxes` head.

    $$ L = \frac1K \sum_k \frac{1}{\sum_{x \in k} w} \sum_{x \in k} w\,\Big[\frac{U - I}{U} + \frac{H - U}{H}\Big] $$
    over the $K$ lesions and their voxels $x$: $I$ and $U$ the volumes of intersection and union of the voxel's box and the lesion's, $H$
    that of the smallest box around both, $w$ the weight map. In brackets stands $1 - GIoU$.

    Shape:
        1-D, 2-D or 3-D; value a scalar in [0, 2].

    Empty foreground:
        A sample without lesions is not in the mean; without any lesion value and gradient are 0.

    Precision:
        Corners relative to the voxel, in float32, summed in float64. The device is waited for twice, to count lesion voxels and
        lesions, however many terms act on the head.

    Args:
        head: Not a parameter but a key of the term: the `boxes` head it acts on.

    Source:
        Rezatofighi et al., CVPR 2019. Blogs' versions that do not clip negative sides give two boxes six apart an intersection of 36.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> config = {"activation": "sigmoid", "terms": [{"name": "giou", "head": "box"}]}
        >>> loss = build_loss(config, num_classes=1, heads={"box": {"name": "boxes", "params": {"scale": 1.0}}})
        >>> sides = torch.full((1, 4, 3, 3), 1.0)  # a box of 2 x 2 around a lesion of one voxel: 1 - 1 / 4
        >>> outputs = {"segmentation": torch.zeros(1, 1, 3, 3), "box": sides.expm1().log()}
        >>> target = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
        >>> target[0, 0, 1, 1] = 1
        >>> round(loss(outputs, target).item(), 6)
        0.75
    """

    def of_boxes(self, lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
        """1 - GIoU."""
        return boxes.generalized_iou_loss(lows, highs, target_lows, target_highs)


class DistanceIoU(BoxTerm):
    r"""Overlap of boxes and distance of their centres; settles sooner than `giou` where one box lies inside the other.

    $$ L = \frac1K \sum_k \frac{1}{\sum_{x \in k} w} \sum_{x \in k} w\,\Big[\frac{U - I}{U} + \frac{\rho^2}{c^2}\Big] $$
    with $\rho$ the distance of the two boxes' centres, $c$ the diagonal of the smallest box around both, in voxels, and all else as in
    `giou`.

    Shape:
        1-D, 2-D or 3-D; value a scalar in [0, 2).

    Empty foreground:
        As `giou`.

    Precision:
        As `giou`.

    Args:
        head: Not a parameter but a key of the term: the `boxes` head it acts on.

    Source:
        Zheng et al., AAAI 2020, eq. 7.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> config = {"activation": "sigmoid", "terms": [{"name": "diou", "head": "box"}]}
        >>> loss = build_loss(config, num_classes=1, heads={"box": {"name": "boxes", "params": {"scale": 1.0}}})
        >>> sides = torch.tensor([0.5, 0.5, 1.5, 1.5]).view(1, 4, 1, 1).expand(1, 4, 3, 3)  # 1 - 1 / 4 + (1 / 2) / 8
        >>> outputs = {"segmentation": torch.zeros(1, 1, 3, 3), "box": sides.expm1().log()}
        >>> target = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
        >>> target[0, 0, 1, 1] = 1
        >>> round(loss(outputs, target).item(), 6)
        0.8125
    """

    def of_boxes(self, lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
        """1 - DIoU."""
        return boxes.distance_iou_loss(lows, highs, target_lows, target_highs)


class CompleteIoU(BoxTerm):
    r"""As `diou`, and the boxes' aspect ratios too; 2-D only.

    $$ L = \frac1K \sum_k \frac{1}{\sum_{x \in k} w} \sum_{x \in k} w\,\Big[\frac{U - I}{U} + \frac{\rho^2}{c^2} + \alpha v\Big], \qquad
       v = \frac{4}{\pi^2} \Big(\arctan \frac{w_1}{h_1} - \arctan \frac{w_2}{h_2}\Big)^2 $$
    with $w_i$ and $h_i$ the sides of the two boxes, $\alpha = v / (1 - IoU + v)$ without gradient, and all else as in `diou`.

    Shape:
        2-D; value a scalar in [0, 3).

    Empty foreground:
        As `giou`.

    Precision:
        As `giou`. $\alpha$ is 0 for equal boxes, where the formula as printed is 0 / 0: NaN at the optimum.

    Args:
        head: Not a parameter but a key of the term: the `boxes` head it acts on.

    Source:
        Zheng et al., AAAI 2020, eq. 8 to 11; the authors' code drops the factor $1 / (w^2 + h^2)$ of the gradient, here it is bounded.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> config = {"activation": "sigmoid", "terms": [{"name": "ciou", "head": "box"}]}
        >>> loss = build_loss(config, num_classes=1, heads={"box": {"name": "boxes", "params": {"scale": 1.0}}})
        >>> sides = torch.full((1, 4, 3, 3), 1.0)  # of the same shape: 1 - 1 / 4
        >>> outputs = {"segmentation": torch.zeros(1, 1, 3, 3), "box": sides.expm1().log()}
        >>> target = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
        >>> target[0, 0, 1, 1] = 1
        >>> round(loss(outputs, target).item(), 6)
        0.75
    """

    axes = 2

    def of_boxes(self, lows: Tensor, highs: Tensor, target_lows: Tensor, target_highs: Tensor) -> Tensor:
        """1 - CIoU."""
        if lows.shape[-1] != self.axes:
            raise LossInputError(f"ciou compares the aspect ratio of 2-D boxes, the logits have {lows.shape[-1]} axes; take diou")
        return boxes.complete_iou_loss(lows, highs, target_lows, target_highs)
