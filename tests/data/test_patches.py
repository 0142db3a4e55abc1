"""Cases and patches as torch data sets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from medseg.data.augmentation import light, none
from medseg.data.case import Case
from medseg.data.labels import LabelSchema
from medseg.data.patches import CaseDataset, CaseSampler, PatchDataset, PatchSampler, only_item
from medseg.data.preparation import PreparedCase, Preparer
from medseg.data.sampling import LesionSampler
from medseg.errors import DataError

LABELS = LabelSchema.exclusive({"lesion": 1})
MakeCases = Callable[[int], list[Case]]


@pytest.fixture
def make_cases(tmp_path: Path) -> MakeCases:
    """Writes pictures with a lesion of a few pixels each, bright on a dark ground; the last one has none."""

    def make(count: int) -> list[Case]:
        cases = []
        for index in range(count):
            rng = np.random.default_rng(index)
            label = np.zeros((20, 24), dtype=np.uint8)
            if index < count - 1:
                row, column = rng.integers(2, 16, size=2)
                label[row : row + 2, column : column + 2] = 1
            image = np.clip(rng.normal(60, 10, label.shape) + 100 * label, 1, 255).astype(np.uint8)
            paths = tmp_path / f"{index}.png", tmp_path / f"{index}_mask.png"
            for path, array in zip(paths, (image, label), strict=True):
                Image.fromarray(array).save(path)
            cases.append(Case(f"case{index}", (paths[0],), paths[1], f"patient{index}"))
        return cases

    return make


def case_dataset(cases: list[Case]) -> CaseDataset:
    return CaseDataset(cases, Preparer("zscore"), LABELS)


def patch_dataset(cases: list[Case], augment: Any = None, cache: float = 1e9, **options: Any) -> PatchDataset:
    dataset, centres = case_dataset(cases), LesionSampler()

    def index(prepared: PreparedCase) -> None:
        assert prepared.label is not None
        centres.add(prepared.label, LABELS)

    dataset.load(cache, references=False, visit=index)
    settings = {"patch_size": (8, 8), "patches_per_epoch": 12, "foreground_fraction": 0.5, "batch_size": 4, "seed": 3}
    return PatchDataset(dataset, centres, augment or none(2), **{**settings, **options})


def batches(patches: PatchDataset, epoch: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0) -> list[dict[str, Any]]:
    sampler = PatchSampler(patches, rank, world_size)
    sampler.set_epoch(epoch)
    context = "fork" if workers else None
    return list(
        DataLoader(patches, patches.batch_size // world_size, sampler=sampler, num_workers=workers, multiprocessing_context=context)
    )


def equal(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    return len(first) == len(second) and all(
        a["case"] == b["case"] and torch.equal(a["image"], b["image"]) and torch.equal(a["label"], b["label"])
        for a, b in zip(first, second, strict=True)
    )


class TestCaseDataset:
    def test_cases_are_the_same_from_memory_and_from_disk(self, make_cases: MakeCases) -> None:
        cases = make_cases(4)
        stored, read = case_dataset(cases), case_dataset(cases)
        stored.load(1e9)
        assert stored.in_memory
        assert not read.in_memory
        for index in range(4):
            np.testing.assert_array_equal(stored[index].image, read[index].image)
            np.testing.assert_array_equal(stored[index].reference, read[index].reference)
            assert stored[index] is stored[index]
            assert read[index] is not read[index]

    def test_memory_stays_within_the_limit(self, make_cases: MakeCases) -> None:
        cases = make_cases(5)
        one = case_dataset(cases)[0].nbytes
        assert one == 20 * 24 * (4 + 1)
        dataset = case_dataset(cases)
        assert dataset.load(2.5 * one) == 2 * one
        assert not dataset.in_memory
        assert dataset[0] is dataset[0]
        assert dataset[4].case.id == "case4"

    def test_every_case_is_visited_in_order_also_those_not_kept(self, make_cases: MakeCases) -> None:
        visited: list[str] = []
        case_dataset(make_cases(6)).load(0, visit=lambda prepared: visited.append(prepared.case.id))
        assert visited == [f"case{index}" for index in range(6)]

    def test_training_keeps_no_references(self, make_cases: MakeCases) -> None:
        dataset = case_dataset(make_cases(2))
        dataset.load(1e9, references=False)
        assert dataset[0].reference is None
        assert dataset[0].label is not None

    def test_an_unreadable_file_is_reported(self, make_cases: MakeCases) -> None:
        cases = make_cases(3)
        cases[1].images[0].write_bytes(b"not a picture")
        with pytest.raises(DataError, match=r"1\.png"):
            case_dataset(cases).load(1e9)


class TestPatchDataset:
    def test_a_patch_is_cut_out_of_its_case(self, make_cases: MakeCases) -> None:
        patches = patch_dataset(make_cases(3))
        for index in range(12):
            item = patches[index]
            assert item["image"].shape == item["label"].shape == (1, 8, 8)
            assert item["image"].dtype == torch.float32
            assert item["label"].dtype == torch.uint8
            case = next(case for case in (patches.cases[i] for i in range(3)) if case.case.id == item["case"])
            windows = np.lib.stride_tricks.sliding_window_view(case.image[0], (8, 8))
            (place,) = np.argwhere((windows == item["image"][0].numpy()).all(axis=(2, 3)))
            assert case.label is not None
            expected = case.label[place[0] : place[0] + 8, place[1] : place[1] + 8]
            np.testing.assert_array_equal(item["label"][0], expected)

    @pytest.mark.parametrize(("fraction", "batch_size"), [(1.0, 1), (0.5, 1), (0.25, 3), (0.5, 4), (0.0, 4)])
    def test_the_share_of_foreground_patches_is_kept_at_any_batch_size(
        self, make_cases: MakeCases, fraction: float, batch_size: int
    ) -> None:
        # Lesions of 2 x 2 in 20 x 24: a patch of one pixel shows foreground only if it was centred on it, or by a chance of 1 in 120.
        patches = patch_dataset(
            make_cases(3), patch_size=(1, 1), patches_per_epoch=240, foreground_fraction=fraction, batch_size=batch_size
        )
        found = sum(int(patches[index]["label"].max()) for index in range(240))
        assert 240 * fraction <= found <= 240 * fraction + 10

    def test_an_item_depends_on_seed_and_number_alone(self, make_cases: MakeCases) -> None:
        cases = make_cases(4)
        patches = patch_dataset(cases, light(2))
        forward = [patches[index] for index in range(24)]
        again = patch_dataset(cases, light(2), cache=0)
        backward = [again[index] for index in reversed(range(24))][::-1]
        assert equal(forward, backward)
        assert not equal(forward[:12], forward[12:])
        assert not equal(forward, [patch_dataset(cases, light(2), seed=4)[index] for index in range(24)])

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine has cores
    @pytest.mark.parametrize("workers", [1, 3])
    def test_loader_processes_do_not_change_the_batches(self, make_cases: MakeCases, workers: int) -> None:
        patches = patch_dataset(make_cases(4), light(2))
        assert equal(batches(patches, epoch=2), batches(patches, epoch=2, workers=workers))

    def test_small_images_are_padded_with_their_minimum_and_background(self, make_cases: MakeCases) -> None:
        patches = patch_dataset(make_cases(2), patch_size=(30, 8))
        item = patches[0]
        case = next(case for case in (patches.cases[i] for i in range(2)) if case.case.id == item["case"])
        image, label = item["image"][0].numpy(), item["label"][0].numpy()
        for margin in (slice(0, 5), slice(25, 30)):
            assert (image[margin] == case.image.min()).all()
            assert (label[margin] == 0).all()
        assert (image[5:25].std(axis=0) > 0).all()


class TestPatchSampler:
    @pytest.mark.parametrize("world_size", [2, 4])
    def test_ranks_share_the_batches_of_one_process(self, make_cases: MakeCases, world_size: int) -> None:
        patches = patch_dataset(make_cases(4), light(2))
        whole = batches(patches, epoch=1)
        ranks = [batches(patches, 1, rank, world_size) for rank in range(world_size)]
        assert {len(rank) for rank in ranks} == {len(whole)}
        for step, batch in enumerate(whole):
            together = torch.empty_like(batch["image"])
            for rank, own in enumerate(ranks):
                together[rank::world_size] = own[step]["image"]
            assert torch.equal(together, batch["image"])

    def test_epochs_follow_each_other_without_overlap(self, make_cases: MakeCases) -> None:
        sampler = PatchSampler(patch_dataset(make_cases(2)))
        seen = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            seen += list(sampler)
        assert seen == list(range(36))

    @pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
    def test_a_partial_batch_is_left_out_on_every_rank(self, make_cases: MakeCases, rank: int, world_size: int) -> None:
        sampler = PatchSampler(patch_dataset(make_cases(2), patches_per_epoch=15), rank, world_size)
        sampler.set_epoch(1)
        assert list(sampler) == list(range(15 + rank, 15 + 12, world_size))
        assert len(sampler) == 12 // world_size


class TestCaseSampler:
    @pytest.mark.parametrize("world_size", [1, 2, 3, 7])
    def test_every_case_is_scored_once_whatever_the_number_of_ranks(self, make_cases: MakeCases, world_size: int) -> None:
        cases = case_dataset(make_cases(5))
        samplers = [CaseSampler(cases, rank, world_size) for rank in range(world_size)]
        assert sorted(index for sampler in samplers for index in sampler) == list(range(5))
        assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]


def test_a_batch_of_one_case_is_the_case(make_cases: MakeCases) -> None:
    cases = case_dataset(make_cases(2))
    loaded = list(DataLoader(cases, batch_size=1, collate_fn=only_item))
    assert [case.case.id for case in loaded] == ["case0", "case1"]
    assert all(isinstance(case, PreparedCase) for case in loaded)
