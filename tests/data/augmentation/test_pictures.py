from __future__ import annotations

import ast
import inspect
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from medseg.data.augmentation import pictures, pictures_changes, pictures_warp
from medseg.data.augmentation.base import Draw
from medseg.data.augmentation.pictures import PictureAugmentation, dermoscopy, fundus, microscopy, ultrasound, xray
from medseg.data.augmentation.pictures_changes import (
    Change,
    add_noise,
    attenuate,
    bend_tones,
    blur,
    compress,
    draw_hairs,
    equalise,
    illuminate,
    shadow,
    speckle,
    tone,
)
from medseg.data.augmentation.pictures_warp import MOST_ELASTIC, Warp
from medseg.data.labels import LabelSchema

LABELS = LabelSchema.exclusive({"lesion": 1})
PRESETS = [ultrasound, fundus, dermoscopy, microscopy, xray]
STILL: dict[str, Any] = {"mirror": False, "rotation": 0.0, "scale": 0.0, "elastic": 0.0}
SIZE = 240


def field(seed: int = 0, channels: int = 1, size: int = SIZE) -> np.ndarray:
    """A smooth picture that looks different everywhere."""
    rng = np.random.default_rng(seed)
    return np.stack([ndimage.gaussian_filter(rng.standard_normal((size, size)), 6) * 20 for _ in range(channels)]).astype(np.float32)


