"""Views of lesions by size: in metrics, over ranks and interruptions, and in a line at the end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medseg.data.sampling import LesionBalanced, Random
from medseg.training.exposure import Exposure, summary
from tests.data.sampling.fakes import LESION
from tests.training.patch_runs import Logged, Patches, fit, lesions

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")

KEYS = ["train/seen/below_10mm2", "train/seen/from_10mm2"]


def patches(count: int = 4, workers: int = 0) -> Patches:
    """Each case has a lesion of two pixels, every second one also one of 25."""
    store = lesions(count)
    return Patches(store, [LesionBalanced(store.indices, LESION), Random(store.indices, LESION)], workers)


def means(data: Patches, patches_so_far: int) -> list[float]:
    """Looks at the patches themselves."""
    seen = torch.stack([data.patches[index]["lesions_seen"] for index in range(patches_so_far)]).sum(dim=0)
    return [float(views) / total for views, total in zip(seen, data.patches.sizes.totals, strict=True)]


class TestRuns:
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    def test_the_mean_views_of_a_lesion_so_far_are_logged_after_each_epoch(self, tmp_path: Path, workers: int) -> None:
        logged = Logged()
        fit(patches(workers=workers), [Exposure(), logged], tmp_path, 3)
        found = [[row[key] for key in KEYS] for row in logged.rows]
        assert found == [pytest.approx(means(patches(), 10 * epochs)) for epochs in (1, 2, 3)]
        assert found[0][0] > 0

    def test_an_interrupted_run_goes_on_counting(self, tmp_path: Path) -> None:
        logged = Logged()
        fit(patches(), [Exposure()], tmp_path, 2)
        fit(patches(), [Exposure(), logged], tmp_path, 3, resume=True)
        assert [logged.rows[0][key] for key in KEYS] == pytest.approx(means(patches(), 30))

    def test_one_line_says_it_at_the_end(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fit(patches(), [Exposure()], tmp_path, 2)
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("views")]
        small, large = means(patches(), 20)
        assert line == f"views of a lesion: below_10mm2 {small:.3g} (of 4 lesions), from_10mm2 {large:.3g} (of 2)"

    def test_nothing_is_said_where_there_are_no_lesions(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        store = lesions(2)
        for index in store.indices:
            index.tables.arrays.update(lesion_classes=index.lesions.classes[:0], lesion_sizes=index.lesions.voxels[:0])  # type: ignore[attr-defined]
            index.tables.arrays.update(lesion_centroids=index.lesions.centroids[:0])  # type: ignore[attr-defined]
            del index.lesions
        logged = Logged()
        fit(Patches(store, [Random(store.indices, LESION)]), [Exposure(), logged], tmp_path, 1)
        assert not any("seen" in key for key in logged.rows[0])
        assert "views" not in capsys.readouterr().out


class TestRanks:
    def test_views_of_all_ranks_add_up_and_only_the_first_speaks(self, capsys: pytest.CaptureFixture[str]) -> None:
        logged: list[dict[str, float]] = []
        others = torch.tensor([3, 1])
        strategy = SimpleNamespace(reduce=lambda values, reduce_op: values + others if reduce_op == "sum" else None)
        task: Any = SimpleNamespace(device=torch.device("cpu"), log_dict=lambda values, **_: logged.append(values))
        for rank in (0, 1):
            trainer: Any = SimpleNamespace(datamodule=patches(), strategy=strategy, is_global_zero=rank == 0)
            callback = Exposure()
            callback.setup(trainer, task, "fit")
            callback.on_train_epoch_start(trainer, task)
            for _ in range(2):
                callback.on_train_batch_end(trainer, task, None, {"lesions_seen": torch.tensor([[1, 0], [1, 1]])}, 0)
            callback.on_train_epoch_end(trainer, task)
            callback.on_train_end(trainer, task)
        assert logged == [{KEYS[0]: (4 + 3) / 4, KEYS[1]: (2 + 1) / 2}] * 2
        assert len(capsys.readouterr().out.splitlines()) == 1


def test_the_line_has_three_digits() -> None:
    assert summary({"all": 1234.567}, [1]) == "views of a lesion: all 1.23e+03 (of 1 lesions)"
