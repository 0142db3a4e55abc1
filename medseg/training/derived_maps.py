"""Maps of the target that the terms of a loss need, made where the patches are made: in the loader's processes, not in the training's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from medseg.data.labels import LabelSchema
from medseg.losses import WeightedLoss
from medseg.losses.derive import Derivation


class DerivedMaps:
    """From the labels of an augmented patch to what `WeightedLoss.derive` makes of them; picklable, for any way to start a process.

    Not the loss itself, whose buffers and networks may be on a GPU.

    Args:
        derivation: Of the loss whose terms need the maps.
        labels: Of the data set.
    """

    def __init__(self, derivation: Derivation, labels: LabelSchema) -> None:
        self.derivation, self.labels = derivation, labels

    def __call__(self, label: Tensor, spacing: Sequence[float]) -> dict[str, Tensor]:
        """The maps (F, *patch) of internal ids (1, *patch) by name; `spacing` in mm."""
        target = self.labels.targets(label.unsqueeze(0), self.derivation.setting.activation)
        return {name: values[0] for name, values in self.derivation(target, spacing).items()}


def derived_maps(loss: WeightedLoss, labels: LabelSchema) -> DerivedMaps | None:
    """What the data module shall apply to each patch; None for a loss that needs no maps."""
    return DerivedMaps(loss.derivation, labels) if loss.maps else None
