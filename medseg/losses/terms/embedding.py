"""The loss of an embedding head: features of each voxel that shall be alike within a class.

Three more losses of general deep learning are often listed beside this one and have no place in a segmentation. Large-margin softmax
multiplies the angle to the class weights, which needs a layer of its own and has no sound result on dense masks; what its margin is for,
classes of unequal frequency, `cross_entropy` does with `class_priors`. CTC aligns a sequence of predictions with a shorter one of labels;
here every voxel has its label, and there is nothing to align. The edit distance counts insertions and deletions between two strings: it has
no gradient, and no string.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.heads import Embedding, voxel_weight
from medseg.losses.outputs import Head
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range
from medseg.losses.view import View


class Center(Term):
    r"""Pulls each voxel's features to its class's centre and, with a margin, pushes them from the others'; for compact classes.

    $$ L = \frac{1}{2 \sum w} \sum_x w_x \Big[\lVert f_x - c_{y_x} \rVert^2 +
       \sum_{k \ne y_x} \max\big(0,\ m^2 - \lVert f_x - c_k \rVert^2\big)\Big] $$
    with $f_x$ the head's features of voxel $x$, $y_x$ its class (sigmoid: foreground, if any channel is, or background), $c_k$ the centres,
    $w$ the weight map, $m$ `margin`. In training, after the loss is computed, each centre moves towards the mean $\bar f_k$ of its class in
    the batch (over all ranks): $c_k \leftarrow c_k + r\,(\bar f_k - c_k)$, $r$ `rate`; an absent class's stays, as does one whose mean is
    not finite. Centres start at 0, have no gradient and travel in checkpoints. Without a margin nothing keeps the classes apart but what
    the segmentation asks of shared features.

    Shape:
        Any that the sum takes, hard labels only; value a scalar in [0, inf).

    Empty foreground:
        Nothing special: the background's voxels and their centre.

    Precision:
        Differences in float32, the loss summed in float64; class means by a product of matrices in float32, whatever the autocast.

    Args:
        rate: $r$ in [0, 1].
        margin: $m$, >= 0; 0 is the paper's loss, which features that are all equal fulfil.

    Source:
        Wen et al., ECCV 2016, eq. 2 to 4 ($\lambda$ is the term's weight, $r$ their $\alpha$; their centre's step is divided by one voxel
        more). There the classifier reads the features and keeps them apart; here it stands beside them, hence the margin, our addition.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> config = {"activation": "softmax", "terms": [{"name": "center", "head": "features"}]}
        >>> loss = build_loss(config, num_classes=2, heads={"features": {"name": "embedding", "params": {"dimensions": 1}}})
        >>> outputs = {"segmentation": torch.zeros(1, 2, 2), "features": torch.tensor([[[1.0, 3.0]]])}
        >>> [loss(outputs, torch.tensor([[0, 1]])).item() for _ in range(2)]  # (1 + 9) / 4; then from the centres .5 and 1.5
        [2.5, 0.625]
    """

    kinds = ("embedding",)
    needs_head = True
    soft_targets = False
    centres: Tensor

    def __init__(self, setting: Setting, head: Head, *, rate: float = 0.5, margin: float = 0.0) -> None:
        super().__init__(setting, head)
        self.rate = check_range("rate", rate, 0, 1)
        self.margin = check_range("margin", margin, 0)
        classes = setting.num_classes if setting.activation == "softmax" else 2
        self.register_buffer("centres", torch.zeros(classes, cast(Embedding, head).dimensions))

    def forward(self, view: View) -> Tensor:
        """The term's value; in training mode it moves the centres."""
        features, weight = cast(Embedding, self.head).output(view), voxel_weight(view)
        classes = view.voxels.ids if view.voxels.softmax else view.voxels.masks.any(1).long()
        centres = self.centres.to(features)
        own = centres.T.index_select(1, classes.flatten()).unflatten(1, classes.shape).movedim(0, 1)
        loss = (features - own).square().sum(1, keepdim=True)
        if self.margin > 0:
            for number, centre in enumerate(centres):
                apart = (features - centre.view(-1, *[1] * (features.ndim - 2))).square().sum(1, keepdim=True)
                loss = loss + (self.margin**2 - apart).clamp_min(0) * (classes != number).unsqueeze(1)
        weight = torch.ones_like(loss) if weight is None else weight
        dtype = counting_dtype(features)
        value = view.mean_over_ranks((weight * loss).sum(dtype=dtype) / 2, weight.sum(dtype=dtype))
        if self.training:
            self.move(view, features.detach(), classes, weight)
        return value

    @torch.no_grad()
    def move(self, view: View, features: Tensor, classes: Tensor, weight: Tensor) -> None:
        """One step of every class that the batch holds towards its mean; none where that is not finite, from which no centre returns."""
        dtype = counting_dtype(features)
        members = torch.stack([weight[:, 0] * (classes == number) for number in range(len(self.centres))], 1).flatten(2)
        with torch.autocast(features.device.type, enabled=False):
            totals = torch.einsum("bkn,ben->bke", members, features.flatten(2)).sum(0, dtype=dtype)
        sums = view.over_ranks(torch.cat([totals, members.sum((0, 2), dtype=dtype).unsqueeze(1)], 1))
        totals, voxels = sums[:, :-1], sums[:, -1:]
        mean = totals / torch.where(voxels > 0, voxels, 1)
        step = (self.rate * (mean - self.centres)).to(self.centres)
        self.centres += torch.where((voxels > 0) & step.isfinite().all(1, keepdim=True), step, 0)
