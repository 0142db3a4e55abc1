"""Which windows of a case need not be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from scipy import ndimage
from torch import Tensor

from medseg.data.labels import Activation, LabelSchema
from medseg.data.normalisation import Normaliser
from medseg.data.preparation import PreparedCase
from medseg.inference.sliding_window import Skip

Skipping = Literal["none", "nonzero", "body"]

Relevant = Callable[[tuple[slice, ...]], bool]
"""Says of a box of the image whether it is looked at."""

CERTAIN = 100.0
"""A logit whose probability is 1 in float32, and that of its negative 0 up to 1e-43."""

AIR = -500.0
"""Hounsfield units half-way between air and water."""

COARSE_MM = 8.0
"""Voxel size in which the body is looked for."""

LIMB = 0.1
"""Share of the largest part of the body from which another part, such as a second leg, belongs to it; tables and noise are smaller."""


def skip_of(kind: Skipping, prepared: PreparedCase, normaliser: Normaliser, labels: LabelSchema, activation: Activation) -> Skip | None:
    """What `skip: nonzero` and `skip: body` mean for a case; None where every window is looked at.

    Args:
        kind: `nonzero` leaves out windows in which every voxel of every channel is 0 in the files, or was 0 before interpolation. `body`
            leaves out windows outside the body: see `body_mask`; where there is no air or no body, all windows are looked at. A value that
            the normalisation has clipped to the same as 0 or air is taken for it: the network could not tell either.
        prepared: The case.
        normaliser: What normalised it.
        labels: The classes.
        activation: Says what certain background is.

    Raises:
        ValueError: For another kind, or a case that does not say what its intensities were.
    """
    if kind == "none":
        return None
    if kind not in ("nonzero", "body"):
        raise ValueError(f"skip='{kind}' is not none, nonzero or body")
    if prepared.intensities is None:
        raise ValueError(f"skip='{kind}' needs the intensities of the files; give PreparedCase its `intensities`")
    relevant = _nonzero(prepared, normaliser) if kind == "nonzero" else _body(prepared, normaliser)
    background = torch.full((labels.num_outputs(activation),), -CERTAIN)
    if activation == "softmax":
        background[0] = CERTAIN
    return None if relevant is None else Skip(relevant, background)


def normalised(value: float, prepared: PreparedCase, normaliser: Normaliser) -> list[float]:
    """What a raw value has become in each channel of a case; NaN in channels whose range does not hold it."""
    known = prepared.intensities
    assert known is not None
    found = normaliser(np.full((len(known.low), 1), value, np.float32), known)[:, 0].tolist()
    return [v if low <= value <= high else float("nan") for v, low, high in zip(found, known.low, known.high, strict=True)]


def _nonzero(prepared: PreparedCase, normaliser: Normaliser) -> Relevant:
    channels = list(zip(torch.from_numpy(prepared.image), normalised(0.0, prepared, normaliser), strict=True))
    return lambda box: any(bool((channel[box] != zero).any()) for channel, zero in channels)


def _body(prepared: PreparedCase, normaliser: Normaliser) -> Relevant | None:
    found = body_mask(prepared, normaliser)
    if found is None:
        return None
    body, steps = found

    def relevant(box: tuple[slice, ...]) -> bool:
        return bool(body[tuple(slice(part.start // step, -(-part.stop // step)) for part, step in zip(box, steps, strict=True))].any())

    return relevant


def body_mask(prepared: PreparedCase, normaliser: Normaliser) -> tuple[np.ndarray, tuple[int, ...]] | None:
    """The body in a CT, in voxels of about 8 mm.

    More than half of a coarse voxel must lie above -500 HU in a channel that holds air. The largest component is kept, with those that have
    a tenth of its voxels; holes, in 3-D also those within an axial slice, are filled, and one coarse voxel is added all around.

    Returns:
        The mask, and how many voxels make a coarse one along each axis; None where no channel holds air, or there is no body.
    """
    air = [(channel, value) for channel, value in enumerate(normalised(AIR, prepared, normaliser)) if not np.isnan(value)]
    steps = tuple(max(1, round(COARSE_MM / size)) for size in prepared.geometry.spacing)
    image = torch.from_numpy(prepared.image)
    body = np.zeros([-(-n // step) for n, step in zip(prepared.geometry.shape, steps, strict=True)], np.bool_)
    for channel, value in air:
        for row, rows in enumerate(image[channel].split(steps[0])):
            body[row] |= (_means((rows > value).float(), steps)[0] > 0.5).numpy()
    parts, count = ndimage.label(body, ndimage.generate_binary_structure(body.ndim, body.ndim))
    if not count:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    body = ndimage.binary_fill_holes(np.append(False, sizes >= LIMB * sizes.max())[parts])
    for axial in np.moveaxis(body, -1, 0) if body.ndim == 3 else ():
        axial |= ndimage.binary_fill_holes(axial)
    return ndimage.binary_dilation(body, ndimage.generate_binary_structure(body.ndim, body.ndim)), steps


def _means(values: Tensor, steps: Sequence[int]) -> Tensor:
    """Means of blocks; those that stick out are of what lies inside."""
    pool = F.avg_pool3d if values.ndim == 3 else F.avg_pool2d
    return pool(values[None, None], tuple(steps), ceil_mode=True, count_include_pad=False)[0, 0]
