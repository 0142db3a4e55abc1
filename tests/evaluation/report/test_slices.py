from __future__ import annotations

import numpy as np
import pytest
from nibabel import orientations

from medseg.data.geometry import Geometry
from medseg.evaluation.report.slices import AROUND, MOST_SLICES, View

# Canonical: right-left 6, back-front 5, bottom-top 4 voxels.
RAS = np.arange(6 * 5 * 4).reshape(6, 5, 4)
NONE = np.zeros(RAS.shape, bool)


def stored(codes: str, spacing: tuple[float, float, float] = (1.0, 1.0, 3.0)) -> tuple[np.ndarray, Geometry]:
    """The same volume as a file with axes in another order and direction would hold it."""
    affine = np.diag([*spacing, 1.0])
    turn = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes))
    array = orientations.apply_orientation(RAS, turn)
    return array, Geometry(array.shape, affine @ orientations.inv_ornt_aff(turn, RAS.shape))


def view(codes: str, spacing: tuple[float, float, float] = (1.0, 1.0, 3.0)) -> View:
    array, geometry = stored(codes, spacing)
    nothing = np.zeros(array.shape, bool)
    return View.of(array[None].astype(np.float32), nothing, nothing, geometry)


class TestOrientation:
    @pytest.mark.parametrize("codes", ["RAS", "LAS", "LPS", "PIR", "SLA", "IPL"])
    def test_the_patients_right_is_at_the_left_and_the_front_at_the_top(self, codes: str) -> None:
        one = view(codes)
        assert one.plane == "axial"
        assert one.sides == ("R", "L", "A", "P")
        assert one.image is not None
        picture = one.cut(one.image[0], 1)
        # The first axis of RAS ends at the right, the second at the front.
        assert np.array_equal(picture, RAS[::-1, ::-1, 1].T)
        assert picture[0, 0] == RAS[-1, -1, 1]

    @pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
    def test_coronal_and_sagittal_slices_have_the_head_at_the_top(self, codes: str) -> None:
        coronal, sagittal = view(codes, (1.0, 3.0, 1.0)), view(codes, (3.0, 1.0, 1.0))
        assert coronal.image is not None
        assert sagittal.image is not None
        assert (coronal.plane, coronal.sides) == ("coronal", ("R", "L", "S", "I"))
        assert coronal.cut(coronal.image[0], 2)[0, 0] == RAS[-1, 2, -1]
        assert (sagittal.plane, sagittal.sides) == ("sagittal", ("A", "P", "S", "I"))
        assert sagittal.cut(sagittal.image[0], 2)[0, 0] == RAS[2, -1, -1]

    def test_cubes_are_cut_axially(self) -> None:
        assert view("PIR", (1.0, 1.0, 1.0)).plane == "axial"

    def test_pixels_are_as_high_and_wide_as_in_the_body(self) -> None:
        assert view("PIR", (1.0, 2.0, 5.0)).pixel == pytest.approx((2.0, 1.0))
        assert view("PIR", (5.0, 1.0, 2.0)).pixel == pytest.approx((2.0, 1.0))

    @pytest.mark.parametrize("codes", ["RAS", "LPI", "IPR", "ASL"])
    def test_slices_are_numbered_as_in_the_file(self, codes: str) -> None:
        array, _ = stored(codes)
        one = view(codes)
        axis = next(at for at, code in enumerate(codes) if code in "SI")
        assert one.image is not None
        for at in range(4):
            assert set(np.take(array, one.number(at), axis).ravel()) == set(one.cut(one.image[0], at).ravel())

    def test_pictures_are_shown_as_they_are(self) -> None:
        image = np.arange(6.0).reshape(1, 2, 3)
        one = View.of(image, NONE[0, :2, :3], NONE[0, :2, :3], Geometry((2, 3), np.diag([1.0, 2.0, 1.0, 1.0])))
        assert np.array_equal(one.cut(image[0], 0), image[0])
        assert (one.plane, one.count, one.choose(), one.pixel, one.number(0)) == ("", 1, ([0], 0), (1.0, 2.0), 0)


def chosen(prediction: np.ndarray, reference: np.ndarray) -> tuple[list[int], int]:
    return View.of(None, prediction, reference, Geometry(prediction.shape, np.diag([1.0, 1.0, 2.0, 1.0]))).choose()


class TestChoice:
    def test_slices_that_hold_either_mask_are_shown(self) -> None:
        prediction, reference = (np.zeros((5, 5, 10), bool) for _ in range(2))
        prediction[1, 1, 3], reference[2, 2, 7] = True, True
        assert chosen(prediction, reference) == ([3, 7], 0)

    def test_it_opens_at_the_largest_area_of_error(self) -> None:
        prediction, reference = (np.zeros((5, 5, 10), bool) for _ in range(2))
        reference[1:4, 1:4, 2:8] = True
        prediction[1:4, 1:4, 2:8] = True
        prediction[1:3, 1:3, 5] = False
        numbers, first = chosen(prediction, reference)
        assert numbers[first] == 5

    def test_it_opens_at_the_largest_area_of_the_reference_where_asked(self) -> None:
        prediction, reference = (np.zeros((5, 5, 40), bool) for _ in range(2))
        reference[1:3, 1:3, 2:38] = prediction[1:3, 1:3, 2:38] = True
        reference[1:4, 1:3, 20] = prediction[1:4, 1:3, 20] = True
        prediction[:, :, 30] = False
        view = View.of(None, prediction, reference, Geometry(prediction.shape, np.diag([1.0, 1.0, 2.0, 1.0])))
        for opens, wanted in (("error", 30), ("reference", 20)):
            numbers, first = view.choose(opens)
            assert numbers[first] == wanted

    def test_without_error_it_opens_at_the_largest_area(self) -> None:
        mask = np.zeros((5, 5, 10), bool)
        mask[1, 1, 2:8] = mask[1:3, 1, 6] = True
        numbers, first = chosen(mask, mask)
        assert numbers[first] == 6

    @pytest.mark.parametrize("worst", [0, 1, 38, 71, 99])
    def test_many_are_thinned_evenly_with_the_worst_among_them(self, worst: int) -> None:
        reference = np.ones((3, 3, 100), bool)
        prediction = reference.copy()
        prediction[:, :, worst] = False
        numbers, first = chosen(prediction, reference)
        assert len(numbers) == MOST_SLICES
        assert numbers[first] == worst
        assert numbers == sorted(set(numbers))
        assert max(np.diff(numbers)) <= 9

    def test_of_an_empty_case_the_middle_is_shown(self) -> None:
        numbers, first = chosen(np.zeros((3, 3, 21), bool), np.zeros((3, 3, 21), bool))
        assert len(numbers) == AROUND
        assert numbers[first] == 10
        assert chosen(np.zeros((3, 3, 1), bool), np.zeros((3, 3, 1), bool)) == ([0], 0)
