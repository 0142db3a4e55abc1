"""Augmentation of 2-D pictures, one preset a modality: what may happen to such a picture and leave its meaning as it was.

Each preset moves image and label by one interpolation (`pictures_warp`) and then makes some of its changes of intensity
(`pictures_changes`), each in its share of the patches; CLAHE and JPEG artefacts are albumentations'. They share these parameters:

- `strength` scales all ranges of intensities, 0 to 2; 0 leaves the intensities as they are.
- `mirror`, `rotation`, `scale`, `elastic` are the geometry: rotation and scale happen together in half of the patches, a bend in a quarter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.data.augmentation.base import Augmentation, Draw
from medseg.data.augmentation.pictures_changes import (
    Change,
    add_noise,
    attenuate,
    bend_tones,
    blur,
    compress,
    draw_hairs,
    equalise,
    illuminate,
    shadow,
    speckle,
    tone,
)
from medseg.data.augmentation.pictures_warp import Warp
from medseg.data.labels import LabelSchema

ROWS, COLUMNS = 0, 1


class PictureAugmentation(Augmentation):
    """One warp, then changes of intensity in their order, each in its share of the patches.

    Args:
        warp: The geometry.
        changes: Pairs of share and change.
    """

    def __init__(self, warp: Warp, changes: Sequence[tuple[float, Change]]) -> None:
        self.warp = warp
        self.changes = tuple(changes)

    @property
    def mirrored_axes(self) -> tuple[int, ...]:
        """The axes that may be flipped."""
        return self.warp.mirror

    def draw(
        self, start: tuple[int, ...], patch_size: tuple[int, ...], channels: int, spacing: Sequence[float], rng: np.random.Generator
    ) -> Draw:
        """Draw the geometry, and the seed of the intensities: their fields and noise are made from it where they are applied."""
        draw = self.warp.draw(start, patch_size, spacing, rng)
        draw.parameters["seed"] = int(rng.integers(2**63))
        return draw

    def apply(self, image: np.ndarray, label: np.ndarray, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
        """Turn the box into the patch; what is given stays as it is."""
        image, label = self.warp.apply(image, label, draw)
        rng = np.random.default_rng(draw.parameters["seed"])
        for share, change in self.changes:
            if rng.random() < share:
                change(image, rng)
        return image, label


def ultrasound(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    strength: float = 1.0,
    mirror: bool = True,
    rotation: float = 10.0,
    scale: float = 0.2,
    elastic: float = 0.02,
    shadows: float = 0.15,
) -> Augmentation:
    """B-mode ultrasound, with the probe at the first row.

    Left and right may be swapped (the probe can be held either way), top and bottom never: echoes lose strength with depth, and shadows
    fall downwards. Probes tilt by small angles only; tissue yields to the probe, so bends are on. Gain, its compensation over depth,
    dynamic range (gamma) and speckle differ between devices and operators; some patches get an acoustic shadow.

    Args:
        spatial_dims: 2.
        labels: The classes.
        strength: Scales all ranges of intensities, 0 to 2; 0 leaves them as they are.
        mirror: Whether left and right are swapped in half of the patches; false where sides are different classes.
        rotation: Largest angle in degrees, 0 to 180.
        scale: Largest change of size, 0 to 1: 0.2 is 83 to 120 %.
        elastic: Largest displacement of a bend, as a share of the patch, 0 to 0.05.
        shadows: Share, 0 to 1, of the patches with an acoustic shadow.

    Raises:
        ValueError: 3-D data, or a range that makes no sense; the message names it.
    """
    _check("ultrasound", spatial_dims, strength)
    changes: list[tuple[float, Change]] = [
        (0.3, bend_tones(0.3 * strength)),
        (0.3, tone(0.3 * strength, 0.3 * strength)),
        (0.3, attenuate(0.8 * strength)),
        (0.3, speckle(0.25 * strength)),
        (shadows, shadow(_bounded(0.9 * strength))),
        (0.1, blur(1.2 * strength)),
    ]
    return _augmentation((COLUMNS,) if mirror else (), rotation, scale, elastic, strength, changes, shadows=shadows)


def fundus(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    strength: float = 1.0,
    mirror: bool = True,
    rotation: float = 180.0,
    scale: float = 0.2,
    elastic: float = 0.0,
    clahe: float = 0.1,
) -> Augmentation:
    """Photographs of the back of the eye.

    A mirrored left eye is a right eye, and a lesion looks the same whichever way up, so all symmetries and angles are on by default. Where
    place tells classes apart (disc against macula, nasal against temporal vessels) on whole photographs, set `mirror: false` and a small
    `rotation` such as 15. Cameras and pigmentation differ in colour; pupils and lenses light the retina unevenly and blur it. No bends:
    the eye is rigid, and vessels would get a tortuosity that is a sign of disease.

    Args:
        spatial_dims: 2.
        labels: The classes.
        strength: Scales all ranges of intensities, 0 to 2; 0 leaves them as they are.
        mirror: Whether each axis is flipped in half of the patches.
        rotation: Largest angle in degrees, 0 to 180; from 90 on, quarter turns too.
        scale: Largest change of size, 0 to 1: 0.2 is 83 to 120 %.
        elastic: Largest displacement of a bend, as a share of the patch, 0 to 0.05.
        clahe: Share, 0 to 1, of the patches whose local contrast is equalised, as viewers for readers do; images of 1 or 3 channels only.

    Raises:
        ValueError: 3-D data, or a range that makes no sense; the message names it.
    """
    _check("fundus", spatial_dims, strength)
    changes: list[tuple[float, Change]] = [
        (clahe, equalise(1 + 2 * strength)),
        (0.3, bend_tones(0.25 * strength)),
        (0.5, tone(0.3 * strength, 0.25 * strength, 0.15 * strength)),
        (0.3, illuminate(0.2 * strength)),
        (0.15, blur(1.2 * strength)),
        (0.15, add_noise(0.15 * strength)),
    ]
    return _augmentation((ROWS, COLUMNS) if mirror else (), rotation, scale, elastic, strength, changes, clahe=clahe)


def dermoscopy(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    strength: float = 1.0,
    mirror: bool = True,
    rotation: float = 180.0,
    scale: float = 0.25,
    elastic: float = 0.01,
    hairs: float = 0.2,
) -> Augmentation:
    """Close-up photographs of skin.

    Skin has no way up: all symmetries and angles. Distances to the skin vary, so sizes do; skin stretches, so bends are on, faintly. Skin
    types, lamps and white balances shift colours; contact plates and flashes light the middle more; files come JPEG-compressed. Some
    patches get hairs across, whose pixels keep the label of what lies below.

    Args:
        spatial_dims: 2.
        labels: The classes.
        strength: Scales all ranges of intensities, 0 to 2; 0 leaves them as they are, hairs included.
        mirror: Whether each axis is flipped in half of the patches.
        rotation: Largest angle in degrees, 0 to 180; from 90 on, quarter turns too.
        scale: Largest change of size, 0 to 1: 0.25 is 80 to 125 %.
        elastic: Largest displacement of a bend, as a share of the patch, 0 to 0.05.
        hairs: Share, 0 to 1, of the patches with hairs.

    Raises:
        ValueError: 3-D data, or a range that makes no sense; the message names it.
    """
    _check("dermoscopy", spatial_dims, strength)
    changes: list[tuple[float, Change]] = [
        (hairs, draw_hairs(max(1, round(8 * strength)))),
        (0.2, bend_tones(0.25 * strength)),
        (0.5, tone(0.3 * strength, 0.25 * strength, 0.2 * strength)),
        (0.3, illuminate(0.2 * strength)),
        (0.15, blur(1.2 * strength)),
        (0.1, compress(round(95 - 45 * _bounded(strength)))),
    ]
    return _augmentation((ROWS, COLUMNS) if mirror else (), rotation, scale, elastic, strength, changes, hairs=hairs)


def microscopy(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    strength: float = 1.0,
    mirror: bool = True,
    rotation: float = 180.0,
    scale: float = 0.25,
    elastic: float = 0.02,
    stain: float = 0.25,
) -> Augmentation:
    """Slides and cultures under the microscope, stained or fluorescent.

    Cells have no way up and no side: all symmetries and angles. Cutting and mounting deform tissue, so bends are on. Laboratories and
    batches differ in stain, which shifts hue, saturation and single channels; focus drifts (blur), lamps light unevenly, and faint
    fluorescence is noisy.

    Args:
        spatial_dims: 2.
        labels: The classes.
        strength: Scales all ranges of intensities, 0 to 2; 0 leaves them as they are.
        mirror: Whether each axis is flipped in half of the patches.
        rotation: Largest angle in degrees, 0 to 180; from 90 on, quarter turns too.
        scale: Largest change of size, 0 to 1: 0.25 is 80 to 125 %.
        elastic: Largest displacement of a bend, as a share of the patch, 0 to 0.05.
        stain: Largest change of hue (radians), saturation (logarithm) and channels (standard deviations), before `strength`, 0 to 1;
            images of three channels only.

    Raises:
        ValueError: 3-D data, or a range that makes no sense; the message names it.
    """
    _check("microscopy", spatial_dims, strength)
    changes: list[tuple[float, Change]] = [
        (0.3, bend_tones(0.3 * strength)),
        (0.5, tone(0.25 * strength, 0.25 * strength, stain * strength)),
        (0.2, illuminate(0.2 * strength)),
        (0.2, blur(1.5 * strength)),
        (0.3, add_noise(0.2 * strength)),
    ]
    return _augmentation((ROWS, COLUMNS) if mirror else (), rotation, scale, elastic, strength, changes, stain=stain)


def xray(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    strength: float = 1.0,
    mirror: bool = False,
    rotation: float = 10.0,
    scale: float = 0.15,
    elastic: float = 0.0,
) -> Augmentation:
    """Radiographs.

    No flips by default: the heart lies left, and films are never upside down; set `mirror` where sides do not matter (a hand, say), which
    swaps left and right only. Patients stand a little askew. Exposure, tube voltage and the device's look-up table change contrast and
    gamma; low doses are noisy. No bends: bones do not.

    Args:
        spatial_dims: 2.
        labels: The classes.
        strength: Scales all ranges of intensities, 0 to 2; 0 leaves them as they are.
        mirror: Whether left and right are swapped in half of the patches.
        rotation: Largest angle in degrees, 0 to 180.
        scale: Largest change of size, 0 to 1: 0.15 is 87 to 115 %.
        elastic: Largest displacement of a bend, as a share of the patch, 0 to 0.05.

    Raises:
        ValueError: 3-D data, or a range that makes no sense; the message names it.
    """
    _check("xray", spatial_dims, strength)
    changes: list[tuple[float, Change]] = [
        (0.4, bend_tones(0.4 * strength)),
        (0.4, tone(0.3 * strength, 0.3 * strength)),
        (0.2, illuminate(0.15 * strength)),
        (0.15, blur(1.0 * strength)),
        (0.2, add_noise(0.15 * strength)),
    ]
    return _augmentation((COLUMNS,) if mirror else (), rotation, scale, elastic, strength, changes)


def _augmentation(
    mirror: Sequence[int],
    rotation: float,
    scale: float,
    elastic: float,
    strength: float,
    changes: Sequence[tuple[float, Change]],
    **shares: float,
) -> PictureAugmentation:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    return PictureAugmentation(Warp(mirror, rotation, scale, elastic), changes if strength else ())


def _check(name: str, spatial_dims: int, strength: float) -> None:
    if spatial_dims != 2:
        raise ValueError(f"data.augmentation: '{name}' is for 2-D pictures and the data are {spatial_dims}-D; take 'nnunet' or 'light'")
    if not 0 <= strength <= 2:
        raise ValueError(f"strength must lie between 0 and 2, got {strength}")


def _bounded(number: float) -> float:
    return min(number, 1.0)
