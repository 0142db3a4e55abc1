"""Random changes of the intensities of 2-D patches.

A change overwrites an image (C, H, W) float32, drawing from a generator. Intensities come in whatever scale the normalisation left:
strengths are shares of each channel's range or standard deviation in the patch, so that they mean the same after any of them. Nothing is
clipped.

All of them work in place, on working arrays that are kept: a fresh array costs its page faults, ten times what a pass over it does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any

import cv2
import numpy as np

Change = Callable[[np.ndarray, np.random.Generator], None]

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_kept = threading.local()


class Made:
    """A change that knows how it was made, so that processes which are not forked can make it again: functions in functions do not travel.

    Args:
        make: The module's function that makes it.
        params: What that was given.
        change: What that returned.
    """

    def __init__(self, make: Callable[..., Change], params: tuple[float, ...], change: Change) -> None:
        self.make, self.params, self.change = make, params, change

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> None:
        """Overwrites the image."""
        self.change(image, rng)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.make, self.params


def travels(make: Callable[..., Change]) -> Callable[..., Change]:
    """Makes the changes that a function of this module returns fit for pickling."""

    @wraps(make)
    def made(*params: float) -> Change:
        return Made(made, params, make(*params))

    return made


class Library:
    """One transform of albumentations as a change, for images of 1 or 3 channels; others stay as they are.

    albumentations wants channels last, and clips floats to [0, 1]: each channel's range is mapped to 0 to 255 and back. It gets bytes,
    which these transforms would make of floats by themselves, at four times the cost.

    Args:
        transform: Name of an image-only transform.
        params: Its parameters.
    """

    def __init__(self, transform: str, **params: Any) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import asks the network for a newer version otherwise
        import albumentations  # takes seconds, which a 3-D run need not wait

        self.transform = getattr(albumentations, transform)(**params, p=1)

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> None:
        """Overwrites the image with what the transform makes of it."""
        if len(image) not in (1, 3):
            return
        low, extent = _range(image)
        image -= low
        image *= 255 / extent
        image += 0.5
        picture = cv2.merge(list(image.astype(np.uint8)))
        self.transform.set_random_seed(int(rng.integers(2**32)))
        for channel, made in zip(image, cv2.split(self.transform(image=picture)["image"]), strict=True):
            channel[...] = made
        image *= extent / 255
        image += low


def equalise(limit: float) -> Change:
    """Contrast-limited adaptive histogram equalisation (CLAHE) in tiles of a quarter of the patch, with clip limits from 1 to `limit`."""
    return Library("CLAHE", clip_limit=(1.0, limit), tile_grid_size=(4, 4))


def compress(quality: int) -> Change:
    """Artefacts of JPEG compression of a quality from `quality` to 95."""
    return Library("ImageCompression", quality_range=(quality, 95))


@travels
def tone(brightness: float, contrast: float, colour: float = 0.0) -> Change:
    r"""Brightness, contrast and, for three channels, colour, composed into one matrix that every pixel is multiplied by once.

    Args:
        brightness: Largest shift, in standard deviations of the channel.
        contrast: Largest logarithm of the factor by which distances from the channel's mean grow.
        colour: Largest angle, in radians, of a rotation of the hues, largest logarithm of the factor of the saturation, and largest
            shift of single channels in standard deviations. No effect unless there are three channels.
    """

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        count = len(image)
        mean, std = _moments(image)
        matrix = np.exp(rng.uniform(-contrast, contrast)) * np.eye(count)
        shift = np.full(count, rng.uniform(-brightness, brightness))
        if colour and count == 3:
            matrix = matrix @ _colour_matrix(rng.uniform(-colour, colour), np.exp(rng.uniform(-colour, colour)))
            shift = shift + rng.uniform(-colour, colour, count)
        # Mixed about the means and in units of the spreads, so that the mixture means the same after any normalisation.
        matrix = matrix * std[:, None] / std
        pixels = image.reshape(count, -1)
        mixed = np.matmul(matrix.astype(np.float32), pixels, out=working(pixels.shape))
        np.add(mixed, (mean - matrix @ mean + shift * std).astype(np.float32)[:, None], out=pixels)

    return change


@travels
def bend_tones(gamma: float) -> Change:
    r"""Raises the intensities, mapped to [0, 1], to a power $e^u$, $u$ from $[-g, g]$, the same for all channels, and maps them back."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        low, extent = _range(image)
        image -= low
        image *= 1 / extent
        np.maximum(image, np.float32(1e-6), out=image)  # the power of a zero takes ten times as long
        np.power(image, np.float32(np.exp(rng.uniform(-gamma, gamma))), out=image)
        image *= extent
        image += low

    return change


@travels
def blur(sigma: float) -> Change:
    """Blurs with a Gaussian of 0.3 to `sigma` pixels."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        width = rng.uniform(min(0.3, sigma), sigma)
        for channel in image:
            cv2.GaussianBlur(channel, (0, 0), width, dst=channel)

    return change


@travels
def add_noise(strength: float) -> Change:
    """Gaussian noise with a standard deviation of up to `strength` of the channel's, independent between channels."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        sigma = rng.uniform(-strength, strength) * _moments(image)[1]
        for channel, spread in zip(image, sigma, strict=True):
            cv2.scaleAdd(_noise(channel.shape, rng), spread, channel, dst=channel)

    return change


