"""What a network hands to the loss: logits, perhaps at several levels, and the outputs of auxiliary heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from torch import Tensor

from medseg.config.schema import SEGMENTATION
from medseg.losses.blocks import working_dtype
from medseg.losses.errors import LossInputError
from medseg.losses.view import View

Logits: TypeAlias = Tensor | Sequence[Tensor]
Outputs: TypeAlias = Logits | Mapping[str, Logits]


class Head:
    """Auxiliary output channels of the network, and what they mean; see `heads.py`.

    Args:
        name: What the config calls it, and its key among the network's outputs.
    """

    maps: tuple[str, ...] = ()
    """Maps of the target that it needs, by their names in `maps.MAPS`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def outputs(self, classes: Sequence[str], axes: int) -> tuple[str, ...]:
        """What each of its channels stands for, given the names of the foreground classes and the number of spatial axes."""
        raise NotImplementedError

    def output(self, view: View) -> Tensor:
        """What the network gave, (B, channels, *spatial), in the working precision."""
        output = view.heads[self.name]
        return output.to(working_dtype(output))


def split(outputs: Outputs, heads: Mapping[str, Head], foreground: int) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The levels of the logits, finest first, and the heads' outputs by name, once checked.

    Args:
        outputs: Logits, a list of levels, or a mapping with these under `segmentation` and each head's output under its name.
        heads: The heads that terms act on.
        foreground: Number of foreground channels.

    Raises:
        LossInputError: A head is missing, or one is there that no term acts on, or its shape is another.
    """
    given: Mapping[str, Logits] = outputs if isinstance(outputs, Mapping) else {SEGMENTATION: outputs}
    wanted = {SEGMENTATION, *heads}
    if set(given) != wanted:
        raise LossInputError(f"the loss needs the outputs {', '.join(sorted(wanted))}, got {', '.join(sorted(given))}")
    logits = given[SEGMENTATION]
    levels = [plain(level) for level in ([logits] if isinstance(logits, Tensor) else logits)]
    if not levels:
        raise LossInputError("the list of logits is empty")
    found: dict[str, Tensor] = {}
    for name, head in heads.items():
        output, (batch, _, *spatial) = given[name], levels[0].shape
        shape = (batch, len(head.outputs([""] * foreground, len(spatial))), *spatial)
        if not isinstance(output, Tensor) or not output.is_floating_point() or tuple(output.shape) != shape:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise LossInputError(f"the head '{name}' must give a floating tensor of the shape {shape}, got {got}")
        found[name] = plain(output)
    return levels, found


def plain(tensor: Tensor) -> Tensor:
    """Without a subclass that carries metadata (MONAI's), which would follow every operation."""
    return tensor if type(tensor) is Tensor else tensor.as_subclass(Tensor)
