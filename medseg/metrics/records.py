"""A torchmetrics state of records: bytes of UTF-8, which ranks may hold any number of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from medseg.metrics.counts import IGNORE


class CaseRecords(torchmetrics.Metric):
    """Base of metrics that keep a few numbers per case: ranks may hold different numbers of cases, or none.

    Args:
        kwargs: Of `torchmetrics.Metric`.
    """

    full_state_update = False
    records: list[Tensor] | Tensor

    def __init__(self, **kwargs: Any) -> None:
        # A cached result on a rank without new cases would leave the others waiting for it.
        super().__init__(compute_with_cache=False, **kwargs)
        self.add_state("records", default=[], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the state: torchmetrics gives a rank without cases an empty tensor of it, which must match the other ranks'."""
        return torch.uint8

    @property
    def update_called(self) -> bool:
        """True: a rank without cases is no mistake, so torchmetrics need not warn of it."""
        return True

    def _write(self, lines: bytes) -> None:
        """Keep more lines, each with its end."""
        assert isinstance(self.records, list)
        self.records.append(torch.frombuffer(bytearray(lines), dtype=torch.uint8).to(self.device))

    def _read(self) -> bytes:
        """All lines: of all ranks when synchronised."""
        if isinstance(self.records, list) and not self.records:
            return b""
        return dim_zero_cat(self.records).cpu().numpy().tobytes()

    def _put(self, case_id: str, record: Any) -> None:
        """Keep plain types as the line of a case."""
        self._write(json.dumps([case_id, record]).encode() + b"\n")

    def _cases(self) -> dict[str, Any]:
        """What `_put` kept, by the case's id in their order; the first where a case came twice (a padded sampler, two ranks)."""
        found: dict[str, Any] = {}
        for line in self._read().splitlines():
            case_id, record = json.loads(line)
            found.setdefault(case_id, record)
        return dict(sorted(found.items()))


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """The same values in NumPy."""
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def class_maps(
    probabilities: np.ndarray | Tensor, reference: np.ndarray | Tensor, membership: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each class's probabilities, its true mask, and which voxels count at all.

    Shape:
        probabilities (K, *spatial), reference uint8 ids (*spatial) with 255 where ignored, membership bool (K, V) -> K times three
        (*spatial).

    Raises:
        ValueError: For shapes that do not fit.
    """
    maps, ids = as_array(probabilities), as_array(reference)
    if maps.shape != (len(membership), *ids.shape):
        raise ValueError(f"the probabilities have the shape {maps.shape}, not {(len(membership), *ids.shape)}")
    considered = ids != IGNORE
    for probability, member in zip(maps, membership, strict=True):
        inside = np.zeros(256, dtype=np.bool_)
        inside[: len(member)] = member
        yield probability, inside[ids], considered
