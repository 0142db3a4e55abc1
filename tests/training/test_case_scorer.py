from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import LabelSchema
from medseg.data.preparation import PreparedCase
from medseg.metrics import CaseMetrics, MetricOptions
from medseg.training import case_scorer
from medseg.training.case_scorer import CaseScorer

LABELS = LabelSchema.exclusive({"lesion": 1})


def case(name: str, reference: np.ndarray) -> PreparedCase:
    grid = Geometry(reference.shape, np.diag([2.0, 1.0, 1.0, 1.0]))
    return PreparedCase(Case(name, (Path("x"),), Path("y"), "p"), reference[None].astype(np.float32), reference, grid, grid, reference)


def maps() -> list[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(f"c{number}", *(rng.random((2, 6, 7, 5)) > 0.7).astype(np.uint8)) for number in range(6)]


class TestCaseScorer:
    def test_it_gives_what_scoring_at_once_gives(self) -> None:
        options = MetricOptions(("dice", "hd95", "lesion_f1"))
        scorer = CaseScorer(LABELS, options)
        now, later = (CaseMetrics(LABELS.classes, LABELS.membership, options=options) for _ in range(2))
        for name, reference, prediction in maps():
            scorer.submit(case(name, reference), prediction)
            now.update(name, prediction, reference, (2.0, 1.0, 1.0), "p")
        scorer.collect(later)
        assert later.rows() == now.rows()
        assert len({row.case_id for row in later.rows()}) == 6
        again = CaseMetrics(LABELS.classes, LABELS.membership, options=options)
        scorer.collect(again)
        assert again.rows() == []
        scorer.close()

    def test_scoring_happens_beside_the_caller_and_few_cases_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        release, started = threading.Event(), []

        def slow(case_id: str, *_: object, **__: object) -> None:
            started.append(case_id)
            release.wait(10)

        monkeypatch.setattr(case_scorer, "score_case", slow)
        scorer = CaseScorer(LABELS, MetricOptions())
        prepared = case("a", maps()[0][1])
        start = time.perf_counter()
        scorer.submit(prepared, prepared.reference)
        scorer.submit(prepared, prepared.reference)
        assert time.perf_counter() - start < 5
        third = threading.Thread(target=scorer.submit, args=(prepared, prepared.reference))
        third.start()
        third.join(0.1)
        assert third.is_alive()  # waits for one of the two
        release.set()
        third.join(10)
        assert not third.is_alive()
        scorer.close()
        assert started[0] == "a"

    def test_an_error_in_the_thread_reaches_the_caller(self) -> None:
        scorer = CaseScorer(LABELS, MetricOptions())
        prepared = case("a", maps()[0][1])
        scorer.submit(prepared, np.full_like(prepared.reference, 7))
        with pytest.raises(ValueError, match="7"):
            scorer.collect(CaseMetrics(LABELS.classes, LABELS.membership))
        scorer.close()
