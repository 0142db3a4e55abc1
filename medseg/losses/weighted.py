"""The weighted sum of terms: one activation, one mask, one pass over the voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medseg.config.schema import WeightSchedule
from medseg.losses.blocks import working_dtype
from medseg.losses.errors import LossInputError
from medseg.losses.inputs import check_logits, prepare_target, prepare_weight_map, shrink
from medseg.losses.schedules import weight_at
from medseg.losses.setting import Setting
from medseg.losses.term import Term
from medseg.losses.view import View
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

    def _terms(self) -> list[Term]:
        return [cast(Term, term) for term in self.terms.values()]

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps of the target that the terms need; see `derive`."""
        return tuple(dict.fromkeys(name for term in self._terms() for name in term.maps))

    def derive(self, target: Tensor, spacing: Sequence[float] | None = None) -> dict[str, Tensor]:
        """The maps that the terms need of a target (B, ...) on the CPU, (B, F, *spatial) each, for a data pipeline's workers.

        Args:
            target: As for the loss itself, with a channel axis.
            spacing: Voxel size in mm, one number an axis; None for voxel units.
        """
        like = torch.zeros(()).expand(len(target), self.setting.num_classes, *target.shape[2:])  # logits, of which only the shape counts
        target = prepare_target(_plain(target), like, self.setting.activation, self.ignore_index)
        sizes = None if spacing is None else torch.tensor([list(spacing)] * len(target))
        voxels = View(self.setting, like, target, ignore_index=self.ignore_index, spacing=sizes).voxels
        return {name: voxels.map(name) for name in self.maps}

    def forward(
        self,
        logits: Logits,
        target: Tensor,
        weight_map: Tensor | None = None,
        *,
        spacing: Tensor | None = None,
        maps: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The weighted sum, a scalar."""
        return self.with_terms(logits, target, weight_map, spacing=spacing, maps=maps)[0]

    def with_terms(
        self,
        logits: Logits,
        target: Tensor,
        weight_map: Tensor | None = None,
        *,
        spacing: Tensor | None = None,
        maps: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term's own value by name: unweighted, detached. A name that repeats gets a suffix: `dice_2`.

        Raises:
            LossInputError: Shapes, types or values that do not fit; the message says what was expected.
        """
        levels = [_plain(level) for level in ([logits] if isinstance(logits, Tensor) else logits)]
        values = self._values(levels, target, weight_map, spacing, maps or {})
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        dtype = working_dtype(levels[0])
        return total.to(dtype), {name: value.detach().to(dtype) for name, value in values.items()}

    def _values(
        self,
        levels: list[Tensor],
        target: Tensor,
        weight_map: Tensor | None,
        spacing: Tensor | None,
        maps: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Each term's value, differentiable: the mean over the levels, each coarser one with half the weight."""
        if not levels:
            raise LossInputError("the list of logits is empty")
        for level in levels:
            check_logits(level, self.setting.num_classes)
        finest = levels[0]
        target = self._hard(prepare_target(_plain(target), finest, self.setting.activation, self.ignore_index))
        if weight_map is not None:
            weight_map = prepare_weight_map(_plain(weight_map), finest, self.setting.activation)
        if self.maps and len(levels) > 1:  # made once, at the finest level
            voxels = self._view(finest, target, weight_map, spacing, maps).voxels
            maps = {name: voxels.map(name) for name in self.maps}
        values: dict[str, Tensor] = {}
        for depth, level in enumerate(levels):
            share = 2.0**-depth / (2 - 2.0 ** (1 - len(levels)))
            view = (
                self._view(level, target, weight_map, spacing, maps)
                if level is finest
                else self._coarser(level, finest, target, weight_map, spacing, maps)
            )
            for name, term in self.terms.items():
                value = share * term(view)
                values[name] = values[name] + value if name in values else value
        return values

    def _hard(self, target: Tensor) -> Tensor:
        """A floating target as integers where a term's formula holds for hard labels only."""
        refusing = [name for name, term in zip(self.terms, self._terms(), strict=True) if not term.soft_targets]
        if not (target.is_floating_point() and refusing):
            return target
        if not ((target == 0) | (target == 1) | (target == self.ignore_index)).all():
            raise LossInputError(f"{', '.join(refusing)} takes no soft labels; the target must hold 0 and 1 only")
        if self.setting.activation == "sigmoid":
            return target.to(torch.uint8 if self.ignore_index is None or 0 <= self.ignore_index <= 255 else torch.int64)
        ids = target.argmax(1)
        return ids if self.ignore_index is None else torch.where(target[:, 0] == self.ignore_index, self.ignore_index, ids)

    def _coarser(
        self,
        logits: Tensor,
        finest: Tensor,
        target: Tensor,
        weight_map: Tensor | None,
        spacing: Tensor | None,
        maps: Mapping[str, Tensor],
    ) -> View:
        """What the terms see of a level of deep supervision: target and maps at its resolution, distances still in mm."""
        spatial = tuple(logits.shape[2:])
        if (
            len(logits) != len(finest)
            or len(spatial) != finest.ndim - 2
            or any(size > full or not size for size, full in zip(spatial, finest.shape[2:], strict=True))
        ):
            raise LossInputError(f"logits {tuple(logits.shape)} are not a coarser level of the first, {tuple(finest.shape)}")
        weight_map = None if weight_map is None else shrink(weight_map, spatial)
        maps = {name: shrink(values, spatial) for name, values in maps.items()}
        return self._view(logits, shrink(target, spatial), weight_map, spacing, maps)

    def _view(self, logits: Tensor, target: Tensor, weight_map: Tensor | None, spacing: Tensor | None, maps: Mapping[str, Tensor]) -> View:
        return View(
            self.setting,
            logits,
            target,
            weight_map,
            self.ignore_index,
            self._functions,
            distributed=self.training,
            spacing=spacing,
            maps=maps,
        )

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
