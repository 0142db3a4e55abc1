"""What one pass over the voxels tells all terms of a sum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from medseg.losses.binary import HardSigmoidSums, PairSums
from medseg.losses.distributed import sum_over_ranks, world_size
from medseg.losses.fused import one_pass
from medseg.losses.inputs import Activation
from medseg.losses.sigmoid import SigmoidSums
from medseg.losses.soft import soft_softmax_sums
from medseg.losses.softmax import SoftmaxSums
from medseg.losses.voxelwise import VoxelFunction, everywhere


@dataclass(frozen=True)
class Counts:
    """Soft confusion counts, each (G, C): G groups of voxels (the samples, or the batch as one), C classes.

    All are sums of non-negative products over the voxels that are not ignored, times the weight map: `tp` of p y, `fp` of p (1 - y),
    `fn` of (1 - p) y. `volume` is the sum of y, `size` that of all voxels; these two carry no gradient. `more` are the sums that one term
    needs beside them (`RegionTerm.sums`), which go wherever the counts go.
    """

    tp: Tensor
    fp: Tensor
    fn: Tensor
    volume: Tensor
    size: Tensor
    more: tuple[Tensor, ...] = ()

    @staticmethod
    def of(parts: Iterable[Tensor]) -> Counts:
        """From tensors in the order of `parts`."""
        tp, fp, fn, volume, size, *more = parts
        return Counts(tp, fp, fn, volume, size, tuple(more))

    def parts(self) -> list[Tensor]:
        """All tensors, `more` at the end."""
        return [self.tp, self.fp, self.fn, self.volume, self.size, *self.more]

    @property
    def negatives(self) -> Tensor:
        """The sum of 1 - y."""
        return (self.size - self.volume).clamp_min(0)

    @property
    def tn(self) -> Tensor:
        """The sum of (1 - p) (1 - y), as a difference of FP from the negatives: it is imprecise only where it is small beside FP."""
        return (self.negatives - self.fp).clamp_min(0)

    def complement(self) -> Counts:
        """The counts of "not this class", for each class."""
        return Counts(self.tn, self.fn, self.fp, self.negatives, self.size)

    def where(self, condition: Tensor, other: Counts) -> Counts:
        """Take the counts of `other` where the condition (G, C) holds."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return Counts.of(torch.where(condition, theirs, ours) for ours, theirs in pairs)

    def foreground(self) -> Counts:
        """Without the first class."""
        return Counts.of(part[:, 1:] for part in self.parts())


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
        parts = [*self.counts.parts(), *self.inside.values(), *self.outside.values()]
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
            sums, counts = one_pass(_pass_of(z, t, softmax=softmax), z, t, w, tuple(functions), ignore_index, softmax=softmax)
    tp, fp, fn, *rows = sums.unbind(1)
    if softmax:
        inside, outside = rows[: len(functions)], rows[len(functions) :]
    else:
        inside, outside = rows[::2], rows[1::2]
    return Statistics(
        Counts.of([tp, fp, fn, *counts.unbind(1)]),
        inside=dict(zip(functions, inside, strict=True)),
        outside=dict(zip(everywhere(functions) if softmax else functions, outside, strict=True)),
        distributed=distributed and world_size() > 1,
    )


def _pass_of(
    logits: Tensor, target: Tensor, *, softmax: bool
) -> type[SoftmaxSums] | type[PairSums] | type[HardSigmoidSums] | type[SigmoidSums]:
    """The eager pass that fits: two-way questions with hard labels have a faster one."""
    if softmax:
        return PairSums if logits.shape[1] == 2 else SoftmaxSums
    return SigmoidSums if target.is_floating_point() else HardSigmoidSums