@travels
def speckle(strength: float) -> Change:
    """Multiplies by 1 plus noise with a standard deviation of up to `strength`, wider across the beam than along it; one for all channels.

    Interference of echoes grows with the echo itself, and a probe resolves depth (rows) better than width (columns).
    """

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        grain = cv2.blur(_noise(image.shape[1:], rng), (3, 1), dst=working(image.shape[1:]))
        np.multiply(grain, np.float32(np.sqrt(3) * rng.uniform(-strength, strength)), out=grain)
        np.add(grain, 1, out=grain)
        _multiply(image, grain)

    return change


@travels
def attenuate(strength: float) -> Change:
    r"""Multiplies row $y$ of $h$ by $e^{a (1/2 - y/h)}$, $a$ from $[-s, s]$: depth attenuation and its compensation by the device."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        depth = np.linspace(0.5, -0.5, image.shape[1], dtype=np.float32)[:, None]
        _multiply(image, np.exp(np.float32(rng.uniform(-strength, strength)) * depth))

    return change


@travels
def shadow(strength: float) -> Change:
    """Darkens a soft-edged band of columns from some depth on, down to `1 - strength` of the echo: what lies behind bone or gas."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        height, width = image.shape[1:]
        half = rng.uniform(0.03, 0.12) * width
        across = np.clip(1.5 - np.abs(np.arange(width) - rng.uniform(0, width)) / half, 0, 1)
        along = np.clip((np.arange(height) - rng.uniform(0, 0.7) * height) / (0.05 * height), 0, 1)
        along *= -rng.uniform(0.3, 1) * strength
        band = np.multiply(along.astype(np.float32)[:, None], across.astype(np.float32), out=working((height, width)))
        band += 1
        _multiply(image, band)

    return change


@travels
def illuminate(strength: float) -> Change:
    """Multiplies by a smooth field between about `exp(-strength)` and `exp(strength)`: uneven light, vignettes, reflections."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        coarse = np.exp(rng.uniform(-strength, strength, (4, 4))).astype(np.float32)
        height, width = image.shape[1:]
        _multiply(image, smooth(coarse, working((height, width))))

    return change


@travels
def draw_hairs(most: int) -> Change:
    """Draws 1 to `most` thin dark curves over the image, each as dark as the patch's darkest percent; the label keeps what lies below."""

    def change(image: np.ndarray, rng: np.random.Generator) -> None:
        height, width = image.shape[1:]
        canvas = np.zeros((height, width), dtype=np.uint8)
        for _ in range(rng.integers(1, most + 1)):
            ends = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
            bow = ends.mean(axis=0) + rng.uniform(-0.2, 0.2, 2) * (width, height)
            t = np.linspace(0, 1, 24)[:, None]
            curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bow + t**2 * ends[1]
            cv2.polylines(canvas, [np.round(16 * curve).astype(np.int32)], False, 255, int(rng.integers(1, 4)), cv2.LINE_AA, shift=4)
        rows, columns = np.nonzero(canvas)
        opacity = canvas[rows, columns] * np.float32(rng.uniform(0.6, 0.95) / 255)
        for channel in image:
            # Of every 7th pixel of every 7th row: a percentile of all would cost ten times the drawing.
            dark = np.float32(np.percentile(channel[::7, ::7], 1))
            channel[rows, columns] += opacity * (dark - channel[rows, columns])

    return change


def smooth(coarse: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Interpolates a coarse grid to the size of `target` and writes it there: cubically to eight times the grid, then linearly."""
    knots = cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)  # cubic all the way takes ten times as long
    return cv2.resize(knots, target.shape[::-1], dst=target, interpolation=cv2.INTER_LINEAR)


def working(shape: tuple[int, ...], name: str = "field") -> np.ndarray:
    """A float32 array of this thread, kept for the next call with the same shape and name: its content lasts until then."""
    kept: dict[Any, np.ndarray] = _kept.__dict__
    if name not in kept or kept[name].shape != shape:
        kept[name] = np.empty(shape, dtype=np.float32)
    return kept[name]


def _multiply(image: np.ndarray, field: np.ndarray) -> None:
    """Multiplies what lies above each channel's lowest intensity, which stands for black."""
    low = _range(image)[0]
    image -= low
    image *= field
    image += low


def _range(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest intensity and extent of each channel, (C, 1, 1); an extent of 0 counts as 1."""
    low = image.min(axis=(1, 2), keepdims=True)
    extent = image.max(axis=(1, 2), keepdims=True) - low
    return low, np.where(extent > 0, extent, np.float32(1))


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel (C,), of an even choice of about 64 x 64 pixels; a spread of 0 counts as 1."""
    step = max(1, min(image.shape[1:]) // 64)
    some = image[:, ::step, ::step].astype(np.float64)
    std = some.std(axis=(1, 2))
    return some.mean(axis=(1, 2)), np.where(std > 0, std, 1.0)


def _colour_matrix(angle: float, saturation: float) -> np.ndarray:
    """Rotation about the grey axis and scaling of what departs from the luminance."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.eye(3) * np.cos(angle) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    grey = np.tile(_LUMINANCE, (3, 1))
    return turn @ (grey + saturation * (np.eye(3) - grey))


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal noise (H, W): a random window of a larger field that is drawn once, since drawing costs more than all changes."""
    field = _noise_field(max(shape) + 512)
    row, column = (rng.integers(len(field) - length + 1) for length in shape)
    return field[row : row + shape[0], column : column + shape[1]]


@lru_cache(maxsize=2)
def _noise_field(edge: int) -> np.ndarray:
    """The same in every process."""
    return np.random.default_rng(0).standard_normal((edge, edge), dtype=np.float32)
