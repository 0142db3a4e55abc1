"""The network as others run it, what they must know to feed it, and the proof that its copy computes the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import medseg
from medseg.errors import RunError
from medseg.inference.load import SavedRun

TOLERANCE = 1e-3
"""Largest difference of a logit between a network and its copy, of 1 or of the largest logit where that is larger."""


class Deployed(nn.Module):
    """A network in eval mode, without its auxiliary heads: image (B, C, *spatial) float32 -> logits (B, C', *spatial).

    Its state-dict keys are those of the run's network.
    """

    def __init__(self, saved: SavedRun) -> None:
        super().__init__()
        network = saved.network()
        self.body, self.out_channels = network.body, network.out_channels
        self.divisor: tuple[int, ...] = network.divisor
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Give the logits. Sizes must be multiples of `divisor`."""
        logits = self.body(image)
        return logits[:, : self.out_channels]


@dataclass(frozen=True)
class Checked:
    """How far a copy is from the network."""

    shapes: tuple[tuple[int, ...], ...]
    """Of the images that both were given."""
    difference: float
    """Largest difference of a logit."""
    largest: float
    """Largest logit, by magnitude."""

    def __str__(self) -> str:
        shapes = " and ".join("x".join(map(str, shape)) for shape in self.shapes)
        return f"largest difference of a logit {self.difference:.1e} (logits up to {self.largest:.3g}; images {shapes})"


def check_copy(network: Deployed, copy: Callable[[Tensor], Tensor], shapes: Sequence[tuple[int, ...]], what: str) -> Checked:
    """Give random images to a network and to its copy.

    Raises:
        RunError: A logit differs by more than `TOLERANCE`, or the copy cannot take a shape.
    """
    generator, differences, largest = torch.Generator().manual_seed(0), [torch.zeros(())], 0.0
    for shape in shapes:
        image = torch.randn(shape, generator=generator)
        with torch.no_grad():
            wanted = network(image)
        found = copy(image)
        if found.shape != wanted.shape:
            raise RunError(f"the {what} gives logits of shape {tuple(found.shape)} for {tuple(wanted.shape)}; export to another format")
        differences.append((found - wanted).abs().max())
        largest = max(largest, float(wanted.abs().max()))
    checked = Checked(tuple(shapes), float(torch.stack(differences).max()), largest)  # NaN survives torch's maximum
    if not checked.difference <= TOLERANCE * max(1.0, largest):
        raise RunError(f"the {what} does not compute what the network does: {checked}; export to another format")
    return checked


def check_shapes(saved: SavedRun, divisor: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that differ in batch and every axis: one window, and two that are about half as long (longer where that is too short)."""
    window = [-(-length // step) * step for length, step in zip(window_of(saved), divisor, strict=True)]
    other = [max(2 * step, length // 2 // step * step) for length, step in zip(window, divisor, strict=True)]
    other = [length + step if length == mine else length for length, mine, step in zip(other, window, divisor, strict=True)]
    channels = len(saved.channels)
    return (1, channels, *window), (2, channels, *other)


def window_of(saved: SavedRun) -> list[int]:
    """The window of prediction, in voxels."""
    return list(saved.config.inference.window or saved.config.data.patch_size)


def description(saved: SavedRun, size: Sequence[int | str]) -> dict[str, Any]:
    """What whoever runs the network without medseg must know, in JSON types; `size` is that of the image's spatial axes."""
    config, data = saved.config, saved.config.data
    background = ["background"] if config.loss.activation == "softmax" else []
    return {
        "medseg": medseg.__version__,
        "name": config.name,
        "image": {
            "size": list(size),
            "channels": list(saved.channels),
            "axes": "right, anterior, superior (RAS+)" if saved.spatial_dims == 3 else "rows, columns",
            "spacing_mm": data.spacing,
            "normalisation": data.normalisation,
            "statistics": saved.statistics,
        },
        "logits": {"activation": config.loss.activation, "channels": [*background, *saved.labels.classes]},
        "labels": saved.labels.to_dict(),
        "window": window_of(saved),
        "overlap": config.inference.overlap,
        "blending": config.inference.blending,
        "postprocessing": None if saved.postprocessing is None else saved.postprocessing.to_dict(),
    }


def any_multiple(divisor: Sequence[int]) -> list[str]:
    """The sizes of images that a network takes, in words."""
    return [f"any multiple of {step}" for step in divisor]
