from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data import labels, normalisation
from medseg.data.case import Case, DataSet
from medseg.data.store import PreparedStore, building, index
from medseg.data.store.building import Budget, estimate, run
from medseg.errors import DataError

CASES = [Case(str(n), (Path(f"{n}.nii"),), None, str(n)) for n in range(12)]


class TestRun:
    def test_cases_in_work_stay_within_the_memory_of_the_largest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(building, "LEAST_MEMORY", 0)
        costs = {case.id: 10.0 if case.id == "3" else 3.0 for case in CASES}
        working: list[str] = []
        together: list[list[str]] = []
        guard = threading.Lock()

        def work(case: Case, step: Callable[[], None]) -> None:
            with guard:
                working.append(case.id)
                together.append(list(working))
            time.sleep(0.01)
            with guard:
                working.remove(case.id)

        done: list[str] = []
        assert run(CASES, work, lambda case: costs[case.id], workers=8, done=lambda case: done.append(case.id)) == []
        assert sorted(done) == sorted(costs)
        assert max(sum(costs[name] for name in names) for names in together) == 10
        assert max(len(names) for names in together) == 3
        assert ["3"] in together

    def test_small_cases_run_together_whatever_their_size(self) -> None:
        barrier = threading.Barrier(4, timeout=10)
        assert run(CASES[:4], lambda case, step: barrier.wait() and None, lambda case: 100.0, workers=4, done=lambda case: None) == []

    def test_faults_come_in_the_order_of_the_cases(self) -> None:
        def work(case: Case, step: Callable[[], None]) -> None:
            time.sleep(0.02 if case.id == "1" else 0)
            if case.id in "1 2":
                raise DataError(f"fault {case.id}")

        faults = run(CASES[:4], work, lambda case: 1.0, workers=4, done=lambda case: None)
        assert [(case.id, str(error)) for case, error in faults] == [("1", "fault 1"), ("2", "fault 2")]

    def test_an_error_that_is_no_fault_ends_the_others_at_their_next_step(self) -> None:
        begun, ended = threading.Event(), threading.Event()

        def work(case: Case, step: Callable[[], None]) -> None:
            if case.id == "0":
                begun.wait(10)
                raise RuntimeError("bug")
            begun.set()
            try:
                for _ in range(1000):
                    step()
                    time.sleep(0.01)
            except building.Stopped:
                ended.set()
                raise

        with pytest.raises(RuntimeError, match="bug"):
            run(CASES[:2], work, lambda case: 1.0, workers=2, done=lambda case: None)
        assert ended.is_set()


class TestBudget:
    def test_it_is_given_back_after_an_error(self) -> None:
        budget = Budget(10)
        with pytest.raises(RuntimeError), budget.taken(10):
            raise RuntimeError
        with budget.taken(10):
            pass


class TestEstimate:
    def test_it_grows_with_voxels_channels_and_finer_spacing(self, make_dataset: Callable[..., DataSet], tmp_path: Path) -> None:
        (case,) = make_dataset(1, shape=(20, 30, 10)).cases
        plain = estimate(case, None)
        assert plain >= 20 * 30 * 10 * (4 + 4 + 2 + 1)
        assert estimate(Case("two", case.images * 2, case.label, "g"), None) > 1.3 * plain
        assert estimate(case, (0.5, 0.5, 0.5)) > 30 * plain
        nibabel.save(nibabel.Nifti1Image(np.zeros((20, 30, 20), np.float32), np.eye(4)), tmp_path / "large.nii")
        assert estimate(Case("large", (tmp_path / "large.nii",), None, "g"), None) == pytest.approx(2 * plain)

    def test_a_spacing_that_no_memory_holds_is_refused(self, make_dataset: Callable[..., DataSet]) -> None:
        (case,) = make_dataset(1).cases
        with pytest.raises(DataError, match=r"data\.spacing"):
            estimate(case, (1e-3, 1e-3, 1e-3))

    def test_a_case_that_cannot_be_read_takes_nothing(self, tmp_path: Path) -> None:
        assert estimate(Case("gone", (tmp_path / "gone.nii",), None, "g"), None) == 0


class TestMemory:
    def test_preparing_takes_less_than_twice_the_case(
        self, make_dataset: Callable[..., DataSet], open_store: Callable[..., PreparedStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module, block in ((index, "_AT_ONCE"), (labels, "_AT_ONCE"), (normalisation, "_BLOCK")):
            monkeypatch.setattr(module, block, 2**13)  # of a real case, too, they are a small part
        dataset = make_dataset(1, shape=(128, 128, 64))
        store = open_store(dataset)
        label = np.zeros((128, 128, 64), np.uint8)
        label[10:110, 10:110, 8:60] = 1  # an organ, half of the volume
        nibabel.save(nibabel.Nifti1Image(label, nibabel.load(dataset.cases[0].images[0]).affine), dataset.cases[0].label)
        tracemalloc.start()
        try:
            store.build(dataset.cases)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * (4 + 1) * label.size  # float32 and uint8
