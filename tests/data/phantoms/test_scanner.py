from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from medseg.data.phantoms import Phantom, scanner


class TestStoreAs:
    @pytest.mark.parametrize("axes", sorted(set(scanner.ORIENTATIONS)))
    def test_every_voxel_keeps_its_place_in_the_world(self, axes: str) -> None:
        volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
        matrix = scanner.affine(np.random.default_rng(3), volume.shape, (1.0, 2.0, 3.0))
        stored, stored_matrix = scanner.store_as(volume, matrix, axes)
        assert "".join(nib.aff2axcodes(stored_matrix)) == axes

        def places(array: np.ndarray, affine: np.ndarray) -> dict[int, np.ndarray]:
            return {int(array[index]): affine @ [*index, 1] for index in np.ndindex(array.shape)}

        before, after = places(volume, matrix), places(stored, stored_matrix)
        for value, place in before.items():
            np.testing.assert_allclose(after[value], place, atol=1e-9)


class TestAffine:
    def test_columns_have_the_spacing_and_few_are_tilted(self) -> None:
        matrices = [scanner.affine(np.random.default_rng(seed), (10, 10, 10), (1.0, 2.0, 4.0)) for seed in range(100)]
        for matrix in matrices:
            np.testing.assert_allclose(np.linalg.norm(matrix[:3, :3], axis=0), [1, 2, 4])
        tilted = sum(np.count_nonzero(matrix[:3, :3]) > 3 for matrix in matrices)
        assert 8 <= tilted <= 35

    def test_default_volumes_come_in_several_orientations_and_spacings(self) -> None:
        affines = [sample.affine for sample in map(Phantom(kind="organs_3d").sample, range(10)) if sample.affine is not None]
        assert len({nib.aff2axcodes(affine) for affine in affines}) >= 3
        assert len({tuple(np.sort(np.linalg.norm(affine[:3, :3], axis=0)).round(2)) for affine in affines}) == 2


def site(**changed: object) -> scanner.Site:
    return replace(scanner.sites(0, 1)[0], **changed)  # type: ignore[arg-type]


class TestSites:
    def test_more_sites_leave_the_first_ones_and_seeds_differ(self) -> None:
        assert scanner.sites(0, 4)[:2] == scanner.sites(0, 2)
        assert scanner.sites(0, 2) != scanner.sites(1, 2)
        assert scanner.sites(0, 0) == []

    def test_they_differ_in_all_that_matters(self) -> None:
        found = scanner.sites(0, 8)
        for name in ("coarseness", "slice_mm", "slice_axis", "noise", "bias", "blur", "tone_power", "scale", "axes"):
            assert len({getattr(one, name) for one in found}) > 1, name

    def test_coarse_voxels_are_fewer(self) -> None:
        assert site(coarseness=1.25).grid((100, 120, 80)) == (80, 96, 64)

    def test_thick_slices_are_means_and_the_label_the_half_filled_voxels(self) -> None:
        signal = np.arange(2 * 3 * 7, dtype=float).reshape(2, 3, 7)
        label = np.zeros(signal.shape, np.uint8)
        label[0, 0, :2] = label[1, 1, 3] = 1
        (thick,), labelled, spacing = site(slice_mm=3.0, slice_axis=2).slices([signal], label, (1.0, 1.0, 1.0))
        assert spacing == (1.0, 1.0, 3.0)
        np.testing.assert_allclose(thick, np.stack([signal[..., :3].mean(-1), signal[..., 3:6].mean(-1)], -1))
        assert np.argwhere(labelled).tolist() == [[0, 0, 0]]

    def test_slices_no_thicker_than_voxels_stay(self) -> None:
        signal = np.random.default_rng(0).normal(size=(4, 5, 6))
        (same,), _, spacing = site(slice_mm=1.0, slice_axis=0).slices([signal], np.zeros((4, 5, 6), np.uint8), (3.0, 3.0, 3.0))
        np.testing.assert_array_equal(same, signal)
        assert spacing == (3.0, 3.0, 3.0)

    def test_tone_keeps_white_matter(self) -> None:
        np.testing.assert_allclose(site(tone_power=1.2).tone(np.array([-5.0, 25.0, 100.0])), [0, 100 * 0.25**1.2, 100])