def read(image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    box = tuple(slice(a, a + b) for a, b in zip(draw.start, draw.size, strict=True))
    assert min(draw.start) >= 0
    assert label[box].shape == draw.size
    return image[:, *box].copy(), label[box].copy()


def moved(warp: Warp, seed: int, patch: tuple[int, int] = (48, 64), spacing: tuple[float, float] = (1.0, 1.0)):
    """The coordinates (2, *patch) that the pixels of a patch come from, its label and the draw."""
    rows, columns = np.indices((SIZE, SIZE), dtype=np.float32)
    draw = warp.draw((96, 90), patch, spacing, np.random.default_rng(seed))
    label = (np.arange(SIZE * SIZE).reshape(SIZE, SIZE) % 251).astype(np.uint8)
    image, ids = warp.apply(*read(np.stack([rows, columns]), label, draw), draw)
    return image, ids, draw, label


def patches(augmentation: PictureAugmentation, count: int, channels: int = 1, size: int = 48):
    image, label = field(1, channels), (field(2)[0] > 1).astype(np.uint8)
    label[field(3)[0] > 2] = 255
    for seed in range(count):
        draw = augmentation.draw((96, 96), (size, size), channels, (1.0, 1.0), np.random.default_rng(seed))
        yield augmentation.apply(*read(image, label, draw), draw)


class TestWarp:
    def test_without_any_range_the_patch_is_the_box(self) -> None:
        image, ids, draw, label = moved(Warp((), 0, 0, 0), 0)
        assert (draw.start, draw.size) == ((96, 90), (48, 64))
        np.testing.assert_array_equal(ids, label[96:144, 90:154])
        np.testing.assert_array_equal(image[0][:, 0], np.arange(96, 144))

    @pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
    def test_flips_copy_pixels_along_the_given_axes(self, axes: tuple[int, ...]) -> None:
        seen = set()
        for seed in range(20):
            _, ids, _, label = moved(Warp(axes, 0, 0, 0), seed)
            original = label[96:144, 90:154]
            matching = [flips for flips in [(), (0,), (1,), (0, 1)] if np.array_equal(ids, np.flip(original, flips))]
            assert len(matching) == 1
            seen.update(matching)
        assert seen == {flips for flips in [(), (0,), (1,), (0, 1)] if set(flips) <= set(axes)}

    @pytest.mark.parametrize("rotation", [90, 180])
    def test_quarter_turns_are_exact_and_keep_the_middle(self, rotation: float) -> None:
        turns = set()
        for seed in range(60):
            image, ids, draw, label = moved(Warp((), rotation, 0, 0), seed)
            if "symmetry" in draw.parameters:
                box = label[tuple(slice(a, a + b) for a, b in zip(draw.start, draw.size, strict=True))]
                (turn,) = [turn for turn in range(4) if np.array_equal(np.rot90(box, turn), ids)]
                turns.add(turn)
                np.testing.assert_allclose(image.mean(axis=(1, 2)), [119.5, 121.5])
        assert turns == ({0, 1, 2, 3} if rotation == 180 else {0, 1, 3})

    def test_no_quarter_turn_of_oblong_pixels(self) -> None:
        for seed in range(20):
            draw = moved(Warp((), 180, 0, 0), seed, spacing=(1.0, 2.0))[2]
            assert "matrix" in draw.parameters or draw.size == (48, 64)

    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.5, 1.0)])
    def test_rotation_and_scale_are_a_similarity_in_millimetres(self, spacing: tuple[float, float]) -> None:
        angles, zooms = [], []
        for seed in range(200):
            image, _, draw, _ = moved(Warp((), 20, 0.25, 0), seed, spacing=spacing)
            if "symmetry" in draw.parameters:
                continue
            millimetres = image * np.array(spacing, np.float32)[:, None, None]
            down = (millimetres[:, -1, 0] - millimetres[:, 0, 0]) / (47 * spacing[0])
            right = (millimetres[:, 0, -1] - millimetres[:, 0, 0]) / (63 * spacing[1])
            assert np.dot(down, right) == pytest.approx(0, abs=2e-3)
            assert np.hypot(*down) == pytest.approx(np.hypot(*right), abs=2e-3)
            np.testing.assert_allclose(image.mean(axis=(1, 2)), [119.5, 121.5], atol=0.05)
            angles.append(np.rad2deg(np.arctan2(right[0], right[1])))
            zooms.append(1 / np.hypot(*down))
        assert 60 < len(angles) < 140
        assert -20.1 < min(angles) < -15
        assert 15 < max(angles) < 20.1
        assert 1 / 1.26 < min(zooms) < 0.85
        assert 1.18 < max(zooms) < 1.26

    def test_bends_stay_within_their_range_and_do_not_fold(self) -> None:
        largest = 0.0
        for seed in range(60):
            image, _, draw, _ = moved(Warp((), 0, 0, MOST_ELASTIC), seed)
            if "symmetry" in draw.parameters:
                continue
            rows, columns = np.indices((48, 64))
            shift = np.abs(image - np.stack([rows + 96, columns + 90]))
            largest = max(largest, float(shift.max()))
            (rr, rc), (cr, cc) = np.gradient(image[0]), np.gradient(image[1])
            assert (rr * cc - rc * cr > 0).all()
        assert 1.0 < largest < 1.5 * MOST_ELASTIC * 48

    def test_image_and_label_move_together(self) -> None:
        picture, checked = field(), 0
        label = (picture[0] > 0).astype(np.uint8)
        for seed in range(30):
            draw = Warp((0, 1), 180, 0.2, 0.03).draw((96, 90), (48, 64), (1.0, 1.0), np.random.default_rng(seed))
            image, ids = Warp((), 0, 0, 0).apply(*read(picture, label, draw), draw)
            sure = np.abs(image[0]) > 0.6
            assert ((image[0] > 0) == ids)[sure].all()
            checked += int(sure.sum())
        assert checked > 10000

    def test_it_agrees_with_scipy(self) -> None:
        picture = field()
        for seed in range(8):
            warp = Warp((0, 1), 180, 0.2, 0.03)
            image, _, draw, _ = moved(warp, seed)
            if "symmetry" in draw.parameters:
                continue
            ours, _ = warp.apply(*read(picture, np.zeros((SIZE, SIZE), np.uint8), draw), draw)
            reference = ndimage.map_coordinates(picture[0].astype(np.float64), image, order=1)
            # OpenCV reads between pixels in steps of 1/32.
            assert np.abs(ours[0] - reference).max() < 0.06 * np.abs(picture).max()
            assert np.abs(ours[0] - reference).mean() < 0.01

    @pytest.mark.parametrize(
        ("ranges", "name"), [((-1, 0, 0), "rotation"), ((181, 0, 0), "rotation"), ((0, 1.5, 0), "scale"), ((0, 0, 0.2), "elastic")]
    )
    def test_ranges_that_make_no_sense_are_refused(self, ranges: tuple[float, float, float], name: str) -> None:
        with pytest.raises(ValueError, match=name):
            Warp((), *ranges)


