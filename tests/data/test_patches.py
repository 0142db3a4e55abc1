"""Cases and patches as torch data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data import DataLoader

from medseg.data.patches import (
    CaseDataset,
    CaseSampler,
    PatchDataset,
    PatchSampler,
    augment_batch,
    collate_sources,
    only_item,
)
from medseg.data.preparation import PreparedCase
from medseg.data.sampling import HardCase, LesionBalanced, Mixture, Random, Sampler
from tests.data.sampling.fakes import LESION, FakeStore, Shaky, Still


def store(count: int = 4, shape: tuple[int, ...] = (20, 24)) -> FakeStore:
    """Cases with a lesion of a few pixels each; the last has none."""
    labels = []
    for index in range(count):
        generator = np.random.default_rng(index)
        label = np.zeros(shape, np.uint8)
        if index < count - 1:
            place = generator.integers(2, 16, size=len(shape))
            label[tuple(slice(p, p + 2) for p in place)] = 1
        labels.append(label)
    return FakeStore(labels, spacing=(0.5, 1.5, 2.0)[: len(shape)])


def patch_dataset(cases: FakeStore, augment: Any = None, batch_size: int = 4, mix: Any = None, **options: Any) -> PatchDataset:
    samplers: list[Sampler] = [kind(cases.indices, LESION) for kind in (mix or (LesionBalanced, Random))]
    mixture = Mixture(samplers, [1 / len(samplers)] * len(samplers), batch_size, options.get("seed", 3))
    settings = {"channels": 1, "patch_size": (8, 8), "patches_per_epoch": 12, "seed": 3}
    return PatchDataset(cases, mixture, augment or Still(), **{**settings, **options})  # type: ignore[arg-type]


def loader(patches: PatchDataset, epoch: int = 0, rank: int = 0, world_size: int = 1, workers: int = 0) -> DataLoader[Any]:
    sampler = PatchSampler(patches, rank, world_size)
    sampler.set_epoch(epoch)
    return DataLoader(
        patches,
        patches.mixture.batch_size // world_size,
        sampler=sampler,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
        collate_fn=collate_sources if patches.on_device else None,
        generator=torch.Generator().manual_seed(0),
    )


def equal(first: Any, second: Any) -> bool:
    """Whether two nested structures hold the same."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(equal(a, b) for a, b in zip(first, second, strict=True))
    return bool(first == second)


class TestCaseDataset:
    def test_it_holds_whole_cases_with_references_in_the_stores_order(self) -> None:
        cases = store()
        dataset = CaseDataset(cases)  # type: ignore[arg-type]
        assert [dataset[number].case.id for number in range(len(dataset))] == ["case0", "case1", "case2", "case3"]
        assert dataset[1].reference is cases.labels[1]

    def test_a_batch_of_one_case_is_the_case(self) -> None:
        loaded = list(DataLoader(CaseDataset(store(2)), batch_size=1, collate_fn=only_item))  # type: ignore[arg-type]
        assert [case.case.id for case in loaded] == ["case0", "case1"]
        assert all(isinstance(case, PreparedCase) for case in loaded)


