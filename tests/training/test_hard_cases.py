"""Errors of training cases: scored in turns, shared by the ranks, kept in the checkpoint, seen by the loader's processes."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from medseg.data.sampling import HardCase, Random
from medseg.training.hard_cases import HardCases, case_error
from tests.data.sampling.fakes import LESION, ORGANS, FakeStore
from tests.training.patch_runs import Patches, Task, fit, lesions

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


def task_that_predicts(prediction: Any, labels: Any = LESION) -> Any:
    return SimpleNamespace(
        dataset=SimpleNamespace(labels=labels), predictor=SimpleNamespace(predict=lambda _: np.array(prediction, np.uint8))
    )


def error_of(prediction: Any, reference: Any, labels: Any = LESION) -> float:
    return case_error(task_that_predicts(prediction, labels), FakeStore([np.array(reference)], labels).whole(0))


def hard_run(count: int = 5, workers: int = 0, **params: Any) -> tuple[Patches, HardCase]:
    store = lesions(count)
    hard = HardCase(store.indices, LESION, **params)
    return Patches(store, [hard, Random(store.indices, LESION)], workers), hard


class TestCaseError:
    def test_it_is_one_less_the_mean_dice_of_the_classes(self) -> None:
        prediction, reference = [[1, 1, 2, 2], [0, 0, 3, 0]], [[1, 0, 2, 2], [0, 1, 3, 3]]
        # liver 2*1/(2+2), kidney 2*2/(2+2), spleen 2*1/(1+2)
        assert error_of(prediction, reference, ORGANS) == pytest.approx(1 - np.mean([0.5, 1, 2 / 3]))

    def test_a_class_in_neither_map_does_not_count(self) -> None:
        assert error_of([[1, 2]], [[1, 1]], ORGANS) == pytest.approx(1 - np.mean([2 / 3, 0]))

    def test_empty_and_found_empty_is_no_error(self) -> None:
        assert error_of([[0, 0]], [[0, 0]]) == 0
        assert error_of([[0, 1]], [[0, 0]]) == 1

    def test_ignored_voxels_do_not_count(self) -> None:
        assert error_of([[1, 1, 1]], [[1, 255, 255]]) == 0


class Rounds:
    """Validation rounds of one rank or several, without a trainer."""

    def __init__(self, ranks: int = 1, **params: Any) -> None:
        self.runs = [hard_run(**params) for _ in range(ranks)]
        self.callbacks = [HardCases() for _ in range(ranks)]
        self.tasks = [Task() for _ in range(ranks)]
        self.scored: list[list[str]] = [[] for _ in range(ranks)]
        self.barrier, self.given = threading.Barrier(ranks), [torch.empty(0)] * ranks
        for rank, (callback, task) in enumerate(zip(self.callbacks, self.tasks, strict=True)):
            callback.setup(self.trainer(rank), task, "fit")
            task.predictor.predict = self.noting(rank, task.predict)

    def noting(self, rank: int, predict: Any) -> Any:
        return lambda prepared: (self.scored[rank].append(prepared.case.id), predict(prepared))[1]  # type: ignore[func-returns-value]

    def trainer(self, rank: int, **options: Any) -> Any:
        def reduce(values: torch.Tensor, reduce_op: str) -> torch.Tensor:
            assert reduce_op == "sum"
            self.given[rank] = values
            self.barrier.wait()
            return torch.stack(self.given).sum(dim=0)

        world = {"datamodule": self.runs[rank][0], "global_rank": rank, "world_size": len(self.runs)}
        settings = {"state": SimpleNamespace(fn="fit"), "sanity_checking": False, "strategy": SimpleNamespace(reduce=reduce)}
        return SimpleNamespace(**{**world, **settings, **options})

    def validate(self, **options: Any) -> list[list[str]]:
        """One round on every rank; returns the cases that each scored."""
        self.scored[:] = [[] for _ in self.runs]
        threads = [
            threading.Thread(target=callback.on_validation_epoch_end, args=(self.trainer(rank, **options), self.tasks[rank]))
            for rank, callback in enumerate(self.callbacks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.scored


def errors_of_lesions(count: int) -> list[float]:
    """What `Task` gets wrong in the first epoch: case n has 2 or 27 voxels, and n more predicted."""
    return [1 - 2 * size / (2 * size + n) for n, size in enumerate([2 + 25 * (n % 2) for n in range(count)])]


class TestRounds:
    def test_cases_take_turns(self) -> None:
        rounds = Rounds(count=5, cases_per_validation=2)
        (_, hard), wanted = rounds.runs[0], errors_of_lesions(5)
        assert rounds.validate() == [["case0", "case1"]]
        np.testing.assert_allclose(hard.errors, [*wanted[:2], 1, 1, 1], atol=1e-6)
        assert rounds.validate() == [["case2", "case3"]]
        assert rounds.validate() == [["case4", "case0"]]
        np.testing.assert_allclose(hard.errors, wanted, atol=1e-6)

    def test_no_case_twice_in_a_round(self) -> None:
        assert Rounds(count=3, cases_per_validation=8).validate() == [["case0", "case1", "case2"]]

    @pytest.mark.parametrize("ranks", [2, 3])
    def test_ranks_share_the_cases_and_all_get_all_errors(self, ranks: int) -> None:
        rounds = Rounds(ranks, count=5, cases_per_validation=4)
        rounds.validate()
        assert sorted(case for rank in rounds.scored for case in rank) == ["case0", "case1", "case2", "case3"]
        assert max(map(len, rounds.scored)) - min(map(len, rounds.scored)) <= 1
        for _, hard in rounds.runs:
            np.testing.assert_allclose(hard.errors, [*errors_of_lesions(4), 1], atol=1e-6)

    @pytest.mark.parametrize("options", [{"sanity_checking": True}, {"state": SimpleNamespace(fn="validate")}])
    def test_only_while_training(self, options: dict[str, Any]) -> None:
        assert Rounds().validate(**options) == [[]]

    def test_nothing_is_scored_where_no_sampler_asks(self) -> None:
        rounds = Rounds()
        rounds.runs[0][0].patches.mixture.samplers = rounds.runs[0][0].patches.mixture.samplers[1:]
        rounds.callbacks[0].setup(rounds.trainer(0), rounds.tasks[0], "fit")
        assert rounds.validate() == [[]]
        assert rounds.callbacks[0].state_dict() == {}

    def test_state_goes_on_where_it_was(self) -> None:
        first, again = Rounds(count=5, cases_per_validation=3), Rounds(count=5, cases_per_validation=3)
        first.validate()
        again.callbacks[0].load_state_dict(first.callbacks[0].state_dict())
        assert torch.equal(again.runs[0][1].errors, first.runs[0][1].errors)
        assert again.validate() == first.validate() == [["case3", "case4", "case0"]]
        assert torch.equal(again.runs[0][1].errors, first.runs[0][1].errors)

    def test_every_sampler_is_told(self) -> None:
        rounds = Rounds(count=3, cases_per_validation=1)
        patches, other = rounds.runs[0][0].patches, HardCase(rounds.runs[0][0].patches.cases.indices, LESION, cases_per_validation=2)
        patches.mixture.samplers = (*patches.mixture.samplers, other)
        rounds.callbacks[0].setup(rounds.trainer(0), rounds.tasks[0], "fit")
        assert rounds.validate() == [["case0", "case1"]]  # as many as the greediest wants
        np.testing.assert_allclose(other.errors, [*errors_of_lesions(2), 1], atol=1e-6)


class TestRuns:
    def run(self, folder: Path, epochs: int, workers: int = 0, resume: bool = False, every: int = 1) -> Task:
        data, _ = hard_run(5, workers, cases_per_validation=2, exponent=4.0)
        return fit(data, [HardCases()], folder, epochs, resume, every)

    def test_patches_follow_the_errors_and_are_the_same_with_any_number_of_workers(self, tmp_path: Path) -> None:
        plain = self.run(tmp_path, 4)
        assert self.run(tmp_path, 4, workers=2).batches == plain.batches
        unscored = self.run(tmp_path, 4, every=10).batches
        assert unscored[:5] == plain.batches[:5]
        assert unscored[5:] != plain.batches[5:]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_resumed_run_draws_the_same_patches(self, tmp_path: Path, workers: int) -> None:
        whole = self.run(tmp_path / "whole", 5, workers).batches
        self.run(tmp_path / "parts", 2, workers)
        resumed = self.run(tmp_path / "parts", 5, workers, resume=True).batches
        assert resumed == [batch for batch in whole if batch[0] >= 2]

    def test_the_network_is_scored_in_evaluation_mode_without_gradients(self, tmp_path: Path) -> None:
        modes = self.run(tmp_path, 2).modes
        assert len(modes) == 4
        assert not any(modes)
