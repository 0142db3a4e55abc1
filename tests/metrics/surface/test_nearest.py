"""The walk: its places, and that it stays fast where the prediction is bad."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest

from medseg.metrics.surface import nearest, surfaces
from medseg.metrics.surface.frame import exclusive_groups, foreground_box
from tests.metrics.surface.by_hand import BINARY, blobs


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (10.0, 0.3), (1.0, 1.0, 1.0), (8.0, 0.5, 0.5), (0.1, 0.1, 20.0)])
class TestPlaces:
    def test_are_all_there_are_up_to_the_farthest(self, spacing: tuple[float, ...]) -> None:
        steps, lengths = nearest.places(spacing)
        counts = [int(lengths[-1] / step) + 1 for step in spacing]
        grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, len(spacing))
        inside = np.sqrt(((grid * spacing) ** 2).sum(axis=1)) < lengths[-1] - 1e-9
        assert {tuple(step) for step in grid[inside]} <= {tuple(step) for step in steps}

    def test_are_sorted_and_within_the_margin(self, spacing: tuple[float, ...]) -> None:
        steps, lengths = nearest.places(spacing)
        assert (np.diff(lengths) >= 0).all()
        assert lengths == pytest.approx(np.linalg.norm(steps * spacing, axis=1))
        assert (np.abs(steps) <= nearest.margin(spacing)).all()
        assert nearest.LOOKS // 3 < len(steps) <= nearest.LOOKS


class TestFrames:
    def test_the_box_holds_all_foreground(self) -> None:
        one, other = np.zeros((9, 8, 7), dtype=np.uint8), np.zeros((9, 8, 7), dtype=np.uint8)
        one[2, 3, 4], other[5, 1, 6] = 1, 9
        assert foreground_box(one, other) == ((2, 1, 4), (4, 3, 3))
        assert foreground_box(one * 0, other * 0) == ((0, 0, 0), (0, 0, 0))

    def test_classes_that_share_an_id_are_walked_apart(self) -> None:
        assert exclusive_groups(np.eye(4, dtype=np.bool_)) == [[0, 1, 2, 3]]
        assert exclusive_groups(np.array([[0, 1, 1], [0, 0, 1], [1, 0, 0]], dtype=np.bool_)) == [[0, 2], [1]]


@pytest.mark.slow
class TestCost:
    """Bounds far above what it takes, so that only a loss of the method trips them."""

    @pytest.mark.parametrize("kind", ["near", "shifted", "noisy"])
    def test_time_and_memory_of_a_volume(self, kind: str) -> None:
        prediction, reference = blobs(0, (96, 128, 128), 8, 20 if kind == "shifted" else 1)
        if kind == "noisy":
            rng = np.random.default_rng(0)
            places = rng.random(prediction.shape) < 0.05
            prediction[places] = rng.integers(0, 9, np.count_nonzero(places))
        started = time.process_time()
        surfaces(prediction, reference, np.eye(9, dtype=np.bool_)[1:], (2.0, 1.0, 1.0))
        assert time.process_time() - started < 10
        tracemalloc.start()
        surfaces(prediction, reference, np.eye(9, dtype=np.bool_)[1:], (2.0, 1.0, 1.0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 120e6

    def test_a_small_pair_costs_next_to_nothing(self) -> None:
        mask = np.zeros((12, 12, 12), dtype=np.uint8)
        mask[3:8, 3:8, 3:8] = 1
        started = time.process_time()
        for _ in range(20):
            surfaces(mask, np.roll(mask, 1, 0), BINARY, (1.0, 1.0, 1.0))
        assert time.process_time() - started < 1
