"""What the terms of one sum share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medseg.losses.inputs import Activation

ReduceOver = Literal["sample", "batch"]
Empty = Literal["smooth", "skip", "volume", "batch"]


@dataclass(frozen=True)
class Setting:
    """What the terms of one sum share."""

    num_classes: int
    activation: Activation
    include_background: bool = False
    reduce_over: ReduceOver = "batch"
    empty: Empty = "smooth"

    @property
    def drops_background(self) -> bool:
        """Whether the first channel is a background that region terms leave out."""
        return self.activation == "softmax" and not self.include_background

    @property
    def foreground(self) -> slice:
        """The channels that can hold lesions: all but the background, which only softmax has."""
        return slice(1, None) if self.activation == "softmax" else slice(None)

    @property
    def num_foreground(self) -> int:
        """How many channels that is."""
        return self.num_classes - 1 if self.activation == "softmax" else self.num_classes
