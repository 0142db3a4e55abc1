"""How far the prediction is from a distribution: a teacher's, or that of several raters.

A mean over the voxels that are not ignored, over the whole batch and all ranks, whatever `reduce_over` says.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range
from medseg.losses.view import View


class KLDivergence(Term):
    r"""Draws each voxel's probabilities to given ones; for distillation from a teacher, and for the votes of several raters.

    $$ L = T^2\,\frac{\sum_x w_x \sum_c y_c(x)\,\log \frac{y_c(x)}{p_c(x)}}{\sum_x w_x}, \qquad p = \mathrm{softmax}(z / T) $$
    with $y$ the target, $T$ `temperature`, $w$ the weight map and $0 \log 0 = 0$: the divergence of the prediction *from the target*. With
    sigmoid every channel is a distribution over two labels, $y \log(y / p) + (1 - y) \log((1 - y)/(1 - p))$, in the mean over voxels and
    channels. Cross entropy less the target's own entropy: the same gradient, and 0 where the two agree.

    Shape:
        Softmax: soft labels (B, C, *spatial) that sum to 1, or class ids; sigmoid: (B, C, *spatial), soft or hard; value a scalar in
        [0, inf).

    Empty foreground:
        Nothing special: the voxels' own gradients, $T\,(p - y)/N$.

    Precision:
        From log-probabilities, with full gradient however saturated. Summed as $y \log(y/p) - y + p$, whose every summand is at least 0 and
        exact near 0, where $\log y - \log p$ would leave its rounding errors.

    Args:
        temperature: $T$ > 0. It softens the prediction only: the target must hold the teacher's probabilities at that temperature already.
            $T^2$ keeps the gradient's size.

    Source:
        Hinton, Vinyals, Dean, 2015 (arXiv 1503.02531): the soft part of their objective, less a constant. `torch.nn.KLDivLoss` takes
        log-probabilities and divides by the elements or the samples.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "softmax", "terms": [{"name": "kl_divergence"}]}, num_classes=2)
        >>> round(loss(torch.zeros(1, 2, 1), torch.tensor([[[0.25], [0.75]]])).item(), 6)  # 0.25 log 0.5 + 0.75 log 1.5
        0.130812
    """

    def __init__(self, setting: Setting, *, temperature: float = 1.0) -> None:
        super().__init__(setting)
        self.temperature = check_range("temperature", temperature, 0, above=True)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        z, y = view.voxels.logits / self.temperature, view.voxels.reference
        if self.setting.activation == "softmax":
            divergence = _divergence(y, z.log_softmax(1)).sum(1, keepdim=True)
        else:
            divergence = _divergence(y, F.logsigmoid(z)) + _divergence(1 - y, F.logsigmoid(-z))
        return self.temperature**2 * view.voxel_mean(divergence)


def _divergence(y: Tensor, log_p: Tensor) -> Tensor:
    """The element-wise y log(y / p) - y + p, never negative; the last two cancel in the sum over a distribution."""
    d = y.clamp_min(torch.finfo(y.dtype).tiny).log() - log_p
    near = d.abs() < 1
    small = torch.where(near, d, 0.0)
    return torch.where(near, y * (small + torch.expm1(-small)).relu(), y * d - y + log_p.exp())
