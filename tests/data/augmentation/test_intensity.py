"""Changes of intensity, each against its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.data.augmentation import intensity as module
from medseg.data.augmentation.intensity import BiasField, Blur, Brightness, Change, Contrast, Gamma, LowResolution, Noise, apply_changes

SIZES = {2: (48, 40), 3: (18, 24, 20)}
DIMS = pytest.mark.parametrize("dims", [2, 3])
ALL: list[Change] = [
    Noise(1.0, 1.0, 0.3),
    Blur(1.0, 1.0, 0.5, 1.5),
    Brightness(1.0, 1.0, 0.7, 1.3),
    Contrast(1.0, 1.0, 0.7, 1.3),
    LowResolution(1.0, 1.0, 0.4, 0.9),
    Gamma(1.0, 1.0, 0.7, 1.5, inverted=False),
    Gamma(1.0, 1.0, 0.7, 1.5, inverted=True),
    BiasField(1.0, 1.0, 0.5),
]
EACH = pytest.mark.parametrize("change", ALL, ids=lambda change: type(change).__name__)


def image(dims: int, channels: int = 2, level: float = 0.0, spread: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(dims)
    smooth = np.stack([ndimage.gaussian_filter(rng.normal(size=SIZES[dims]), 1.0) for _ in range(channels)])
    return ((smooth - smooth.mean()) / smooth.std() * spread + level).astype(np.float32)


def changed(change: Change, x: np.ndarray, seed: int = 0, still: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The changed image (C, *spatial) and the numbers that were drawn."""
    values = change.draw(len(x), x.shape[1:], still, np.random.default_rng(seed))
    assert values is not None
    out = torch.from_numpy(x.copy())[None]
    apply_changes(out, [change], [[values]])
    return out[0].numpy(), values


class TestEveryChange:
    @DIMS
    @EACH
    def test_it_changes_the_image_and_keeps_it_finite(self, change: Change, dims: int) -> None:
        x = image(dims)
        for seed in range(5):
            out, _ = changed(change, x, seed)
            assert out.dtype == np.float32
            assert np.isfinite(out).all()
            assert all(not np.array_equal(a, b) for a, b in zip(out, x, strict=True))

    @DIMS
    @EACH
    @pytest.mark.parametrize("value", [0.0, 3.0, -1000.0])
    def test_a_constant_patch_stays_constant(self, change: Change, dims: int, value: float) -> None:
        x = np.full((2, *SIZES[dims]), value, dtype=np.float32)
        for seed in range(5):
            out, values = changed(change, x, seed)
            factor = values.reshape(2, *(1,) * dims) if isinstance(change, Brightness) else 1.0
            np.testing.assert_allclose(out, x * factor, rtol=1e-5)

    @DIMS
    @EACH
    def test_channels_without_numbers_are_left_alone(self, change: Change, dims: int) -> None:
        x = image(dims, 3)
        values = change.draw(3, SIZES[dims], None, np.random.default_rng(0))
        assert values is not None
        values[1] = np.nan
        out = torch.from_numpy(x.copy())[None]
        apply_changes(out, [change], [[values]])
        assert [np.array_equal(a, b) for a, b in zip(out[0], x, strict=True)] == [False, True, False]

    @DIMS
    @EACH
    def test_rows_together_are_the_rows_alone(self, change: Change, dims: int) -> None:
        # On an accelerator the rows of a batch are changed at once.
        x = image(dims, 3)
        values = change.draw(3, SIZES[dims], None, np.random.default_rng(0))
        assert values is not None
        together = torch.from_numpy(x.copy())
        change.apply(together, values)
        np.testing.assert_allclose(together, changed(change, x)[0], atol=1e-5)

    @EACH
    def test_probabilities_are_shares_of_patches_and_of_channels(self, change: Change) -> None:
        rare = type(change)(**{**vars(change), "probability": 0.2, "per_channel": 0.5})
        rng = np.random.default_rng(0)
        drawn = [rare.draw(4, (4, 4, 4), None, rng) for _ in range(2000)]
        # Of the patches chosen, 1 in 16 has no channel that is: 5 standard deviations around 2000 * 0.2 * 15 / 16.
        assert abs(sum(values is not None for values in drawn) - 375) < 5 * 375**0.5
        channels = sum(int((~np.isnan(values.reshape(4, -1)[:, 0])).sum()) for values in drawn if values is not None)
        assert abs(channels - 800) < 5 * 800**0.5

    @EACH
    def test_a_probability_of_0_is_never_and_of_1_always(self, change: Change) -> None:
        never = type(change)(**{**vars(change), "probability": 0.0})
        rng = np.random.default_rng(0)
        assert all(never.draw(1, (4, 4), None, rng) is None for _ in range(100))
        assert all(change.draw(1, (4, 4), None, rng) is not None for _ in range(100))


