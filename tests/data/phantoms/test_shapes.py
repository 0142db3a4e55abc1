from __future__ import annotations

import numpy as np
import pytest

from medseg.data.phantoms.shapes import blob, curve, draw_tube, grid, rotation, smooth_field


class TestSmoothField:
    @pytest.mark.parametrize("scale", [0.8, 5.0, 40.0])
    def test_is_standardised(self, scale: float) -> None:
        field = smooth_field(np.random.default_rng(0), (64, 48), scale)
        assert field.shape == (64, 48)
        np.testing.assert_allclose([field.mean(), field.std()], [0, 1], atol=1e-6)

    def test_a_wider_scale_is_smoother(self) -> None:
        steps = [np.abs(np.diff(smooth_field(np.random.default_rng(0), (64, 64), scale), axis=0)).mean() for scale in (1, 3, 12)]
        assert steps[0] > 2 * steps[1] > 4 * steps[2]


class TestBlob:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 3.0)])
    @pytest.mark.parametrize("voxels", [3, 17, 261])
    def test_has_the_size_asked_for(self, spacing: tuple[float, ...], voxels: int) -> None:
        for seed in range(5):
            assert (blob(np.random.default_rng(seed), voxels, spacing) >= 0.5).sum() == voxels

    def test_is_as_round_in_mm_as_in_isotropic_voxels(self) -> None:
        extents = []
        for seed in range(20):
            mask = blob(np.random.default_rng(seed), 400, (1.0, 1.0, 3.0)) >= 0.5
            extents.append([np.ptp(axis) + 1 for axis in np.nonzero(mask)])
        across, along = np.mean(extents, axis=0)[0], 3 * np.mean(extents, axis=0)[2]
        assert 0.75 < across / along < 1.25


class TestCurve:
    def test_steps_have_unit_length(self) -> None:
        points = curve(np.random.default_rng(0), np.zeros(3), np.array([0.0, 2.0, 0.0]), 30, bend=0.1)
        np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1), 1)

    def test_without_bend_it_is_straight(self) -> None:
        points = curve(np.random.default_rng(0), np.zeros(2), np.array([0.0, 2.0]), 5, bend=0.0)
        np.testing.assert_allclose(points, [[0, n] for n in range(5)])


class TestDrawTube:
    def test_is_one_on_the_line_and_half_at_half_its_width(self) -> None:
        canvas = np.zeros((21, 21))
        points = np.array([[10.0, y] for y in range(-3, 25)])
        draw_tube(canvas, points, np.full(len(points), 4.0))
        np.testing.assert_allclose(canvas[10], 1)
        np.testing.assert_allclose(canvas[[8, 12]], 0.5)

    def test_points_outside_are_left_out(self) -> None:
        canvas = np.zeros((8, 8))
        draw_tube(canvas, np.array([[-50.0, 3.0], [3.0, 99.0]]), np.full(2, 2.0))
        assert not canvas.any()


class TestGridAndRotation:
    def test_grid_is_centred_and_in_mm(self) -> None:
        xyz = grid((3, 2), (2.0, 5.0))
        np.testing.assert_allclose(xyz[0][:, 0], [-2, 0, 2])
        np.testing.assert_allclose(xyz[1][0], [-2.5, 2.5])

    def test_rotation_is_orthogonal(self) -> None:
        matrix = rotation(np.random.default_rng(0), 3)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
