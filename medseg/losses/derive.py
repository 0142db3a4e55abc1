"""What a sum makes of its target alone: apart from terms and their buffers, so that it can be sent to a loader's processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from medseg.config.errors import did_you_mean
from medseg.losses.errors import LossInputError
from medseg.losses.inputs import prepare_spacing, prepare_target, prepare_weight_map
from medseg.losses.maps import JOINT, MAPS
from medseg.losses.outputs import plain
from medseg.losses.setting import Setting
from medseg.losses.voxels import Voxels
from medseg.losses.weight_maps import WeightSource

WEIGHT_MAP = "weight_map"
"""Name of the weight map that the sum's own source makes of a target, among the maps."""


@dataclass(frozen=True)
class Derivation:
    """From a target to the maps that a sum needs; picklable, and free of tensors.

    Args:
        setting: Of the sum.
        ignore_index: Of the sum.
        wanted: Names in `maps.MAPS` of what the terms need.
        weight_source: What makes the weight map of a target, if anything does.
    """

    setting: Setting
    ignore_index: int | None
    wanted: tuple[str, ...]
    weight_source: WeightSource | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all that is made: the weight map, if there is a source of it, and the terms' maps."""
        return self.wanted if self.weight_source is None else (WEIGHT_MAP, *self.wanted)

    def __call__(self, target: Tensor, spacing: Sequence[float] | None = None, weight_map: Tensor | None = None) -> dict[str, Tensor]:
        """The maps of a target on the CPU, by name; arguments and shapes as in `WeightedLoss.derive`."""
        setting = self.setting
        like = torch.zeros(()).expand(len(target), setting.num_classes, *target.shape[2:])  # logits, of which only the shape counts
        target = prepare_target(plain(target), like, setting.activation, self.ignore_index)
        if weight_map is not None:
            weight_map = prepare_weight_map(plain(weight_map), like, setting.activation)
        sizes = None if spacing is None else prepare_spacing(torch.tensor(list(spacing)), like)
        return self.complete(Voxels(setting, like, target, weight_map, self.ignore_index, sizes, {}), {})

    def complete(self, voxels: Voxels, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that the sum needs: what was given, checked by `check`, and the rest made of the voxels, which have the given maps too."""
        maps = {name: given[name] for name in self.names if name in given}
        if self.weight_source is not None and WEIGHT_MAP not in maps:
            maps[WEIGHT_MAP] = self.weight_source(voxels)
        return {name: maps[name] if name in maps else voxels.map(name) for name in self.names}

    def check(self, given: Mapping[str, Tensor], logits: Tensor) -> dict[str, Tensor]:
        """Given maps without their metadata. One that exists but that this sum has no use for may be there: a pipeline can serve several.

        Raises:
            LossInputError: There is no such map, or its shape does not fit. A weight map, whose shape has a rule of its own
                (`prepare_weight_map`), is refused here where the sum has no source of one.
        """
        for name, values in given.items():
            if name == WEIGHT_MAP:
                if self.weight_source is None:
                    raise LossInputError(
                        f"the sum makes no {WEIGHT_MAP} of its target, so none belongs to the maps; give it as `weight_map`"
                    )
                continue
            if name not in MAPS:
                near = did_you_mean(name, [*MAPS, WEIGHT_MAP]) or f"there are {', '.join(MAPS)}"
                raise LossInputError(f"there is no map '{name}'; {near}")
            channels = 1 if name in JOINT else self.setting.num_foreground
            shape = (len(logits), channels, *logits.shape[2:])
            if tuple(values.shape) != shape:
                raise LossInputError(f"the map '{name}' has the shape {tuple(values.shape)}, must have {shape}: a channel for each mask")
        return {name: plain(values) for name, values in given.items()}
