from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from medseg.config.schema import CopyPasteConfig
from medseg.data.copy_paste import RIM, CopyPaste
from medseg.data.labels import LabelSchema
from medseg.errors import DataError

LESION = LabelSchema.exclusive({"lesion": 1})
ALWAYS = CopyPasteConfig(probability=1.0, lesions=1)


@dataclass
class FakeLesions:
    classes: np.ndarray
    voxels: np.ndarray
    boxes: np.ndarray


@dataclass
class FakeIndex:
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    lesions: FakeLesions


class FakeCases:
    """Stored cases made of arrays: pairs of image (C, *spatial) and ids."""

    def __init__(self, *pairs: tuple[np.ndarray, np.ndarray], labels: LabelSchema = LESION, spacing: float = 1.0) -> None:
        self.pairs = pairs
        self.labels = labels
        self.spacing = spacing

    def __len__(self) -> int:
        return len(self.pairs)

    def index(self, i: int) -> FakeIndex:
        label = self.pairs[i][1]
        rows = []
        for k, mask in enumerate(self.labels.masks(label)):
            parts, _ = ndimage.label(mask, np.ones((3,) * label.ndim))
            for number, box in enumerate(ndimage.find_objects(parts), start=1):
                rows.append((k, int((parts == number).sum()), [[part.start for part in box], [part.stop for part in box]]))
        found = FakeLesions(
            np.array([row[0] for row in rows]),
            np.array([row[1] for row in rows]),
            np.array([row[2] for row in rows]).reshape(-1, 2, label.ndim),
        )
        return FakeIndex(label.shape, (self.spacing,) * label.ndim, found)

    def read(self, i: int, start: tuple[int, ...], size: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        image, label = self.pairs[i]
        box = tuple(slice(a, a + b) for a, b in zip(start, size, strict=True))
        assert label[box].shape == size, "the reader is asked for a box inside the image"
        return image[:, *box].copy(), label[box].copy()


def case(shape: tuple[int, ...], mask: np.ndarray, at: tuple[int, ...], height: float = 5.0, level: float = 0.0, ids: int = 1):
    """Noise around `level` with one lesion, `height` brighter."""
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(a, a + b) for a, b in zip(at, mask.shape, strict=True))] = ids * mask
    image = np.random.default_rng(1).normal(level, 0.1, (1, *shape)).astype(np.float32)
    image[0][label > 0] += height
    return image, label


SHAPE = np.array([[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]], bool)


