"""Surfels and their sizes, against DeepMind's package, MONAI's and marching cubes of scikit-image."""

from __future__ import annotations

from itertools import product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes

from medseg.metrics.surface import hd, hd95, nsd, surfaces, surfels
from medseg.metrics.surface.patches import patch_sizes
from tests.metrics.surface.by_hand import BINARY, blobs, masks_of, noise

pytestmark = [
    pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning"),  # of surface-distance under SciPy 1.17
    pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning"),  # of MONAI
]


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    return pytest.importorskip("surface_distance")


def patterns(axes: int) -> list[tuple[int, list[tuple[int, ...]]]]:
    corners = list(product((0, 1), repeat=axes))
    return [(code, [corner for bit, corner in enumerate(corners) if code >> bit & 1]) for code in range(1 << len(corners))]


class TestSizesOfPatches:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.0, 5.0), (3.0, 0.7, 0.9)])
    def test_areas_are_those_of_the_peer(self, theirs: ModuleType, spacing: tuple[float, ...]) -> None:
        from surface_distance import lookup_tables

        areas, kernel = patch_sizes(spacing), lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
        expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
        for code, inside in patterns(3):
            assert areas[code] == pytest.approx(expected[sum(kernel[corner] for corner in inside)], abs=1e-9), inside

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 0.4)])
    def test_lengths_are_those_of_the_peer(self, theirs: ModuleType, spacing: tuple[float, ...]) -> None:
        from surface_distance import lookup_tables

        lengths, kernel = patch_sizes(spacing), lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL
        expected = lookup_tables.create_table_neighbour_code_to_contour_length(spacing)
        for code, inside in patterns(2):
            assert lengths[code] == pytest.approx(expected[sum(kernel[corner] for corner in inside)]), inside

    def test_areas_of_few_corners_are_those_of_marching_cubes(self) -> None:
        areas = patch_sizes((1.0, 1.0, 1.0))
        for code, inside in patterns(3)[1:]:
            cell = np.zeros((2, 2, 2))
            for corner in inside:
                cell[corner] = 1
            if len(inside) > 4:
                continue  # there its reading of two-sided cells differs from that of the complement
            points, faces, _, _ = marching_cubes(cell, 0.5, method="lorensen")
            sides = points[faces][:, 1:] - points[faces][:, :1]
            assert areas[code] == pytest.approx(np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1).sum() / 2, abs=1e-5)

    def test_inside_and_outside_have_the_same_surface(self) -> None:
        for spacing in ((1.0, 2.0), (1.0, 2.0, 3.0)):
            sizes = patch_sizes(spacing)
            assert sizes == pytest.approx(sizes[::-1])
            assert sizes[0] == 0


