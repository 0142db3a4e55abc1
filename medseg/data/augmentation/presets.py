"""The augmentations by name, for volumes and pictures; keyword parameters are what a config may set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.data.augmentation.base import Augmentation
from medseg.data.augmentation.fused import Fused
from medseg.data.augmentation.intensity import BiasField, Blur, Brightness, Change, Contrast, Gamma, LowResolution, Noise
from medseg.data.augmentation.spatial import Spatial
from medseg.data.labels import LabelSchema

NNUNET = {
    "mirror": 0.5, "rotation": 0.2, "scale": 0.2, "elastic": 0.2, "noise": 0.1, "blur": 0.2, "brightness": 0.15, "contrast": 0.15,
    "low_resolution": 0.25, "gamma_inverted": 0.1, "gamma": 0.3, "bias_field": 0.15,
}  # fmt: skip
"""Share of the patches that each change of `nnunet` is applied to; `mirror` counts for each axis."""

LIGHT = {"mirror": 0.5, "rotation": 0.3, "scale": 0.3, "noise": 0.3, "brightness": 0.3, "contrast": 0.3}
"""The same for `light`."""

MOST_ELASTIC, MOST_NOISE, MOST_BLUR, MOST_BIAS = 100.0, 2.0, 10.0, 2.0
"""Largest bend in mm, noise in standard deviations of the channel, standard deviation of a blur in voxels, logarithm of a bias field."""
FACTORS = 0.1, 10.0
"""Limits of `brightness`, `contrast` and `gamma`."""
SCALES = 0.25, 4.0
"""Limits of `scale`: smaller objects would need a box of 64 times the patch."""
KEPT = 0.1, 1.0
"""Limits of `low_resolution`."""


def none(spatial_dims: int, labels: LabelSchema) -> Augmentation:
    """Leaves patches as they are."""
    still = Spatial(0.0, (1.0, 1.0), 0.0, (), dict.fromkeys(("mirror", "rotation", "scale", "elastic"), 0.0))
    return Fused(still, [])


def light(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    mirror_axes: list[int] | None = None,
    lateral: list[list[str]] | None = None,
    rotation: float = 15.0,
    scale: Sequence[float] = (0.9, 1.1),
    noise: float = 0.1,
    brightness: Sequence[float] = (0.9, 1.1),
    contrast: Sequence[float] = (0.85, 1.15),
    probability: float = 1.0,
    probabilities: Mapping[str, float] | None = None,
) -> Augmentation:
    """Small changes that nearly every data set bears: the parameters mean what they mean in `nnunet`.

    Args:
        spatial_dims: 2 or 3.
        labels: The classes.
        mirror_axes: Axes that may be flipped; null: all; []: none.
        lateral: Pairs of classes that change places when left and right do.
        rotation: Largest angle in degrees, 0 to 180.
        scale: Smallest and largest size of the objects, 0.25 to 4.
        noise: Largest standard deviation of noise, in standard deviations of the channel, 0 to 2.
        brightness: Smallest and largest factor of the intensities, 0.1 to 10.
        contrast: Smallest and largest factor of the distance from the patch's mean, 0.1 to 10.
        probability: Factor of all probabilities; none may become more than 1, and it does not raise that of `mirror`.
        probabilities: Probabilities in place of those in `LIGHT`.

    Raises:
        ValueError: A value makes no sense; the message begins with the parameter's name.
    """
    shares = _shares(LIGHT, probability, probabilities)
    changes: list[Change] = [
        Noise(shares["noise"], 1.0, _number("noise", noise, MOST_NOISE)),
        Brightness(shares["brightness"], 1.0, *_range("brightness", brightness, FACTORS)),
        Contrast(shares["contrast"], 1.0, *_range("contrast", contrast, FACTORS)),
    ]
    return _fused(spatial_dims, labels, mirror_axes, lateral, rotation, scale, 0.0, {**shares, "elastic": 0.0}, changes)


def nnunet(
    spatial_dims: int,
    labels: LabelSchema,
    *,
    mirror_axes: list[int] | None = None,
    lateral: list[list[str]] | None = None,
    rotation: float | None = None,
    scale: Sequence[float] = (0.7, 1.4),
    elastic: float = 0.0,
    noise: float = 0.1,
    blur: Sequence[float] = (0.5, 1.0),
    brightness: Sequence[float] = (0.75, 1.25),
    contrast: Sequence[float] = (0.75, 1.25),
    low_resolution: Sequence[float] = (0.5, 1.0),
    gamma: Sequence[float] = (0.7, 1.5),
    bias_field: float = 0.0,
    probability: float = 1.0,
    probabilities: Mapping[str, float] | None = None,
) -> Augmentation:
    """nnU-Net's changes with its numbers and probabilities, and two that it lacks: `elastic` and `bias_field`, both off.

    Angles are those of the body: voxel sizes are taken into account. Volumes whose voxels, or else patches, are more than 3 times as long
    along one axis are turned, scaled, bent and coarsened within the slices only. Labels are moved by nearest neighbour.

    Noise and contrast are relative to each channel of the patch and gamma to its range, so that they mean the same after any
    normalisation; brightness multiplies the normalised values, about the case's mean after `zscore` and about black after `unit`.

    Args:
        spatial_dims: 2 or 3.
        labels: The classes.
        mirror_axes: Axes that may be flipped; null: all; []: none. Volumes: 0 is left-right, 1 back-front, 2 bottom-top; pictures: 0 is
            up-down, 1 left-right.
        lateral: Pairs of classes, such as [[left kidney, right kidney]], that change places when left and right do.
        rotation: Largest angle in degrees, 0 to 180, about each axis; null: 30 in volumes, 180 within slices and in pictures, 15 in
            pictures whose patches are more than 1.5 times as long as wide.
        scale: Smallest and largest size of the objects, as factors, the same along all axes, 0.25 to 4.
        elastic: Largest displacement in mm, 0 to 100, of a smooth bending with 4 to 7 control points an axis; it never folds the image.
        noise: Largest standard deviation of noise, in standard deviations of the channel, 0 to 2.
        blur: Smallest and largest standard deviation of a Gaussian blur, in voxels, above 0 to 10.
        brightness: Smallest and largest factor of the intensities, 0.1 to 10.
        contrast: Smallest and largest factor of the distance from the patch's mean, 0.1 to 10; what leaves the patch's range is cut off.
        low_resolution: Smallest and largest share of the voxels of an axis that is kept, 0.1 to 1, before interpolating back.
        gamma: Smallest and largest exponent, 0.1 to 10, for `gamma` and for `gamma_inverted`; mean and standard deviation are kept.
        bias_field: Largest absolute logarithm of a smooth factor, 0 to 2, as of the coils of an MR scanner; 0.4 is 0.67 to 1.49.
        probability: Factor of all probabilities; none may become more than 1, and it does not raise that of `mirror`: beyond half of the
            patches there would be less variety.
        probabilities: Probabilities in place of those in `NNUNET`.

    Raises:
        ValueError: A value makes no sense; the message begins with the parameter's name.
    """
    shares = _shares(NNUNET, probability, probabilities)
    exponents = _range("gamma", gamma, FACTORS)
    changes: list[Change] = [
        Noise(shares["noise"], 1.0, _number("noise", noise, MOST_NOISE)),
        Blur(shares["blur"], 0.5, *_range("blur", blur, (0.0, MOST_BLUR))),
        Brightness(shares["brightness"], 1.0, *_range("brightness", brightness, FACTORS)),
        Contrast(shares["contrast"], 1.0, *_range("contrast", contrast, FACTORS)),
        LowResolution(shares["low_resolution"], 0.5, *_range("low_resolution", low_resolution, KEPT)),
        Gamma(shares["gamma_inverted"], 1.0, *exponents, inverted=True),
        Gamma(shares["gamma"], 1.0, *exponents, inverted=False),
        BiasField(shares["bias_field"] if bias_field else 0.0, 1.0, _number("bias_field", bias_field, MOST_BIAS)),
    ]
    return _fused(spatial_dims, labels, mirror_axes, lateral, rotation, scale, elastic, shares, changes)


def _fused(
    spatial_dims: int,
    labels: LabelSchema,
    mirror_axes: list[int] | None,
    lateral: list[list[str]] | None,
    rotation: float | None,
    scale: Sequence[float],
    elastic: float,
    shares: dict[str, float],
    changes: list[Change],
) -> Augmentation:
    axes = tuple(range(spatial_dims)) if mirror_axes is None else tuple(mirror_axes)
    if len(set(axes)) != len(axes) or not set(axes) <= set(range(spatial_dims)):
        raise ValueError(f"mirror_axes: {list(axes)} are not axes from 0 to {spatial_dims - 1}, each at most once")
    if rotation is not None and not 0 <= rotation <= 180:
        raise ValueError(f"rotation: {rotation:g} does not lie between 0 and 180 degrees")
    low, high = _range("scale", scale, SCALES)
    spatial = Spatial(rotation, (low, high), _number("elastic", elastic, MOST_ELASTIC), axes, shares)
    left_right = 0 if spatial_dims == 3 else 1
    return Fused(spatial, changes, None if lateral is None else _swap(lateral, labels, left_right, axes), left_right)


def _swap(pairs: list[list[str]], labels: LabelSchema, axis: int, mirrored: tuple[int, ...]) -> np.ndarray:
    """The table that swaps the ids of each pair of classes."""
    if axis not in mirrored:
        raise ValueError(f"lateral: has no effect, since left and right (axis {axis}) are not in mirror_axes {list(mirrored)}")
    if labels.overlapping:
        raise ValueError("lateral: the classes overlap, so that a voxel's value cannot change sides; leave the axis out of mirror_axes")
    named = [name for pair in pairs for name in pair]
    if any(len(pair) != 2 for pair in pairs) or len(set(named)) != len(named):
        raise ValueError(f"lateral: {pairs} are not pairs of classes, each class at most once")
    ids = []
    for name in named:
        if name not in labels.classes:
            raise ValueError(f"lateral: there is no class '{name}'; the classes are {', '.join(labels.classes)}")
        members = labels.members[labels.classes.index(name)]
        if len(members) != 1:
            raise ValueError(
                f"lateral: the class '{name}' has several label values, {list(members)}, and its counterpart of each is unknown"
            )
        ids.append(labels.values.index(members[0], 1))
    table = np.arange(256, dtype=np.uint8)
    table[ids] = np.array(ids).reshape(-1, 2)[:, ::-1].ravel()
    return table


def _shares(defaults: dict[str, float], factor: float, changed: Mapping[str, float] | None) -> dict[str, float]:
    if factor < 0:
        raise ValueError(f"probability: {factor:g} is below 0")
    changed = changed or {}
    unknown = sorted(set(changed) - set(defaults))
    if unknown:
        raise ValueError(f"probabilities: there is no '{unknown[0]}'; there are {', '.join(defaults)}")
    shares = {**defaults, **changed}
    made = {name: share * (min(factor, 1.0) if name == "mirror" else factor) for name, share in shares.items()}
    for name, share in made.items():
        if not 0 <= share <= 1:
            raise ValueError(f"probabilit{'ies' if name in changed else 'y'}: that of {name} is {share:g}, not in [0, 1]")
    return made


def _number(name: str, value: float, most: float) -> float:
    if not 0 <= value <= most:
        raise ValueError(f"{name}: {value:g} does not lie between 0 and {most:g}")
    return value


def _range(name: str, value: Sequence[float], limits: tuple[float, float]) -> tuple[float, float]:
    least, most = limits
    if len(value) != 2 or not 0 < value[0] <= value[1] or not least <= value[0] <= value[1] <= most:
        between = f"between {least:g} and {most:g}" if least else f"above 0, at most {most:g}"
        raise ValueError(f"{name}: {list(value)} is not a smallest and a largest number {between}")
    return float(value[0]), float(value[1])
