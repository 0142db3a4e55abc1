"""Several samplers, each with its exact share of the patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from medseg.data.labels import LabelSchema
from medseg.data.sampling.base import Sampler, Voxel
from medseg.data.sampling.hard_case import HardCase
from medseg.data.sampling.shares import Shares
from medseg.errors import DataError

if TYPE_CHECKING:
    from medseg.config.schema import SamplerConfig
    from medseg.data.store.index import CaseIndex

_ORDER = 1  # third word of the seed of a batch's order; patches have two words


class Mixture:
    """Gives each patch of a run to one of several samplers, as a function of the seed and the patch's number alone.

    Every batch holds each sampler's share of it, rounded up or down, and all batches so far its share of them within one patch (see
    `Shares`). Within a batch the order is shuffled, so that of the ranks which split it none always gets the same sampler's.

    Args:
        samplers: Those of the same cases.
        fractions: The share of each; together 1.
        batch_size: Patches a step, over all ranks.
        seed: Of the order within batches.
    """

    def __init__(self, samplers: Sequence[Sampler], fractions: Sequence[float], batch_size: int, seed: int) -> None:
        self.samplers = tuple(samplers)
        self.batch_size = batch_size
        self.seed = seed
        self._shares = Shares(fractions, batch_size)
        self._batch: tuple[int, list[int]] = (-1, [])

    @property
    def hard_cases(self) -> list[HardCase]:
        """The samplers that want to know the errors of the cases."""
        return [sampler for sampler in self.samplers if isinstance(sampler, HardCase)]

    def sampler_of(self, patch: int) -> int:
        """Which sampler the `patch`-th patch of the run belongs to."""
        batch, place = divmod(patch, self.batch_size)
        if self._batch[0] != batch:
            self._batch = (batch, self._order(batch))
        return self._batch[1][place]

    def draw(self, patch: int, rng: np.random.Generator) -> tuple[int, Voxel]:
        """Draws the number of a case and the voxel that the `patch`-th patch of the run is centred on."""
        return self.samplers[self.sampler_of(patch)].draw(rng)

    def _order(self, batch: int) -> list[int]:
        order = np.repeat(np.arange(len(self.samplers)), self._shares.seats(batch))
        if self.batch_size > 1 and len(self.samplers) > 1:
            np.random.default_rng([self.seed, batch, _ORDER]).shuffle(order)
        return order.tolist()


def build_mixture(items: Sequence[SamplerConfig], cases: Sequence[CaseIndex], labels: LabelSchema, batch_size: int, seed: int) -> Mixture:
    """Builds the samplers that `data.sampling` names; one with the share 0 is not built.

    Args:
        items: The samplers by name, with their shares, which add up to 1.
        cases: What the prepared store knows of each training case.
        labels: Names of the classes.
        batch_size: Patches a step, over all ranks.
        seed: Of the order within batches.

    Raises:
        DataError: A parameter is out of range, or no case has what a sampler centres on; the message names the key.
    """
    from medseg.data import SAMPLERS  # here, since the registries' module imports this one

    samplers, fractions = [], []
    for index, item in enumerate(items):
        if item.fraction > 0:
            try:
                samplers.append(SAMPLERS[item.name](cases, labels, **item.params))
            except DataError as error:
                raise DataError(f"data.sampling[{index}] ({item.name}): {error}") from error
            fractions.append(item.fraction)
    return Mixture(samplers, fractions, batch_size, seed)
