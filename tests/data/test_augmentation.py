"""Random changes of patches, by albumentations in 2-D and MONAI in 3-D."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medseg.data.augmentation import Augmentation, light, none, strong
from medseg.data.labels import IGNORE

SIZES = {2: (40, 48), 3: (20, 24, 16)}
OFF_LIGHT = {"mirror": False, "rotation": 0.0, "scale": 0.0, "noise": 0.0, "brightness": 0.0, "contrast": 0.0}
OFF = {light: OFF_LIGHT, strong: {**OFF_LIGHT, "gamma": 0.0, "blur": 0.0}}
BUILDERS = pytest.mark.parametrize("build", [light, strong])
DIMS = pytest.mark.parametrize("dims", [2, 3])


def patch(dims: int, channels: int = 2, seed: int = 0, level: float = 0.0, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random image and the label of what is bright in it, with some ignored voxels."""
    rng = np.random.default_rng(seed)
    image = np.stack([ndimage.gaussian_filter(rng.normal(size=SIZES[dims]), 2.0) for _ in range(channels)])
    image = (image - image.mean()) / image.std()
    label = (image[0] > 0.5).astype(np.uint8) * 3
    label[tuple(slice(0, 3) for _ in range(dims))] = IGNORE
    return (image * spread + level).astype(np.float32), label


