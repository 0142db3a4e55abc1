"""A torchmetrics state of records: bytes of UTF-8, which ranks may hold any number of."""

from __future__ import annotations

import json
from typing import Any

import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat


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
