"""What an untrained network predicts: everything, blobs or noise."""

from __future__ import annotations

import sys
import time
import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics import score_case
from medseg.metrics.lesions import Lesions, brats, brats_hd95, cc_dice, cell_dice
from medseg.metrics.surface import nearest, surfaces
from tests.metrics.lesions import by_hand

SCENES = [((26, 22, 18), (1.0, 1.0, 1.0)), ((14, 26, 20), (3.0, 0.5, 1.0)), ((50, 60), (0.7, 1.2))]
KINDS = ["all", "blobs", "noise", "sparse"]


def bad(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(0)
    if kind == "all":
        return np.ones(shape, bool)
    if kind == "blobs":
        return ndimage.gaussian_filter(random.normal(size=shape), 2) > 0.03
    return random.random(shape) < (0.5 if kind == "noise" else 0.1)


def cubes(shape: tuple[int, ...], count: int, half: int = 3) -> np.ndarray:
    random = np.random.default_rng(0)
    mask = np.zeros(shape, bool)
    for _ in range(count):
        mask[tuple(slice(at - half, at + half) for at in (random.integers(half + 1, size - half - 1) for size in shape))] = True
    return mask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("shape", "spacing"), SCENES)
class TestBadPredictions:
    def test_brats_is_as_by_dilating_and_measuring_each_lesion(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(brats_hd95, "_HUGE", 30)
        monkeypatch.setattr(brats_hd95, "_RATIO", 0.5)
        prediction, reference = bad(kind, shape), cubes(shape, 4, half=2)
        expected = by_hand.brats(prediction, reference, spacing, 1, 2)
        assert brats(Lesions.of(prediction, reference, spacing), "met") == pytest.approx(expected, abs=1e-9)

    def test_cc_dice_is_as_by_a_distance_map_per_lesion(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = sys.modules[cc_dice.__module__]
        monkeypatch.setattr(module, "_MANY", 0)
        monkeypatch.setattr(module, "_QUESTION", 1e9)
        prediction, reference = bad(kind, shape), cubes(shape, 6, half=2)
        lesions = Lesions.of(prediction, reference, spacing)
        assert cell_dice(lesions).tolist() == pytest.approx(by_hand.cell_dice(prediction, reference), abs=1e-12)

    def test_surface_distances_are_as_a_tree_finds_them(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prediction, reference = bad(kind, shape).astype(np.uint8), cubes(shape, 1).astype(np.uint8)
        membership = np.array([[False, True]])
        (expected,) = surfaces(prediction, reference, membership, spacing)
        monkeypatch.setattr(nearest, "_MANY", 0)
        monkeypatch.setattr(nearest, "_QUESTION", 1e9)
        (found,) = surfaces(prediction, reference, membership, spacing)
        np.testing.assert_allclose(found.pred_to_ref, expected.pred_to_ref, atol=1e-9)
        np.testing.assert_allclose(found.ref_to_pred, expected.ref_to_pred, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
class TestCost:
    shape = (96, 96, 64)

    def score(self, kind: str) -> None:
        prediction, reference = bad(kind, self.shape).astype(np.uint8), cubes(self.shape, 30).astype(np.uint8)
        score_case("a", "", prediction, reference, ["lesion"], np.array([[False, True]]), (1.0, 1.0, 1.0))

    def test_all_standard_metrics_take_no_longer_than_a_second(self, kind: str) -> None:
        self.score(kind)  # tables that are made once
        start = time.process_time()
        self.score(kind)
        assert time.process_time() - start < 1.0  # half of it on a quiet machine; it was 11 s

    def test_memory_stays_bounded(self, kind: str) -> None:
        tracemalloc.start()
        self.score(kind)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 60e6
