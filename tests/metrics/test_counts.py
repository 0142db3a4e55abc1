from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.metrics.counts import confusion_table, voxel_counts


def random_ids(seed: int, ids: int = 4, shape: tuple[int, ...] = (7, 9, 5)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, ids, shape).astype(np.uint8)


class TestConfusionTable:
    def test_it_counts_every_pair(self) -> None:
        prediction, reference = random_ids(0), random_ids(1)
        table = confusion_table(prediction, reference, 4)
        expected = [[np.sum((reference == r) & (prediction == p)) for p in range(4)] for r in range(4)]
        np.testing.assert_array_equal(table, expected)

    def test_large_maps_are_counted_in_pieces_without_loss(self) -> None:
        prediction, reference = random_ids(0, shape=(1500, 1400)), random_ids(1, shape=(1500, 1400))
        table = confusion_table(prediction, reference, 4)
        assert table.sum() == reference.size
        assert table[2, 3] == np.sum((reference == 2) & (prediction == 3))

    def test_ignored_voxels_of_the_reference_are_no_voxels(self) -> None:
        prediction, reference = random_ids(0), random_ids(1)
        ignored = np.random.default_rng(2).random(reference.shape) < 0.3
        table = confusion_table(prediction, np.where(ignored, 255, reference).astype(np.uint8), 4)
        np.testing.assert_array_equal(table, confusion_table(prediction[~ignored], reference[~ignored], 4))

    def test_an_ignored_prediction_counts_as_background(self) -> None:
        table = confusion_table(np.array([255, 1], np.uint8), np.array([1, 1], np.uint8), 2)
        np.testing.assert_array_equal(table, [[0, 0], [1, 1]])

    @pytest.mark.parametrize(
        ("prediction", "reference", "message"),
        [
            (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), "shape"),
            (np.zeros((2, 3), np.int64), np.zeros((2, 3), np.uint8), "uint8"),
            (np.full((2, 3), 7, np.uint8), np.zeros((2, 3), np.uint8), "the id 7"),
            (np.zeros((2, 3), np.uint8), np.full((2, 3), 4, np.uint8), "the id 4"),
        ],
    )
    def test_wrong_maps_are_refused(self, prediction: np.ndarray, reference: np.ndarray, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            confusion_table(prediction, reference, 4)

    @pytest.mark.parametrize("ids", [2, 15, 16, 17, 200])
    @pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 4097])
    def test_any_number_of_ids_and_voxels_is_counted(self, ids: int, size: int) -> None:
        generator = np.random.default_rng(size)
        prediction, reference = (
            (generator.integers(0, ids, size) * (generator.random(size) < 0.3)).astype(np.uint8),
            random_ids(1, ids, (size,)),
        )
        for p, r in ((prediction, reference), (prediction, np.zeros_like(reference)), (prediction, prediction)):
            expected = np.zeros((ids, ids), np.int64)
            np.add.at(expected, (r, p), 1)
            np.testing.assert_array_equal(confusion_table(p, r, ids), expected)

    @pytest.mark.parametrize("lay_out", [np.asfortranarray, lambda ids: ids[::2, ::-1], lambda ids: ids.transpose(2, 0, 1)])
    def test_the_order_in_memory_does_not_matter(self, lay_out: Any) -> None:
        prediction, reference = (lay_out(random_ids(seed)) for seed in (0, 1))
        expected = confusion_table(np.ascontiguousarray(prediction), np.ascontiguousarray(reference), 4)
        np.testing.assert_array_equal(confusion_table(prediction, reference, 4), expected)


class TestVoxelCounts:
    def test_overlapping_regions_count_like_their_masks(self) -> None:
        prediction, reference = random_ids(3), random_ids(4)
        membership = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
        tp, fp, fn = voxel_counts(confusion_table(prediction, reference, 4), membership)
        for k, members in enumerate(membership):
            p, r = members[prediction], members[reference]
            assert (tp[k], fp[k], fn[k]) == (np.sum(p & r), np.sum(p & ~r), np.sum(~p & r))
