"""Realistic lesions against the numbers of real ones, and these numbers against the masks they were measured on."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.data.phantoms import openms
from medseg.data.phantoms.head import draw_head
from medseg.data.phantoms.realistic import grow_lesion, scatter_realistic, volumes, window_of

ISOTROPIC = (1.0, 1.0, 1.0)


def distance(values: np.ndarray, levels: tuple[float, ...], quantiles: tuple[float, ...]) -> float:
    """Largest difference of two distribution functions at the known quantiles (Kolmogorov-Smirnov, as far as these tell)."""
    shares = np.searchsorted(np.sort(values), quantiles, side="right") / len(values)
    return float(np.abs(shares - np.array(levels) / 100).max())


class TestShapeOf:
    def test_a_ball_is_round_and_solid(self) -> None:
        axes = np.indices((41, 41, 41)) - 20
        shape = openms.shape_of((axes**2).sum(axis=0) <= 18.5**2)
        assert shape.volume == pytest.approx(4 / 3 * np.pi * 18.5**3, rel=0.01)
        assert shape.sphericity == pytest.approx(1, abs=0.03)
        assert (shape.middle, shape.short) == (pytest.approx(1, abs=0.01), pytest.approx(1, abs=0.01))
        assert shape.solidity > 0.9

    def test_a_box_in_mm(self) -> None:
        shape = openms.shape_of(np.ones((10, 8, 2), bool), (1.0, 0.5, 3.0))
        assert shape.volume == pytest.approx(10 * 4 * 6)
        assert (shape.middle, shape.short) == (pytest.approx(0.6), pytest.approx(0.4))
        assert shape.solidity == pytest.approx(1)
        assert shape.sphericity == pytest.approx(np.pi ** (1 / 3) * (6 * 240) ** (2 / 3) / (2 / 3 * 2 * (40 + 60 + 24)))

    def test_one_voxel(self) -> None:
        assert openms.shape_of(np.ones((1, 1, 1), bool)).middle == 1

    def test_lesions_of_a_mask_are_its_components_and_an_empty_one_has_none(self) -> None:
        mask = np.zeros((9, 9, 9), bool)
        assert openms.shapes_of(mask) == []
        mask[1, 1, 1] = mask[2, 2, 2] = mask[6, 6, 6] = True
        assert [shape.volume for shape in openms.shapes_of(mask)] == [2, 1]


class TestRealMasks:
    def test_the_shipped_numbers_are_theirs(self, real_data: Path) -> None:
        paths = sorted((real_data / "openms_masks30" / "labels").glob("*.nii.gz"))
        if not paths:
            pytest.skip("openms_masks30 is not there")
        sizes, counts = [], []
        for path in paths:
            components, count = ndimage.label(np.asarray(nib.load(path).dataobj) > 0, np.ones((3, 3, 3)))
            sizes.append(np.bincount(components.ravel())[1:])
            counts.append(count)
        np.testing.assert_allclose(np.percentile(np.concatenate(sizes), openms.LEVELS), openms.VOLUMES, rtol=0.01, atol=0.5)
        np.testing.assert_allclose(np.percentile(counts, openms.COUNT_LEVELS), openms.COUNTS, atol=0.6)
        np.testing.assert_allclose(np.percentile([size.sum() for size in sizes], openms.COUNT_LEVELS), openms.LOADS, rtol=0.001)

    def test_so_are_the_shapes(self, real_data: Path) -> None:
        paths = sorted((real_data / "openms_masks30" / "labels").glob("*.nii.gz"))[:4]
        if not paths:
            pytest.skip("openms_masks30 is not there")
        shapes = [shape for path in paths for shape in openms.shapes_of(np.asarray(nib.load(path).dataobj) > 0)]
        for name, quantiles in openms.SHAPES[(20.0, 60.0)].items():
            values = np.array([getattr(shape, name) for shape in shapes if 20 <= shape.volume < 60])
            assert distance(values, openms.SHAPE_LEVELS, quantiles) < 0.15, name


class TestVolumes:
    def test_numbers_and_sizes_follow_the_patients(self) -> None:
        rng = np.random.default_rng(0)
        drawn = [volumes(rng) for _ in range(300)]
        assert distance(np.array([len(sizes) for sizes in drawn]), openms.COUNT_LEVELS[1:-1], openms.COUNTS[1:-1]) < 0.1
        assert distance(np.concatenate(drawn), openms.LEVELS[4:-1], openms.VOLUMES[4:-1]) < 0.05
        loads = np.array([sizes.sum() for sizes in drawn])
        assert loads.max() <= openms.LOADS[-1]
        assert distance(loads, openms.COUNT_LEVELS[1:-1], openms.LOADS[1:-1]) < 0.25
        assert all((np.diff(sizes) <= 0).all() for sizes in drawn)


class TestGrownLesions:
    @pytest.mark.parametrize(("range_", "count"), [((5.0, 20.0), 300), ((20.0, 60.0), 300), ((60.0, 200.0), 250), ((200.0, 1000.0), 120)])
    def test_have_the_shapes_of_real_ones(self, range_: tuple[float, float], count: int) -> None:
        rng = np.random.default_rng(1)
        levels = np.interp(np.log(range_), np.log(openms.VOLUMES[3:]), openms.LEVELS[3:])
        drawn = np.exp(np.interp(rng.uniform(levels[0], levels[1], count), openms.LEVELS, np.log(openms.VOLUMES)))
        shapes = [openms.shape_of(grow_lesion(rng, volume, ISOTROPIC)) for volume in drawn]
        for name, quantiles in openms.SHAPES[range_].items():
            values = np.array([getattr(shape, name) for shape in shapes])
            assert distance(values, openms.SHAPE_LEVELS, quantiles) < 0.22, name
            np.testing.assert_allclose(np.percentile(values, openms.SHAPE_LEVELS), quantiles, atol=0.13, err_msg=name)

    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 3.0), (2.0, 0.5, 1.0)])
    @pytest.mark.parametrize("volume", [1.0, 17.0, 261.0])
    def test_are_one_component_of_the_volume_asked_for(self, spacing: tuple[float, float, float], volume: float) -> None:
        for seed in range(4):
            lesion = grow_lesion(np.random.default_rng(seed), volume, spacing)
            assert lesion.shape == window_of(volume, spacing)
            assert lesion.sum() == max(1, round(volume / np.prod(spacing)))
            assert ndimage.label(lesion, np.ones((3, 3, 3)))[1] == 1

    def test_grow_where_they_may(self) -> None:
        shape = window_of(100.0, ISOTROPIC)
        allowed = np.zeros(shape, bool)
        allowed[: shape[0] // 2 + 1] = True
        lesion = grow_lesion(np.random.default_rng(0), 100.0, ISOTROPIC, allowed=allowed)
        assert lesion.sum() == 100
        assert not lesion[~allowed].any()
        assert not grow_lesion(np.random.default_rng(0), 100.0, ISOTROPIC, allowed=np.zeros(shape, bool)).any()

    def test_confluent_ones_stretch_along_the_ventricles(self) -> None:
        extents = []
        for seed in range(3):
            shape = window_of(2000.0, ISOTROPIC)
            near = np.broadcast_to(np.abs(np.arange(shape[0]) - shape[0] // 2).astype(float)[:, None, None], shape)
            points = np.argwhere(grow_lesion(np.random.default_rng(seed), 2000.0, ISOTROPIC, near=near))
            extents.append(points.std(axis=0))
        across, along, _ = np.mean(extents, axis=0)
        assert along > 2 * across


@pytest.fixture(scope="module")
def heads() -> list[tuple[np.ndarray, ...]]:
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        head = draw_head(rng, (84, 96, 72), (2.0, 2.0, 2.0))
        white = np.where((head.depth > 3) & (head.from_ventricle > 0), 1.0, 0.0)
        mask, profile = scatter_realistic(rng, white, head.from_ventricle, (2.0, 2.0, 2.0))
        found.append((white, head.from_ventricle, mask, profile))
    return found


class TestScatter:
    def test_lesions_stay_in_the_tissue_and_do_not_touch(self, heads: list[tuple[np.ndarray, ...]]) -> None:
        for white, _, mask, profile in heads:
            assert mask.any()
            assert not mask[white == 0].any()
            assert (profile[mask] >= 0.4).all()
            assert 0 <= profile.min() <= profile.max() <= 1.25
            distances = []
            components, count = ndimage.label(mask, np.ones((3, 3, 3)))
            for lesion in range(1, min(count, 12) + 1):
                others = mask & (components != lesion)
                distances.append(ndimage.distance_transform_edt(~others)[components == lesion].min())
            assert min(distances) >= 2

    def test_their_places_follow_the_distance_to_the_ventricles(self, heads: list[tuple[np.ndarray, ...]]) -> None:
        near, far = np.zeros(2), np.zeros(2)
        for white, from_ventricle, mask, _ in heads:
            for counted, part in ((near, (from_ventricle > 0) & (from_ventricle < 12)), (far, from_ventricle > 30)):
                counted += [(mask & part).sum(), ((white > 0) & part).sum()]
        assert near[0] / near[1] > 3 * far[0] / far[1]

    def test_no_room_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no room"):
            scatter_realistic(np.random.default_rng(0), np.zeros((32, 32, 32)), np.ones((32, 32, 32)), ISOTROPIC)

    def test_a_grid_coarser_than_the_lesions_still_shows_one(self) -> None:
        prior = np.ones((32, 32, 32))
        mask, _ = scatter_realistic(np.random.default_rng(3), prior, np.full(prior.shape, 10.0), (5.0, 5.0, 5.0))
        assert mask.any()
