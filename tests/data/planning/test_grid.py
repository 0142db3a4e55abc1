from __future__ import annotations

import numpy as np
import pytest

from medseg.data.planning.grid import choose_patch, covering_size, finer_for_lesions, median_shape, smaller_size, target_spacing
from tests.data.planning.facts import facts, fingerprint


class TestTargetSpacing:
    def test_one_spacing_is_not_resampled(self) -> None:
        spacing, reason = target_spacing(fingerprint([facts(n, spacing=(1, 1, 1.005)) for n in range(3)]))
        assert spacing is None
        assert "share 1 x 1 x 1" in reason

    def test_the_median_of_even_voxels(self) -> None:
        spacing, reason = target_spacing(fingerprint([facts(n, spacing=(s, s, 1.0)) for n, s in enumerate((0.6, 0.8, 1.2))]))
        assert spacing == [0.8, 0.8, 1.0]
        assert "median of the cases, which range from 0.6 x 0.6 x 1 mm to 1.2 x 1.2 x 1 mm" in reason

    def test_a_coarse_axis_takes_its_10th_percentile(self) -> None:
        cases = [facts(n, (400, 400, 40), (0.5, 0.5, thick)) for n, thick in enumerate(np.linspace(2.0, 6.0, 11))]
        spacing, reason = target_spacing(fingerprint(cases))
        assert spacing == [0.5, 0.5, 2.4]
        assert "axis 2 is 8.0 times coarser" in reason

    def test_a_coarse_axis_of_as_many_voxels_keeps_its_median(self) -> None:
        cases = [facts(n, (100, 100, 90), (0.5, 0.5, thick)) for n, thick in enumerate(np.linspace(2.0, 6.0, 11))]
        assert target_spacing(fingerprint(cases))[0] == [0.5, 0.5, 4.0]

    def test_a_coarse_axis_never_gets_finer_than_the_others(self) -> None:
        cases = [facts(n, (400, 400, 40), (0.5, 0.5, thick)) for n, thick in enumerate((0.1, 0.1, 3.0, 3.0, 3.0))]
        assert target_spacing(fingerprint(cases))[0] == [0.5, 0.5, 0.5]

    def test_an_axis_must_be_coarser_than_every_other(self) -> None:
        cases = [facts(n, (400, 200, 40), (0.5, 1.5, thick)) for n, thick in enumerate(np.linspace(2.0, 6.0, 11))]
        assert target_spacing(fingerprint(cases))[0] == [0.5, 1.5, 4.0]  # 8 times the first, less than 3 times the second

    def test_an_axis_must_have_fewer_voxels_than_every_other(self) -> None:
        cases = [facts(n, (400, 100, 40), (0.5, 0.5, thick)) for n, thick in enumerate(np.linspace(2.0, 6.0, 11))]
        assert target_spacing(fingerprint(cases))[0] == [0.5, 0.5, 4.0]

    def test_pictures_keep_their_pixels(self) -> None:
        spacing, reason = target_spacing(fingerprint([facts(n, (50 + n, 60), (1, 1), picture=True) for n in range(2)]))
        assert spacing is None
        assert "pixels" in reason


class TestFinerForLesions:
    CASES = fingerprint([facts(n, spacing=(s, s, s)) for n, s in enumerate((1.0, 2.0, 3.0))])

    def test_lesions_of_less_than_a_voxel_ask_for_finer_ones(self) -> None:
        spacing, reason = finer_for_lesions(self.CASES, [2.0, 2.0, 2.0], 7.9)
        assert spacing == [1.2, 1.2, 1.2]
        assert reason is not None
        assert "7.9 mm^3" in reason

    def test_larger_ones_do_not(self) -> None:
        assert finer_for_lesions(self.CASES, [2.0, 2.0, 2.0], 8.0) == ([2.0, 2.0, 2.0], None)
        assert finer_for_lesions(self.CASES, None, 0.1) == (None, None)


class TestPatch:
    def test_its_axes_can_be_halved_down_to_4_to_7_voxels(self) -> None:
        for size in range(1, 900):
            good = covering_size(size)
            while good % 2 == 0 and good >= 8:
                good //= 2
            assert good <= 7

    @pytest.mark.parametrize(
        ("size", "expected"), [(3, 3), (32, 32), (33, 32), (36, 40), (50, 56), (100, 112), (90, 96), (81, 80), (1e9, 7 * 2**12)]
    )
    def test_it_covers_an_axis_unless_too_much_would_be_padding(self, size: float, expected: int) -> None:
        assert covering_size(size) == expected

    def test_sizes_step_down_to_one(self) -> None:
        assert [smaller_size(size) for size in (48, 40, 8, 4, 1)] == [40, 32, 7, 3, 1]

    def test_what_fits_covers_the_median_image(self) -> None:
        assert choose_patch(np.array([36, 50, 35]), (1, 1, 1), lambda patch: True) == ([40, 56, 40], True)

    def test_it_shrinks_in_proportion(self) -> None:
        patch, covers = choose_patch(np.array([512, 512, 64]), (0.7, 0.7, 3), lambda patch: np.prod(patch) < 2e6)
        assert not covers
        assert np.prod(patch) < 2e6
        assert 5 <= patch[0] / patch[2] <= 11
        assert np.prod(patch) > 1e6

    def test_where_nothing_fits_it_stays_trainable(self) -> None:
        patch, _ = choose_patch(np.array([64, 64, 64]), (1, 1, 1), lambda patch: False)
        assert patch == [8, 8, 8]

    def test_the_median_shape_is_that_after_resampling(self) -> None:
        cases = fingerprint([facts(n, (100, 100, 50), (1, 1, thick)) for n, thick in enumerate((1.0, 2.0, 4.0))])
        assert median_shape(cases, [2.0, 2.0, 2.0]).tolist() == [50, 50, 50]
        assert median_shape(cases, None).tolist() == [100, 100, 50]
