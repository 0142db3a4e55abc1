"""What a term sees: the sums of the one pass, and the voxels themselves for the few terms that need more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.distributed import sum_over_ranks, world_size
from medseg.losses.setting import Setting
from medseg.losses.statistics import Statistics, collect
from medseg.losses.voxels import Voxels
from medseg.losses.voxelwise import VoxelFunction


@dataclass(frozen=True)
class View:
    """One level of logits with its target; nothing is computed before a term asks for it, and nothing twice.

    Args:
        setting: What the terms of the sum share.
        logits: (B, C, *spatial).
        target: As `prepare_target` leaves it.
        weight_map: As `prepare_weight_map` leaves it, or None.
        ignore_index: Target value that counts as no voxel.
        functions: The voxel functions that the terms of the sum need.
        distributed: Whether the batch is spread over the ranks of a distributed training.
        spacing: Voxel size in mm, (B, axes), or None for voxel units.
        maps: Maps of the target that the data pipeline supplied, by name (see `maps.py`).
        heads: What the network's auxiliary heads gave, by name.
    """

    setting: Setting
    logits: Tensor
    target: Tensor
    weight_map: Tensor | None = None
    ignore_index: int | None = None
    functions: Sequence[VoxelFunction] = ()
    distributed: bool = False
    spacing: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    heads: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def soft(self) -> bool:
        """Whether the target holds soft labels."""
        return self.target.is_floating_point()

    @cached_property
    def samples(self) -> Statistics:
        """The sums of each sample."""
        return collect(
            self.logits,
            self.target,
            self.weight_map,
            activation=self.setting.activation,
            functions=self.functions,
            ignore_index=self.ignore_index,
            distributed=self.distributed,
        )

    @cached_property
    def batch(self) -> Statistics:
        """The sums of the whole batch, over all ranks, as one group."""
        return self.samples.over_batch()

    @cached_property
    def voxels(self) -> Voxels:
        """The voxels themselves."""
        return Voxels(self.setting, self.logits, self.target, self.weight_map, self.ignore_index, self.spacing, self.maps)

    def over_ranks(self, local: Tensor) -> Tensor:
        """The sum over ranks when distributed, else the tensor itself."""
        return sum_over_ranks(local) if self.distributed and world_size() > 1 else local

    def mean_over_ranks(self, total: Tensor, number: Tensor) -> Tensor:
        """`total` / `number`, both scalars summed over all ranks; 0 / 0 is a graph-connected 0, and `number` has no gradient."""
        total, number = self.over_ranks(torch.stack([total, number.detach().to(total)])).unbind(0)
        return torch.where(number > 0, total / torch.where(number > 0, number, 1).detach(), total)

    def voxel_mean(self, values: Tensor) -> Tensor:
        """The weighted mean of values (B, K, *spatial) over voxels, channels and ranks."""
        weight, counts = self.voxels.weight, counting_dtype(values)
        total = (values if weight is None else values * weight).sum(dtype=counts)
        number = total.new_full((), values.numel()) if weight is None else weight.expand_as(values).sum(dtype=counts)
        return self.mean_over_ranks(total, number)

    def sample_sums(self, values: Tensor) -> Tensor:
        """Weighted sums (B, K) in float64 of values (B, K, *spatial), of each sample."""
        weight = self.voxels.weight
        return (values if weight is None else values * weight).flatten(2).sum(-1, dtype=counting_dtype(values))
