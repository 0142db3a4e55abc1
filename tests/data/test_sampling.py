"""Where patches are centred."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.data import sampling
from medseg.data.labels import IGNORE, LabelSchema
from medseg.data.sampling import ClassSampler, LesionSampler, crop, foreground_flags, patch_start

LESION = LabelSchema.exclusive({"lesion": 1, "ignore": 2})
ORGANS = LabelSchema.exclusive({"liver": 1, "kidney": 2, "spleen": 3, "ignore": 9})
REGIONS = LabelSchema(("whole", "core"), ((1, 2), (2,)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def expected_within(count: int, trials: int, probability: float) -> bool:
    """Whether a count of successes lies within 5 standard deviations of what the probability says."""
    return abs(count - trials * probability) <= 5 * math.sqrt(trials * probability * (1 - probability)) + 1e-9


class TestForegroundFlags:
    @pytest.mark.parametrize("fraction", [0.0, 0.1, 0.29, 1 / 3, 0.5, 0.7, 0.9, 1.0])
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7])
    def test_the_share_is_exact_in_each_epoch_and_each_batch(self, fraction: float, batch_size: int) -> None:
        flags = foreground_flags(100, fraction, batch_size, rng())
        assert flags.sum() == math.floor(round(100 * fraction, 6))
        for start in range(0, 100 - batch_size + 1, batch_size):
            assert math.floor(batch_size * fraction) <= flags[start : start + batch_size].sum() <= math.ceil(batch_size * fraction)

    def test_the_place_within_a_batch_is_random(self) -> None:
        flags = foreground_flags(400, 0.5, 2, rng()).reshape(-1, 2)
        assert expected_within(int(flags[:, 0].sum()), 200, 0.5)

    def test_the_order_follows_the_seed(self) -> None:
        first, again, other = (foreground_flags(60, 0.5, 4, rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


class TestLesionSampler:
    @pytest.fixture
    def label(self) -> np.ndarray:
        """A lesion of 1000 voxels and three of one, two of which touch by a corner (and so are one)."""
        label = np.zeros((24, 24, 24), dtype=np.uint8)
        label[2:12, 2:12, 2:12] = 1
        label[20, 20, 20] = 1
        label[15, 15, 20] = label[16, 16, 21] = 1
        return label

    def test_each_lesion_is_equally_likely_whatever_its_size(self, label: np.ndarray) -> None:
        sampler = LesionSampler()
        sampler.add(label, LESION)
        generator = rng()
        centres = [sampler.draw(generator, foreground=True)[1] for _ in range(1200)]
        assert expected_within(sum(centre[0] < 12 for centre in centres), 1200, 1 / 3)
        assert expected_within(sum(centre == (20, 20, 20) for centre in centres), 1200, 1 / 3)
        assert expected_within(sum(centre[0] in (15, 16) for centre in centres), 1200, 1 / 3)

    def test_voxels_of_a_lesion_are_equally_likely(self) -> None:
        label = np.zeros((1, 1, 8), dtype=np.uint8)
        label[..., 2:6] = 1
        sampler = LesionSampler()
        sampler.add(label, LESION)
        generator = rng()
        counts = np.bincount([sampler.draw(generator, foreground=True)[1][2] for _ in range(2000)], minlength=8)
        assert counts[[0, 1, 6, 7]].sum() == 0
        assert all(expected_within(int(count), 2000, 0.25) for count in counts[2:6])

    def test_diagonal_pixels_are_one_lesion_in_2d(self) -> None:
        label = np.eye(5, dtype=np.uint8)
        assert len(LesionSampler().groups(label, LESION)) == 1

    def test_a_foreground_centre_is_foreground(self, label: np.ndarray) -> None:
        sampler = LesionSampler()
        for turned in (label, np.ascontiguousarray(label[::-1, :18]), label[:, :, 1:]):
            sampler.add(turned, LESION)
        labels = [label, label[::-1, :18], label[:, :, 1:]]
        generator = rng()
        for _ in range(100):
            case, centre = sampler.draw(generator, foreground=True)
            assert labels[case][centre] == 1

    def test_foreground_comes_from_cases_that_have_some_each_equally_likely(self, label: np.ndarray) -> None:
        one = np.zeros((8, 8, 8), dtype=np.uint8)
        one[4, 4, 4] = 1
        sampler = LesionSampler()
        for case in (np.zeros_like(one), label, np.zeros_like(one), one):
            sampler.add(case, LESION)
        generator = rng()
        cases = [sampler.draw(generator, foreground=True)[0] for _ in range(1000)]
        assert set(cases) == {1, 3}
        assert expected_within(cases.count(1), 1000, 0.5)

    def test_other_centres_are_uniform_over_cases_and_voxels(self, label: np.ndarray) -> None:
        sampler = LesionSampler()
        sampler.add(label, LESION)
        sampler.add(np.zeros((2, 3, 4), dtype=np.uint8), LESION)
        generator = rng()
        drawn = [sampler.draw(generator, foreground=False) for _ in range(2000)]
        assert expected_within(sum(case == 0 for case, _ in drawn), 2000, 0.5)
        last = [centre[2] for case, centre in drawn if case == 1]
        assert all(expected_within(last.count(i), len(last), 0.25) for i in range(4))

    def test_ignored_voxels_are_no_foreground(self) -> None:
        label = np.full((5, 5), IGNORE, dtype=np.uint8)
        sampler = LesionSampler()
        sampler.add(label, LESION)
        assert not sampler.has_foreground
        with pytest.raises(ValueError, match="no case has any foreground"):
            sampler.draw(rng(), foreground=True)

    def test_a_large_lesion_is_thinned_without_bias(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sampling, "MAX_VOXELS_PER_GROUP", 100)
        groups = LesionSampler().groups(np.ones((40, 50), dtype=np.uint8), LESION)
        assert len(groups.voxels) == len(np.unique(groups.voxels)) == 100
        columns = groups.voxels % 50
        assert len(np.unique(columns)) > 30


class TestClassSampler:
    def test_each_class_present_is_equally_likely_whatever_its_size(self) -> None:
        label = np.zeros((20, 20), dtype=np.uint8)
        label[:10] = 1
        label[15, 15] = 3
        label[18] = IGNORE
        sampler = ClassSampler()
        sampler.add(label, ORGANS)
        generator = rng()
        drawn = [label[sampler.draw(generator, foreground=True)[1]] for _ in range(1000)]
        assert set(drawn) == {1, 3}
        assert expected_within(drawn.count(3), 1000, 0.5)

    def test_a_voxel_of_overlapping_classes_counts_for_each(self) -> None:
        label = np.zeros((10, 10), dtype=np.uint8)
        label[0, :9] = 1
        label[0, 9] = 2  # the whole has ten voxels, the core one
        sampler = ClassSampler()
        sampler.add(label, REGIONS)
        generator = rng()
        core = sum(sampler.draw(generator, foreground=True)[1] == (0, 9) for _ in range(2000))
        assert expected_within(core, 2000, 0.5 + 0.5 * 0.1)


class TestPatches:
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

    def test_crop_copies_the_voxels_of_the_patch(self) -> None:
        array = np.arange(2 * 6 * 7).reshape(2, 6, 7)
        patch = crop(array, (1, 2), (3, 4), fill=0)
        np.testing.assert_array_equal(patch, array[:, 1:4, 2:6])
        patch[:] = -1
        assert array.min() == 0

    def test_crop_fills_what_lies_outside(self) -> None:
        array = np.arange(2 * 2 * 5).reshape(2, 2, 5)
        patch = crop(array, (-1, 1), (4, 3), fill=np.array([-7, -8]).reshape(2, 1, 1))
        expected = np.pad(array, ((0, 0), (1, 1), (0, 0)), constant_values=-7)[..., 1:4]
        expected[1, [0, 3]] = -8
        np.testing.assert_array_equal(patch, expected)
