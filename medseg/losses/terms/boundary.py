"""Losses on distances to the boundary of the reference, in mm: a wrong voxel costs the more, the farther it lies from where it may be.

They look at the foreground channels (with softmax all but the first, whatever `include_background`; with sigmoid all) and are means over
the voxels of the batch and of all ranks, whatever `reduce_over`. Both are blind on an image without foreground, so add them to a region
term. Distances are maps of the target, made by the data pipeline's workers (see `maps.py`); a voxel without weight belongs to no mask. With
soft labels the reference's mask is where they are above 0.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.losses.constants import beside
from medseg.losses.maps import compute_map
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range
from medseg.losses.view import View


class Boundary(Term):
    r"""Moves the predicted surface towards the reference's by distance; a partner with a growing weight for a region term.

    $$ L = \frac{\sum w\,p\,\phi}{\sum w}, \qquad
       \phi = \begin{cases} d & \text{outside} \\ -(d - h) & \text{inside} \end{cases} $$
    over voxels and foreground channels: $d$ the distance in mm to the nearest voxel on the other side of the reference's boundary, $h$ the
    smallest voxel size, so that $\phi = 0$ on the rim and no voxel inside is above 0; $w$ the weight map. Signed: its smallest value, that
    of the perfect prediction, is negative. Without `spacing` distances are in voxels.

    Shape:
        Any that the sum takes, soft labels too: the reference is where they are above 0.5. Value a scalar, in mm, of either sign.

    Empty foreground:
        An empty (or full) reference has no boundary: $\phi = 0$, value and gradient 0. Needs a region term beside it.

    Precision:
        Linear in $p$; distances in float32, sums in float64.

    Args:
        None.

    Source:
        Kervadec et al., MIDL 2019, eq. 5, whose $\phi$ the authors' code computes in voxels, with 1 for $h$. They raise its weight by 0.01
        an epoch beside generalised Dice: `weight: {schedule: linear, start: 0.01, end: 1.0, epochs: 100}`. MONAI's has no voxel size.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "boundary"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # phi = -1 0 1 2: (-0.9 + 0.2 + 2 * 0.1) / 4
        -0.125
    """

    maps = ("signed_distance",)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        voxels = view.voxels
        return view.voxel_mean(voxels.probabilities[:, self.setting.foreground] * voxels.map("signed_distance"))


class HausdorffDistanceTransform(Term):
    r"""A smooth stand-in for the Hausdorff distance: errors count by their distance from both surfaces; for far outliers.

    $$ L = \frac{1}{\sum w} \sum w\,(p - y)^2\,\frac{d_G^{\,a} + d_P^{\,a}}{D^{\,a}} $$
    over voxels and foreground channels: $d_G$ and $d_P$ the distances in mm to the nearest voxel on the other side of the boundary of the
    reference and of the prediction ($p > 0.5$; no gradient through it), $a$ `exponent`, $D$ the diagonal of the sample's image between the
    centres of its corners, so that no distance is above 1; $w$ the weight map.

    Shape:
        Any that the sum takes, soft labels too: $y$ as it is, $d_G$ from where they are above 0.5. Value a scalar in [0, 2].

    Empty foreground:
        $d_G = 0$ where the reference is empty (or full), $d_P = 0$ where the prediction is: with both, value and gradient are 0. False
        positives on an empty image count by their distance to the prediction's own surface only. Needs a region term beside it.

    Precision:
        Distances in float32, sums in float64. Values are small ($D$ is long), so take a weight of 10 and more beside Dice.

    Args:
        exponent: $a$ > 0, how much more distant errors count.
        prediction_distance: Whether to count $d_P$. It depends on the prediction, so that no data pipeline can make it: in every step the
            masks go to the CPU, which works 0.1 s (a few lesions) to 0.3 s (noise) on a patch of 96^3 and channel, and the distances come
            back. Without it the loss is one-sided: it sees distances from the reference only.

    Source:
        Karimi & Salcudean, TMI 2020, eq. 8 with $\alpha$ = `exponent` = 2, there in voxels and not normalised. The authors of the boundary
        loss use the distances inside the masks only; SegLoss has a field of distances to nowhere where a mask is empty, and MONAI, as here,
        0, but no voxel size.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "hausdorff_dt"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # d_G = 2 1 1 2, d_P = 1 1 2 3: (.01*5 + .36*2 + .04*5 + .01*13) / 4 / 3^2
        0.030556
    """

    maps = ("distance",)

    def __init__(self, setting: Setting, *, exponent: float = 2.0, prediction_distance: bool = True) -> None:
        super().__init__(setting)
        self.exponent = check_range("exponent", exponent, 0, above=True)
        self.prediction_distance = prediction_distance

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        voxels, foreground = view.voxels, self.setting.foreground
        p, y = voxels.probabilities[:, foreground], voxels.reference[:, foreground]
        cost = self._relative(voxels.map("distance"), view.spacing)
        if self.prediction_distance:
            mask = p.detach() > 0.5
            if voxels.foreground_weight is not None:
                mask = mask & (voxels.foreground_weight > 0)
            cost = cost + self._relative(compute_map("distance", mask, view.spacing), view.spacing)
        return view.voxel_mean((p - y) ** 2 * cost)

    def _relative(self, distance: Tensor, spacing: Tensor | None) -> Tensor:
        """Distances as fractions of each image's diagonal, to the power."""
        steps = beside(distance, [size - 1 for size in distance.shape[2:]])
        if spacing is not None:
            steps = steps * spacing.to(distance)
        diagonal = steps.norm(dim=-1).expand(len(distance)).view(-1, *[1] * (distance.ndim - 1))
        # A coarser level of deep supervision keeps distances of the finest, whose diagonal is a little longer.
        return (distance / diagonal.clamp_min(torch.finfo(distance.dtype).tiny)).clamp_max(1) ** self.exponent
