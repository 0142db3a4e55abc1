"""All metrics of whole cases as one torchmetrics class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.metrics.case import STANDARD, score_case
from medseg.metrics.options import MetricOptions
from medseg.metrics.packing import pack, unpack
from medseg.metrics.records import CaseRecords, as_array
from medseg.metrics.rows import Row
from medseg.metrics.summary import aggregate


class CaseMetrics(CaseRecords):
    """Score whole cases, and average over cases at the end.

    The state holds each case's rows: ranks may hold different numbers of cases, or none, and a case that was scored twice (a padded
    sampler, two ranks) counts once.

    Args:
        classes: Names of the foreground classes.
        membership: Boolean (K, V) table: whether internal id v belongs to class k.
        options: Which metrics, and by which rules.
        kwargs: Of `torchmetrics.Metric`.

    Example:
        >>> metric = CaseMetrics(["lesion"], np.array([[False, True]]))
        >>> metric.update("a", np.array([[0, 1]], np.uint8), np.array([[1, 1]], np.uint8), spacing=(1.0, 1.0))
        >>> round(float(metric.compute()["dice/lesion"]), 3)
        0.667
    """

    higher_is_better = None  # it returns metrics of both kinds

    def __init__(self, classes: Sequence[str], membership: np.ndarray, options: MetricOptions = STANDARD, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes, self.membership, self.options = tuple(classes), np.asarray(membership, dtype=np.bool_), options

    def update(
        self,
        case_id: str,
        prediction: np.ndarray | Tensor,
        reference: np.ndarray | Tensor,
        spacing: Sequence[float],
        group: str = "",
    ) -> None:
        """Score one whole case.

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
        maps = as_array(prediction), as_array(reference)
        scores = score_case(case_id, group, *maps, self.classes, self.membership, spacing, self.options, list_lesions=False)
        self.add(scores.rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Take the rows of cases that were scored elsewhere: in a thread, while the network predicts the next case.

        Args:
            rows: All rows of each of their cases.
        """
        by_case: dict[str, list[Row]] = {}
        for row in rows:
            by_case.setdefault(row.case_id, []).append(row)
        for case_id, of_case in by_case.items():
            self._put(case_id, pack(of_case))

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
        return [row for record in self._cases().values() for row in unpack(record)]