def changed(change: Change, image: np.ndarray, seed: int = 0) -> np.ndarray:
    result = image.copy()
    change(result, np.random.default_rng(seed))
    return result


CHANGES: dict[str, Change] = {
    "attenuate": attenuate(0.5),
    "bend_tones": bend_tones(0.5),
    "blur": blur(1.5),
    "compress": compress(20),
    "draw_hairs": draw_hairs(5),
    "equalise": equalise(3.0),
    "illuminate": illuminate(0.3),
    "noise": add_noise(0.3),
    "shadow": shadow(0.9),
    "speckle": speckle(0.3),
    "tone": tone(0.3, 0.3, 0.2),
}


class TestChanges:
    @pytest.mark.parametrize("name", CHANGES)
    @pytest.mark.parametrize("channels", [1, 2, 3, 5])
    def test_each_is_a_function_of_the_generator_for_any_channels(self, name: str, channels: int) -> None:
        image = field(channels=channels, size=64)
        results = [changed(CHANGES[name], image, seed) for seed in (4, 4, 5)]
        np.testing.assert_array_equal(results[0], results[1])
        assert np.isfinite(results[0]).all()
        if name in ("equalise", "compress") and channels not in (1, 3):
            np.testing.assert_array_equal(results[0], image)
        else:
            assert (results[0] != image).any()
            assert (results[0] != results[2]).any()

    @pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("equalise", "compress")])
    def test_each_means_the_same_after_any_normalisation(self, name: str) -> None:
        image = field(channels=3, size=64)
        scales = np.array([0.1, 5.0, 3.0], np.float32)[:, None, None]
        there = changed(CHANGES[name], image * scales + 7)
        np.testing.assert_allclose((there - 7) / scales, changed(CHANGES[name], image), atol=5e-3 * np.abs(image).max())

    @pytest.mark.parametrize("name", CHANGES)
    def test_a_constant_image_stays_finite(self, name: str) -> None:
        assert np.isfinite(changed(CHANGES[name], np.full((3, 40, 40), 2.0, np.float32))).all()

    def test_brightness_shifts_and_contrast_stretches_about_the_mean(self) -> None:
        image = field(size=64)
        shifts = [float((changed(tone(0.5, 0.0), image, seed) - image).mean() / image.std()) for seed in range(100)]
        assert -0.51 < min(shifts) < -0.4
        assert 0.4 < max(shifts) < 0.51
        stretched = [changed(tone(0.0, 0.4), image, seed) for seed in range(100)]
        factors = [float(np.log(each.std() / image.std())) for each in stretched]
        assert -0.41 < min(factors) < -0.3
        assert 0.3 < max(factors) < 0.41
        assert max(abs(float(each.mean() - image.mean())) for each in stretched) < 1e-3 * image.std()

    def test_colour_changes_three_channels_and_keeps_grey_pixels_apart_from_a_shift(self) -> None:
        image = field(channels=3, size=64)
        grey = np.repeat(image[:1], 3, axis=0)
        assert np.ptp(changed(tone(0.0, 0.0, 0.3), grey) - grey, axis=(1, 2)).max() < 1e-3
        assert np.ptp(changed(tone(0.0, 0.0, 0.3), image) - image, axis=(1, 2)).max() > 0.1
        np.testing.assert_allclose(changed(tone(0.0, 0.0, 0.3), image[:2]), image[:2], atol=1e-5)

    def test_gamma_keeps_the_extremes_and_the_order(self) -> None:
        image = field(size=64)
        results = [changed(bend_tones(0.5), image, seed) for seed in range(20)]
        middles = [float((np.median(each) - each.min()) / np.ptp(each)) for each in results]
        assert min(middles) < 0.42 < 0.58 < max(middles)
        for each in results:
            assert each.min() == pytest.approx(image.min(), abs=1e-2)
            assert each.max() == pytest.approx(image.max(), abs=1e-3)
            assert (np.diff(each.ravel()[np.argsort(image.ravel())]) >= -1e-5).all()

    def test_noise_has_the_drawn_spread_and_differs_between_channels_and_patches(self) -> None:
        image = field(channels=2, size=128)
        noise = [changed(add_noise(0.5), image, seed) - image for seed in range(40)]
        spreads = [float(each[0].std() / image[0].std()) for each in noise]
        assert max(spreads) < 0.53
        assert np.mean(spreads) == pytest.approx(0.25, abs=0.06)
        for a, b in ((noise[0][0], noise[0][1]), (noise[0][0], noise[1][0])):
            assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05
        assert abs(ndimage.correlate1d(noise[0][0], [1, 0, 0]).ravel() @ noise[0][0].ravel()) / (noise[0][0] ** 2).sum() < 0.05

    def test_speckle_grows_with_the_echo_and_is_wider_than_deep(self) -> None:
        image = np.repeat(np.linspace(0, 10, 64, dtype=np.float32)[:, None], 64, axis=1)[None]
        grain = changed(speckle(0.5), image, 1) - image
        assert np.abs(grain[0, 50:]).mean() > 3 * np.abs(grain[0, 1:14]).mean()
        flat = np.full((1, 64, 64), 5.0, np.float32)
        flat[0, 0, 0] = 0
        grain = (changed(speckle(0.5), flat, 1) - 5)[0, 1:]
        across, down = (float((np.roll(grain, 1, axis) * grain).mean() / (grain**2).mean()) for axis in (1, 0))
        assert across > 0.5 > 0.1 > abs(down)

    def test_attenuation_acts_along_the_depth_alone(self) -> None:
        image = np.full((1, 60, 60), 4.0, np.float32)
        image[0, 30, 0] = 0
        slopes = []
        for seed in range(40):
            result = changed(attenuate(0.8), image, seed)[0, :, 1:]
            assert np.ptp(result, axis=1).max() < 1e-5
            slopes.append(np.log(result[0, 0] / result[-1, 0]))
        assert -0.81 < min(slopes) < -0.6
        assert 0.6 < max(slopes) < 0.81

    def test_shadows_fall_downwards_and_darken_only(self) -> None:
        image = np.full((1, 80, 80), 4.0, np.float32)
        image[0, 0, 0] = 0
        for seed in range(20):
            result = changed(shadow(0.9), image, seed)[0, 1:]
            assert result.max() <= 4.0 + 1e-5
            assert 0.39 < result.min() < 3.5
            assert (np.diff(result, axis=0) <= 1e-5).all()

    def test_light_is_smooth_and_within_its_range(self) -> None:
        image = np.full((1, 80, 80), 4.0, np.float32)
        image[0, 0, 0] = 0
        for seed in range(10):
            gain = np.log(changed(illuminate(0.3), image, seed)[0, 1:] / 4)
            assert 0.02 < np.abs(gain).max() < 0.5
            assert np.abs(np.diff(gain)).max() < 0.05

    def test_blur_takes_detail_up_to_its_width(self) -> None:
        image = np.random.default_rng(0).standard_normal((1, 96, 96)).astype(np.float32)
        left = [float(changed(blur(2.0), image, seed).std()) for seed in range(20)]
        assert ndimage.gaussian_filter(image[0], 2.0).std() * 0.95 < min(left) < 0.3
        assert max(left) > 0.5

    def test_hairs_are_thin_and_dark(self) -> None:
        image = field(size=200) + 30
        for seed in range(10):
            result = changed(draw_hairs(8), image, seed)
            touched = result != image
            assert 0 < touched.mean() < 0.15
            assert (result - image)[touched].mean() < -1

    def test_equalisation_raises_local_contrast(self) -> None:
        image = field(size=128)
        image[0, :, 64:] *= 0.1
        assert changed(equalise(4.0), image)[0, :, 64:].std() > 1.5 * image[0, :, 64:].std()
        assert changed(equalise(8.0), image)[0, :, 64:].std() > changed(equalise(1.5), image)[0, :, 64:].std()

    def test_compression_loses_detail_and_keeps_the_picture(self) -> None:
        image = field(size=96)
        near, far = (np.abs(changed(compress(quality), image) - image).mean() for quality in (90, 5))
        assert 0 < near < far < 0.3 * image.std()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.__name__)
