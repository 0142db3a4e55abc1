"""Moves and changes together: one patch, a batch, and the generator that decides."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.data.augmentation import Augmentation, Draw, light, nnunet, none
from medseg.data.labels import LabelSchema

SIZES = {2: (40, 48), 3: (20, 24, 16)}
SPACING = {2: (0.7, 0.9), 3: (1.0, 0.8, 1.9)}
DIMS = pytest.mark.parametrize("dims", [2, 3])
LABELS = LabelSchema.exclusive({"liver": 1, "left": 2, "right": 3, "ignore": 9})
ALWAYS = {
    "probabilities": dict.fromkeys(("rotation", "scale", "elastic", "noise", "blur", "brightness", "contrast", "gamma", "bias_field"), 1.0),
    "elastic": 3.0,
    "bias_field": 0.3,
}


def read(draw: Draw, dims: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """A box of a smooth image that goes on for ever, and the label of what is bright in it; some voxels are ignored."""
    at = np.indices(draw.size) + np.array(draw.start).reshape(-1, *(1,) * dims)
    waves = np.sin(at[0] / 3.0) + np.cos(at[1] / 4.0 + at[-1] / 5.0)
    label = np.where(waves > 0.5, 3, 0).astype(np.uint8)
    label[(at[0] > 4) & (at[0] < 8)] = 255
    return np.stack([waves + 0.3 * c for c in range(channels)]).astype(np.float32), label


def made(augment: Augmentation, dims: int, seed: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    draw = augment.draw((3,) * dims, SIZES[dims], channels, SPACING[dims], np.random.default_rng([1, seed]))
    return augment.apply(*read(draw, dims, channels), draw)


def presets(dims: int) -> list[Augmentation]:
    return [none(dims, LABELS), light(dims, LABELS), nnunet(dims, LABELS), nnunet(dims, LABELS, **ALWAYS)]  # type: ignore[arg-type]


class TestPatches:
    @DIMS
    @pytest.mark.parametrize("channels", [1, 3])
    def test_shapes_types_and_ids_are_as_promised_and_all_is_finite(self, dims: int, channels: int) -> None:
        for augment in presets(dims):
            for seed in range(15):
                image, label = made(augment, dims, seed, channels)
                assert image.shape == (channels, *SIZES[dims])
                assert image.dtype == np.float32
                assert label.shape == SIZES[dims]
                assert label.dtype == np.uint8
                assert np.isfinite(image).all()
                assert set(np.unique(label)) <= {0, 3, 255}

    @DIMS
    def test_the_result_follows_from_the_generator_alone(self, dims: int) -> None:
        for augment in presets(dims):
            first = [made(augment, dims, seed) for seed in range(6)]
            np.random.seed(5)  # global states must not matter
            torch.manual_seed(5)
            copy: Augmentation = pickle.loads(pickle.dumps(augment))  # our own object, as spawned loader processes receive it
            for seed in reversed(range(6)):
                for ours, again in zip(first[seed], made(copy, dims, seed), strict=True):
                    np.testing.assert_array_equal(ours, again)

    @DIMS
    def test_different_seeds_make_different_patches(self, dims: int) -> None:
        images = [made(nnunet(dims, LABELS, **ALWAYS), dims, seed)[0] for seed in range(4)]  # type: ignore[arg-type]
        assert len({image.tobytes() for image in images}) == 4

    @DIMS
    def test_what_is_only_mirrored_is_read_backwards(self, dims: int) -> None:
        seen = set()
        for seed in range(40):
            augment = nnunet(dims, LABELS, probabilities={"rotation": 0.0, "scale": 0.0})
            draw = augment.draw((3,) * dims, SIZES[dims], 2, SPACING[dims], np.random.default_rng(seed))
            assert draw.flips == draw.parameters["move"].mirrored
            assert (draw.start, draw.size) == ((3,) * dims, SIZES[dims])
            seen.add(draw.flips)
        assert len(seen) == 2**dims

    @DIMS
    def test_what_is_turned_has_its_flips_in_the_turn(self, dims: int) -> None:
        augment = nnunet(dims, LABELS, probabilities={"rotation": 1.0, "mirror": 1.0})
        draw = augment.draw((3,) * dims, SIZES[dims], 2, (1.0,) * dims, np.random.default_rng(0))
        assert draw.flips == ()
        assert draw.parameters["move"].mirrored == tuple(range(dims))

    @DIMS
    def test_boxes_may_be_views_that_cannot_be_written(self, dims: int) -> None:
        # Boxes of a store may be mapped from a file.
        for augment in presets(dims):
            for seed in range(6):
                draw = augment.draw((3,) * dims, SIZES[dims], 2, SPACING[dims], np.random.default_rng(seed))
                image, label = read(draw, dims)
                strided = np.asfortranarray(image), np.asfortranarray(label)
                for array in strided:
                    array.flags.writeable = False
                for ours, expected in zip(augment.apply(*strided, draw), augment.apply(image.copy(), label, draw), strict=True):
                    np.testing.assert_allclose(ours, expected, atol=1e-5)

    @DIMS
    def test_none_changes_nothing(self, dims: int) -> None:
        augment = none(dims, LABELS)
        draw = augment.draw((3,) * dims, SIZES[dims], 2, SPACING[dims], np.random.default_rng(0))
        assert (draw.start, draw.size) == ((3,) * dims, SIZES[dims])
        for ours, expected in zip(augment.apply(*read(draw, dims), draw), read(draw, dims), strict=True):
            np.testing.assert_array_equal(ours, expected)

    @DIMS
    def test_image_and_label_move_together(self, dims: int) -> None:
        moves = {"mirror": 1.0, "rotation": 1.0, "scale": 1.0, "elastic": 1.0}
        rest = dict.fromkeys(("noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "gamma_inverted"), 0.0)
        augment = nnunet(dims, LABELS, elastic=2.0, probabilities={**moves, **rest})
        for seed in range(10):
            image, label = made(augment, dims, seed)
            clear = (label != 255) & (np.abs(image[0] - 0.5) > 0.5)
            assert clear.sum() > 100
            assert ((label == 3) == (image[0] > 0.5))[clear].mean() > 0.999

    @DIMS
    def test_patches_of_a_few_voxels_are_made(self, dims: int) -> None:
        for augment in presets(dims):
            for size in (1, 2):
                draw = augment.draw((0,) * dims, (size,) * dims, 1, (1.0,) * dims, np.random.default_rng(3))
                image, _ = augment.apply(*read(draw, dims, 1), draw)
                assert image.shape == (1, *(size,) * dims)
                assert np.isfinite(image).all()


class TestBatches:
    @DIMS
    def test_a_batch_is_its_patches(self, dims: int) -> None:
        for augment in presets(dims):
            assert augment.on_device
            draws = [augment.draw((3,) * dims, SIZES[dims], 2, SPACING[dims], np.random.default_rng(seed)) for seed in range(6)]
            boxes = [read(draw, dims) for draw in draws]
            images, labels = augment.apply_batch(
                [torch.from_numpy(image) for image, _ in boxes], [torch.from_numpy(label) for _, label in boxes], draws
            )
            assert images.shape == (6, 2, *SIZES[dims])
            assert images.dtype == torch.float32
            assert labels.shape == (6, 1, *SIZES[dims])
            assert labels.dtype == torch.uint8
            for image, label, box, draw in zip(images, labels, boxes, draws, strict=True):
                expected, ids = augment.apply(*box, draw)
                np.testing.assert_allclose(image, expected, atol=1e-5)
                np.testing.assert_array_equal(label[0], ids)

    def test_an_autocast_around_the_step_costs_no_digits(self) -> None:
        augment = presets(3)[3]
        draw = augment.draw((3,) * 3, SIZES[3], 1, SPACING[3], np.random.default_rng(0))
        image, label = read(draw, 3, 1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            images, _ = augment.apply_batch([torch.from_numpy(image)], [torch.from_numpy(label)], [draw])
        np.testing.assert_allclose(images[0], augment.apply(image, label, draw)[0], atol=1e-5)

    @pytest.mark.gpu
    @DIMS
    def test_an_accelerator_makes_the_same_batch(self, dims: int) -> None:
        for augment in presets(dims):
            draws = [augment.draw((3,) * dims, SIZES[dims], 2, SPACING[dims], np.random.default_rng(seed)) for seed in range(6)]
            boxes: Any = [[torch.from_numpy(array) for array in read(draw, dims)] for draw in draws]
            images, labels = augment.apply_batch([image for image, _ in boxes], [label for _, label in boxes], draws)
            others, ids = augment.apply_batch([image.cuda() for image, _ in boxes], [label.cuda() for _, label in boxes], draws)
            np.testing.assert_allclose(others.cpu(), images, atol=2e-3)
            assert (ids.cpu() != labels).float().mean() < 1e-3


class TestLateral:
    @pytest.mark.parametrize(("dims", "axis"), [(3, 0), (2, 1)])
    def test_left_and_right_change_places_when_mirrored(self, dims: int, axis: int) -> None:
        only_mirror = dict.fromkeys(("rotation", "scale", "noise", "blur", "brightness", "contrast", "low_resolution", "gamma"), 0.0)
        plain = nnunet(dims, LABELS, probabilities=only_mirror)
        lateral = nnunet(dims, LABELS, lateral=[["left", "right"]], probabilities=only_mirror)
        label = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), SIZES[dims])
        image = np.zeros((1, *SIZES[dims]), np.float32)
        swaps = 0
        draws = [lateral.draw((0,) * dims, SIZES[dims], 1, SPACING[dims], np.random.default_rng(seed)) for seed in range(30)]
        for draw in draws:
            swapped, moved = lateral.apply(image, label, draw)[1], plain.apply(image, label, draw)[1]
            if axis in draw.parameters["move"].mirrored:
                swaps += 1
                np.testing.assert_array_equal(swapped, np.where(moved == 2, 3, np.where(moved == 3, 2, moved)))
            else:
                np.testing.assert_array_equal(swapped, moved)
        assert 5 < swaps < 25
        batch = lateral.apply_batch([torch.from_numpy(image)] * 30, [torch.from_numpy(label)] * 30, draws)[1]
        for ids, draw in zip(batch, draws, strict=True):
            np.testing.assert_array_equal(ids[0], lateral.apply(image, label, draw)[1])

    @pytest.mark.parametrize(
        ("patch", "spacing", "axis"), [((24, 24), (1.0, 1.0), 1), ((24, 24, 6), (1.0, 1.0, 4.0), 0), ((6, 24, 24), (4.0, 1.0, 1.0), 0)]
    )
    def test_left_stays_left_however_far_the_patch_is_turned(self, patch: tuple[int, ...], spacing: tuple[float, ...], axis: int) -> None:
        dims, turned = len(patch), 0
        augment = nnunet(dims, LABELS, lateral=[["left", "right"]], probabilities={"rotation": 1.0, "scale": 0.0})
        for seed in range(40):
            draw = augment.draw((0,) * dims, patch, 1, spacing, np.random.default_rng(seed))
            side = np.arange(draw.size[axis]) + draw.start[axis] < patch[axis] / 2
            label = np.where(side.reshape([-1 if a == axis else 1 for a in range(dims)]), 2, 3) * np.ones(draw.size, np.uint8)
            label = augment.apply(np.zeros((1, *draw.size), np.float32), np.flip(label, draw.flips).astype(np.uint8), draw)[1]
            left, right = (np.argwhere(label == value)[:, axis].mean() for value in (2, 3))
            if abs(left - right) > patch[axis] / 8:  # elsewhere neither is left of the other
                turned += 1
                assert left < right
        assert turned > 20


def test_the_mean_patch_of_a_ball_is_round() -> None:
    # Over many draws no direction is preferred, so that signs or axes that are mixed up show.
    augment = nnunet(3, LABELS, mirror_axes=[], rotation=180.0, probabilities={"rotation": 1.0})
    total = np.zeros((17, 17, 17))
    for seed in range(150):
        draw = augment.draw((0,) * 3, (17,) * 3, 1, (1.0,) * 3, np.random.default_rng(seed))
        at = np.indices(draw.size) + np.array(draw.start).reshape(-1, 1, 1, 1) - 8
        label = ((np.abs(at) < np.array([7, 2.5, 2.5]).reshape(-1, 1, 1, 1)).all(axis=0)).astype(np.uint8)
        total += augment.apply(np.zeros((1, *draw.size), np.float32), label, draw)[1]
    centre = np.array(ndimage.center_of_mass(total))
    np.testing.assert_allclose(centre, 8, atol=0.3)