class TestPatchDataset:
    def test_a_patch_is_cut_out_of_its_case(self) -> None:
        cases = store()
        patches = patch_dataset(cases)
        for item in (patches[index] for index in range(24)):
            assert item["image"].shape == item["label"].shape == (1, 8, 8)
            assert item["image"].dtype == torch.float32
            assert item["label"].dtype == torch.uint8
            number = int(item["case"][4:])
            # Every voxel of the image says where it is.
            row, column = np.unravel_index(int(item["image"][0, 0, 0]) - 1 - int(1e4) * number, (20, 24))
            place = slice(row, row + 8), slice(column, column + 8)
            np.testing.assert_array_equal(item["image"][0], cases.images[number][0][place])
            np.testing.assert_array_equal(item["label"][0], cases.labels[number][place])

    def test_a_patch_holds_the_voxel_it_was_centred_on_also_at_the_border(self) -> None:
        corners = []
        for corner in ((0, 0), (19, 0), (0, 23), (19, 23)):
            label = np.zeros((20, 24), np.uint8)
            label[corner] = 1
            corners.append(label)
        patches = patch_dataset(FakeStore(corners), mix=[LesionBalanced])
        items = [patches[index] for index in range(24)]
        assert {item["case"] for item in items} == {"case0", "case1", "case2", "case3"}
        assert all(int((item["label"] == 1).sum()) == 1 for item in items)
        assert all((item["image"] > 0).all() for item in items)

    def test_half_of_the_patches_show_a_lesion_also_where_a_batch_is_one_patch(self) -> None:
        # Lesions of 2 x 2 in 20 x 24: a patch of one pixel shows one only if it was centred on it, or by a chance of 1 in 120.
        patches = patch_dataset(store(), batch_size=1, patch_size=(1, 1), patches_per_epoch=240)
        found = [int((patches[index]["label"] == 1).any()) for index in range(240)]
        assert 120 <= sum(found) <= 130
        assert all(sum(found[start : start + 2]) >= 1 for start in range(0, 240, 2))

    def test_small_images_are_padded_with_their_minimum_and_background(self) -> None:
        cases = store(2)
        item = patch_dataset(cases, patch_size=(30, 8))[0]
        number = int(item["case"][4:])
        image, label = item["image"][0].numpy(), item["label"][0].numpy()
        for margin in (slice(0, 5), slice(25, 30)):
            assert (image[margin] == cases.images[number].min()).all()
            assert (label[margin] == 0).all()
        assert (image[5:25] > cases.images[number].min()).sum() >= 20 * 8 - 1

    @pytest.mark.parametrize("augment", [Still(), Shaky()])
    def test_an_item_depends_on_seed_and_number_alone(self, augment: Any) -> None:
        forward = [patch_dataset(store(), augment)[index] for index in range(24)]
        again = patch_dataset(store(), augment)
        assert equal(forward, [again[index] for index in reversed(range(24))][::-1])
        assert not equal(forward[:12], forward[12:])
        assert not equal(forward, [patch_dataset(store(), augment, seed=4)[index] for index in range(24)])

    def test_the_augmentation_reads_its_own_box_and_knows_the_spacing(self) -> None:
        cases, augment = store(), Shaky()
        boxes = []
        read = cases.read
        cases.read = lambda i, start, size, flips: (boxes.append(size), read(i, start, size, flips))[1]  # type: ignore[method-assign,func-returns-value]
        for index in range(6):
            still, shaky = (patch_dataset(cases, one)[index] for one in (Still(), augment))
            np.testing.assert_allclose(np.diff(shaky["image"][0]), np.diff(still["image"][0]), atol=1e-2)
            assert torch.equal(shaky["label"], still["label"])
        assert set(boxes[::2]) == {(8, 8)}
        assert max(max(size) for size in boxes[1::2]) > 8
        assert augment.last_spacing == (0.5, 1.5)

    def test_lesions_are_pasted_before_augmentation(self) -> None:
        seen = []

        def paste(image: np.ndarray, label: np.ndarray, spacing: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            seen.append((image.shape[1:], spacing))
            return image + rng.integers(1, 9) * 1000, np.where(label == 0, 1, label)

        plain, pasted = (patch_dataset(store(), Shaky(), copy_paste=one) for one in (None, paste))
        for index in range(6):
            added = (pasted[index]["image"] - plain[index]["image"]) / 1000
            assert round(float(added.mean())) in range(1, 9)
            assert (pasted[index]["label"] == 1).all()
        assert seen[0][1] == (0.5, 1.5)
        assert max(max(shape) for shape, _ in seen) > 8
        assert equal(pasted[3], pasted[3])

    def test_maps_are_made_of_the_augmented_label(self) -> None:
        patches = patch_dataset(store(), Shaky(), derive=lambda ids, spacing: {"twice": ids * 2.0 * spacing[0]})
        item = patches[2]
        assert torch.equal(item["maps"]["twice"], item["label"] * 1.0)
        assert item["spacing"].tolist() == [0.5, 1.5]
        assert "maps" not in patch_dataset(store())[2]

    def test_an_item_says_how_many_lesions_of_each_size_it_shows(self) -> None:
        label = np.zeros((20, 24), np.uint8)
        label[10, 12] = 1
        label[0:5, 0:5] = 1
        cases = FakeStore([label, np.zeros_like(label)])
        patches = patch_dataset(cases, Shaky(), patch_size=(20, 12), patches_per_epoch=48)
        assert patches.sizes.names == ["below_10mm2", "from_10mm2"]
        seen = {(item["case"], *item["lesions_seen"].tolist()) for item in (patches[index] for index in range(48))}
        assert ("case1", 0, 0) in seen
        assert {one[1:] for one in seen if one[0] == "case0"} <= {(1, 0), (0, 1), (1, 1)}

    def test_without_lesions_nothing_is_said_of_them(self) -> None:
        assert "lesions_seen" not in patch_dataset(FakeStore([np.zeros((20, 24))]), mix=[Random])[0]

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine has cores
    @pytest.mark.parametrize("workers", [1, 2, 3])
    @pytest.mark.parametrize("on_device", [False, True])
    def test_loader_processes_do_not_change_the_batches(self, workers: int, on_device: bool) -> None:
        patches = patch_dataset(store(), Shaky(), on_device=on_device)
        made = [list(loader(patches, epoch=2, workers=count)) for count in (0, workers)]
        if on_device:
            made = [[augment_batch(batch, patches.augmentation) for batch in batches] for batches in made]
        assert equal(*made)

    def test_loader_processes_see_new_errors_of_hard_cases(self) -> None:
        patches = patch_dataset(store(), mix=[HardCase], patches_per_epoch=40)
        (hard,) = patches.mixture.hard_cases
        both = loader(patches, workers=2)
        both = DataLoader(patches, 4, sampler=both.sampler, num_workers=2, multiprocessing_context="fork", persistent_workers=True)
        assert {case for batch in both for case in batch["case"]} == {"case0", "case1", "case2", "case3"}
        hard.errors.copy_(torch.tensor([0.0, 0.0, 1.0, 0.0]))
        assert {case for batch in both for case in batch["case"]} == {"case2"}


class TestOnDevice:
    def test_the_batch_is_the_one_that_workers_make(self) -> None:
        cases = store()
        derive = lambda ids, spacing: {"twice": ids * 2.0 * spacing[0]}  # noqa: E731
        here, there = (patch_dataset(cases, Shaky(), derive=derive, on_device=on) for on in (False, True))
        for worker, source in zip(loader(here), loader(there), strict=True):
            assert equal(augment_batch(source, there.augmentation, derive), worker)

    def test_boxes_may_differ_in_size(self) -> None:
        batch = next(iter(loader(patch_dataset(store(), Shaky(), on_device=True))))
        assert len({box.shape for box in batch["image"]}) > 1
        assert [box.shape[1:] for box in batch["image"]] == [draw.size for draw in batch["draws"].each]
        assert [box.dtype for box in batch["label"]] == [torch.uint8] * 4

    def test_lightning_can_move_the_batch(self) -> None:
        batch = next(iter(loader(patch_dataset(store(), Shaky(), on_device=True))))
        moved = move_data_to_device(batch, torch.device("meta"))
        assert {box.device.type for box in (*moved["image"], *moved["label"], moved["lesions_seen"])} == {"meta"}
        assert moved["draws"] is batch["draws"]

    def test_without_maps_none_are_made(self) -> None:
        batch = next(iter(loader(patch_dataset(store(), Shaky(), on_device=True))))
        assert set(augment_batch(batch, Shaky())) == {"image", "label", "case", "spacing", "lesions_seen"}


class TestPatchSampler:
    @pytest.mark.parametrize("world_size", [2, 4])
    def test_ranks_share_the_batches_of_one_process(self, world_size: int) -> None:
        patches = patch_dataset(store(), Shaky())
        whole = list(loader(patches, epoch=1))
        ranks = [list(loader(patches, 1, rank, world_size)) for rank in range(world_size)]
        assert {len(rank) for rank in ranks} == {len(whole)}
        for step, batch in enumerate(whole):
            together = torch.empty_like(batch["image"])
            for rank, own in enumerate(ranks):
                together[rank::world_size] = own[step]["image"]
            assert torch.equal(together, batch["image"])

    @pytest.mark.parametrize("patches_per_epoch", [12, 15])
    def test_epochs_follow_each_other_without_overlap_or_gap(self, patches_per_epoch: int) -> None:
        patches = patch_dataset(store(), patches_per_epoch=patches_per_epoch)
        sampler = PatchSampler(patches)
        seen = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            seen += list(sampler)
        assert seen == list(range(36))
        assert len(patches) == 12

    @pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (0, 2), (1, 2)])
    def test_a_partial_batch_is_left_out_on_every_rank(self, rank: int, world_size: int) -> None:
        sampler = PatchSampler(patch_dataset(store(), patches_per_epoch=15), rank, world_size)
        sampler.set_epoch(1)
        assert list(sampler) == list(range(12 + rank, 24, world_size))
        assert len(sampler) == 12 // world_size


class TestCaseSampler:
    @pytest.mark.parametrize("world_size", [1, 2, 3, 7])
    def test_every_case_is_scored_once_whatever_the_number_of_ranks(self, world_size: int) -> None:
        cases = CaseDataset(store(5))  # type: ignore[arg-type]
        samplers = [CaseSampler(cases, rank, world_size) for rank in range(world_size)]
        assert sorted(index for sampler in samplers for index in sampler) == list(range(5))
        assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers]