class TestSurfels:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (3.0, 0.5), (1.0, 1.0, 1.0), (5.0, 0.7, 0.9)])
    def test_have_the_distances_and_sizes_of_the_peer(self, theirs: ModuleType, spacing: tuple[float, ...]) -> None:
        membership = np.array([[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]], dtype=np.bool_)
        shape = (24, 22, 20)[: len(spacing)]
        for maps in (blobs(1, shape, 4, 2), blobs(2, shape, 4, 9), noise(3, shape, 4, 0.2), noise(4, shape, 4, 1.0)):
            maps[1][:3, 4:8] = 255
            for found, ids in zip(surfels(*maps, membership, spacing), membership, strict=True):
                prediction, reference = masks_of(*maps, ids)
                expected = theirs.compute_surface_distances(reference, prediction, spacing)
                assert_same(found.pred_to_ref, found.pred_weights, expected["distances_pred_to_gt"], expected["surfel_areas_pred"])
                assert_same(found.ref_to_pred, found.ref_weights, expected["distances_gt_to_pred"], expected["surfel_areas_gt"])
                assert hd(found) == pytest.approx(theirs.compute_robust_hausdorff(expected, 100))
                assert nsd(found, 1.1) == pytest.approx(theirs.compute_surface_dice_at_tolerance(expected, 1.1))
                for percentile in (50.0, 95.0):
                    around = [theirs.compute_robust_hausdorff(expected, percentile + error) for error in (-1e-6, 1e-6)]
                    assert any(hd95(found, percentile=percentile) == pytest.approx(value) for value in around)

    def test_touch_the_edge_of_the_image(self, theirs: ModuleType) -> None:
        prediction, reference = np.ones((4, 5), dtype=np.uint8), np.ones((4, 5), dtype=np.uint8)
        reference[0] = 0
        (found,) = surfels(prediction, reference, BINARY, (1.0, 1.0))
        expected = theirs.compute_surface_distances(reference > 0, prediction > 0, (1.0, 1.0))
        assert_same(found.pred_to_ref, found.pred_weights, expected["distances_pred_to_gt"], expected["surfel_areas_pred"])

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.7), (1.0, 2.0, 3.0)])
    def test_give_the_surface_dice_of_monai(self, spacing: tuple[float, ...]) -> None:
        from monai.metrics import compute_surface_dice

        prediction, reference = blobs(8, (24, 22, 20)[: len(spacing)], 2, 2)
        maps: list[Any] = [torch.from_numpy(np.stack([ids == index for index in range(3)])[None]) for ids in (prediction, reference)]
        expected = compute_surface_dice(*maps, [1.5, 1.5], spacing=spacing, use_subvoxels=True)[0]
        found = surfels(prediction, reference, np.eye(3, dtype=np.bool_)[1:], spacing)
        assert [nsd(both, 1.5) for both in found] == pytest.approx(expected.tolist(), abs=1e-5)

    def test_weigh_a_box_by_its_faces_edges_and_corners(self) -> None:
        box = np.zeros((8, 9, 10), dtype=np.uint8)
        box[2:6, 2:6, 2:6] = 1
        (found,) = surfels(box, box, BINARY, (1.0, 1.0, 1.0))
        assert found.pred_weights is not None
        faces, edges, corners = 6 * 3**2, 12 * 3 * np.sqrt(0.5), 8 * np.sqrt(3) / 8
        assert found.pred_weights.sum() == pytest.approx(faces + edges + corners)

    def test_do_not_depend_on_how_the_maps_lie_in_memory(self) -> None:
        maps = blobs(5, (12, 14, 16), 2)
        spacing, membership = (3.0, 1.0, 0.5), np.eye(3, dtype=np.bool_)[1:]
        turned = surfels(*map(np.asfortranarray, maps), membership, spacing)
        for one, other in zip(surfels(*maps, membership, spacing), turned, strict=True):
            assert_same(one.pred_to_ref, one.pred_weights, other.pred_to_ref, other.pred_weights)

    def test_of_many_classes_at_one_corner_are_kept_apart(self) -> None:
        ids = np.arange(1, 9, dtype=np.uint8).reshape(2, 2, 2)
        for found in surfels(ids, ids[::-1].copy(), np.eye(9, dtype=np.bool_)[1:], (1.0, 1.0, 1.0)):
            assert found.pred_to_ref.size == found.ref_to_pred.size == 8
            assert hd(found) == 1

    def test_of_overlapping_regions_equal_those_of_each_alone(self) -> None:
        maps = blobs(6, (30, 30), 3)
        membership = np.array([[0, 1, 1, 1], [0, 0, 1, 1]], dtype=np.bool_)
        for index, both in enumerate(surfels(*maps, membership, (1.0, 2.0))):
            (alone,) = surfels(*maps, membership[index : index + 1], (1.0, 2.0))
            assert_same(both.pred_to_ref, both.pred_weights, alone.pred_to_ref, alone.pred_weights)

    def test_differ_from_border_voxels(self) -> None:
        prediction, reference = np.zeros((14, 14), dtype=np.uint8), np.zeros((14, 14), dtype=np.uint8)
        prediction[9:12, 9:12] = reference[9:12, 9:12] = 1
        reference[1, 1] = 1  # the far pixel of figure 5c of Metrics Reloaded
        (voxels,), (pieces,) = (measure(prediction, reference, BINARY, (1.0, 1.0)) for measure in (surfaces, surfels))
        assert hd95(voxels) == pytest.approx(6.788, abs=1e-3)
        assert hd95(pieces) == pytest.approx(11.314, abs=1e-3)


def assert_same(distances: np.ndarray, weights: Any, expected_distances: np.ndarray, expected_weights: Any) -> None:
    """The same pairs of distance and weight in any order, for sums of weights of equal distances."""
    lists = []
    for d, w in ((distances, weights), (expected_distances, expected_weights)):
        rounded, where = np.unique(np.round(d, 7), return_inverse=True)
        lists.append((len(d), rounded, np.bincount(where, weights=w)))
    (ours, our_distances, our_sums), (theirs, their_distances, their_sums) = lists
    assert ours == theirs
    np.testing.assert_allclose(our_distances, their_distances, rtol=0, atol=2e-7)
    np.testing.assert_allclose(our_sums, their_sums, rtol=1e-7)
