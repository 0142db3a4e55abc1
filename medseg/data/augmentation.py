"""Random changes of training patches. Each entry of `AUGMENTATIONS` builds one for 2-D (albumentations) or 3-D (MONAI)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medseg.data.augmentation_intensity import Intensity, add_noise, blur_image, change_contrast, change_gamma, shift_brightness

Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""Image (C, *patch) float32, label (*patch) uint8 ids and a generator -> image and label of the same shapes and types.

The result is a function of the three alone. Labels are moved by nearest neighbour: they gain no id, and keep 255.
"""


class Sequential:
    """Moves image and label together, then changes the intensities of the image."""

    def __init__(self, moves: Sequence[Augmentation], intensities: Sequence[Intensity]) -> None:
        self.moves = tuple(moves)
        self.intensities = tuple(intensities)

    def __call__(self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Applies all of them in order."""
        for move in self.moves:
            image, label = move(image, label, rng)
        for change in self.intensities:
            image = change(image, rng)
        return image, label


def none(spatial_dims: int) -> Augmentation:
    """Leaves patches as they are."""
    return Sequential([], [])


def light(
    spatial_dims: int,
    *,
    mirror: bool = True,
    rotation: float = 15.0,
    scale: float = 0.1,
    noise: float = 0.1,
    brightness: float = 0.1,
    contrast: float = 0.15,
) -> Augmentation:
    """Small changes that nearly every data set bears.

    Noise and brightness are in units of the standard deviation of each channel of the patch, whatever the normalisation. Mirroring
    flips each axis in half of the patches; rotation and scaling happen together, as one interpolation, in 3 of 10; each change of
    intensity in 3 of 10.

    Args:
        spatial_dims: 2 or 3.
        mirror: Flip axes. Set to false where left and right are different classes.
        rotation: Largest angle in degrees, about each axis.
        scale: Largest change of size: 0.1 is 90 to 110 %, drawn for each axis.
        noise: Largest standard deviation of Gaussian noise.
        brightness: Largest shift of the intensities.
        contrast: Largest change of the spread about the mean: 0.15 is 85 to 115 %.

    Raises:
        ValueError: A range that makes no sense; the message names it.
    """
    intensities = [change_contrast(contrast), shift_brightness(brightness), add_noise(noise)]
    return Sequential(_moves(spatial_dims, mirror, rotation, scale), intensities)


def strong(
    spatial_dims: int,
    *,
    mirror: bool = True,
    rotation: float = 30.0,
    scale: float = 0.3,
    noise: float = 0.3,
    brightness: float = 0.3,
    contrast: float = 0.35,
    gamma: float = 0.4,
    blur: float = 1.0,
) -> Augmentation:
    """Large changes for small or mixed data sets, with those of `light` and two more.

    Args:
        spatial_dims: 2 or 3.
        mirror: Flip axes. Set to false where left and right are different classes.
        rotation: Largest angle in degrees, about each axis.
        scale: Largest change of size: 0.3 is 70 to 130 %, drawn for each axis.
        noise: Largest standard deviation of Gaussian noise, in standard deviations of the channel.
        brightness: Largest shift of the intensities, in standard deviations of the channel.
        contrast: Largest change of the spread about the mean.
        gamma: Largest absolute logarithm of the exponent that bends the intensities: 0.4 is exponents of 0.67 to 1.49.
        blur: Largest standard deviation of Gaussian blur, in voxels.

    Raises:
        ValueError: A range that makes no sense; the message names it.
    """
    intensities = [blur_image(blur), change_gamma(gamma), change_contrast(contrast), shift_brightness(brightness), add_noise(noise)]
    return Sequential(_moves(spatial_dims, mirror, rotation, scale), intensities)


def _moves(spatial_dims: int, mirror: bool, rotation: float, scale: float) -> list[Augmentation]:
    """The geometric part, by the library of the dimension; those are imported here since each takes seconds to load."""
    if not 0 <= rotation <= 180:
        raise ValueError(f"rotation must lie between 0 and 180 degrees, got {rotation}")
    if not 0 <= scale < 1:
        raise ValueError(f"scale must be at least 0 and below 1, got {scale}")
    if not mirror and rotation == scale == 0:
        return []
    if spatial_dims == 2:
        from medseg.data.augmentation_2d import Move2D

        return [Move2D(mirror, rotation, scale)]
    from medseg.data.augmentation_3d import Move3D

    return [Move3D(mirror, rotation, scale)]
