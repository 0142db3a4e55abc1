"""Logits, target and weight map: checked, and brought to the shapes that the pass over the voxels takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from medseg.losses.blocks import working_dtype
from medseg.losses.errors import LossInputError

Activation = Literal["softmax", "sigmoid"]
Spacing: TypeAlias = Tensor | Sequence[float] | Sequence[Sequence[float]]
"""Voxel size in mm: one number an axis, for all samples or for each."""


def check_logits(logits: Tensor, num_classes: int) -> None:
    """Raise unless logits are floating (B, num_classes, *spatial)."""
    if not logits.is_floating_point():
        raise LossInputError(f"logits must be floating point, got {logits.dtype}")
    if logits.ndim < 3 or logits.shape[1] != num_classes:
        raise LossInputError(f"logits must have the shape (B, {num_classes}, *spatial), got {tuple(logits.shape)}")


def prepare_target(target: Tensor, logits: Tensor, activation: Activation, ignore_index: int | None) -> Tensor:
    """The target as (B, *spatial) class ids (or soft labels (B, C, *spatial)) for softmax, (B, C, *spatial) for sigmoid, once checked.

    Values are checked where that costs no synchronisation, on the CPU. Elsewhere a value that is no label makes the
    loss NaN or trips the device's own index check.

    Raises:
        LossInputError: Another shape or type, an id that is no class, a value outside [0, 1]; the message tells which.
    """
    batch, channels, *spatial = logits.shape
    target = target.detach()  # a teacher's probabilities do not learn from the student
    shape = tuple(target.shape)
    if target.device != logits.device:
        raise LossInputError(f"the target is on {target.device}, the logits are on {logits.device}")
    if activation == "sigmoid":
        if shape == (batch, *spatial) and channels == 1:
            target = target.unsqueeze(1)
        elif shape != (batch, channels, *spatial):
            raise LossInputError(f"sigmoid needs a target of the logits' shape {tuple(logits.shape)}, one mask a channel, got {shape}")
        if target.device.type == "cpu":
            _check_values(target, 0, 1, "a sigmoid target must lie in [0, 1]", ignore_index)
        return target.byte() if target.dtype == torch.bool else target
    if shape == tuple(logits.shape) and target.is_floating_point():
        return _soft_classes(target, ignore_index)
    if shape == (batch, 1, *spatial):
        target = target[:, 0]
    elif shape != (batch, *spatial):
        hint = "; one-hot targets: target.argmax(1), or target.float() as soft labels" if shape == tuple(logits.shape) else ""
        raise LossInputError(f"softmax needs class ids of shape {(batch, *spatial)} or {(batch, 1, *spatial)}, got {shape}{hint}")
    if target.is_floating_point() or target.is_complex():
        raise LossInputError(f"softmax needs integer class ids, got {target.dtype}; convert them with target.long()")
    if target.dtype == torch.bool:
        target = target.byte()
    if target.device.type == "cpu":
        _check_values(target, 0, channels - 1, f"with {channels} classes a label must lie in [0, {channels - 1}]", ignore_index)
    return target


def _soft_classes(target: Tensor, ignore_index: int | None) -> Tensor:
    if ignore_index in (0, 1):  # every voxel that is sure of some class
        raise LossInputError(f"soft labels cannot ignore {ignore_index}, which is a label's value; take another ignore_index, such as 255")
    if target.device.type == "cpu" and target.numel():
        _check_values(target, 0, 1, "soft labels must lie in [0, 1]", ignore_index)
        wrong = (target.sum(1) - 1).abs() > 1e-2  # half precision sums to 1 no better
        if ignore_index is not None:
            wrong &= target[:, 0] != ignore_index
        if wrong.any():
            raise LossInputError(f"soft labels must sum to 1 over the classes of a voxel; {int(wrong.sum())} voxels do not")
    return target


def prepare_weight_map(weight_map: Tensor, logits: Tensor, activation: Activation) -> Tensor:
    """The weight map as (B, *spatial) for softmax, (B, 1 or C, *spatial) for sigmoid.

    Raises:
        LossInputError: Another shape or device, or (checked on the CPU) a weight that is negative or not finite.
    """
    batch, channels, *spatial = logits.shape
    shape = tuple(weight_map.shape)
    if weight_map.device != logits.device:
        raise LossInputError(f"the weight map is on {weight_map.device}, the logits are on {logits.device}")
    if shape == (batch, *spatial):
        weight_map = weight_map.unsqueeze(1)
    elif shape != (batch, 1, *spatial) and not (activation == "sigmoid" and shape == (batch, channels, *spatial)):
        raise LossInputError(f"the weight map must have the shape {(batch, *spatial)} or {(batch, 1, *spatial)}, got {shape}")
    if weight_map.device.type == "cpu" and weight_map.numel():
        low, high = (value.item() for value in weight_map.aminmax())
        if not (low >= 0 and high < float("inf")):
            raise LossInputError(f"the weight map must be finite and not negative, got values from {low:g} to {high:g}")
    return weight_map if activation == "sigmoid" else weight_map[:, 0]


def prepare_spacing(spacing: Spacing, logits: Tensor) -> Tensor:
    """Voxel sizes as (B, axes), of one row for all samples or a row for each, in a tensor or in lists of numbers.

    Raises:
        LossInputError: Another shape or type, or (checked on the CPU) a size that is not above 0.
    """
    try:
        spacing = torch.as_tensor(spacing)
    except (TypeError, ValueError, RuntimeError):
        raise LossInputError(f"the spacing must be a tensor or a list of numbers, got {spacing!r}") from None
    if spacing.dtype == torch.bool or spacing.is_complex():
        raise LossInputError(f"the spacing must hold real numbers, got {spacing.dtype}")
    if not spacing.is_floating_point():
        spacing = spacing.to(working_dtype(logits))
    wanted = (logits.shape[0], logits.ndim - 2)
    if tuple(spacing.shape) not in (wanted, wanted[1:]):
        raise LossInputError(f"the spacing must have the shape {wanted}, one number an axis of each sample, got {tuple(spacing.shape)}")
    if spacing.device.type == "cpu" and not (spacing > 0).all():
        raise LossInputError(f"the spacing must be above 0, got {spacing.tolist()}")
    return spacing.expand(wanted)


def _check_values(target: Tensor, low: int, high: int, rule: str, ignore_index: int | None) -> None:
    if not target.numel():
        return
    least, most = target.aminmax()
    if least >= low and most <= high:  # also False for NaN
        return
    wrong = ~((target >= low) & (target <= high))
    if ignore_index is not None:
        wrong &= target != ignore_index
        rule += f" or be the ignored {ignore_index}"
    if wrong.any():
        found = torch.unique(target[wrong])
        shown = ", ".join(f"{value:g}" for value in found[:5].tolist()) + (", ..." if len(found) > 5 else "")
        raise LossInputError(f"{rule}; the target also holds {shown} ({int(wrong.sum())} voxels)")


def shrink(volume: Tensor, spatial: tuple[int, ...]) -> Tensor:
    """`volume` (..., *its own spatial) at a lower or equal resolution, each voxel taken from the nearest centre.

    >>> shrink(torch.arange(6), (3,))
    tensor([1, 3, 5])
    """
    first = volume.ndim - len(spatial)
    for axis, size in enumerate(spatial, start=first):
        full = volume.shape[axis]
        if size != full:
            centres = (2 * torch.arange(size, device=volume.device) + 1) * full // (2 * size)
            volume = volume.index_select(axis, centres)
    return volume