class TestEveryPreset:
    def test_volumes_are_refused_with_the_key_to_change(self, preset: Any) -> None:
        with pytest.raises(ValueError, match=r"data\.augmentation.*2-D"):
            preset(3, LABELS)

    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_patches_keep_shape_type_and_ids(self, preset: Any, channels: int) -> None:
        for image, label in patches(preset(2, LABELS), 25, channels):
            assert (image.shape, image.dtype, image.flags.c_contiguous) == ((channels, 48, 48), np.float32, True)
            assert (label.shape, label.dtype, label.flags.c_contiguous) == ((48, 48), np.uint8, True)
            assert np.isfinite(image).all()
            assert set(np.unique(label)) <= {0, 1, 255}

    def test_a_patch_is_a_function_of_its_draw_alone(self, preset: Any) -> None:
        first = list(patches(preset(2, LABELS), 12, 3))
        copy = pickle.loads(pickle.dumps(preset(2, LABELS)))  # our own object, as spawned loader processes receive it
        again = list(patches(copy, 12, 3))
        for (image, label), (image2, label2) in zip(first, again, strict=True):
            np.testing.assert_array_equal(image, image2)
            np.testing.assert_array_equal(label, label2)
        assert len({image.tobytes() for image, _ in first}) > 9

    def test_what_is_given_is_not_changed(self, preset: Any) -> None:
        augmentation = preset(2, LABELS)
        image, label = field(channels=3), np.ones((SIZE, SIZE), np.uint8)
        for seed in range(12):
            draw = augmentation.draw((96, 96), (48, 48), 3, (1.0, 1.0), np.random.default_rng(seed))
            box, ids = read(image, label, draw)
            before = box.copy()
            augmentation.apply(box, ids, draw)
            np.testing.assert_array_equal(box, before)

    def test_strength_and_geometry_of_zero_leave_the_patch(self, preset: Any) -> None:
        picture = field(1)[:, 96:144, 96:144]
        for image, _ in patches(preset(2, LABELS, strength=0.0, **STILL), 20):
            np.testing.assert_array_equal(image, picture)

    def test_strength_scales_the_changes(self, preset: Any) -> None:
        picture = field(1, 3)[:, 96:144, 96:144]
        extra = {name: 0.0 for name in ("shadows", "clahe", "hairs") if name in inspect.signature(preset).parameters}
        sizes = [
            np.mean([np.abs(image - picture).mean() for image, _ in patches(preset(2, LABELS, strength=s, **STILL, **extra), 60, 3)])
            for s in (0.2, 1.0, 2.0)
        ]
        assert 0 < 2 * sizes[0] < sizes[1] < sizes[2]

    @pytest.mark.parametrize("name", ["mirror", "rotation", "scale", "elastic"])
    def test_each_part_of_the_geometry_acts(self, preset: Any, name: str) -> None:
        value = {"mirror": True, "rotation": 10.0, "scale": 0.2, "elastic": 0.02}[name]
        picture = field(1)[:, 96:144, 96:144]
        made = patches(preset(2, LABELS, strength=0.0, **STILL | {name: value}), 25)
        assert any((image != picture).any() for image, _ in made)

    @pytest.mark.parametrize(
        ("name", "least", "most", "values"),
        [
            ("strength", 0, 2, (-0.1, 2.1, 1000.0)),
            ("rotation", 0, 180, (-1.0, 200.0, float("nan"))),
            ("scale", 0, 1, (-1.0, 1.1, 1000.0)),
            ("elastic", 0, 0.05, (-0.1, 0.5, float("inf"))),
        ],
    )
    def test_values_that_make_no_sense_are_refused_with_the_limits(
        self, preset: Any, name: str, least: float, most: float, values: tuple[float, ...]
    ) -> None:
        for value in values:
            with pytest.raises(ValueError, match=f"{name} must lie between {least} and {most}.*got {value}"):
                preset(2, LABELS, **{name: value})


