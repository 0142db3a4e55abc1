"""What one pass over the voxels tells all terms of a sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medseg.losses.distributed import sum_over_ranks, world_size
from medseg.losses.inputs import Activation
from medseg.losses.sigmoid import SigmoidSums
from medseg.losses.soft import soft_softmax_sums
from medseg.losses.softmax import SoftmaxSums
from medseg.losses.voxelwise import VoxelFunction, everywhere


@dataclass(frozen=True)
class Counts:
    """Soft confusion counts, each (G, C): G groups of voxels (the samples, or the batch as one), C classes.

    All are sums of non-negative products over the voxels that are not ignored, times the weight map: `tp` of p y, `fp` of p (1 - y),
    `fn` of (1 - p) y. `volume` is the sum of y, `size` that of all voxels; these two carry no gradient.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    volume: Tensor
    size: Tensor

    def where(self, condition: Tensor, other: Counts) -> Counts:
        """Take the counts of `other` where the condition (G, C) holds."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Counts(*(torch.where(condition, theirs, ours) for ours, theirs in pairs))

    def foreground(self) -> Counts:
        """Without the first class."""
        return Counts(*(count[:, 1:] for count in vars(self).values()))


@dataclass(frozen=True)
class Statistics:
    """Sums over the voxels of each group and class, in float64, differentiable with respect to the logits.

    Args:
        counts: Soft confusion counts.
        inside: For each voxel function f, the sum over a class's reference voxels of f(-log p), (G, C).
        outside: The sum over all other voxels of f(-log(1 - p)), (G, C). Softmax: only of functions that are wanted `everywhere`, since
            among exclusive classes every voxel is inside one.
        distributed: Whether groups are spread over the ranks of a distributed training.
    """

    counts: Counts
    inside: dict[VoxelFunction, Tensor]
    outside: dict[VoxelFunction, Tensor]
    distributed: bool = False

    def over_batch(self) -> Statistics:
        """The same of the whole batch as one group (1, C), over all ranks; communicates once."""
        parts = [*vars(self.counts).values(), *self.inside.values(), *self.outside.values()]
        total = torch.stack([part.sum(0, keepdim=True) for part in parts])
        tp, fp, fn, volume, size, *voxelwise = self.over_ranks(total).unbind(0)
        inside, outside = voxelwise[: len(self.inside)], voxelwise[len(self.inside) :]
        return replace(
            self,
            counts=Counts(tp, fp, fn, volume.detach(), size.detach()),
            inside=dict(zip(self.inside, inside, strict=True)),
            outside=dict(zip(self.outside, outside, strict=True)),
        )

    def over_ranks(self, local: Tensor) -> Tensor:
        """The sum over ranks when distributed, else the tensor itself."""
        return sum_over_ranks(local) if self.distributed else local


def collect(
    logits: Tensor,
    target: Tensor,
    weight_map: Tensor | None,
    *,
    activation: Activation,
    functions: Sequence[VoxelFunction],
    ignore_index: int | None,
    distributed: bool,
) -> Statistics:
    """The statistics of each sample, from one pass over logits (B, C, *spatial).

    Shape:
        target (B, *spatial) of ids or (B, C, *spatial) of soft labels, and weight_map (B, *spatial), for softmax; (B, C, *spatial) and
        (B, 1 or C, *spatial) for sigmoid.
    """
    softmax = activation == "softmax"
    soft = softmax and target.is_floating_point()
    z, t = logits.flatten(2), target.flatten(1 if softmax and not soft else 2)
    w = None if weight_map is None else weight_map.detach().flatten(1 if softmax else 2)
    with torch.autocast(logits.device.type, enabled=False):
        if soft:
            sums, counts = soft_softmax_sums(z, t, w, functions, ignore_index)
        else:
            sums, counts = (SoftmaxSums if softmax else SigmoidSums).apply(z, t, w, tuple(functions), ignore_index)
    tp, fp, fn, *rows = sums.unbind(1)
    if softmax:
        inside, outside = rows[: len(functions)], rows[len(functions) :]
    else:
        inside, outside = rows[::2], rows[1::2]
    return Statistics(
        Counts(tp, fp, fn, *counts.unbind(1)),
        inside=dict(zip(functions, inside, strict=True)),
        outside=dict(zip(everywhere(functions) if softmax else functions, outside, strict=True)),
        distributed=distributed and world_size() > 1,
    )
