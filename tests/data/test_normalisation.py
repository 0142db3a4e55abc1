"""Maps of intensities, and what they need to know of a case."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from medseg.data.case import Case
from medseg.data.normalisation import Intensities, Normaliser, foreground_statistics
from medseg.errors import DataError

CASE = Case("case", (Path("case.nii.gz"),), None, "case")
STATISTICS = {"low": [30.0, 0.0], "high": [70.0, 1.0], "mean": [50.0, 0.5], "std": [10.0, 0.25]}


def image_of(*channels: float, shape: tuple[int, ...] = (6, 7, 8)) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.normal(mean, 15, shape) for mean in channels]).astype(np.float32)


class TestIntensities:
    def test_they_are_those_of_float64_arithmetic(self) -> None:
        image = image_of(100, 1e6)
        found = Intensities.of(image, CASE)
        exact = image.astype(np.float64).reshape(2, -1)
        np.testing.assert_allclose(found.mean, exact.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(found.std, exact.std(axis=1), rtol=1e-9)
        np.testing.assert_array_equal([found.low, found.high], [exact.min(axis=1), exact.max(axis=1)])

    def test_blocks_add_up_to_the_whole(self, monkeypatch: pytest.MonkeyPatch) -> None:
        image = image_of(100)
        image[:, :3] = 0
        whole = Intensities.of(image, CASE)
        monkeypatch.setattr("medseg.data.normalisation._BLOCK", 50)
        parts = Intensities.of(image, CASE)
        np.testing.assert_allclose([parts.mean, parts.std], [whole.mean, whole.std], rtol=1e-12)
        kept = image[image != 0].astype(np.float64)
        np.testing.assert_allclose([parts.mean[0], parts.std[0]], [kept.mean(), kept.std()], rtol=1e-9)

    def test_they_survive_json_and_pickle(self) -> None:
        found = Intensities.of(image_of(100, 5), CASE)
        assert Intensities.from_dict(json.loads(json.dumps(found.to_dict()))) == found
        assert pickle.loads(pickle.dumps(found)) == found


class TestNormaliser:
    @pytest.mark.parametrize("normalisation", ["zscore", "ct", "unit", "none", ["ct", "zscore"], ["none", "unit"]])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
    def test_a_box_is_mapped_as_the_whole_image_is(self, normalisation: str | list[str], dtype: type) -> None:
        image = np.clip(image_of(100, 50), 0, 255).astype(dtype)
        before = image.copy()
        normaliser = Normaliser(normalisation, STATISTICS)
        intensities = Intensities.of(image.astype(np.float32), CASE)
        whole, box = normaliser(image, intensities), normaliser(image[:, 1:4, 2, 3:], intensities)
        assert whole.dtype == box.dtype == np.float32
        np.testing.assert_array_equal(box, whole[:, 1:4, 2, 3:])
        np.testing.assert_array_equal(image, before)
        assert not np.shares_memory(whole, image)

    @pytest.mark.parametrize("normalisation", ["zscore", "unit", "none", ["none", "unit"], "ct"])
    def test_its_inverse_gives_the_raw_intensities(self, normalisation: str | list[str]) -> None:
        image = image_of(100, 50)
        before = image.copy()
        normaliser, intensities = Normaliser(normalisation, STATISTICS), Intensities.of(image, CASE)
        normalised = normaliser(image, intensities)
        found = normaliser.inverse(normalised, intensities)
        low, high = (np.reshape(STATISTICS[key], (2, 1, 1, 1)) for key in ("low", "high"))
        expected = np.clip(image, low, high) if normalisation == "ct" else image
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-3)
        np.testing.assert_array_equal(normaliser.inverse(normalised[:, 1:3, 2], intensities), found[:, 1:3, 2])
        np.testing.assert_array_equal(image, before)

    @pytest.mark.parametrize("normalisation", ["zscore", "unit"])
    def test_the_inverse_of_a_constant_channel_is_its_value(self, normalisation: str) -> None:
        image = np.full((1, 4, 4, 4), 7.0, np.float32)
        normaliser, intensities = Normaliser(normalisation), Intensities.of(image, CASE)
        np.testing.assert_array_equal(normaliser.inverse(normaliser(image, intensities), intensities), image)

    def test_each_channel_takes_its_own_map(self) -> None:
        image = image_of(55, 100, 7)
        statistics = {key: [*values, 9.0] for key, values in STATISTICS.items()}
        intensities = Intensities.of(image, CASE)
        mapped = Normaliser(["ct", "zscore", "none"], statistics)(image, intensities)
        exact = image.astype(np.float64)
        np.testing.assert_allclose(mapped[0], (np.clip(exact[0], 30, 70) - 50) / 10, atol=1e-5)
        np.testing.assert_allclose(mapped[1], (exact[1] - exact[1].mean()) / exact[1].std(), atol=1e-5)
        np.testing.assert_array_equal(mapped[2], image[2])

    def test_large_offsets_keep_their_digits(self) -> None:
        image = image_of(1e4) / 10 + 9e3
        mapped = Normaliser("zscore")(image, Intensities.of(image, CASE))
        exact = image.astype(np.float64)
        np.testing.assert_allclose(mapped, (exact - exact.mean()) / exact.std(), atol=1e-3)

    def test_another_number_of_channels_than_listed_is_refused(self) -> None:
        image = image_of(1, 2, 3)
        with pytest.raises(DataError, match="lists 2 normalisations, the images have 3"):
            Normaliser(["zscore", "none"])(image, Intensities.of(image, CASE))

    def test_cases_do_not_share_their_maps(self) -> None:
        first, second = image_of(10), image_of(1000)
        normaliser = Normaliser("zscore")
        for image in (first, second, first):
            assert normaliser(image, Intensities.of(image, CASE)).mean(dtype=np.float64) == pytest.approx(0, abs=1e-4)

    def test_ct_without_statistics_is_refused(self) -> None:
        for normalisation in ("ct", ["zscore", "ct"]):
            with pytest.raises(ValueError, match="statistics"):
                Normaliser(normalisation)

    def test_unknown_names_are_refused(self) -> None:
        with pytest.raises(ValueError, match="'minmax'; choose zscore, ct, unit or none"):
            Normaliser(["zscore", "minmax"])


class TestForegroundStatistics:
    def test_they_are_those_of_all_samples_together(self) -> None:
        rng = np.random.default_rng(0)
        samples = [rng.normal(50, 10, (2, 500)).astype(np.float32), np.empty((2, 0), np.float32), rng.normal(70, 5, (2, 300))]
        found = foreground_statistics(iter(samples))
        values = np.concatenate(samples, axis=1)
        np.testing.assert_allclose(found["mean"], values.mean(axis=1))
        np.testing.assert_allclose(found["std"], values.std(axis=1))
        np.testing.assert_allclose([found["low"], found["high"]], np.percentile(values, [0.5, 99.5], axis=1))
        assert all(type(value) is float for numbers in found.values() for value in numbers)

    def test_a_constant_foreground_is_not_divided_by_zero(self) -> None:
        assert foreground_statistics([np.full((1, 9), 3.0)])["std"] == [1.0]

    def test_no_foreground_at_all_is_refused(self) -> None:
        with pytest.raises(DataError, match="foreground"):
            foreground_statistics([np.empty((1, 0), np.float32)])

    def test_cases_of_different_channels_are_refused(self) -> None:
        with pytest.raises(DataError, match="different numbers of channels"):
            foreground_statistics([np.ones((1, 4)), np.ones((2, 4))])