def empty(shape: tuple[int, ...], level: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(2).normal(level, 0.1, (1, *shape)).astype(np.float32), np.zeros(shape, np.uint8)


def paste(cases: FakeCases, image: np.ndarray, label: np.ndarray, seed: int = 0, options: CopyPasteConfig = ALWAYS, **more):
    return CopyPaste(cases, cases.labels, options, **more)(image, label, (1.0,) * label.ndim, np.random.default_rng(seed))


def arrangements(mask: np.ndarray) -> set[bytes]:
    axes = [()] + [(a,) for a in range(mask.ndim)] + ([(0, 1), (0, 2), (1, 2), (0, 1, 2)] if mask.ndim == 3 else [(0, 1)])
    return {np.flip(mask, axis).tobytes() for axis in axes}


def cropped(mask: np.ndarray) -> np.ndarray:
    (box,) = ndimage.find_objects(mask.astype(int))
    return np.ascontiguousarray(mask[box])


class TestWhatIsPasted:
    @pytest.mark.parametrize("dims", [2, 3])
    def test_the_label_shows_exactly_the_lesion_somewhere(self, dims: int) -> None:
        mask = SHAPE if dims == 2 else np.stack([SHAPE, SHAPE, np.eye(5, 4, dtype=bool)])
        cases = FakeCases(case((20,) * dims, mask, (6,) * dims))
        for seed in range(10):
            _, label = paste(cases, *empty((24,) * dims), seed)
            assert cropped(label == 1).tobytes() in arrangements(mask)

    def test_intensities_follow_the_surroundings_of_the_new_place(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6), height=5.0, level=0.0))
        image, label = paste(cases, *empty((24, 24), level=40.0))
        assert image[0][label == 1].mean() == pytest.approx(45.0, abs=0.2)
        assert image[0][label == 0].mean() == pytest.approx(40.0, abs=0.2)

    def test_the_edge_is_soft_and_nothing_beyond_it_changes(self) -> None:
        source = case((20, 20), SHAPE, (6, 6), height=9.0)
        ring = ndimage.binary_dilation(source[1] > 0, iterations=1) & (source[1] == 0)
        source[0][0][ring] += 2.0
        before, clean = empty((24, 24))
        image, label = paste(FakeCases(source), before, clean)
        distance = ndimage.distance_transform_cdt(label == 0, "taxicab")
        assert (image != before)[0][distance > RIM].sum() == 0
        # Brightened by 0.6 of 2, less what the shift to the mean of the rim takes away; hard edges would give 2 or 0.
        near = (image - before)[0][distance == 1].mean()
        assert 0.3 < near < 1.2

    def test_parts_of_a_neighbouring_lesion_stay_at_home(self) -> None:
        image, label = case((24, 24), SHAPE, (8, 8))
        label[8:13, 13] = 1
        image[0, 8:13, 13] = 99.0
        assert ndimage.label(label, np.ones((3, 3)))[1] == 2
        cases = FakeCases((image, label))
        for seed in range(20):
            pasted, ids = paste(cases, *empty((24, 24)), seed)
            shape = cropped(ids == 1)
            assert shape.shape in (SHAPE.shape, (5, 1))
            if shape.shape == SHAPE.shape:
                assert pasted.max() < 50

    def test_lesions_are_mirrored_along_the_given_axes_only(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6)))
        seen = {mirror: set() for mirror in (None, (), (1,))}
        for mirror, shapes in seen.items():
            for seed in range(30):
                shapes.add(cropped(paste(cases, *empty((24, 24)), seed, mirror=mirror)[1] == 1).tobytes())
        assert seen[()] == {SHAPE.tobytes()}
        assert seen[1,] == {SHAPE.tobytes(), SHAPE[:, ::-1].tobytes()}
        assert seen[None] == arrangements(SHAPE)

    def test_lesions_of_overlapping_classes_bring_all_their_ids(self) -> None:
        schema = LabelSchema(("whole", "core"), ((1, 2), (2,)))
        image, label = case((24, 24), np.ones((6, 6), bool), (8, 8))
        label[10:12, 10:12] = 2
        cases = FakeCases((image, label), labels=schema)
        options = CopyPasteConfig(probability=1.0, lesions=1, classes=["whole"])
        _, ids = paste(cases, *empty((24, 24)), options=options)
        assert (ids == 1).sum() == 32
        assert (ids == 2).sum() == 4