class TestModalities:
    @pytest.mark.parametrize("preset", [ultrasound, xray])
    def test_top_and_bottom_are_never_swapped(self, preset: Any) -> None:
        picture = field(1)[:, 96:144, 96:144]
        seen = {0: 0, 1: 0}
        for image, _ in patches(preset(2, LABELS, strength=0.0, **STILL | {"mirror": True}), 20):
            for axis in seen:
                seen[axis] += np.array_equal(image, np.flip(picture, 1 + axis))
        assert seen[0] == 0
        assert seen[1] > 3

    def test_radiographs_are_not_mirrored_by_default(self) -> None:
        picture = field(1)[:, 96:144, 96:144]
        for image, _ in patches(xray(2, LABELS, strength=0.0, **{key: value for key, value in STILL.items() if key != "mirror"}), 20):
            np.testing.assert_array_equal(image, picture)

    @pytest.mark.parametrize(("preset", "name"), [(ultrasound, "shadows"), (fundus, "clahe"), (dermoscopy, "hairs"), (microscopy, "stain")])
    def test_each_has_one_parameter_of_its_own(self, preset: Any, name: str) -> None:
        off, on = (list(patches(preset(2, LABELS, **STILL, **{name: value}), 12, 3)) for value in (0.0, 1.0))
        assert any((a[0] != b[0]).any() for a, b in zip(off, on, strict=True))
        for value in (-0.1, 1.5, 1000.0):
            with pytest.raises(ValueError, match=f"{name} must lie between 0 and 1, got {value}"):
                preset(2, LABELS, **{name: value})

    def test_share_parameters_are_the_share_of_the_patches(self) -> None:
        for preset, name in ((ultrasound, "shadows"), (fundus, "clahe"), (dermoscopy, "hairs")):
            share, change = _share_of(preset(2, LABELS, **{name: 0.37}), 0.37)
            assert share == 0.37
            assert change is not None

    def test_each_change_is_made_in_its_share_of_the_patches(self) -> None:
        def brighten(image: np.ndarray, rng: np.random.Generator) -> None:
            image += 1000

        augmentation = PictureAugmentation(Warp((), 0, 0, 0), [(0.3, brighten)])
        assert np.mean([image.mean() > 500 for image, _ in patches(augmentation, 300)]) == pytest.approx(0.3, abs=0.08)


def _share_of(augmentation: PictureAugmentation, wanted: float) -> tuple[float, Change | None]:
    return next(((share, change) for share, change in augmentation.changes if share == wanted), (0.0, None))


class TestImport:
    def test_albumentations_is_loaded_at_the_first_need_since_it_takes_seconds(self) -> None:
        imported = {
            name
            for module in (pictures, pictures_changes, pictures_warp)
            for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
        }
        assert "cv2" in imported
        assert not [name for name in imported if name.startswith("albumentations")]

    def test_it_is_kept_from_asking_the_network_for_newer_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
        fundus(2, LABELS)
        assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
