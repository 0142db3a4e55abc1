from __future__ import annotations

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