class TestWhere:
    def test_never_over_lesions_ignored_voxels_or_fill(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6)))
        image, label = empty((24, 24))
        label[:8], label[8:12] = 1, 255
        image[0, :, 16:] = image.min()
        for seed in range(40):
            pasted, ids = paste(cases, image, label, seed)
            changed = ids != label
            assert not changed[:12].any()
            assert not changed[:, 16:].any()
            assert (pasted == image)[0, :12].all()

    def test_neither_the_lesion_nor_its_rim_leaves_the_image_or_lies_in_air(self) -> None:
        source, mask = case((20, 20), np.ones((3, 3), bool), (6, 6)), np.zeros((40, 40), bool)
        rng = np.random.default_rng(0)
        for hole in (np.s_[:, 30:], np.s_[10:22, 10:22]):  # padding, and air in the middle of the image
            image, label = empty((40, 40))
            image[0][hole] = image.min() - 1
            outside = np.zeros((40, 40), bool)
            outside[hole] = True
            for _ in range(60):
                _, ids = CopyPaste(FakeCases(source), LESION, ALWAYS)(image, label, (1.0, 1.0), rng)
                mask = ndimage.binary_dilation(ids == 1, np.ones((3, 3)), iterations=RIM)
                assert not (mask & outside).any()
                assert mask.sum() == 49, "the rim lies inside the box, too"

    def test_single_dark_voxels_of_tissue_are_no_hindrance(self) -> None:
        image, label = empty((40, 40))
        image[0, ::9, ::9] = image.min() - 1
        cases = FakeCases(case((20, 20), np.ones((4, 4), bool), (6, 6)))
        assert all((paste(cases, image, label, seed)[1] == 1).any() for seed in range(20))

    def test_a_box_of_one_value_stays_as_it_is(self) -> None:
        image, label = np.zeros((1, 24, 24), np.float32), np.zeros((24, 24), np.uint8)
        assert not paste(FakeCases(case((20, 20), SHAPE, (6, 6))), image, label)[1].any()

    def test_only_where_the_label_is_what_surrounds_it_at_home(self) -> None:
        schema = LabelSchema.exclusive({"liver": 1, "tumour": 2})
        mask = np.ones((4, 4), bool)
        image, label = case((30, 30), mask, (12, 12), ids=2)
        label[(label == 0) & (ndimage.binary_dilation(label, iterations=6))] = 1
        cases = FakeCases((image, label), labels=schema)
        clean, liver = empty((30, 30))
        liver[10:24, 10:24] = 1
        options = CopyPasteConfig(probability=1.0, lesions=1, classes=["tumour"])
        for seed in range(20):
            _, ids = paste(cases, clean, liver, seed, options)
            assert (liver[ids == 2] == 1).all()

    def test_of_the_free_places_the_one_that_resembles_home(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6), level=0.0))
        image, label = empty((40, 40), level=0.0)
        image[0, :, :20] += 10.0
        for seed in range(10):
            _, ids = paste(cases, image, label, seed)
            assert not (ids == 1)[:, :18].any()

    def test_not_across_an_edge_whose_mean_is_that_of_home(self) -> None:
        cases = FakeCases(case((20, 20), np.ones((3, 3), bool), (6, 6), level=0.0))
        image, label = empty((40, 40), level=-3.0)
        image[0, :, 20:] += 7.0
        for seed in range(10):
            _, ids = paste(cases, image, label, seed)
            columns = np.flatnonzero((ids == 1).any(axis=0))
            assert columns.max() < 18 or columns.min() >= 22, "beside the edge, where the mean differs by 3 or 4, and not on it"

    def test_where_no_place_is_free_the_box_stays_as_it_is(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6)))
        image, label = empty((24, 24))
        label[::2, ::2] = 255
        pasted, ids = paste(cases, image, label)
        np.testing.assert_array_equal(pasted, image)
        np.testing.assert_array_equal(ids, label)

    def test_the_arrays_given_are_not_changed(self) -> None:
        image, label = empty((24, 24))
        before = image.copy()
        _, ids = paste(FakeCases(case((20, 20), SHAPE, (6, 6))), image, label)
        assert ids.any()
        assert not label.any()
        np.testing.assert_array_equal(image, before)


