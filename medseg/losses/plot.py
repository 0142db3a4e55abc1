"""What a term answers to, drawn with characters: its value while a lesion is found, and while as much is invented beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from medseg.losses import build_loss
from medseg.losses.setting import Activation

SIZE, RADIUS = 48, 7.5
"""A disk of 172 voxels, 7 % of the image."""
EDGE = 1e-3
"""Probabilities lie between this and one minus this."""
COLUMNS, ROWS = 61, 13

FOUND = "*"
INVENTED = "o"
BOTH = "#"


def disk() -> tuple[Tensor, Tensor]:
    """Boolean (SIZE, SIZE): the lesion, and a ring of equally many voxels around it."""
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    distance = (axis[:, None] ** 2 + axis[None] ** 2).flatten()
    order = distance.argsort(stable=True)
    volume = int((distance <= RADIUS**2).sum())
    lesion, ring = torch.zeros(2, SIZE * SIZE, dtype=torch.bool)
    lesion[order[:volume]] = True
    ring[order[volume : 2 * volume]] = True
    return lesion.view(SIZE, SIZE), ring.view(SIZE, SIZE)


def curves(name: str, activation: Activation | None, params: Mapping[str, Any] | None = None) -> dict[str, list[float]]:
    """A term's values along both ways, `COLUMNS` each: probability x in the lesion, nothing else; x in the ring, the lesion complete.

    Raises:
        LossConfigError: The term cannot be built from its parameters alone.
        LossInputError: It needs more than logits and a target.
    """
    softmax = activation == "softmax"
    terms = [{"name": name, "params": dict(params or {})}]
    loss = build_loss({"activation": activation or "sigmoid", "terms": terms}, num_classes=2 if softmax else 1).eval()
    lesion, ring = disk()
    target = lesion.long()[None] if softmax else lesion.long()[None, None]
    lines: dict[str, list[float]] = {FOUND: [], INVENTED: []}
    for x in torch.linspace(0, 1, COLUMNS):
        for marker, p in ((FOUND, torch.where(lesion, x, 0.0)), (INVENTED, torch.where(lesion, 1.0, torch.where(ring, x, 0.0)))):
            z = torch.logit(p, eps=EDGE)[None, None]
            with torch.no_grad():
                lines[marker].append(loss(torch.cat([torch.zeros_like(z), z], 1) if softmax else z, target).item())
    return lines


def draw(lines: Mapping[str, Sequence[float]], rows: int = ROWS) -> str:
    """Curves over [0, 1], each drawn with its key, on one pair of axes.

    >>> print(draw({"*": [0.0, 1.0, 2.0], "o": [2.0, 1.0, 2.0]}, rows=3))
            2 |o #
            1 | #
            0 |*
              +---
               0 1
    """
    values = [value for line in lines.values() for value in line]
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    width = max(map(len, lines.values()))
    grid = [[" "] * width for _ in range(rows)]
    for marker, line in lines.items():
        for column, value in enumerate(line):
            row = round((high - value) / (high - low) * (rows - 1))
            grid[row][column] = marker if grid[row][column] == " " else BOTH
    labels = {0: high, rows - 1: low, (rows - 1) // 2: (high + low) / 2}
    drawn = [f"{f'{labels[row]:.3g}' if row in labels else '':>9} |{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    return "\n".join([*drawn, f"{'':>10}+{'-' * width}", f"{'':>11}0{'1':>{width - 1}}"])


def plot(name: str, activation: Activation | None) -> str:
    """The picture of a term with its default parameters, and what it shows."""
    lesion, _ = disk()
    part = f"{int(lesion.sum())} voxels of a {SIZE} x {SIZE} image"
    return "\n".join(
        [
            draw(curves(name, activation)),
            "",
            f"value, for a disk of {part}, against x (0 and 1 stand for {EDGE} and {1 - EDGE}):",
            f"  {FOUND}  p = x in the disk and 0 elsewhere: the share of the lesion that is found",
            f"  {INVENTED}  p = 1 in the disk and x in a ring of as many voxels around it: the share of it that is invented",
        ]
    )
