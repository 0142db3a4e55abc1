"""What every network of medseg promises, whichever library it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torch import Tensor, nn

from medseg.config.errors import ConfigError, config_error
from medseg.config.schema import SEGMENTATION

Logits: TypeAlias = Tensor | list[Tensor]


class SegmentationNetwork(nn.Module):
    """A network that maps images (B, C, *spatial) to logits (B, K, *spatial).

    With deep supervision, in training mode, it gives a list of logits instead, finest first, each coarser one at its own resolution. With
    auxiliary heads, in training mode, it gives a mapping: the logits, or their list, under `segmentation`, and each head's output
    (B, its channels, *spatial) under its name. State-dict keys start with `body.`, whatever the library.

    Args:
        body: The network itself; its last layer has a channel for each logit, then those of the heads in their order.
        spatial_dims: 2 or 3.
        in_channels: Image channels.
        out_channels: Logits a voxel.
        divisor: Input sizes must be multiples of this, one number a spatial axis; inference pads up to it.
    """

    heads: Mapping[str, int]
    """Channels of each auxiliary head."""

    def __init__(self, body: nn.Module, *, spatial_dims: int, in_channels: int, out_channels: int, divisor: Sequence[int]) -> None:
        super().__init__()
        self.body = body
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.divisor = tuple(divisor)
        self.heads = {}

    def set_heads(self, heads: Mapping[str, int]) -> None:
        """Take the last channels of the body, so far logits, as those of auxiliary heads: name -> number of channels."""
        self.out_channels -= sum(heads.values())
        self.heads = dict(heads)

    def forward(self, image: Tensor) -> Logits | dict[str, Logits]:
        """Give the logits, in training mode also the heads. Raises ValueError when the size is no multiple of `divisor`."""
        if any(size % step for size, step in zip(image.shape[2:], self.divisor, strict=True)):
            raise ValueError(f"image size {tuple(image.shape[2:])} must be a multiple of {self.divisor} along each axis")
        outputs: Logits = self.body(image)
        if not self.heads:
            return outputs
        finest, *coarser = outputs if isinstance(outputs, list) else [outputs]
        logits, *parts = finest.split([self.out_channels, *self.heads.values()], dim=1)
        if not self.training:
            return logits
        levels = [logits, *(level[:, : self.out_channels] for level in coarser)]
        return {SEGMENTATION: levels if isinstance(outputs, list) else logits, **dict(zip(self.heads, parts, strict=True))}

    def check_size(self, size: Sequence[int], key: str) -> None:
        """Raise ConfigError when a patch or window of this size, set by the config's `key`, does not fit the network."""
        if any(n % step for n, step in zip(size, self.divisor, strict=True)):
            near = [max(1, round(n / step)) * step for n, step in zip(size, self.divisor, strict=True)]
            message = f"{list(size)} must be a multiple of {list(self.divisor)}, by which the network divides its input"
            raise config_error(key, message, f"use for example {near}")


def invalid(key: str, message: str, suggestion: str | None = None) -> ConfigError:
    """Make the error for a setting of the network that shows to be wrong only when it is built."""
    return config_error(f"network.{key}", message, suggestion)


def product(strides: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Multiply the strides of all levels, axis by axis."""
    total = [1] * len(strides[0])
    for stride in strides:
        total = [a * b for a, b in zip(total, stride, strict=True)]
    return tuple(total)
