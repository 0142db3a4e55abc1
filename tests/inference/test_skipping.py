from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities
from medseg.data.preparation import PreparedCase, Preparer
from medseg.inference import Predictor
from medseg.inference.skipping import body_mask, skip_of
from tests.inference.runs import LABELS

CT = {"low": [-200.0], "high": [300.0], "mean": [50.0], "std": [80.0]}


def prepared_from(raw: np.ndarray, preparer: Preparer, spacing: float = 1.0) -> PreparedCase:
    """A case of these raw intensities (C, *spatial)."""
    raw = raw.astype(np.float32)
    found = Intensities(
        tuple(float(channel[channel != 0].mean()) if channel.any() else 0.0 for channel in raw),
        tuple(float(channel.std()) or 1.0 for channel in raw),
        tuple(float(channel.min()) for channel in raw),
        tuple(float(channel.max()) for channel in raw),
        eight_bit=False,
        picture=False,
    )
    grid = Geometry(raw.shape[1:], np.diag([*[spacing] * (raw.ndim - 1), *[1.0] * (5 - raw.ndim)]))
    return PreparedCase(Case("a", (), None, ""), preparer.normaliser(raw, found), None, grid, grid, None, found)


def scan(*shape: int) -> np.ndarray:
    """Noisy air."""
    return -1000 + 20 * np.random.default_rng(0).standard_normal((1, *shape))


class Lesions(torch.nn.Module):
    """Finds a lesion everywhere, and counts its windows."""

    def __init__(self) -> None:
        super().__init__()
        self.windows = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.windows += len(image)
        return torch.cat([torch.zeros_like(image[:, :1]), torch.ones_like(image[:, :1]), -torch.ones_like(image[:, :1])], dim=1)


class TestNonzero:
    @pytest.mark.parametrize("normalisation", ["zscore", "unit", "none"])
    def test_windows_of_raw_zeros_are_background_after_any_normalisation(self, normalisation: str) -> None:
        raw = np.zeros((2, 40, 16))
        raw[0, 3, 3], raw[1, 37, 5], raw[1, 20, 1] = 50, 7, -3
        raw[1, 21, 1] = 9
        preparer = Preparer(normalisation)
        prepared, network = prepared_from(raw, preparer), Lesions().eval()
        ids = Predictor(network, preparer, LABELS, "softmax", window=(8, 8), overlap=0.0, skip="nonzero").predict(prepared)
        assert network.windows == 3
        expected = np.zeros((40, 16), np.uint8)
        expected[:8, :8] = expected[32:, :8] = expected[16:24, :8] = 1
        np.testing.assert_array_equal(ids, expected)

    def test_a_channel_that_never_is_zero_is_always_looked_at(self) -> None:
        raw = np.full((1, 16, 16), 5.0)
        preparer = Preparer("zscore")  # makes a constant channel 0
        prepared = prepared_from(raw, preparer)
        skip = skip_of("nonzero", prepared, preparer.normaliser, LABELS, "softmax")
        assert skip is not None
        assert skip.relevant((slice(0, 8), slice(0, 8)))

    @pytest.mark.parametrize(("activation", "expected"), [("softmax", [1, 0, 0]), ("sigmoid", [0, 0])])
    def test_background_is_certain(self, activation: str, expected: list[int]) -> None:
        preparer = Preparer("none")
        skip = skip_of("nonzero", prepared_from(np.zeros((1, 8, 8)), preparer), preparer.normaliser, LABELS, activation)  # type: ignore[arg-type]
        assert skip is not None
        probable = skip.background.softmax(0) if activation == "softmax" else skip.background.sigmoid()
        torch.testing.assert_close(probable, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-40)


class TestBody:
    @pytest.mark.parametrize(
        "preparer", [Preparer("ct", statistics=CT), Preparer("none"), Preparer("zscore")], ids=lambda p: p.normalisation
    )
    def test_lungs_and_limbs_are_body_and_the_table_is_not(self, preparer: Preparer) -> None:
        raw = scan(200, 120, 64)
        raw[0, 20:120, 20:90, :] = 40  # torso
        raw[0, 40:100, 40:70, 10:] = -850  # lungs, open at the top
        raw[0, 150:180, 30:70, :] = 30  # an arm
        raw[0, :, 112:116, :] = -300  # table
        found = body_mask(prepared_from(raw, preparer), preparer.normaliser)
        assert found is not None
        body, steps = found
        assert steps == (8, 8, 8)
        assert body[3:15, 3:11].all()
        assert body[19:22, 4:8].all()
        assert not body[:, 13:].any()
        assert not body[24:].any()

    def test_only_windows_at_the_body_are_looked_at(self) -> None:
        raw = scan(160, 32, 32)
        raw[0, 64:96, 8:24, 8:24] = 40
        preparer, network = Preparer("ct", statistics=CT), Lesions().eval()
        options = {"window": (16, 32, 32), "overlap": 0.0}
        predictor = Predictor(network, preparer, LABELS, "softmax", skip="body", **options)  # type: ignore[arg-type]
        ids = predictor.predict(prepared_from(raw, preparer, 1.0))
        assert network.windows == 4
        assert not ids[:48].any()
        assert (ids[48:112] == 1).all()
        assert not ids[112:].any()

    def test_steps_follow_the_voxel_size(self) -> None:
        raw = scan(30, 30, 30)
        raw[0, 10:20, 10:20, 10:20] = 0
        found = body_mask(prepared_from(raw, Preparer("none"), 4.0), Preparer("none").normaliser)
        assert found is not None
        assert found[1] == (2, 2, 2)

    @pytest.mark.parametrize("raw", [np.ones((1, 16, 16)), scan(16, 16)], ids=["no air", "only air"])
    def test_where_there_is_no_air_or_no_body_everything_is_looked_at(self, raw: np.ndarray) -> None:
        preparer = Preparer("none")
        assert skip_of("body", prepared_from(raw, preparer), preparer.normaliser, LABELS, "softmax") is None

    def test_a_second_channel_without_air_says_nothing(self) -> None:
        raw = np.concatenate([scan(32, 32), np.ones((1, 32, 32))])
        raw[0, 8:16, 8:16] = 0
        found = body_mask(prepared_from(raw, Preparer("none"), 8.0), Preparer("none").normaliser)
        assert found is not None
        assert not found[0].all()


class TestChoice:
    def test_none_looks_at_everything(self) -> None:
        preparer = Preparer("none")
        assert skip_of("none", prepared_from(np.zeros((1, 8, 8)), preparer), preparer.normaliser, LABELS, "softmax") is None

    def test_another_word_is_refused(self) -> None:
        preparer = Preparer("none")
        with pytest.raises(ValueError, match="none, nonzero or body"):
            skip_of("air", prepared_from(np.zeros((1, 8, 8)), preparer), preparer.normaliser, LABELS, "softmax")  # type: ignore[arg-type]

    def test_a_case_that_does_not_know_its_intensities_is_refused(self) -> None:
        preparer, grid = Preparer("none"), Geometry((8, 8), np.eye(4))
        prepared = PreparedCase(Case("a", (), None, ""), np.zeros((1, 8, 8), np.float32), None, grid, grid, None)
        with pytest.raises(ValueError, match="intensities"):
            skip_of("body", prepared, preparer.normaliser, LabelSchema.exclusive({"a": 1}), "softmax")
