"""What every term of the sum has in common, and the treatment of empty references, once for all region terms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from medseg.losses.inputs import Activation
from medseg.losses.outputs import Head
from medseg.losses.setting import Setting
from medseg.losses.statistics import Counts
from medseg.losses.view import View
from medseg.losses.voxelwise import VoxelFunction


class Term(nn.Module):
    """A function of what the terms of a sum share.

    A term names the voxel functions and maps that it needs, if any, and turns a view into a scalar. Keyword-only arguments of its
    constructor are its parameters in a config; a ValueError there starts with the parameter's name.
    """

    activation: Activation | None = None
    """The only activation that it works with; None for both. A literal, which the config's checks read without importing torch."""
    sibling: str | None = None
    """The term to take with the other activation."""
    functions: tuple[VoxelFunction, ...] = ()
    """Voxel functions whose sums it needs."""
    maps: tuple[str, ...] = ()
    """Maps of the target that it needs, by their names in `maps.MAPS`."""
    soft_targets = True
    """Whether its formula holds for soft labels."""
    kinds: tuple[str, ...] = ()
    """Keys of `HEADS`: the kinds of auxiliary head that it can act on. Its constructor then takes the head after the setting."""
    needs_head = False
    """Whether it can act on nothing but a head."""
    looks_at: tuple[str, ...] = ()
    """Which of `include_background`, `reduce_over` and `empty` it looks at. A literal, as `activation`."""
    axes: int | None = None
    """The only number of spatial axes that it works with; None for any."""

    def __init__(self, setting: Setting, head: Head | None = None) -> None:
        super().__init__()
        self.setting, self.head = setting, head
        if head is not None:
            self.maps = (*self.maps, *head.maps)

    def forward(self, view: View) -> Tensor:
        """The term's value, a scalar."""
        raise NotImplementedError


def region_mean(
    view: View,
    region_loss: Callable[[Counts, Tensor], Tensor],
    *,
    sums: Sequence[Tensor] = (),
    classes: Callable[[Counts], Counts] | None = None,
) -> Tensor:
    """The mean over classes (and over samples, with `reduce_over: sample`) of a loss on soft counts, minding empty references.

    `region_loss(counts, counted)` gives the loss (G, C) of each group and class; `counted` (G, C) tells which classes take part, for
    losses that join classes in one ratio. `sums` (B, C), further sums over each sample's voxels of all classes, are summed over the batch,
    exchanged and restricted to classes as the counts are, and reach it as `counts.more`. `classes` takes the counts of all classes to those
    of the mean; without it, all but a background that the setting leaves out.

    What happens where a reference is empty, so that all p is false positive (S its sum, N the voxels, s the smoothing):

    ======== ============================================== ======================================== =========================
    `empty`  loss of the class                              gradient of a voxel's p                  of all N voxels at p = 1
    ======== ============================================== ======================================== =========================
    smooth   the ratio as it is, for Dice S / (S + s)       s / (S + s)^2: 1 / s, but none once      1 (gradient s / N^2)
                                                            S >> s
    skip     none, and not in the mean                      none: needs a voxelwise partner          none
    volume   S / N, the volume fraction predicted           1 / N, whatever S                        1
    batch    the ratio with the counts of the whole batch   that of the other samples' lesions;      as the batch
                                                            as `smooth` if all are empty
    ======== ============================================== ======================================== =========================

    Gradients are divided by the number of (sample, class) pairs in the mean; one that is ignored altogether is not in it. With
    `reduce_over: batch` a reference is empty when it is in the whole batch (over all ranks), and `batch` means the same as `smooth`.
    Nothing left in the mean gives a graph-connected 0.
    """
    setting = view.setting
    over_samples = setting.reduce_over == "sample"
    whole = view.batch.counts
    if sums:
        whole = replace(whole, more=view.over_ranks(torch.stack([rows.sum(0, keepdim=True) for rows in sums])).unbind(0))
    counts = replace(view.samples.counts, more=tuple(sums)) if over_samples else whole
    if classes is not None:
        counts, whole = classes(counts), classes(whole)
    elif setting.drops_background:
        counts, whole = counts.foreground(), whole.foreground()
    absent, seen = counts.volume == 0, counts.size > 0
    if setting.empty == "batch" and over_samples:
        counts = counts.where(absent, whole)
    counted = ~absent if setting.empty in ("skip", "volume") else seen
    loss = region_loss(counts, counted)
    if setting.empty == "volume":
        loss = torch.where(absent, ratio(counts.fp, counts.size), loss)
    taken = counted if setting.empty == "skip" else seen
    total, number = torch.where(taken, loss, 0.0).sum(), taken.sum()
    return view.mean_over_ranks(total, number) if over_samples else total / number.clamp_min(1)


def ratio(part: Tensor, whole: Tensor) -> Tensor:
    """The ratio part / whole where both are sums of non-negative numbers; 0 / 0 is 0."""
    return part / whole.clamp_min(1e-30)  # whose inverse still fits float32, in which the gradient goes back to the voxels


def per_class(values: float | Sequence[float], count: int, name: str) -> list[float]:
    """`count` non-negative numbers, from a list or one number for all; ValueError otherwise."""
    given: Any = values.tolist() if isinstance(values, Tensor) else values
    if _is_number(given):
        given = [given] * count
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable) or not all(map(_is_number, given := list(given))):
        raise ValueError(f"{name} must be a number or a list of numbers, got {values!r}")
    numbers = [float(value) for value in given]
    if len(numbers) != count:
        raise ValueError(f"{name} must have one value a class, {count}, got {len(numbers)}")
    if not all(0 <= number < float("inf") for number in numbers):
        raise ValueError(f"{name} must be finite and not negative, got {numbers}")
    return numbers


def check_range(name: str, value: float, low: float, high: float = float("inf"), *, above: bool = False) -> float:
    """The value, if it is a number and low <= value <= high (low < value with `above`); ValueError otherwise."""
    if not _is_number(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    if not (low < value if above else low <= value) or not value <= high or value == float("inf"):
        bound = f"above {low:g}" if above else f"at least {low:g}"
        raise ValueError(f"{name} must be {bound}{f' and at most {high:g}' if high < float('inf') else ''}, got {value}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
