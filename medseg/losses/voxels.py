"""The voxels themselves, for terms that sums cannot serve: each map in the working precision, computed at most once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses.blocks import working_dtype
from medseg.losses.maps import compute_map
from medseg.losses.setting import Setting


class Voxels:
    """Differentiable maps of the logits, and maps of the target.

    "Foreground channels" (F) are the classes that can hold lesions: all but the background with softmax, all with sigmoid.
    """

    def __init__(
        self,
        setting: Setting,
        logits: Tensor,
        target: Tensor,
        weight_map: Tensor | None,
        ignore_index: int | None,
        spacing: Tensor | None,
        maps: Mapping[str, Tensor],
    ) -> None:
        self.setting, self.spacing = setting, spacing
        self._logits, self._target, self._weight_map = logits, target, weight_map
        self._ignore_index, self._maps = ignore_index, maps

    @property
    def softmax(self) -> bool:
        """Whether classes are exclusive."""
        return self.setting.activation == "softmax"

    @cached_property
    def logits(self) -> Tensor:
        """(B, C, *spatial), float32 (float64 if they are)."""
        return self._logits.to(working_dtype(self._logits))

    @cached_property
    def valid(self) -> Tensor | None:
        """Boolean (B, 1 or C, *spatial): False where ignored; None where nothing can be."""
        if self._ignore_index is None:
            return None
        valid = self._target != self._ignore_index
        if not self.softmax:
            return valid
        return valid[:, :1] if self._target.is_floating_point() else valid.unsqueeze(1)

    @cached_property
    def weight(self) -> Tensor | None:
        """The voxels' weights (B, 1 or C, *spatial), 0 where ignored; None where all are 1."""
        if self._weight_map is None:
            return None if self.valid is None else self.valid.to(self.logits.dtype)
        weight = self._weight_map.detach().to(self.logits.dtype)
        weight = weight.unsqueeze(1) if self.softmax else weight
        return weight if self.valid is None else weight * self.valid

    @cached_property
    def foreground_weight(self) -> Tensor | None:
        """The weights of the foreground channels, (B, 1 or F, *spatial)."""
        return self.weight if self.weight is None or self.softmax else self.weight[:, self.setting.foreground]

    @cached_property
    def probabilities(self) -> Tensor:
        """(B, C, *spatial)."""
        return self.logits.softmax(1) if self.softmax else self.logits.sigmoid()

    @cached_property
    def reference(self) -> Tensor:
        """The target as one map a channel (B, C, *spatial), float: 0 and 1, or soft; 0 where ignored."""
        target = self._target
        if self.softmax and not target.is_floating_point():
            ids = torch.arange(self._logits.shape[1], device=target.device).view(-1, *[1] * (target.ndim - 1))
            return (target.unsqueeze(1) == ids).to(self.logits.dtype)  # an ignored id is no class
        target = target.to(self.logits.dtype)
        return target if self.valid is None else torch.where(self.valid, target, 0.0)

    @cached_property
    def ids(self) -> Tensor:
        """Class ids (B, *spatial), int64, 0 where ignored; for exclusive classes with hard targets."""
        ids = self._target.long()
        return ids if self.valid is None else ids * self.valid[:, 0]

    @cached_property
    def log_loss(self) -> Tensor:
        """-log p of the label that holds: (B, 1, *spatial) for softmax, (B, C, *spatial) for sigmoid; 0 where ignored."""
        if not self.softmax:
            loss = F.binary_cross_entropy_with_logits(self.logits, self.reference, reduction="none")
        elif self._target.is_floating_point():
            loss = -(self.reference * self.logits.log_softmax(1)).sum(1, keepdim=True)
        else:
            loss = F.cross_entropy(self.logits, self.ids, reduction="none").unsqueeze(1)
        return loss if self.valid is None else loss * self.valid

    @cached_property
    def masks(self) -> Tensor:
        """Boolean (B, F, *spatial): where a foreground channel's reference is at least half sure; False where ignored or of weight 0."""
        masks = self.reference[:, self.setting.foreground] > 0.5
        return masks if self.foreground_weight is None else masks & (self.foreground_weight > 0)

    def map(self, name: str) -> Tensor:
        """A map of the target by its name in `maps.MAPS`, (B, F, *spatial): the data pipeline's, or computed here (on the CPU)."""
        if name not in self._maps:
            self._maps = {**self._maps, name: compute_map(name, self.masks, self.spacing)}
        return self._maps[name]
