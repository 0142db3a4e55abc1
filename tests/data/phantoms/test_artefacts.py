from __future__ import annotations

import numpy as np
import pytest

from medseg.data.phantoms import artefacts
from medseg.data.phantoms.shapes import grid


def case() -> tuple[list[np.ndarray], np.ndarray]:
    """Two channels of a bright rod on black, and a label of every slice."""
    rod = 100 * (np.sqrt((grid((32, 36, 40), (1, 1, 1))[:2] ** 2).sum(axis=0)) < 10)
    label = np.zeros(rod.shape, np.uint8)
    label[16, 18, :] = 1
    return [rod.astype(float), 2.0 * rod], label


def spoilt(name: str) -> tuple[list[np.ndarray], np.ndarray]:
    images, label = case()
    for seed in range(200):
        after, labelled, found = artefacts.spoil(np.random.default_rng(seed), images, label, 1.0)
        if found == name:
            return after, labelled
    raise AssertionError(name)


class TestSpoil:
    def test_the_rate_is_a_probability(self) -> None:
        images, label = case()
        names = [artefacts.spoil(np.random.default_rng(seed), images, label, 0.3)[2] for seed in range(200)]
        assert 40 <= sum(name != "" for name in names) <= 80
        assert {name for name in names if name} == set(artefacts.ARTEFACTS)

    def test_without_an_artefact_nothing_changes(self) -> None:
        images, label = case()
        after, labelled, name = artefacts.spoil(np.random.default_rng(0), images, label, 0.0)
        assert name == ""
        assert labelled is label
        assert all(np.array_equal(a, b) for a, b in zip(after, images, strict=True))

    @pytest.mark.parametrize("name", artefacts.ARTEFACTS)
    def test_every_one_changes_every_channel_visibly_and_leaves_it_usable(self, name: str) -> None:
        images, _ = case()
        after, labelled = spoilt(name)
        assert len(after) == 2
        for before, image in zip(images, after, strict=True):
            assert image.shape == before.shape
            assert np.isfinite(image).all()
            assert image.min() >= 0
            assert np.abs(image - before).max() > 0.05 * before.max()
        lost = labelled[16, 18] == 0
        assert lost.any() == (name in ("missing_slices", "cut_off"))
        assert not after[0][:, :, lost].any()

    def test_an_end_is_cut_off_and_slices_go_missing_one_by_one(self) -> None:
        lost = spoilt("cut_off")[1][16, 18] == 0
        assert np.count_nonzero(np.diff(lost.astype(int))) == 1
        assert 1 <= (spoilt("missing_slices")[1][16, 18] == 0).sum() <= 6

    def test_ghosts_appear_in_the_air(self) -> None:
        images, _ = case()
        air = images[0] == 0
        assert np.percentile(spoilt("ghosts")[0][0][air], 95) > 3
