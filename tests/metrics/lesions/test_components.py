from __future__ import annotations

import numpy as np
import pytest

from medseg.metrics.lesions.components import Connectivity, components
from medseg.metrics.lesions.runs import coordinates, runs_of
from tests.metrics.lesions.by_hand import masks_of, noise

CONNECTIVITIES: list[Connectivity] = ["faces", "edges", "corners"]


def painted(mask: np.ndarray, connectivity: Connectivity) -> tuple[np.ndarray, int]:
    runs, _ = runs_of(mask)
    component, count = components(runs, connectivity)
    result = np.full(mask.shape, -1)
    result[tuple(coordinates(runs.voxels(), mask.shape).T)] = np.repeat(component, runs.lengths)
    return result, count


class TestComponents:
    @pytest.mark.parametrize("connectivity", CONNECTIVITIES)
    @pytest.mark.parametrize("shape", [(30,), (24, 30), (10, 12, 9)])
    def test_random_masks_are_numbered_by_their_first_voxel(self, shape: tuple[int, ...], connectivity: Connectivity) -> None:
        for seed, density in [(0, 0.02), (1, 0.2), (2, 0.5)]:
            mask = np.random.default_rng(seed).random(shape) < density
            found, count = painted(mask, connectivity)
            expected = masks_of(mask, connectivity)
            assert count == len(expected)
            for number, one in enumerate(expected):
                np.testing.assert_array_equal(found == number, one)

    @pytest.mark.parametrize(("connectivity", "expected"), [("faces", (3, 3)), ("edges", (1, 3)), ("corners", (1, 1))])
    def test_diagonal_neighbours_are_one_lesion_where_corners_join(self, connectivity: Connectivity, expected: tuple[int, int]) -> None:
        for ndim, count in zip((2, 3), expected, strict=True):
            mask = np.zeros((3,) * ndim, bool)
            mask[(np.arange(3),) * ndim] = True
            assert painted(mask, connectivity)[1] == count

    def test_edges_join_in_3d_what_faces_do_not(self) -> None:
        mask = np.zeros((2, 2, 2), bool)
        mask[0, 0, 0] = mask[0, 1, 1] = True
        assert [painted(mask, connectivity)[1] for connectivity in CONNECTIVITIES] == [2, 1, 1]

    def test_lines_do_not_reach_around_the_edge(self) -> None:
        mask = np.zeros((3, 3, 3), bool)
        mask[0, 0, 2] = mask[0, 2, 0] = mask[2, 0, 0] = True
        assert painted(mask, "corners")[1] == 3

    def test_an_unknown_connectivity_is_refused(self) -> None:
        with pytest.raises(ValueError, match="faces, edges, corners"):
            components(runs_of(np.ones((2, 2), bool))[0], "26")  # type: ignore[arg-type]

    def test_a_snake_is_one_component(self) -> None:
        mask = noise(0, (1, 1))[0] | np.zeros((41, 41), bool)
        mask[::2], mask[1::4, -1], mask[3::4, 0] = True, True, True
        assert painted(mask, "faces")[1] == 1