class TestWhichLesions:
    def test_each_lesion_is_equally_likely_whatever_its_case(self) -> None:
        many = np.zeros((60, 60), np.uint8)
        for row in range(3):
            many[10 * row + 5 : 10 * row + 7, 5:8] = 1
        single = np.zeros((60, 60), np.uint8)
        single[20:26, 20:27] = 1
        cases = FakeCases(*((label[None].astype(np.float32), label) for label in (many, single)))
        tool = CopyPaste(cases, LESION, ALWAYS)
        rng = np.random.default_rng(0)
        sizes = [int((tool(*empty((40, 40)), (1.0, 1.0), rng)[1] == 1).sum()) for _ in range(400)]
        assert set(sizes) == {6, 42}
        assert np.mean(np.equal(sizes, 42)) == pytest.approx(0.25, abs=0.08)

    def test_cut_large_and_foreign_ones_are_left_out(self) -> None:
        box = empty((12, 12))
        for cases in (
            FakeCases(case((20, 20), SHAPE, (0, 6))),
            FakeCases(case((40, 40), np.ones((8, 8), bool), (6, 6))),
            FakeCases(case((20, 20), SHAPE, (6, 6)), spacing=2.0),
            FakeCases(empty((20, 20))),
        ):
            assert not paste(cases, *box)[1].any()
        assert paste(FakeCases(case((20, 20), SHAPE, (6, 6)), spacing=1.2), *box)[1].any()

    def test_those_that_cannot_be_seen_are_left_out(self) -> None:
        faint = case((40, 40), np.ones((3, 3), bool), (6, 6), height=0.05)
        assert not any(paste(FakeCases(faint), *empty((24, 24)), seed)[1].any() for seed in range(20))
        for height in (-0.3, 0.3):  # dark, bright
            plain = case((40, 40), np.ones((3, 3), bool), (6, 6), height=height)
            assert all(paste(FakeCases(plain), *empty((24, 24)), seed)[1].any() for seed in range(20))
        image = np.concatenate([faint[0], plain[0]])
        box = np.repeat(empty((24, 24))[0], 2, axis=0)
        assert paste(FakeCases((image, plain[1])), box, np.zeros((24, 24), np.uint8))[1].any(), "one channel that shows it is enough"

    def test_one_that_cannot_be_seen_is_replaced_by_another(self) -> None:
        image, label = case((60, 60), SHAPE, (6, 6))
        label[30:33, 30:33] = 1
        cases = FakeCases((image, label))
        found = [int((paste(cases, *empty((30, 30)), seed)[1] == 1).sum()) for seed in range(60)]
        assert set(found) <= {0, int(SHAPE.sum())}
        assert np.mean(np.array(found) > 0) > 0.7  # 15 of 16; half, were it not replaced

    def test_only_of_the_classes_that_are_asked_for(self) -> None:
        schema = LabelSchema.exclusive({"one": 1, "two": 2})
        image, label = case((40, 40), np.ones((3, 3), bool), (5, 5))
        label[20:24, 20:24] = 2
        image[0, 20:24, 20:24] += 5
        cases = FakeCases((image, label), labels=schema)
        both, two = set(), set()
        for seed in range(30):
            both |= set(np.unique(paste(cases, *empty((24, 24)), seed)[1]))
            two |= set(np.unique(paste(cases, *empty((24, 24)), seed, CopyPasteConfig(1.0, 1, ["two"]))[1]))
        assert both == {0, 1, 2}
        assert two == {0, 2}

    def test_an_unknown_class_is_an_error_that_names_the_known_ones(self) -> None:
        with pytest.raises(DataError, match=r"data\.copy_paste\.classes: no class named tumour; the classes are lesion"):
            CopyPaste(FakeCases(), LESION, CopyPasteConfig(classes=["tumour"]))


class TestHowOften:
    def test_probability_is_the_share_of_the_boxes(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6)))
        tool = CopyPaste(cases, LESION, CopyPasteConfig(probability=0.3))
        rng = np.random.default_rng(0)
        share = np.mean([tool(*empty((24, 24)), (1.0, 1.0), rng)[1].any() for _ in range(400)])
        assert share == pytest.approx(0.3, abs=0.07)

    def test_one_to_the_most_lesions(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6)))
        counts = set()
        for seed in range(40):
            _, ids = paste(cases, *empty((80, 80)), seed, CopyPasteConfig(probability=1.0, lesions=3))
            counts.add(int((ids == 1).sum()) // int(SHAPE.sum()))
        assert counts == {1, 2, 3}

    def test_the_result_is_a_function_of_the_generator(self) -> None:
        cases = FakeCases(case((20, 20), SHAPE, (6, 6)))
        first, second, other = (paste(cases, *empty((30, 30)), seed) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first[0], second[0])
        assert (first[1] != other[1]).any()
