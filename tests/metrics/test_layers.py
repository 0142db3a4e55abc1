from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.metrics import layers
from medseg.metrics.layers import Layers

GRIDS = [((30, 41), (0.7, 2.0)), ((13, 20, 17), (3.0, 0.5, 1.0)), ((1, 9, 40), (1.0, 1.0, 1.0))]


def sites(shape: tuple[int, ...], seed: int) -> np.ndarray:
    mask = np.random.default_rng(seed).random(shape) < 0.02
    mask.flat[-1] = True
    return mask


@pytest.fixture(params=[layers._SLAB, 50])
def slab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_SLAB", request.param)
    monkeypatch.setattr(layers, "_LINES", request.param)


@pytest.mark.usefixtures("slab")
@pytest.mark.parametrize(("shape", "spacing"), GRIDS)
class TestLayers:
    def test_every_way_to_ask_gives_the_squared_distance(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        for seed in range(3):
            mask = sites(shape, seed)
            expected = ndimage.distance_transform_edt(~mask, sampling=spacing) ** 2
            found = Layers.of(np.argwhere(mask), shape, spacing)
            painted = found.transposed(np.empty(shape))
            for where, least in found.planes():
                painted[where] = least
            np.testing.assert_allclose(painted, found.transposed(expected), atol=1e-9)
            np.testing.assert_allclose(found.at(np.argwhere(~mask)), expected[~mask], atol=1e-9)
            in_order = Layers.of(np.argwhere(mask), shape, spacing, in_order=True)
            np.testing.assert_allclose(in_order.everywhere(np.flatnonzero(~mask)), expected[~mask], atol=1e-9)

    def test_ranks_settle_ties_for_the_lower(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
        mask = sites(shape, 0)
        ranks = np.arange(int(mask.sum()))[::-1].copy()
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        away = ((grid[..., None, :] - np.argwhere(mask)) ** 2).sum(axis=-1)
        expected = np.where(away == away.min(axis=-1, keepdims=True), ranks, len(ranks)).min(axis=-1)
        found = Layers.of(np.argwhere(mask), shape, spacing, ranks)
        for where, least in found.planes():
            np.testing.assert_array_equal(least % len(ranks), found.transposed(expected)[where])
            np.testing.assert_array_equal(least // len(ranks), found.transposed(away.min(axis=-1))[where])
