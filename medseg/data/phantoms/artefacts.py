"""What spoils magnetic resonance images: uneven coils, motion, spikes, ringing, slices and ends of the body that are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.data.phantoms.shapes import smooth_field

ARTEFACTS = ("bias", "ghosts", "spikes", "ringing", "missing_slices", "cut_off")
"""Equally likely, one a case."""


def spoil(
    rng: np.random.Generator, images: Sequence[np.ndarray], label: np.ndarray, rate: float
) -> tuple[list[np.ndarray], np.ndarray, str]:
    """Spoil a case with probability `rate`.

    Args:
        rng: Source of randomness.
        images: Channels (X, Y, Z) of magnitudes; the artefact is of the same kind in all, missing parts at the same place.
        label: What is not in the image any more is not in the label either: the reference stays exact.
        rate: Probability.

    Returns:
        New images, the label and the artefact's name, empty where there is none.
    """
    if rng.uniform() >= rate:
        return list(images), label, ""
    name = str(rng.choice(ARTEFACTS))
    if name == "missing_slices":
        lost = rng.choice(label.shape[2], max(1, round(rng.uniform(0.03, 0.12) * label.shape[2])), replace=False)
        return _blank(images, label, lost, name)
    if name == "cut_off":
        count = max(1, round(rng.uniform(0.12, 0.3) * label.shape[2]))
        return _blank(images, label, np.arange(count) - (count if rng.uniform() < 0.5 else 0), name)
    return [{"bias": _bias, "ghosts": _ghosts, "spikes": _spikes, "ringing": _ringing}[name](rng, image) for image in images], label, name


def _blank(images: Sequence[np.ndarray], label: np.ndarray, slices: np.ndarray, name: str) -> tuple[list[np.ndarray], np.ndarray, str]:
    """Set axial slices to 0."""
    kept = np.ones(label.shape[2], dtype=bool)
    kept[slices] = False
    return [image * kept for image in images], label * kept.astype(label.dtype), name


def _bias(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Shade by a smooth factor of about 0.4 to 2.5."""
    return image * np.exp(0.45 * smooth_field(rng, image.shape, [n / 2.5 for n in image.shape]))


def _ghosts(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Breathing or pulsation: every n-th line along the phase axis weighs more: faint copies appear, shifted by 1/n of the image."""
    axis = int(rng.integers(2))
    lines = np.arange(image.shape[axis])
    wave = 1 + rng.uniform(0.15, 0.35) * np.sin(2 * np.pi * lines / rng.integers(2, 6) + rng.uniform(0, 6))
    wave[np.minimum(lines, len(lines) - lines) < 2] = 1  # the middle of k-space holds the image's mean
    frequencies = np.fft.fft(image, axis=axis) * wave.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.abs(np.fft.ifft(frequencies, axis=axis))


def _spikes(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A spark while a point of k-space was read: a grating over the whole volume."""
    turns = [rng.integers(2, max(3, n // 3)) * rng.choice([-1, 1]) / n for n in image.shape]
    phase = sum(t * axis for t, axis in zip(turns, np.ix_(*[np.arange(n) for n in image.shape]), strict=True))
    return np.abs(image + rng.uniform(0.1, 0.25) * np.percentile(image, 90) * np.cos(2 * np.pi * phase + rng.uniform(0, 6)))


def _ringing(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """High frequencies not read along one axis: blurred borders with ripples beside them (Gibbs)."""
    axis = int(rng.integers(2))
    n = image.shape[axis]
    kept = np.abs(np.fft.fftfreq(n)) < rng.uniform(0.2, 0.32)
    frequencies = np.fft.fft(image, axis=axis) * kept.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.abs(np.fft.ifft(frequencies, axis=axis))
