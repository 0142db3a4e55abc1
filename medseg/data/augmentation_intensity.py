"""Random changes of intensity, the same code in 2-D and 3-D.

Each function takes the largest strength, 0 for none, and returns a change: (image (C, *patch) float32, generator) -> image. Strengths are
relative to each channel of the patch, so that they mean the same after any normalisation, and are drawn for each channel.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

PROBABILITY = 0.3
"""Share of the patches that each change is applied to."""

Intensity = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class _Sometimes:
    """Applies `change(image, strength, rng)` to `PROBABILITY` of the patches."""

    def __init__(self, change: Callable[[np.ndarray, float, np.random.Generator], np.ndarray], name: str, strength: float) -> None:
        if strength < 0:
            raise ValueError(f"{name} must be at least 0, got {strength}")
        self.change = change
        self.strength = strength

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.strength == 0 or rng.random() >= PROBABILITY:
            return image
        return self.change(image, self.strength, rng).astype(np.float32, copy=False)


def add_noise(strength: float) -> Intensity:
    r"""Adds Gaussian noise whose standard deviation is drawn from $[0, s\sigma]$, $\sigma$ that of the channel."""
    return _Sometimes(_noise, "noise", strength)


def shift_brightness(strength: float) -> Intensity:
    r"""Adds a number from $[-s\sigma, s\sigma]$."""
    return _Sometimes(_brightness, "brightness", strength)


def change_contrast(strength: float) -> Intensity:
    r"""Multiplies the distance from the channel's mean by a number from $[1-s, 1+s]$."""
    if strength >= 1:
        raise ValueError(f"contrast must be below 1, got {strength}: the image would be inverted")
    return _Sometimes(_contrast, "contrast", strength)


def change_gamma(strength: float) -> Intensity:
    r"""Raises the intensities, mapped to [0, 1], to a power $e^u$ with $u$ from $[-s, s]$, then maps them back."""
    return _Sometimes(_gamma, "gamma", strength)


def blur_image(strength: float) -> Intensity:
    r"""Blurs with a Gaussian whose standard deviation is drawn from $[0, s]$ voxels."""
    return _Sometimes(_blur, "blur", strength)


def _noise(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    sigma = _per_channel(image, rng.uniform(0, strength, len(image))) * _spread(image)
    return image + sigma.astype(np.float32) * rng.standard_normal(image.shape, dtype=np.float32)


def _brightness(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return image + _per_channel(image, rng.uniform(-strength, strength, len(image))) * _spread(image)


def _contrast(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    mean = image.mean(axis=_axes(image), keepdims=True)
    return (image - mean) * _per_channel(image, rng.uniform(1 - strength, 1 + strength, len(image))) + mean


def _gamma(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    low, high = image.min(axis=_axes(image), keepdims=True), image.max(axis=_axes(image), keepdims=True)
    extent = np.where(high > low, high - low, 1)
    # Clipped: rounding can put the lowest voxel below 0, whose power is NaN.
    unit = np.clip((image - low) / extent, 0, 1)
    return unit ** np.exp(_per_channel(image, rng.uniform(-strength, strength, len(image)))) * extent + low


def _blur(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    return np.stack([ndimage.gaussian_filter(channel, rng.uniform(0, strength)) for channel in image])


def _axes(image: np.ndarray) -> tuple[int, ...]:
    return tuple(range(1, image.ndim))


def _spread(image: np.ndarray) -> np.ndarray:
    """Standard deviation of each channel, (C, 1, ...)."""
    return image.std(axis=_axes(image), keepdims=True)


def _per_channel(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).reshape(-1, *(1,) * (image.ndim - 1))
