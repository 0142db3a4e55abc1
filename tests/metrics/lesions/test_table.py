from __future__ import annotations

import numpy as np
import pytest

from medseg.metrics.lesions import Connectivity, Lesions, lesions_by_class
from tests.metrics.lesions.by_hand import iou, masks_of, noise


class TestTable:
    @pytest.mark.parametrize("connectivity", ["faces", "edges", "corners"])
    @pytest.mark.parametrize("shape", [(30, 40), (14, 16, 18)])
    def test_it_counts_what_every_pair_shares(self, shape: tuple[int, ...], connectivity: Connectivity) -> None:
        for seed in range(3):
            prediction, reference = noise(seed, shape)
            lesions = Lesions.of(prediction, reference, (1.0,) * len(shape), connectivity)
            refs, preds = masks_of(reference, connectivity), masks_of(prediction, connectivity)
            shared = [(i, j, int((r & p).sum())) for i, r in enumerate(refs) for j, p in enumerate(preds) if (r & p).any()]
            assert lesions.pairs.tolist() == [list(row) for row in shared]
            assert lesions.ref_voxels.tolist() == [int(one.sum()) for one in refs]
            assert lesions.pred_voxels.tolist() == [int(one.sum()) for one in preds]
            assert lesions.ious.tolist() == pytest.approx([iou(refs[i], preds[j]) for i, j, _ in shared])

    def test_empty_masks_give_empty_tables(self) -> None:
        empty, full = np.zeros((3, 4), bool), np.ones((3, 4), bool)
        for prediction, reference in [(empty, empty), (empty, full), (full, empty)]:
            lesions = Lesions.of(prediction, reference, (1.0, 1.0))
            assert lesions.pairs.shape == (0, 3)
            assert len(lesions.ref_voxels) == int(reference.any())
            assert len(lesions.pred_voxels) == int(prediction.any())
            assert lesions.nothing_scored == (not (prediction | reference).any())

    def test_masks_of_different_shapes_and_wrong_spacings_are_refused(self) -> None:
        with pytest.raises(ValueError, match="shape"):
            Lesions.of(np.ones((2, 2), bool), np.ones((2, 3), bool), (1.0, 1.0))
        with pytest.raises(ValueError, match="3 spacings for 2 axes"):
            Lesions.of(np.ones((2, 2), bool), np.ones((2, 2), bool), (1.0, 1.0, 1.0))


class TestByClass:
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_class_is_as_by_itself_also_where_classes_share_ids(self, order: str) -> None:
        generator = np.random.default_rng(0)
        maps = [np.asarray(generator.choice(4, (9, 10, 11), p=[0.7, 0.1, 0.1, 0.1]).astype(np.uint8), order=order) for _ in range(2)]
        membership = np.array([[0, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]], bool)
        for lesions, row in zip(lesions_by_class(*maps, membership, (1.0, 2.0, 3.0), "faces", 12.0), membership, strict=True):
            alone = Lesions.of(*(row[ids] for ids in maps), (1.0, 2.0, 3.0), "faces", 12.0)
            np.testing.assert_array_equal(lesions.pairs, alone.pairs)
            np.testing.assert_array_equal(lesions.ref_scored, alone.ref_scored)
            np.testing.assert_array_equal(lesions.pred_scored, alone.pred_scored)


class TestMinimumLesion:
    def make(self, minimum: float) -> Lesions:
        reference = np.array([[1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0]], bool)
        prediction = np.array([[0, 0, 1, 0, 1, 1, 0, 0, 0, 0, 1, 1]], bool)
        return Lesions.of(prediction, reference, (2.0, 0.5), "corners", minimum)

    def test_small_lesions_do_not_count_nor_what_touches_only_them(self) -> None:
        assert self.make(3.0).ref_scored.tolist() == [True, False, False]
        assert self.make(3.0).pred_scored.tolist() == [True, False, True]

    def test_the_size_is_physical_and_the_limit_itself_counts(self) -> None:
        assert self.make(1.0).ref_scored.tolist() == [True, True, True]
        assert self.make(3.01).ref_scored.tolist() == [False, False, False]

    def test_a_component_that_also_touches_a_lesion_that_counts_is_scored(self) -> None:
        reference, prediction = np.array([[1, 1, 0, 1]], bool), np.array([[0, 1, 1, 1]], bool)
        assert Lesions.of(prediction, reference, (1.0, 1.0), "corners", 2.0).pred_scored.tolist() == [True]
