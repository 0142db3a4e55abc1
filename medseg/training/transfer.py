"""Carry the weights of a trained network into another one, tensor by tensor, and say what became of each."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from medseg.files import atomic_path

Outcome = Literal["loaded", "adapted", "skipped", "new"]


@dataclass(frozen=True)
class Interface:
    """What a network's input and output channels mean, in order."""

    channels: tuple[str, ...]
    outputs: tuple[str, ...]
    """`background` included where the activation is a softmax, then those of the auxiliary heads."""


@dataclass(frozen=True)
class TransferRow:
    """The fate of one tensor."""

    tensor: str
    outcome: Outcome
    """`skipped`: the source has it and it does not fit; `new`: the source has no such tensor. Both keep their initial values."""
    source_shape: str
    target_shape: str
    detail: str


def interface_axes(build: Callable[[int, int], nn.Module], inputs: int, outputs: int) -> tuple[dict[str, int], dict[str, int]]:
    """Find the tensors, and the axis of each, whose size follows the number of input and of output channels.

    Found by building the network with one channel more and comparing shapes, so that it holds for any network without knowing the names
    of its layers.
    """
    base, wider, taller = (_shapes(build, i, o) for i, o in ((inputs, outputs), (inputs + 1, outputs), (inputs, outputs + 1)))
    return _axes(base, wider), _axes(base, taller)


def _shapes(build: Callable[[int, int], nn.Module], inputs: int, outputs: int) -> dict[str, torch.Size]:
    try:
        with torch.device("meta"):  # no memory, no values
            network = build(inputs, outputs)
    except RuntimeError:  # a constructor that computes with values
        network = build(inputs, outputs)
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _axes(base: Mapping[str, torch.Size], other: Mapping[str, torch.Size]) -> dict[str, int]:
    return {
        name: next(axis for axis, (a, b) in enumerate(zip(shape, other[name], strict=True)) if a != b)
        for name, shape in base.items()
        if name in other and shape != other[name] and len(shape) == len(other[name])
    }


def transfer_weights(
    source: Mapping[str, Tensor], target: nn.Module, old: Interface, new: Interface, axes: tuple[Mapping[str, int], Mapping[str, int]]
) -> list[TransferRow]:
    """Load what fits into `target`, in place; adapt the layers that see the image channels or give the classes.

    Input channels: one of the same name keeps its weights, any other gets the mean over the source's channels; where the count
    changes all are scaled by the ratio of the counts, so that the first activation keeps its size. As many channels with
    other names keep their positions. Outputs: a class of the same name
    keeps its weights, a new one its initial values.

    Args:
        source: state dict of the trained network.
        target: the network to fill.
        old: the source's channel and output names.
        new: the target's.
        axes: the target's `interface_axes`.

    Returns:
        A row for every tensor of either network: the target's in their order, then those that only the source has.
    """
    state = target.state_dict()
    rows = []
    for name, initial in state.items():
        given = source.get(name)
        if given is None:
            rows.append(TransferRow(name, "new", "", _shape(initial), "the source has no such tensor"))
            continue
        value, details = given, []
        if name in axes[0] and not _same_order(old.channels, new.channels):
            value = _adapt_inputs(value, axes[0][name], old.channels, new.channels)
            details.append(_by_name("input channels", old.channels, new.channels, "with the mean"))
        if name in axes[1] and old.outputs != new.outputs:
            value = _adapt_outputs(value, initial, axes[1][name], old.outputs, new.outputs)
            details.append(_by_name("outputs", old.outputs, new.outputs, "new"))
        if value.shape != initial.shape:
            rows.append(TransferRow(name, "skipped", _shape(given), _shape(initial), "the shapes differ"))
            continue
        state[name] = value.to(initial.dtype)
        outcome: Outcome = "adapted" if details else "loaded"
        rows.append(TransferRow(name, outcome, _shape(given), _shape(initial), "; ".join(details)))
    target.load_state_dict(state)
    rows += [TransferRow(n, "skipped", _shape(t), "", "the new network has no such tensor") for n, t in source.items() if n not in state]
    return rows


def _same_order(old: Sequence[str], new: Sequence[str]) -> bool:
    """Equal names, or as many with none in common: then the position is the best guess."""
    return tuple(old) == tuple(new) or (len(old) == len(new) and not set(old) & set(new))


def _adapt_inputs(weight: Tensor, axis: int, old: Sequence[str], new: Sequence[str]) -> Tensor:
    if weight.ndim <= axis or weight.shape[axis] != len(old):
        return weight
    mean = weight.mean(axis)
    columns = [weight.select(axis, old.index(name)) if name in old else mean for name in new]
    return torch.stack(columns, axis) * (len(old) / len(new))


def _adapt_outputs(weight: Tensor, initial: Tensor, axis: int, old: Sequence[str], new: Sequence[str]) -> Tensor:
    others_differ = weight.ndim != initial.ndim or any(
        a != b for i, (a, b) in enumerate(zip(weight.shape, initial.shape, strict=True)) if i != axis
    )
    if others_differ or weight.shape[axis] != len(old):
        return weight
    rows = [weight.select(axis, old.index(name)) if name in old else initial.select(axis, i) for i, name in enumerate(new)]
    return torch.stack(rows, axis)


def _by_name(what: str, old: Sequence[str], new: Sequence[str], rest: str) -> str:
    fates = {
        "kept by name": [name for name in new if name in old],
        rest: [name for name in new if name not in old],
        "dropped": [name for name in old if name not in new],
    }
    told = [f"{', '.join(names)} {fate}" for fate, names in fates.items() if names]
    return f"{what} {len(old)} -> {len(new)}: {', '.join(told)}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def write_rows(path: Path, rows: Sequence[TransferRow]) -> None:
    """Write the list as CSV, atomically."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(f.name for f in fields(TransferRow))
        writer.writerows(astuple(row) for row in rows)
