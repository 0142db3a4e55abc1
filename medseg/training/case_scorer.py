"""Score validation cases in a thread of their own, while the device predicts the next ones."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from medseg.data.labels import LabelSchema
from medseg.data.preparation import PreparedCase
from medseg.metrics import CaseMetrics, CaseScores, MetricOptions, score_case

_WAITING = 2  # predictions that may wait to be scored: more would only hold memory


class CaseScorer:
    """A queue in front of `score_case`.

    Args:
        labels: The classes.
        options: The metrics and their rules.
    """

    def __init__(self, labels: LabelSchema, options: MetricOptions) -> None:
        self.labels, self.options = labels, options
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[CaseScores]] = deque()
        self._scored: list[CaseScores] = []

    def submit(self, prepared: PreparedCase, prediction: np.ndarray) -> None:
        """Take a case; waits where two are waiting already.

        Args:
            prepared: The case, with its reference.
            prediction: uint8 ids in the grid of its files.
        """
        assert prepared.reference is not None, "scored cases have labels"
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="medseg-score")
        while len(self._waiting) >= _WAITING:
            self._scored.append(self._waiting.popleft().result())
        case, labels = prepared.case, self.labels
        arguments = (case.id, case.group, prediction, prepared.reference, labels.classes, labels.membership, prepared.original.spacing)
        # Without rows of lesions, of which a first epoch has hundreds of thousands.
        self._waiting.append(self._pool.submit(score_case, *arguments, self.options, list_lesions=False))

    def collect(self, metrics: CaseMetrics) -> None:
        """Wait for all cases, and add their scores to the metric in the order in which they came."""
        while self._waiting:
            self._scored.append(self._waiting.popleft().result())
        for scores in self._scored:
            metrics.add(scores.rows)
        self._scored = []

    def close(self) -> None:
        """End the thread; cases that wait are dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = None
        self._waiting.clear()
        self._scored = []
