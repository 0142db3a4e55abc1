from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics.lesions.border import border
from medseg.metrics.lesions.runs import coordinates, joined, meetings, runs_of, shifts
from tests.metrics.lesions.by_hand import noise

SHAPES = [(1,), (9,), (5, 1), (7, 30), (4, 5, 6), (1, 1, 17), (6, 1, 8), (3, 4, 2, 5)]


def labels(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(4, shape, p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)


class TestRuns:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_they_hold_exactly_the_voxels_of_each_label(self, shape: tuple[int, ...]) -> None:
        ids = labels(shape)
        runs, values = runs_of(ids)
        rebuilt = np.zeros(shape, np.uint8)
        rebuilt[tuple(coordinates(runs.voxels(), shape).T)] = np.repeat(values, runs.lengths)
        np.testing.assert_array_equal(rebuilt, ids)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_a_full_mask_is_a_run_a_line_in_either_memory_order(self, order: str) -> None:
        runs, _ = runs_of(np.ones((3, 4, 5), bool, order=order))  # type: ignore[call-overload]
        assert runs.lengths.tolist() == [5] * 12

    def test_an_empty_mask_has_none(self) -> None:
        for shape in [(4, 5, 6), (0, 3), (3, 0)]:
            runs, values = runs_of(np.zeros(shape, bool))
            assert len(runs) == len(values) == len(runs.voxels()) == 0
            assert len(joined(runs)) == 0

    @pytest.mark.parametrize("shape", SHAPES)
    def test_labels_side_by_side_become_one_run(self, shape: tuple[int, ...]) -> None:
        ids = labels(shape)
        together, expected = joined(runs_of(ids)[0]), runs_of(ids > 0)[0]
        np.testing.assert_array_equal(together.start, expected.start)
        np.testing.assert_array_equal(together.stop, expected.stop)


class TestMeetings:
    @pytest.mark.parametrize("shape", [(30,), (9, 11), (5, 6, 7)])
    @pytest.mark.parametrize(("chessboard", "city_block"), [(1, 1), (1, 2), (1, 3), (3, 6), (7, 15)])
    def test_shifts_reach_what_a_dilation_reaches(self, shape: tuple[int, ...], chessboard: int, city_block: int) -> None:
        generator = np.random.default_rng(1)
        mask, other = generator.random((2, *shape)) < 0.08
        steps = np.abs(np.indices((2 * chessboard + 1,) * len(shape)) - chessboard)
        dilated = ndimage.binary_dilation(mask, (steps.sum(axis=0) <= city_block))
        runs, other_runs = runs_of(mask)[0], runs_of(other)[0]
        hit = {index for shift in shifts(shape, chessboard, city_block) for index in meetings(runs, other_runs, shift)[1].tolist()}
        where = np.repeat(np.arange(len(other_runs)), other_runs.lengths)
        assert hit == set(where[dilated[other]].tolist())

    def test_half_of_the_shifts_and_their_opposites_are_all(self) -> None:
        half = {move for move, _ in shifts((9, 9, 9), 2, 4, half=True)}
        assert half | {-move for move in half} == {move for move, _ in shifts((9, 9, 9), 2, 4)}


class TestBorder:
    @pytest.mark.parametrize("shape", [(40,), (16, 20), (9, 10, 11)])
    def test_it_is_what_an_erosion_removes(self, shape: tuple[int, ...]) -> None:
        for seed in range(3):
            mask = ndimage.binary_closing(noise(seed, shape, 0.4)[1]) | noise(seed, shape, 0.4)[0]
            found = np.zeros(shape, bool)
            runs = runs_of(mask)[0]
            positions, run = border(runs)
            found[tuple(coordinates(positions, shape).T)] = True
            np.testing.assert_array_equal(found, mask & ~ndimage.binary_erosion(mask))
            assert ((runs.start[run] <= positions) & (positions < runs.stop[run])).all()

    def test_the_edge_of_the_image_counts_as_outside(self) -> None:
        assert len(border(runs_of(np.ones((4, 4, 4), bool))[0])[0]) == 64 - 8
