"""Centre-line Dice: by hand and on the conformance cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage.morphology import skeletonize

from medseg.metrics.centreline import cl_dice
from tests.metrics.conformance import build_array, conformance_cases


def tube(shape: tuple[int, ...], start: int, stop: int, row: int) -> np.ndarray:
    """Three voxels wide, along the last axis."""
    mask = np.zeros(shape, dtype=np.bool_)
    mask[(*(slice(row - 1, row + 2) for _ in shape[1:]), slice(start, stop))] = True
    return mask


@pytest.mark.parametrize("case", conformance_cases("cldice", "cldsc"))
def test_conformance(case: dict[str, Any]) -> None:
    masks = [build_array(case[side]) != 0 for side in ("pred", "ref")]
    assert cl_dice(*masks) == pytest.approx(case["expected"], abs=case["tol"], nan_ok=True)


@pytest.mark.parametrize("shape", [(12, 40), (12, 12, 40)])
class TestTubes:
    def test_of_the_same_course_agree_whatever_their_width(self, shape: tuple[int, ...]) -> None:
        wide = tube(shape, 2, 38, 6)
        thin = skeletonize(wide) > 0
        assert cl_dice(wide, wide) == 1
        assert cl_dice(thin, wide) == 1

    def test_half_found_are_precise_but_not_complete(self, shape: tuple[int, ...]) -> None:
        prediction, reference = tube(shape, 2, 20, 6), tube(shape, 2, 38, 6)
        skeleton = skeletonize(reference) > 0
        sensitivity = np.count_nonzero(skeleton & prediction) / np.count_nonzero(skeleton)
        assert cl_dice(prediction, reference) == pytest.approx(2 * sensitivity / (1 + sensitivity))
        assert cl_dice(reference, prediction) == pytest.approx(cl_dice(prediction, reference))

    def test_apart_score_nothing(self, shape: tuple[int, ...]) -> None:
        assert cl_dice(tube(shape, 2, 10, 6), tube(shape, 20, 38, 6)) == 0

    def test_score_the_same_anywhere_in_a_larger_image(self, shape: tuple[int, ...]) -> None:
        prediction, reference = tube(shape, 0, 30, 5), tube(shape, 2, 38, 6)
        assert cl_dice(prediction, reference) == cl_dice(np.pad(prediction, 9), np.pad(reference, 9))


class TestEdges:
    def test_empty_masks(self) -> None:
        empty, full = np.zeros((5, 5), dtype=np.bool_), np.ones((5, 5), dtype=np.bool_)
        assert np.isnan(cl_dice(empty, empty))
        assert cl_dice(full, empty) == cl_dice(empty, full) == 0

    def test_a_mask_that_thinning_removes_is_its_own_skeleton(self) -> None:
        cube = np.zeros((6, 6, 6), dtype=np.bool_)
        cube[2:4, 2:4, 2:4] = True
        assert not skeletonize(cube).any()
        assert cl_dice(cube, cube) == 1

    def test_masks_of_two_shapes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="shape"):
            cl_dice(np.ones((2, 2), dtype=np.bool_), np.ones((2, 3), dtype=np.bool_))