class TestNoise:
    @DIMS
    @pytest.mark.parametrize(("level", "spread"), [(0.0, 1.0), (0.5, 0.1), (-500.0, 300.0)])
    def test_it_is_gaussian_in_units_of_the_spread(self, dims: int, level: float, spread: float) -> None:
        x = image(dims, level=level, spread=spread)
        for seed in range(5):
            out, values = changed(Noise(1.0, 1.0, 0.3), x, seed)
            noise = (out.astype(float) - x) / x.std(axis=tuple(range(1, dims + 1)), keepdims=True)
            strength = abs(values[0, 0, 0])
            assert strength <= 0.3
            n = noise[0].size
            for channel in noise:
                assert abs(channel.mean()) < 5 * strength / n**0.5
                assert abs(channel.std() / strength - 1) < 5 / (2 * n) ** 0.5
                normalised = channel.ravel() / strength
                assert abs((normalised**3).mean()) < 5 * (15 / n) ** 0.5
                assert abs((normalised**4).mean() - 3) < 5 * (96 / n) ** 0.5

    def test_strengths_are_uniform_up_to_the_limit_and_shared_by_the_channels(self) -> None:
        drawn = [Noise(1.0, 1.0, 0.3).draw(3, (4, 4), None, np.random.default_rng(seed)) for seed in range(400)]
        strengths = np.abs(np.array(drawn)[:, :, 0, 0])
        assert (np.ptp(strengths, axis=1) == 0).all()
        assert strengths.max() <= 0.3
        assert abs(strengths[:, 0].mean() - 0.15) < 5 * 0.3 / 12**0.5 / 400**0.5

    def test_patches_and_channels_get_noise_of_their_own(self) -> None:
        x = image(2, 3)
        noise = [(changed(Noise(1.0, 1.0, 0.3), x, seed)[0] - x).reshape(3, -1) for seed in range(2)]
        rows = np.concatenate(noise)
        correlation = np.corrcoef(rows) - np.eye(6)
        assert np.abs(correlation).max() < 5 / rows.shape[1] ** 0.5

    def test_large_patches_are_pieced_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_CUT", 500)
        x = image(2)
        out, values = changed(Noise(1.0, 1.0, 0.3), x)
        assert values.shape == (2, 4, 2)
        noise = (out - x).reshape(2, -1)
        pieces = np.array([piece[:420] for row in noise for piece in np.split(row, [500, 1000, 1500])])
        assert np.abs(np.corrcoef(pieces) - np.eye(8)).max() < 5 / 420**0.5


class TestBlur:
    @DIMS
    def test_it_is_the_gaussian_of_scipy_with_the_numbers_drawn(self, dims: int) -> None:
        x = image(dims)
        out, sigmas = changed(Blur(1.0, 1.0, 0.5, 1.5), x)
        assert sigmas.shape == (2, dims)
        assert ((sigmas >= 0.5) & (sigmas <= 1.5)).all()
        assert np.unique(sigmas).size == sigmas.size
        for channel, ours, sigma in zip(x, out, sigmas, strict=True):
            np.testing.assert_allclose(ours, ndimage.gaussian_filter(channel.astype(float), sigma, mode="nearest"), atol=1e-4)


class TestLowResolution:
    @DIMS
    def test_detail_goes_and_the_rest_stays(self, dims: int) -> None:
        x = image(dims)
        rough, shares = changed(LowResolution(1.0, 1.0, 0.5, 0.5), x)
        assert (shares == 0.5).all()
        assert np.abs(np.diff(rough, n=2, axis=1)).mean() < np.abs(np.diff(x, n=2, axis=1)).mean()
        assert np.corrcoef(rough.ravel(), x.ravel())[0, 1] > 0.7
        ramp = np.broadcast_to(np.arange(40.0, dtype=np.float32), (1, *SIZES[dims][:-1], 40)).copy()
        assert np.abs(changed(LowResolution(1.0, 1.0, 0.5, 1.0), ramp)[0] - ramp).max() <= 1.5

    def test_the_axis_across_thick_slices_is_left_alone(self) -> None:
        x = np.zeros((1, 12, 12, 6), dtype=np.float32)
        x[..., ::2] = 1  # differs between slices only
        np.testing.assert_allclose(changed(LowResolution(1.0, 1.0, 0.5, 0.5), x, still=2)[0], x, atol=1e-6)
        assert np.abs(changed(LowResolution(1.0, 1.0, 0.5, 0.5), x)[0] - x).max() > 0.5


