"""How many lesions of each size a patch shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medseg.data.sampling import LesionSizes
from tests.data.sampling.fakes import LESION, ORGANS, index_of


def cubes(*sides: int) -> np.ndarray:
    label = np.zeros((40, 40, 200), np.uint8)
    place = 0
    for side in sides:
        label[:side, :side, place : place + side] = 1
        place += side + 1
    return label


class TestBins:
    def test_each_power_of_ten_is_a_bin_with_a_readable_name(self) -> None:
        sizes = LesionSizes([index_of(cubes(1, 2, 3)), index_of(cubes(5)), index_of(cubes())])  # 1, 8, 27 and 125 mm3
        assert sizes.names == ["below_10mm3", "10-100mm3", "from_100mm3"]
        assert sizes.totals == [2, 1, 1]

    def test_volumes_are_in_millimetres(self) -> None:
        sizes = LesionSizes([index_of(cubes(1, 2, 3), LESION, (0.5, 0.5, 4.0))])
        assert sizes.names == ["below_10mm3", "from_10mm3"]
        assert sizes.totals == [2, 1]
        tiny = LesionSizes([index_of(cubes(1, 5), LESION, (0.1, 0.1, 0.1))])
        assert tiny.names == ["below_0.01mm3", "from_0.1mm3"]  # between them there is none

    def test_areas_are_in_square_millimetres(self) -> None:
        label = np.zeros((30, 30))
        label[0, 0] = label[10:20, 10:20] = 1
        assert LesionSizes([index_of(label)]).names == ["below_10mm2", "from_100mm2"]

    def test_pictures_have_pixels_and_no_millimetres(self) -> None:
        label = np.zeros((30, 30))
        label[0, 0] = label[10:20, 10:20] = 1
        scan, picture = index_of(label), index_of(label)
        picture.intensities = replace(picture.intensities, picture=True)
        assert LesionSizes([picture, picture]).names == ["below_10px", "from_100px"]
        assert LesionSizes([picture, scan]).names == ["below_10mm2", "from_100mm2"]

    def test_no_more_than_six_bins(self) -> None:
        label = np.zeros((1, 4000, 1200))
        label[0, 0, 0] = label[0, 2, :20] = label[0, 4, :200] = 1
        label[0, 10:12, :700] = label[0, 20:40, :700] = label[0, 50:300, :700] = label[0, 400:3900, :1000] = 1
        sizes = LesionSizes([index_of(label)])
        assert sizes.names == ["below_100mm3", "100-1000mm3", "1000-10000mm3", "10000-100000mm3", "100000-1000000mm3", "from_1000000mm3"]
        assert sizes.totals == [2, 1, 1, 1, 1, 1]

    def test_lesions_of_one_size_are_one_bin(self) -> None:
        assert LesionSizes([index_of(cubes(2, 2))]).names == ["all"]

    def test_without_lesions_there_is_no_bin(self) -> None:
        sizes = LesionSizes([index_of(cubes())])
        assert (sizes.names, sizes.totals) == ([], [])
        assert sizes.seen(0, (0, 0, 0), (9, 9, 9)).shape == (0,)


class TestSeen:
    def test_a_lesion_is_seen_where_its_centroid_lies_in_the_box(self) -> None:
        label = np.zeros((20, 20), np.uint8)
        label[5, 5] = 1
        label[10:14, 10:14] = 1  # centroid 11.5
        sizes = LesionSizes([index_of(np.zeros((20, 20))), index_of(label)])
        assert sizes.names == ["below_10mm2", "from_10mm2"]
        seen = {
            ((0, 0), (20, 20)): [1, 1], ((5, 5), (1, 1)): [1, 0], ((6, 0), (6, 20)): [0, 0], ((6, 0), (7, 20)): [0, 1],
            ((4, 4), (1, 9)): [0, 0], ((12, 12), (8, 8)): [0, 1], ((13, 12), (8, 8)): [0, 0], ((-4, -4), (10, 10)): [1, 0],
        }  # fmt: skip
        assert {box: sizes.seen(1, *box).tolist() for box in seen} == seen
        assert sizes.seen(0, (0, 0), (20, 20)).tolist() == [0, 0]

    @pytest.mark.parametrize("values", [(1, 1), (1, 3)])
    def test_lesions_of_all_classes_count(self, values: tuple[int, int]) -> None:
        label = np.zeros((20, 20), np.uint8)
        label[2, 2], label[9, 9] = values
        assert LesionSizes([index_of(label, ORGANS)]).seen(0, (0, 0), (20, 20)).tolist() == [2]

    def test_boxes_that_tile_the_image_see_each_lesion_once(self) -> None:
        label = np.random.default_rng(0).random((48, 48)) < 0.1
        sizes = LesionSizes([index_of(label)])
        seen = sum(sizes.seen(0, (i, j), (8, 6)) for i in range(0, 48, 8) for j in range(0, 48, 6))
        assert seen.tolist() == sizes.totals
