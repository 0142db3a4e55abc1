"""All metrics of whole cases as one torchmetrics class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchmetrics
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from medseg.metrics.case import CaseCounts, Row, count_case, rows_of
from medseg.metrics.summary import aggregate


class CaseMetrics(torchmetrics.Metric):
    """Score whole cases, and average over cases at the end.

    The state holds each case's id and counts, as the UTF-8 bytes of a line of JSON: ranks may hold different numbers of cases, or none,
    and a case that was scored twice (a padded sampler, two ranks) counts once.

    Args:
        classes: Names of the foreground classes.
        membership: Boolean (K, V) table: whether internal id v belongs to class k.

    Example:
        >>> metric = CaseMetrics(["lesion"], np.array([[False, True]]))
        >>> metric.update("a", np.array([[0, 1]], np.uint8), np.array([[1, 1]], np.uint8), spacing=(1.0, 1.0))
        >>> round(float(metric.compute()["dice/lesion"]), 3)
        0.667
    """

    full_state_update = False
    higher_is_better = True
    records: list[Tensor] | Tensor

    def __init__(self, classes: Sequence[str], membership: np.ndarray, **kwargs: Any) -> None:
        # A cached result on a rank without new cases would leave the others waiting for it.
        super().__init__(compute_with_cache=False, **kwargs)
        self.classes, self.membership = tuple(classes), np.asarray(membership, dtype=np.bool_)
        self.add_state("records", default=[], dist_reduce_fx="cat")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the state: torchmetrics gives a rank without cases an empty tensor of it, which must match the other ranks'."""
        return torch.uint8

    @property
    def update_called(self) -> bool:
        """True: a rank without cases is no mistake, so torchmetrics need not warn of it."""
        return True

    def update(
        self,
        case_id: str,
        prediction: np.ndarray | Tensor,
        reference: np.ndarray | Tensor,
        spacing: Sequence[float],
        group: str = "",
    ) -> None:
        """Count one whole case.

        Shape:
            prediction, reference: uint8 ids (*spatial), 255 where the reference is ignored.

        Args:
            case_id: Unique name of the case.
            prediction: Predicted ids.
            reference: True ids, in the same grid.
            spacing: Voxel size in mm, one per spatial axis.
            group: The patient; the case id if left out.

        Raises:
            ValueError: For maps that differ in shape, are not uint8 or hold unknown ids.
        """
        counts, _ = count_case(case_id, group, _array(prediction), _array(reference), self.classes, self.membership, spacing)
        line = (json.dumps(counts.to_dict()) + "\n").encode()
        assert isinstance(self.records, list)
        self.records.append(torch.tensor(list(line), dtype=torch.uint8, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        """Average over the cases of all ranks.

        Returns:
            `dice` (mean of the classes' means), `dice/<class>`, `lesion_f1`, ...; NaN where no case is valid. Empty without cases.
        """
        summary = aggregate(self._rows(), bootstrap=0)
        return {key: torch.tensor(one.mean, dtype=torch.float32, device=self.device) for key, one in summary.items()}

    def rows(self) -> list[Row]:
        """The tidy table of all ranks' cases, for `aggregate`. Under DDP every rank must call it."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            return self._rows()

    def _rows(self) -> list[Row]:
        if isinstance(self.records, list) and not self.records:
            return []
        lines = bytes(dim_zero_cat(self.records).cpu().numpy()).decode().splitlines()
        cases = [CaseCounts.from_dict(json.loads(line)) for line in lines]
        first = {case.case_id: case for case in reversed(cases)}
        return [row for case_id in sorted(first) for row in rows_of(first[case_id], self.classes)]


def _array(ids: np.ndarray | Tensor) -> np.ndarray:
    return ids.cpu().numpy() if isinstance(ids, Tensor) else ids