class TestFactors:
    @pytest.mark.parametrize("low_high", [(0.7, 1.5), (0.5, 1.0), (1.0, 2.0), (0.5, 0.8), (1.2, 1.9)])
    def test_they_fill_their_range_half_below_one_and_half_above(self, low_high: tuple[float, float]) -> None:
        low, high = low_high
        values = Brightness(1.0, 1.0, low, high).draw(2000, (1,), None, np.random.default_rng(0))
        assert values is not None
        assert low <= values.min() < low + 0.02
        assert high - 0.02 < values.max() <= high
        if low < 1 < high:
            assert abs((values < 1).sum() - 1000) < 5 * 500**0.5

    @DIMS
    def test_brightness_multiplies_each_channel(self, dims: int) -> None:
        x = image(dims)
        out, factors = changed(Brightness(1.0, 1.0, 0.5, 1.5), x)
        np.testing.assert_allclose(out, x * factors.astype(np.float32).reshape(-1, *(1,) * dims), rtol=1e-6)
        assert factors[0] != factors[1]

    @DIMS
    @pytest.mark.parametrize("range_", [(0.5, 0.6), (1.5, 1.6)])
    def test_contrast_stretches_about_the_mean_within_the_range(self, dims: int, range_: tuple[float, float]) -> None:
        x = image(dims, level=7.0)
        out, factors = changed(Contrast(1.0, 1.0, *range_), x)
        for channel, ours, factor in zip(x.astype(float), out, factors, strict=True):
            expected = np.clip((channel - channel.mean()) * factor + channel.mean(), channel.min(), channel.max())
            np.testing.assert_allclose(ours, expected, atol=1e-4)
            assert (ours == ours.max()).sum() > 1 or factor < 1  # some voxels were cut off


class TestGamma:
    @DIMS
    @pytest.mark.parametrize("inverted", [False, True])
    @pytest.mark.parametrize(("level", "spread"), [(0.0, 1.0), (0.5, 0.1), (-200.0, 500.0)])
    def test_it_is_the_formula(self, dims: int, inverted: bool, level: float, spread: float) -> None:
        x = image(dims, level=level, spread=spread)
        out, exponents = changed(Gamma(1.0, 1.0, 0.5, 2.0, inverted=inverted), x)
        for channel, ours, exponent in zip(x.astype(float), out.astype(float), exponents, strict=True):
            unit = (channel - channel.min()) / np.ptp(channel)
            bent = 1 - (1 - unit) ** exponent if inverted else unit**exponent
            expected = (bent - bent.mean()) / bent.std() * channel.std() + channel.mean()
            np.testing.assert_allclose(ours, expected, atol=1e-4 * spread)
            assert ours.mean() == pytest.approx(channel.mean(), abs=1e-4 * spread)
            assert ours.std() == pytest.approx(channel.std(), rel=1e-4)

    @DIMS
    def test_a_dark_voxel_in_a_bright_patch_costs_no_digits(self, dims: int) -> None:
        x = image(dims, 1, level=100.0, spread=0.1)
        x[(0, *(3,) * dims)] = 0
        out, exponents = changed(Gamma(1.0, 1.0, 0.7, 1.5, inverted=False), x)
        channel = x[0].astype(float)
        unit = ((channel - channel.min()) / np.ptp(channel)) ** exponents[0]
        expected = (unit - unit.mean()) / unit.std() * channel.std() + channel.mean()
        np.testing.assert_allclose(out[0], expected, atol=1e-3)


class TestBiasField:
    @DIMS
    def test_it_is_smooth_positive_and_bounded_and_black_stays(self, dims: int) -> None:
        x = np.random.default_rng(0).uniform(1, 2, (2, *SIZES[dims])).astype(np.float32)
        x.reshape(2, -1)[:, 0] = 0.5
        for seed in range(5):
            out, _ = changed(BiasField(1.0, 1.0, 0.5), x, seed)
            lit = x > 0.5
            assert (out[~lit] == 0.5).all()
            field = np.where(lit, (out - 0.5) / np.where(lit, x - 0.5, 1), np.nan)
            assert np.nanmin(field) >= np.exp(-0.5) - 1e-5
            assert np.nanmax(field) <= np.exp(0.5) + 1e-5
            assert np.nanmax(field) / np.nanmin(field) > 1.1
            for axis in range(1, dims + 1):
                assert np.nanmax(np.abs(np.diff(np.log(field), axis=axis))) < 2 * 0.5 * 2 / x.shape[axis]
            assert not np.allclose(field[0], field[1], equal_nan=True)


class TestBatches:
    @DIMS
    def test_each_patch_gets_its_own_numbers(self, dims: int) -> None:
        x = np.stack([image(dims), image(dims) * 2, image(dims) + 1])
        values = [[change.draw(2, SIZES[dims], None, np.random.default_rng([n, k])) for n in range(3)] for k, change in enumerate(ALL)]
        values[2][1] = None
        values[0] = [None, None, None]
        out = torch.from_numpy(x.copy())
        apply_changes(out, ALL, values)
        for n in range(3):
            alone = torch.from_numpy(x[n : n + 1].copy())
            apply_changes(alone, ALL, [[numbers[n]] for numbers in values])
            np.testing.assert_allclose(out[n], alone[0], atol=1e-5)

    def test_an_accelerator_changes_the_chosen_rows_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # `meta` tensors have a device that is no CPU but no numbers: the rows asked for are counted instead.
        rows: list[Any] = []
        monkeypatch.setattr(Brightness, "apply", lambda self, part, values: rows.append((tuple(part.shape), values.shape)))
        values = np.array([0.5, np.nan, 2.0])
        apply_changes(torch.empty(2, 3, 4, 5, device="meta"), [ALL[2]], [[values, None]])
        assert rows == [((2, 4, 5), (2,))]
