"""Sources of a weight map: what each voxel of a target shall count, in every term of a sum.

`loss.weight_map: {name: inverse_component}` in a config. The map is made of the target once a batch, at the finest level (by the data
pipeline's workers where they run `WeightedLoss.derive`), and multiplies the weight map that comes with the batch, if any. To add one: a
class here, one line in `WEIGHT_MAPS`. Keyword-only arguments of its constructor are its parameters in a config.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.setting import Setting
from medseg.losses.term import check_range
from medseg.losses.voxels import Voxels


class WeightSource(Protocol):
    """Makes a weight map of a target; names the maps that it needs for that."""

    maps: tuple[str, ...]
    """By their names in `maps.MAPS`."""

    def __call__(self, voxels: Voxels) -> Tensor:
        """Weights (B, 1 or C, *spatial), float32."""


class InverseComponent:
    r"""Every lesion counts as much as every other, and as the background, whatever its size; makes any loss see the small ones.

    $$ w(x) = \mathrm{clip}\Big(\frac{N}{(K + 1)\,|P(x)|},\ \text{minimum},\ \text{maximum}\Big) $$
    with $P(x)$ the part that voxel $x$ lies in: one of the $K$ connected components (8-connected in 2-D, 26-connected in 3-D) or the
    background, $|P|$ its voxels and $N$ those of the image. Softmax: one map a sample, from the components of each foreground class.
    Sigmoid: one map a channel of a sample, from the components of that channel.

    Shape:
        Target as the sum takes it; weights (B, 1, *spatial) with softmax, (B, C, *spatial) with sigmoid. A soft target counts as foreground
        where it is above 0.5.

    Empty foreground:
        The background is the only part: weight 1 everywhere, if the bounds allow.

    Precision:
        Voxels are counted in int64. Ignored ones (and those to which the batch itself gives weight 0) belong to no part, do not count in
        $N$, and have weight 0.

    Args:
        minimum: Smallest weight, above 0.
        maximum: Largest weight.

    Source:
        Shirokikh et al., MICCAI 2020, and the authors' code, whose bounds are the defaults. In the Dice of that paper the weights multiply
        numerator and denominator, as here; with a minimum of 1 the background keeps its weight of a plain loss when it fills the image.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> source = {"name": "inverse_component", "params": {"minimum": 0.1}}
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}], "weight_map": source}, num_classes=1)
        >>> loss.derive(torch.tensor([[[1, 0, 1, 1, 0, 0]]]))["weight_map"].squeeze()  # parts of 1, 2 and 3 of 6 voxels
        tensor([2.0000, 0.6667, 1.0000, 1.0000, 0.6667, 0.6667])
    """

    maps = ("components",)

    def __init__(self, setting: Setting, *, minimum: float = 1.0, maximum: float = 2e5) -> None:
        self.joint = setting.activation == "softmax"
        self.minimum = check_range("minimum", minimum, 0, above=True)
        self.maximum = check_range("maximum", maximum, self.minimum)

    def __call__(self, voxels: Voxels) -> Tensor:
        """The weights of a target."""
        numbers = voxels.map("components").long()  # (B, F, *spatial)
        per_channel = numbers.flatten(2).amax(2)  # (B, F) components
        if self.joint:  # classes are exclusive: number the components of all of them through
            before = per_channel.cumsum(1) - per_channel
            shape = (*before.shape, *[1] * (numbers.ndim - 2))
            numbers = torch.where(numbers > 0, numbers + before.view(shape), 0).sum(1, keepdim=True)
            per_channel = per_channel.sum(1, keepdim=True)
        valid = torch.ones_like(numbers) if voxels.weight is None else (voxels.weight > 0).expand_as(numbers).long()
        flat = numbers.flatten(2)
        sizes = flat.new_zeros(*flat.shape[:2], int(per_channel.max()) + 1).scatter_add_(2, flat, valid.flatten(2))
        parts = (per_channel + 1).unsqueeze(2)
        share = sizes.sum(2, keepdim=True).to(counting_dtype(voxels.logits)) / (parts * sizes.clamp_min(1))
        weights = share.clamp(self.minimum, self.maximum).float().gather(2, flat).view_as(numbers)
        return weights * valid
