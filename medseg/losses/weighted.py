"""The weighted sum of terms: one activation, one mask, one pass over the voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from medseg.config.schema import WeightSchedule
from medseg.losses.balance import GradientBalance
from medseg.losses.blocks import counting_dtype, working_dtype
from medseg.losses.constants import beside
from medseg.losses.derive import WEIGHT_MAP, Derivation
from medseg.losses.errors import LossInputError
from medseg.losses.inputs import Spacing, check_logits, prepare_spacing, prepare_target, prepare_weight_map, shrink
from medseg.losses.outputs import Outputs, plain, split
from medseg.losses.schedules import weight_at
from medseg.losses.setting import Setting
from medseg.losses.shares import by_name, gradient_norms, shares
from medseg.losses.term import Term
from medseg.losses.view import View
from medseg.losses.voxelwise import VoxelFunction
from medseg.losses.weight_maps import WeightSource


class WeightedLoss(nn.Module):
    r"""$\sum_k w_k L_k$ of terms that share one pass over the logits; made by `medseg.losses.build_loss`.

    Shape:
        - logits: (B, C, *spatial), any floating dtype and memory format, 1-D, 2-D or 3-D; or a list of them, finest first, for deep
          supervision: the losses of the levels are summed with weights 1, 1/2, 1/4, ... normalised to sum 1, and target and weight map are
          brought to each level's resolution by the nearest voxel. Where terms act on auxiliary heads, a mapping with this under
          `segmentation` and what each head gave, (B, its channels, *spatial) at the finest level, under its name.
        - target: softmax, integer class ids (B, *spatial) or (B, 1, *spatial), or soft labels (B, C, *spatial), floating and of sum 1 over
          the classes; sigmoid, (B, C, *spatial) of integers 0 and 1 or of soft labels in [0, 1]. A value
          of `ignore_index` (sigmoid: of an element) removes the voxel (element) from every sum.
        - weight_map: (B, *spatial) or (B, 1, *spatial), sigmoid also (B, C, *spatial); multiplies each voxel in every sum, numerators and
          denominators: 0 is as good as ignored, 2 as good as the voxel twice.
        - value: a scalar, float32 whatever the logits (float64 if they are), >= 0, 0 for a perfect prediction; a graph-connected 0 when
          every voxel is ignored. Exceptions: `boundary` is signed, `combo` with `shift: false` is negative at its best, and with label
          smoothing or soft labels a cross entropy does not fall below the labels' entropy.

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
        *,
        balance: bool = False,
        weight_source: WeightSource | None = None,
    ) -> None:
        super().__init__()
        self.setting = setting
        self.ignore_index = ignore_index
        self.derivation = Derivation(
            setting, ignore_index, tuple(dict.fromkeys(name for *_, term in terms for name in term.maps)), weight_source
        )
        self.balance = GradientBalance(len(terms)) if balance else None
        self.terms = nn.ModuleDict()
        self._weights: list[float | WeightSchedule] = []
        self.schedules: dict[str, WeightSchedule] = {}
        for name, weight, term in terms:
            name = _unused(name, self.terms)
            self.terms[name] = term
            self._weights.append(weight)
            if isinstance(weight, WeightSchedule):
                self.schedules[name] = weight
        self.heads = {term.head.name: term.head for *_, term in terms if term.head is not None}
        self._functions: list[VoxelFunction] = list(dict.fromkeys(function for *_, term in terms for function in term.functions))
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Set scheduled weights to their value in this epoch, counted from 0."""
        self.weights: dict[str, float] = {name: weight_at(weight, epoch) for name, weight in zip(self.terms, self._weights, strict=True)}

    def _terms(self) -> list[Term]:
        return [cast(Term, term) for term in self.terms.values()]

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps of the target that the terms need, and of the weight map if it is made of the target; see `derive`."""
        return self.derivation.names

    def derive(self, target: Tensor, spacing: Sequence[float] | None = None, weight_map: Tensor | None = None) -> dict[str, Tensor]:
        """What the sum makes of a target alone (`maps`), on the CPU, for a data pipeline's workers: hand it in as `maps`, beside `spacing`.

        Each map is (B, F, *spatial), F the foreground channels; a weight map (B, 1, *spatial) with softmax, (B, C, *spatial) with sigmoid.

        Args:
            target: (B, ...) as for the loss itself, with a channel axis.
            spacing: Voxel size in mm, one number an axis; None for voxel units.
            weight_map: The batch's own, if it has one: voxels of weight 0 are in no mask.
        """
        return self.derivation(target, spacing, weight_map)

    def forward(
        self,
        outputs: Outputs,
        target: Tensor,
        weight_map: Tensor | None = None,
        *,
        spacing: Spacing | None = None,
        maps: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The weighted sum, a scalar."""
        return self.with_terms(outputs, target, weight_map, spacing=spacing, maps=maps)[0]

    def with_terms(
        self,
        outputs: Outputs,
        target: Tensor,
        weight_map: Tensor | None = None,
        *,
        spacing: Spacing | None = None,
        maps: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term's own value by name: unweighted, detached. A name that repeats gets a suffix: `dice_2`.

        Raises:
            LossInputError: Shapes, types or values that do not fit; the message says what was expected.
        """
        levels, heads = self._split(outputs)
        return self._sum(self._values(levels, heads, target, weight_map, spacing, maps or {}), working_dtype(levels[0]))

    def with_shares(
        self,
        outputs: Outputs,
        target: Tensor,
        weight_map: Tensor | None = None,
        *,
        spacing: Spacing | None = None,
        maps: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """`with_terms`, and each term's share of the gradient at the outputs, by name; also the measurement that `balance` lives on.

        Costs a backward of the loss (not of the network) for each term more, so call it in some steps, the same on every rank.

        Raises:
            LossInputError: As `with_terms`, or the logits have no gradient.
        """
        levels, heads = self._split(outputs)
        # A mean over a million voxels has gradients below float16's smallest number.
        levels = [_not_half(level) for level in levels]
        heads = {name: _not_half(output) for name, output in heads.items()}
        values = self._values(levels, heads, target, weight_map, spacing, maps or {})
        norms = gradient_norms(list(values.values()), [*levels, *heads.values()], distributed=self.training)
        if self.balance is not None:
            self.balance.update(norms)
        return *self._sum(values, working_dtype(levels[0])), by_name(values, shares(norms, self.effective_weights()))

    def _sum(self, values: dict[str, Tensor], dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and the values alone."""
        weighted = [weight * value for weight, value in zip(self.effective_weights(), values.values(), strict=True)]
        return torch.stack(weighted).sum().to(dtype), {name: value.detach().to(dtype) for name, value in values.items()}

    def effective_weights(self) -> Sequence[float | Tensor]:
        """What the terms are multiplied with: the weights of the epoch, or what `balance` makes of them."""
        weights = list(self.weights.values())
        return weights if self.balance is None else self.balance.effective(weights).unbind()

    def _values(
        self,
        levels: list[Tensor],
        heads: Mapping[str, Tensor],
        target: Tensor,
        weight_map: Tensor | None,
        spacing: Spacing | None,
        maps: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """Each term's value, differentiable: the mean over the levels, each coarser one with half the weight; of a head at the finest."""
        for level in levels:
            check_logits(level, self.setting.num_classes)
        finest = levels[0]
        target = self._hard(prepare_target(plain(target), finest, self.setting.activation, self.ignore_index))
        if weight_map is not None:
            weight_map = prepare_weight_map(plain(weight_map), finest, self.setting.activation)
        if spacing is not None:
            spacing = prepare_spacing(spacing, finest)
        maps = self.derivation.check(maps, finest)
        maps = self.derivation.complete(self._view(finest, target, weight_map, spacing, maps).voxels, maps)  # once, at the finest level
        if WEIGHT_MAP in maps:
            own = prepare_weight_map(maps.pop(WEIGHT_MAP), finest, self.setting.activation)
            weight_map = own if weight_map is None else weight_map * own
        values: dict[str, Tensor] = {}
        for depth, level in enumerate(levels):
            share = 2.0**-depth / (2 - 2.0 ** (1 - len(levels)))
            view = (
                self._view(level, target, weight_map, spacing, maps, heads)
                if level is finest
                else self._coarser(level, finest, target, weight_map, spacing, maps)
            )
            for name, term in zip(self.terms, self._terms(), strict=True):
                if term.head is None:
                    values[name] = values.get(name, 0.0) + share * term(view)
                elif level is finest:
                    values[name] = term(view)
        return values

    def _split(self, outputs: Outputs) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The levels of the logits, and the heads' outputs by name."""
        return split(outputs, self.heads, self.setting.num_foreground)

    def _hard(self, target: Tensor) -> Tensor:
        """A floating target as integers where a term's formula holds for hard labels only.

        That it holds no soft labels is checked on the CPU, as in `prepare_target`; elsewhere they would be cut down (sigmoid) or go to the
        likeliest class (softmax).
        """
        refusing = [name for name, term in zip(self.terms, self._terms(), strict=True) if not term.soft_targets]
        if not (target.is_floating_point() and refusing):
            return target
        if target.device.type == "cpu" and not ((target == 0) | (target == 1) | (target == self.ignore_index)).all():
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
        if spatial != tuple(finest.shape[2:]):
            if spacing is None:  # on the CPU, where maps are made
                spacing = torch.ones(len(logits), len(spatial), dtype=counting_dtype(logits))
            spacing = spacing * beside(spacing, [full / size for full, size in zip(finest.shape[2:], spatial, strict=True)])
        return self._view(logits, shrink(target, spatial), weight_map, spacing, maps)

    def _view(
        self,
        logits: Tensor,
        target: Tensor,
        weight_map: Tensor | None,
        spacing: Tensor | None,
        maps: Mapping[str, Tensor],
        heads: Mapping[str, Tensor] | None = None,
    ) -> View:
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
            heads=heads or {},
        )

    def extra_repr(self) -> str:
        """Settings and weights, for print."""
        return f"{self.setting}, ignore_index={self.ignore_index}, weights={self.weights}"


def _not_half(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _unused(name: str, taken: nn.ModuleDict) -> str:
    unused, number = name, 1
    while unused in taken:
        number += 1
        unused = f"{name}_{number}"
    return unused