def results(augment: Augmentation, dims: int, count: int = 40, **options: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    image, label = patch(dims, **options)
    return [augment(image.copy(), label.copy(), np.random.default_rng([1, i])) for i in range(count)]


def changed(augment: Augmentation, dims: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The results that are not the patch itself."""
    image = patch(dims)[0]
    return [result for result in results(augment, dims) if not np.array_equal(result[0], image)]


def only(build: Callable[..., Augmentation], dims: int, **params: Any) -> Augmentation:
    """An augmentation with everything else switched off."""
    return build(dims, **{**OFF[build], **params})


class TestEveryAugmentation:
    @DIMS
    @BUILDERS
    @pytest.mark.parametrize("channels", [1, 3, 5])
    def test_shapes_types_and_ids_are_kept_and_all_is_finite(self, build: Any, dims: int, channels: int) -> None:
        image, label = patch(dims, channels)
        for moved, ids in results(build(dims), dims, 20, channels=channels):
            assert moved.shape == image.shape
            assert moved.dtype == np.float32
            assert ids.shape == label.shape
            assert ids.dtype == np.uint8
            assert set(np.unique(ids)) <= {0, 3, IGNORE}
            assert np.isfinite(moved).all()

    @DIMS
    @BUILDERS
    def test_the_result_follows_from_the_generator_alone(self, build: Any, dims: int) -> None:
        first = results(build(dims), dims, 10)
        np.random.seed(5)  # global state must not matter
        again = list(reversed([build(dims)(*patch(dims), np.random.default_rng([1, i])) for i in reversed(range(10))]))
        for (image, label), (image_again, label_again) in zip(first, again, strict=True):
            np.testing.assert_array_equal(image, image_again)
            np.testing.assert_array_equal(label, label_again)
        assert not np.array_equal(first[0][0], first[1][0]) or not np.array_equal(first[1][0], first[2][0])

    @DIMS
    @BUILDERS
    def test_a_copy_sent_to_another_process_does_the_same(self, build: Any, dims: int) -> None:
        augment = build(dims)
        copy = pickle.loads(pickle.dumps(augment))  # our own object, as spawned loader processes receive it
        for (image, label), (image_again, label_again) in zip(results(augment, dims, 6), results(copy, dims, 6), strict=True):
            np.testing.assert_array_equal(image, image_again)
            np.testing.assert_array_equal(label, label_again)

    @DIMS
    @BUILDERS
    def test_the_input_is_left_as_it_was(self, build: Any, dims: int) -> None:
        image, label = patch(dims)
        augment = build(dims)
        for seed in range(10):
            augment(image, label, np.random.default_rng(seed))
        np.testing.assert_array_equal(image, patch(dims)[0])
        np.testing.assert_array_equal(label, patch(dims)[1])

    @DIMS
    @BUILDERS
    def test_with_everything_off_nothing_changes(self, build: Any, dims: int) -> None:
        assert changed(build(dims, **OFF[build]), dims) == []

    @DIMS
    def test_none_changes_nothing(self, dims: int) -> None:
        assert changed(none(dims), dims) == []

    @BUILDERS
    @DIMS
    def test_every_parameter_has_an_effect(self, build: Any, dims: int) -> None:
        parameters = [p for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
        assert {p.name for p in parameters} == set(OFF[build])
        for parameter in parameters:
            assert changed(only(build, dims, **{parameter.name: parameter.default}), dims), parameter.name

    @DIMS
    @BUILDERS
    @pytest.mark.parametrize("channels", [1, 4])
    def test_a_constant_patch_stays_constant(self, build: Any, dims: int, channels: int) -> None:
        image = np.full((channels, *SIZES[dims]), 3.0, dtype=np.float32)
        augment = build(dims)
        for seed in range(20):
            moved, _ = augment(image.copy(), np.zeros(SIZES[dims], np.uint8), np.random.default_rng(seed))
            np.testing.assert_allclose(moved, 3.0, rtol=1e-5)

    @DIMS
    @BUILDERS
    def test_the_unit_of_the_intensities_does_not_matter(self, build: Any, dims: int) -> None:
        # A million times larger and far from 0: libraries that clip to [0, 1] fail here.
        augment = build(dims)
        for (image, _), (scaled, _) in zip(results(augment, dims, 20), results(augment, dims, 20, level=64.0, spread=1024.0), strict=True):
            np.testing.assert_allclose((scaled - 64) / 1024, image, atol=5e-3)


class TestMoves:
    @DIMS
    def test_mirroring_flips_each_axis_by_itself_in_half_of_the_patches(self, dims: int) -> None:
        image, label = patch(dims)
        flips = []
        for moved, ids in results(only(light, dims, mirror=True), dims, 200):
            axes = next(
                axes
                for axes in np.ndindex((2,) * dims)
                if np.array_equal(moved, np.flip(image, [axis + 1 for axis, flip in enumerate(axes) if flip]))
            )
            np.testing.assert_array_equal(ids, np.flip(label, [axis for axis, flip in enumerate(axes) if flip]))
            flips.append(axes)
        # Each combination of axes, equally often: 5 standard deviations around 200 / 2^dims.
        counts = [flips.count(axes) for axes in np.ndindex((2,) * dims)]
        expected = 200 / 2**dims
        assert all(abs(count - expected) < 5 * expected**0.5 for count in counts)

    @DIMS
    @pytest.mark.parametrize("params", [{"rotation": 25.0}, {"scale": 0.25}, {"rotation": 25.0, "scale": 0.2, "mirror": True}])
    def test_the_label_moves_with_the_image(self, dims: int, params: dict[str, Any]) -> None:
        moved = changed(only(light, dims, **params), dims)
        assert moved
        for image, label in moved:
            clear = (label != IGNORE) & (np.abs(image[0] - 0.5) > 0.5)  # away from the border of the bright areas
            assert clear.sum() > 100
            agree = ((label == 3) == (image[0] > 0.5))[clear]
            assert agree.mean() > 0.99

    @DIMS
    def test_without_mirror_left_stays_left(self, dims: int) -> None:
        image = np.zeros((1, *SIZES[dims]), dtype=np.float32)
        half = SIZES[dims][0] // 2
        image[:, :half] = 1
        for seed in range(30):
            moved, _ = light(dims, mirror=False)(image.copy(), np.zeros(SIZES[dims], np.uint8), np.random.default_rng(seed))
            assert moved[:, :half].mean() > moved[:, half:].mean() + 0.5

    @DIMS
    def test_rotation_stays_within_its_limit(self, dims: int) -> None:
        # The direction of a bar through the middle, from its second moments.
        size = (41,) * dims
        image = np.zeros((1, *size), dtype=np.float32)
        image[(0, slice(8, 33), *(slice(19, 22),) * (dims - 1))] = 1
        angles = []
        for seed in range(40):
            moved, _ = only(light, dims, rotation=20.0)(image.copy(), np.zeros(size, np.uint8), np.random.default_rng(seed))
            points = np.argwhere(moved[0] > 0.5).astype(float)
            axis = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
            angles.append(np.degrees(np.arccos(min(1.0, abs(axis[0])))))
        limit = 20.0 if dims == 2 else 30.0  # in 3-D rotations about two axes tilt the bar together
        assert 5 < max(angles) < limit + 1.5

    @DIMS
    def test_scaling_stays_within_its_limit(self, dims: int) -> None:
        size = (41,) * dims
        image = np.zeros((1, *size), dtype=np.float32)
        image[(0, *(slice(10, 31),) * dims)] = 1
        lengths = []
        for seed in range(40):
            moved, _ = only(light, dims, scale=0.2)(image.copy(), np.zeros(size, np.uint8), np.random.default_rng(seed))
            lengths.append(moved[0][(slice(None), *(20,) * (dims - 1))].sum() / 21)
        assert 1 / 1.25 - 0.05 < min(lengths) < 0.95
        assert 1.05 < max(lengths) < 1.25 + 0.05


class TestIntensities:
    @DIMS
    @pytest.mark.parametrize("name", ["noise", "brightness", "contrast", "gamma", "blur"])
    def test_the_label_is_untouched_and_some_patches_too(self, dims: int, name: str) -> None:
        image, label = patch(dims)
        pairs = results(only(strong, dims, **{name: 0.4}), dims, 200)
        assert all(np.array_equal(ids, label) for _, ids in pairs)
        share = np.mean([not np.array_equal(moved, image) for moved, _ in pairs])
        assert 0.15 < share < 0.45

    @DIMS
    def test_noise_stays_within_its_limit_in_units_of_the_spread(self, dims: int) -> None:
        image = patch(dims, spread=50.0)[0]
        ratios = [(moved - image).std() / image.std() for moved, _ in results(only(light, dims, noise=0.2), dims, 100, spread=50.0)]
        assert 0.1 < max(ratios) < 0.21

    @DIMS
    def test_brightness_shifts_each_channel_by_a_constant(self, dims: int) -> None:
        image = patch(dims)[0]
        for moved, _ in changed(only(light, dims, brightness=0.5), dims):
            shift = moved - image
            axes = tuple(range(1, dims + 1))
            np.testing.assert_allclose(shift.std(axis=axes), 0, atol=1e-6)
            assert (np.abs(shift.mean(axis=axes)) <= 0.5 * image.std(axis=axes) + 1e-6).all()

    @DIMS
    def test_contrast_keeps_the_mean_and_scales_the_spread(self, dims: int) -> None:
        image = patch(dims)[0]
        axes = tuple(range(1, dims + 1))
        for moved, _ in changed(only(light, dims, contrast=0.5), dims):
            np.testing.assert_allclose(moved.mean(axis=axes), image.mean(axis=axes), atol=1e-5)
            ratio = moved.std(axis=axes) / image.std(axis=axes)
            assert ((ratio >= 0.5 - 1e-5) & (ratio <= 1.5 + 1e-5)).all()

    @DIMS
    def test_gamma_keeps_range_and_order(self, dims: int) -> None:
        image = patch(dims)[0]
        for moved, _ in changed(only(strong, dims, gamma=0.8), dims):
            for channel, bent in zip(image, moved, strict=True):
                assert bent.min() == pytest.approx(channel.min(), abs=1e-5)
                assert bent.max() == pytest.approx(channel.max(), abs=1e-5)
                assert (np.diff(bent.ravel()[np.argsort(channel.ravel())]) >= -1e-6).all()

    @DIMS
    def test_blur_smooths_and_keeps_the_mean(self, dims: int) -> None:
        image = patch(dims)[0]
        smoother = [moved for moved, _ in changed(only(strong, dims, blur=2.0), dims)]
        assert smoother
        for moved in smoother:
            assert np.abs(np.diff(moved, axis=1)).sum() < np.abs(np.diff(image, axis=1)).sum()
            assert moved.mean() == pytest.approx(image.mean(), abs=0.02)


class TestFaults:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"rotation": -1.0}, "rotation"),
            ({"rotation": 181.0}, "rotation"),
            ({"scale": 1.0}, "scale"),
            ({"noise": -0.1}, "noise"),
            ({"brightness": -0.1}, "brightness"),
            ({"contrast": 1.0}, "contrast"),
            ({"gamma": -1.0}, "gamma"),
            ({"blur": -1.0}, "blur"),
        ],
    )
    def test_senseless_ranges_are_refused_by_name(self, params: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            strong(2, **params)
