"""Boxes of voxels."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.data.sampling import patch_start
from tests.data.sampling.fakes import crop


class TestPatchStart:
    def test_a_patch_is_centred(self) -> None:
        assert patch_start((10, 20), (4, 6), (100, 100)) == (8, 17)

    @pytest.mark.parametrize("centre", [0, 1, 7, 30, 39, 49])
    @pytest.mark.parametrize("patch", [1, 2, 5, 50])
    def test_a_patch_lies_inside_the_image_and_holds_its_centre(self, centre: int, patch: int) -> None:
        (start,) = patch_start((centre,), (patch,), (50,))
        assert 0 <= start <= centre < start + patch <= 50

    @pytest.mark.parametrize(("shape", "patch"), [(5, 8), (5, 9), (1, 4)])
    def test_a_small_image_lies_in_the_middle(self, shape: int, patch: int) -> None:
        (start,) = patch_start((0,), (patch,), (shape,))
        before, after = -start, patch - shape + start
        assert abs(before - after) <= 1
        assert min(before, after) >= 0


class TestCrop:
    def test_the_voxels_are_copied(self) -> None:
        array = np.arange(2 * 6 * 7).reshape(2, 6, 7)
        patch = crop(array, (1, 2), (3, 4), fill=0)
        np.testing.assert_array_equal(patch, array[:, 1:4, 2:6])
        patch[:] = -1
        assert array.min() == 0

    def test_what_lies_outside_is_filled(self) -> None:
        array = np.arange(2 * 2 * 5).reshape(2, 2, 5)
        patch = crop(array, (-1, 1), (4, 3), fill=np.array([-7, -8]).reshape(2, 1, 1))
        expected = np.pad(array, ((0, 0), (1, 1), (0, 0)), constant_values=-7)[..., 1:4]
        expected[1, [0, 3]] = -8
        np.testing.assert_array_equal(patch, expected)

    @pytest.mark.parametrize("start", [-9, -4, 5, 12])
    def test_a_box_beside_the_array_is_filled_whole(self, start: int) -> None:
        np.testing.assert_array_equal(crop(np.ones((5, 5)), (0, start), (5, 4), fill=3), np.full((5, 4), 3))
