"""The weighted sum of terms: one activation, one mask, one pass over the voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.config.schema import WeightSchedule
from medseg.losses.blocks import working_dtype
from medseg.losses.errors import LossInputError
from medseg.losses.inputs import check_logits, prepare_target, prepare_weight_map, shrink
from medseg.losses.schedules import weight_at
from medseg.losses.statistics import collect
from medseg.losses.term import Setting, Term
from medseg.losses.voxelwise import VoxelFunction

Logits = Tensor | Sequence[Tensor]


class WeightedLoss(nn.Module):
    r"""$\sum_k w_k L_k$ of terms that share one pass over the logits; made by `medseg.losses.build_loss`.

    Shape:
        - logits: (B, C, *spatial), any floating dtype and memory format, 1-D, 2-D or 3-D; or a list of them, finest first, for deep
          supervision: the losses of the levels are summed with weights 1, 1/2, 1/4, ... normalised to sum 1, and target and weight map are
          brought to each level's resolution by the nearest voxel.
        - target: softmax, integer class ids (B, *spatial) or (B, 1, *spatial); sigmoid, (B, C, *spatial) of integers 0 and 1 or of soft
          labels in [0, 1]. A value of `ignore_index` (sigmoid: of an element) removes the voxel (element) from every sum.
        - weight_map: (B, *spatial) or (B, 1, *spatial), sigmoid also (B, C, *spatial); multiplies each voxel in every sum, numerators and
          denominators: 0 is as good as ignored, 2 as good as the voxel twice.
        - value: a scalar, float32 whatever the logits (float64 if they are), >= 0, 0 for a perfect prediction; a graph-connected 0 when
          every voxel is ignored.

    Distributed training:
        In training mode under an initialised process group sums run over all ranks, so that every rank returns the loss of the whole batch,
        and the gradient, once averaged by `DistributedDataParallel`, is that of a single process, also for unequal shares. Every rank must
        call it equally often. In evaluation mode each rank speaks for itself.

    Differentiable once: a second backward through the gradient raises.
    """

    def __init__(
        self,
        terms: Sequence[tuple[str, float | WeightSchedule, Term]],
        setting: Setting,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.setting = setting
        self.ignore_index = ignore_index
        self.terms = nn.ModuleDict()
        self._weights: list[float | WeightSchedule] = []
        for name, weight, term in terms:
            self.terms[_unused(name, self.terms)] = term
            self._weights.append(weight)
        self._functions: list[VoxelFunction] = list(dict.fromkeys(function for *_, term in terms for function in term.functions))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set scheduled weights to their value in this epoch, counted from 0."""
        self.weights: dict[str, float] = {name: weight_at(weight, epoch) for name, weight in zip(self.terms, self._weights, strict=True)}

    def forward(self, logits: Logits, target: Tensor, weight_map: Tensor | None = None) -> Tensor:
        """The weighted sum, a scalar."""
        return self.with_terms(logits, target, weight_map)[0]

    def with_terms(self, logits: Logits, target: Tensor, weight_map: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term's own value by name: unweighted, detached. A name that repeats gets a suffix: `dice_2`.

        Raises:
            LossInputError: Shapes, types or values that do not fit; the message says what was expected.
        """
        levels = [_plain(level) for level in ([logits] if isinstance(logits, Tensor) else logits)]
        if not levels:
            raise LossInputError("the list of logits is empty")
        for level in levels:
            check_logits(level, self.setting.num_classes)
        finest = levels[0]
        target = prepare_target(_plain(target), finest, self.setting.activation, self.ignore_index)
        if weight_map is not None:
            weight_map = prepare_weight_map(_plain(weight_map), finest, self.setting.activation)
        shares = [2.0**-depth / (2 - 2.0 ** (1 - len(levels))) for depth in range(len(levels))]
        values: dict[str, Tensor] = {}
        for share, level in zip(shares, levels, strict=True):
            for name, value in self._level(level, finest, target, weight_map).items():
                values[name] = values[name] + share * value if name in values else share * value
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        dtype = working_dtype(finest)
        return total.to(dtype), {name: value.detach().to(dtype) for name, value in values.items()}

    def _level(self, logits: Tensor, finest: Tensor, target: Tensor, weight_map: Tensor | None) -> dict[str, Tensor]:
        if logits is not finest:
            spatial = tuple(logits.shape[2:])
            if (
                len(logits) != len(finest)
                or len(spatial) != finest.ndim - 2
                or any(size > full or not size for size, full in zip(spatial, finest.shape[2:], strict=True))
            ):
                raise LossInputError(f"logits {tuple(logits.shape)} are not a coarser level of the first, {tuple(finest.shape)}")
            target = shrink(target, spatial)
            weight_map = None if weight_map is None else shrink(weight_map, spatial)
        samples = collect(
            logits,
            target,
            weight_map,
            activation=self.setting.activation,
            functions=self._functions,
            ignore_index=self.ignore_index,
            distributed=self.training,
        )
        batch = samples.over_batch()
        return {name: term(samples, batch) for name, term in self.terms.items()}

    def extra_repr(self) -> str:
        """Settings and weights, for print."""
        return f"{self.setting}, ignore_index={self.ignore_index}, weights={self.weights}"


def _plain(tensor: Tensor) -> Tensor:
    """Without a subclass that carries metadata (MONAI's), which would follow every operation."""
    return tensor if type(tensor) is Tensor else tensor.as_subclass(Tensor)


def _unused(name: str, taken: nn.ModuleDict) -> str:
    unused, number = name, 1
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    return unused
