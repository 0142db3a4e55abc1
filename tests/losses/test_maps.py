"""Maps of the target against their definitions, written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.losses import maps
from medseg.losses.maps import JOINT, MAPS, cells, components, compute_map, distance, signed_distance
from tests.losses import reference_shape as reference
from tests.losses.reference_instance import components_of

SHAPES = [(9,), (1, 6), (6, 5), (4, 5, 3)]
each_shape = pytest.mark.parametrize("shape", SHAPES)


def masks_of(shape: tuple[int, ...], count: int = 25) -> list[tuple[np.ndarray, list[float]]]:
    """Random masks from sparse to dense, and a voxel size for each."""
    rng = np.random.default_rng(0)
    return [(rng.random(shape) < rng.choice([0.05, 0.2, 0.5, 0.9]), rng.uniform(0.3, 3, len(shape)).tolist()) for _ in range(count)]


def smooth_masks(shape: tuple[int, ...], count: int = 20) -> list[tuple[np.ndarray, list[float]]]:
    """Masks of several round components, one inside another's box now and then."""
    rng = np.random.default_rng(1)
    masks = []
    for _ in range(count):
        field = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.5, 2.5))
        masks.append((field > np.quantile(field, rng.uniform(0.5, 0.98)), rng.uniform(0.3, 3, len(shape)).tolist()))
    return masks


class TestComponents:
    @each_shape
    def test_against_flood_fill(self, shape: tuple[int, ...]) -> None:
        for mask, spacing in masks_of(shape):
            assert np.array_equal(components(mask, spacing), components_of(mask)[0])

    def test_voxels_that_share_a_corner_are_connected(self) -> None:
        assert components(np.eye(3, dtype=bool)).max() == 1
        assert components(np.stack([np.eye(2, dtype=bool), np.zeros((2, 2), bool), np.eye(2, dtype=bool)])).max() == 2


class TestCells:
    @each_shape
    def test_a_voxel_belongs_to_the_nearest_component(self, shape: tuple[int, ...]) -> None:
        for mask, spacing in masks_of(shape):
            numbers, count = components_of(mask)
            if not count:
                continue
            distances = np.stack([reference.distance_to(numbers == n, np.array(spacing)) for n in range(1, count + 1)])
            own = np.take_along_axis(distances, cells(mask, spacing)[None] - 1, axis=0)[0]
            np.testing.assert_allclose(own, distances.min(axis=0), rtol=1e-12)

    def test_spacing_decides_which_is_nearer(self) -> None:
        mask = np.zeros((3, 4), bool)
        mask[0, 0] = mask[2, 3] = True
        assert cells(mask, [1.0, 1.0])[2, 1] == 2  # 2 steps right against sqrt(5)
        assert cells(mask, [1.0, 3.0])[2, 1] == 1

    def test_a_component_lies_in_its_own_cell(self) -> None:
        for mask, spacing in smooth_masks((20, 17)):
            numbers = components(mask)
            assert np.array_equal(cells(mask, spacing)[mask], numbers[mask])

    def test_one_component_has_the_whole_image(self) -> None:
        mask = np.zeros((4, 4), bool)
        mask[1:3, 2] = True
        assert (cells(mask) == 1).all()


class TestDistances:
    @each_shape
    def test_against_brute_force(self, shape: tuple[int, ...]) -> None:
        for mask, spacing in masks_of(shape):
            steps = np.array(spacing)
            np.testing.assert_allclose(signed_distance(mask, spacing), reference.signed_distance(mask, steps), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(distance(mask, spacing), reference.rim_distance(mask, steps), rtol=1e-6)

    @pytest.mark.parametrize("box_cost", [0, 500, 10**9])
    @pytest.mark.parametrize("shape", [(40, 31), (18, 20, 16)])
    def test_boxes_change_nothing(self, shape: tuple[int, ...], box_cost: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(maps, "BOX_COST", box_cost)
        for mask, spacing in smooth_masks(shape):
            whole = ndimage.distance_transform_edt(mask, sampling=spacing) + ndimage.distance_transform_edt(~mask, sampling=spacing)
            np.testing.assert_allclose(distance(mask, spacing), whole, rtol=1e-6)

    def test_no_voxel_inside_is_above_zero(self) -> None:
        for mask, spacing in smooth_masks((20, 17)):
            signed = signed_distance(mask, spacing)
            assert signed[mask].max() <= 0
            assert signed[~mask].min() > 0


class TestEdges:
    @pytest.mark.parametrize("function", [distance, signed_distance])
    @pytest.mark.parametrize("value", [False, True])
    def test_without_a_boundary_there_is_no_distance(self, function: Callable[[np.ndarray], np.ndarray], value: bool) -> None:
        assert not function(np.full((4, 3), value)).any()

    def test_an_empty_mask_has_no_components_and_a_full_one_has_one(self) -> None:
        for function in (components, cells):
            assert not function(np.zeros((4, 3), bool)).any()
            assert (function(np.ones((4, 3), bool)) == 1).all()

    def test_a_mask_need_not_be_contiguous(self) -> None:
        mask = smooth_masks((20, 17), 1)[0][0]
        for function in MAPS.values():
            assert np.array_equal(function(mask.T, None), function(np.ascontiguousarray(mask.T), None))


class TestComputeMap:
    @pytest.mark.parametrize("name", MAPS)
    def test_every_channel_is_on_its_own_and_every_sample_has_its_spacing(self, name: str) -> None:
        rng = np.random.default_rng(0)
        masks, spacing = torch.from_numpy(rng.random((3, 2, 6, 5)) < 0.2), torch.tensor([[1.0, 1.0], [3.0, 1.0], [0.5, 2.0]])
        found = compute_map(name, masks, spacing)
        masks = masks.any(1, keepdim=True) if name in JOINT else masks
        assert found.shape == masks.shape
        assert found.dtype == (torch.float32 if "distance" in name else torch.int32)
        for b in range(3):
            for c in range(masks.shape[1]):
                np.testing.assert_array_equal(found[b, c].numpy(), MAPS[name](masks[b, c].numpy(), spacing[b].tolist()))

    @pytest.mark.parametrize("name", MAPS)
    def test_without_spacing_a_voxel_is_the_unit(self, name: str) -> None:
        masks = torch.from_numpy(np.random.default_rng(0).random((2, 1, 6, 5)) < 0.2)
        assert torch.equal(compute_map(name, masks, None), compute_map(name, masks, torch.ones(2, 2)))
