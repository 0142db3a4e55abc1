"""Border voxels and their distances, against SciPy's distance transform."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.metrics.surface import Surfaces, surfaces
from tests.metrics.surface.by_hand import BINARY, blobs, border, border_distances, masks_of, noise

SPACINGS = {2: [(1.0, 1.0), (3.0, 0.5), (0.7, 0.7)], 3: [(1.0, 1.0, 1.0), (5.0, 0.7, 0.7), (0.9, 1.3, 2.1), (0.4, 6.0, 1.0)]}


def check(prediction: np.ndarray, reference: np.ndarray, membership: np.ndarray, spacing: tuple[float, ...]) -> int:
    """Compare every class that both maps hold; how many there are."""
    compared = 0
    for found, ids in zip(surfaces(prediction, reference, membership, spacing), membership, strict=True):
        masks = masks_of(prediction, reference, ids)
        if not masks[0].any() or not masks[1].any():
            assert found.pred_to_ref.size == np.count_nonzero(border(masks[0]))
            assert found.ref_to_pred.size == np.count_nonzero(border(masks[1]))
            assert np.isinf(found.pred_to_ref).all()
            assert np.isinf(found.ref_to_pred).all()
            continue
        for ours, expected in zip((found.pred_to_ref, found.ref_to_pred), border_distances(*masks, spacing), strict=True):
            np.testing.assert_allclose(np.sort(ours), expected, rtol=0, atol=1e-9)
        assert found.pred_to_ref.dtype == np.float64
        assert found.pred_weights is None
        assert found.ref_weights is None
        compared += 1
    return compared


@pytest.mark.parametrize(("axes", "spacing"), [(axes, spacing) for axes, all_ in SPACINGS.items() for spacing in all_])
class TestDistancesAreThoseOfTheDistanceTransform:
    def test_between_smooth_regions(self, axes: int, spacing: tuple[float, ...]) -> None:
        shape = (60, 50) if axes == 2 else (22, 26, 18)
        for shift in (0, 1, 9):
            assert check(*blobs(shift, shape, 5, shift), np.eye(6, dtype=np.bool_)[1:], spacing) >= 3

    def test_between_noisy_maps_of_any_size(self, axes: int, spacing: tuple[float, ...]) -> None:
        rng = np.random.default_rng(7)
        compared = 0
        for seed in range(12):
            shape = tuple(int(n) for n in rng.integers(1, 16, axes))
            maps = noise(seed, shape, 3, rng.choice([0.02, 0.3, 0.95]))
            compared += check(*maps, np.eye(4, dtype=np.bool_)[1:], spacing)
        assert compared > 8

    def test_of_overlapping_regions_with_ignored_voxels(self, axes: int, spacing: tuple[float, ...]) -> None:
        membership = np.array([[0, 1, 1, 1, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]], dtype=np.bool_)
        prediction, reference = blobs(3, (40, 40) if axes == 2 else (20, 20, 20), 4)
        reference = np.where(np.random.default_rng(0).random(reference.shape) < 0.1, 255, reference).astype(np.uint8)
        assert check(prediction, reference, membership, spacing) == 4

    def test_of_far_points(self, axes: int, spacing: tuple[float, ...]) -> None:
        prediction, reference = (np.zeros((90,) * 2 if axes == 2 else (60,) * 3, dtype=np.uint8) for _ in range(2))
        reference[tuple(slice(40, 56) for _ in range(axes))] = 1
        prediction[tuple(slice(38, 55) for _ in range(axes))] = 1
        prediction[tuple(slice(0, 6) for _ in range(axes))] = 1  # many: by a tree
        reference[(-1,) * axes] = 1  # one: by hand
        assert check(prediction, reference, BINARY, spacing) == 1


class TestDistances:
    def test_of_more_classes_than_a_map_has_bits(self) -> None:
        assert check(*blobs(0, (120, 120), 40), np.eye(41, dtype=np.bool_)[1:], (1.0, 1.5)) > 30

    def test_of_ids_in_another_order_than_the_classes(self) -> None:
        membership = np.array([[0, 0, 0, 1], [0, 1, 1, 0]], dtype=np.bool_)
        assert check(*blobs(0, (40, 40), 3), membership, (1.0, 1.0)) == 2

    def test_of_single_voxels_and_whole_images(self) -> None:
        one, whole = np.zeros((7, 5, 6), dtype=np.uint8), np.ones((7, 5, 6), dtype=np.uint8)
        one[6, 4, 5] = 1
        for prediction in (one, whole):
            for reference in (one[::-1], whole):
                assert check(prediction, np.ascontiguousarray(reference), BINARY, (2.0, 1.0, 0.5)) == 1

    def test_do_not_wrap_from_row_to_row(self) -> None:
        prediction, reference = np.zeros((2, 9), dtype=np.uint8), np.zeros((2, 9), dtype=np.uint8)
        prediction[0, 8] = reference[1, 0] = 1
        (found,) = surfaces(prediction, reference, BINARY, (1.0, 1.0))
        assert found.pred_to_ref == pytest.approx([np.sqrt(65)])

    @pytest.mark.parametrize("far", [2, 60])
    def test_are_the_same_number_near_and_far(self, far: int) -> None:
        prediction, reference = np.zeros((70, 3), dtype=np.uint8), np.zeros((70, 3), dtype=np.uint8)
        prediction[0], reference[far] = 1, 1
        (found,) = surfaces(prediction, reference, BINARY, (0.1, 1.0))
        assert set(found.pred_to_ref) == {np.sqrt((far * 0.1) ** 2)}

    def test_of_a_mask_that_is_empty_are_none_and_to_it_infinite(self) -> None:
        prediction, reference = np.ones((3, 3), dtype=np.uint8), np.zeros((3, 3), dtype=np.uint8)
        (found,) = surfaces(prediction, reference, BINARY, (1.0, 1.0))
        assert found.ref_to_pred.size == 0
        assert np.isinf(found.pred_to_ref).all()
        assert found.pred_to_ref.size == 8
        (neither,) = surfaces(reference, reference, BINARY, (1.0, 1.0))
        assert neither.pred_to_ref.size == neither.ref_to_pred.size == 0

    def test_without_classes_are_no_list(self) -> None:
        assert surfaces(np.ones((3, 3), np.uint8), np.ones((3, 3), np.uint8), np.zeros((0, 2), np.bool_), (1.0, 1.0)) == []

    def test_do_not_depend_on_how_the_maps_lie_in_memory(self) -> None:
        prediction, reference = blobs(5, (12, 14, 16), 2)
        membership = np.eye(3, dtype=np.bool_)[1:]
        one = surfaces(prediction, reference, membership, (3.0, 1.0, 0.5))
        other = surfaces(np.asfortranarray(prediction), np.asfortranarray(reference), membership, (3.0, 1.0, 0.5))
        mixed = surfaces(prediction, np.asfortranarray(reference), membership, (3.0, 1.0, 0.5))
        for a, b, c in zip(one, other, mixed, strict=True):
            assert sorted_lists(a) == pytest.approx(sorted_lists(b))
            assert sorted_lists(a) == pytest.approx(sorted_lists(c))

    def test_leave_the_maps_as_they_are(self) -> None:
        prediction, reference = noise(0, (9, 9), 2, 0.5)
        reference[0] = 255
        before = prediction.copy(), reference.copy()
        surfaces(prediction, reference, np.eye(3, dtype=np.bool_)[1:], (1.0, 1.0))
        np.testing.assert_array_equal(prediction, before[0])
        np.testing.assert_array_equal(reference, before[1])


class TestRefusals:
    MAP = np.zeros((3, 3), dtype=np.uint8)

    @pytest.mark.parametrize(
        ("prediction", "membership", "spacing", "words"),
        [
            (np.zeros((3, 4), dtype=np.uint8), BINARY, (1.0, 1.0), "shape"),
            (MAP.astype(np.int64), BINARY, (1.0, 1.0), "uint8"),
            (MAP, BINARY, (1.0,), "spacing"),
            (MAP, BINARY[0], (1.0, 1.0), "membership"),
        ],
    )
    def test_say_what_does_not_fit(self, prediction: np.ndarray, membership: np.ndarray, spacing: tuple[float, ...], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            surfaces(prediction, self.MAP, membership, spacing)


def sorted_lists(found: Surfaces) -> list[float]:
    return [*np.sort(found.pred_to_ref), *np.sort(found.ref_to_pred)]
