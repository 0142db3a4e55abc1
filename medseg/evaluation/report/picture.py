"""Pictures of slices: the scan as a JPEG, masks as outlines and areas that stay sharp at any size."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

MOST_LETTERS = 40_000
"""Longest outline of one mask in a slice; a finer one is drawn from blocks of voxels."""
_CT_BELOW = -500.0
_CT_WINDOW, _WINDOW = (0.5, 99.5), (0.5, 99.95)
_SAMPLE = 2_000_000


def window(image: np.ndarray) -> tuple[float, float, str]:
    """Black and white for one channel of a case, and the rule in words.

    Images that reach below -500 are taken as CT: 0.5 to 99.5 % of what is denser than that, so that air does not count. Of others 0.5 to
    99.95 % of the voxels that are not 0.

    Shape:
        image: float (*spatial)
    """
    values = image.ravel()
    if values.size > _SAMPLE:
        values = values[:: values.size // _SAMPLE]
    values = values[np.isfinite(values)]
    if values.size and values.min() < _CT_BELOW:
        body, ends, rule = values[values > _CT_BELOW], _CT_WINDOW, "0.5 to 99.5 % of the voxels above -500"
    else:
        body, ends, rule = values[values != 0], _WINDOW, "0.5 to 99.95 % of the voxels that are not 0"
    if not body.size:
        return 0.0, 1.0, rule
    low, high = (float(value) for value in np.percentile(body, ends))
    return low, high if high > low else low + 1.0, rule


def grey(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Intensities (H, W) or (3, H, W) as bytes (H, W) or (H, W, 3)."""
    scaled = np.clip((np.nan_to_num(plane) - low) / (high - low), 0, 1)
    bytes_ = np.round(255 * scaled).astype(np.uint8)
    return np.moveaxis(bytes_, 0, -1) if bytes_.ndim == 3 else bytes_


def jpeg(picture: np.ndarray, longest: int, quality: int) -> str:
    """A data URI of a picture (H, W) or (H, W, 3), made smaller where a side is longer than `longest` pixels."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    scale = longest / max(image.size)
    if scale < 1:
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def outline(mask: np.ndarray) -> str:
    """The border of a mask (H, W) as an SVG path along the edges of its voxels, exactly; corner (0, 0) is that of the first voxel."""
    for factor in (1, 2, 4, 8):
        coarse = _blocks(mask, factor)
        padded = np.pad(coarse, 1)
        level = _runs(padded[1:, 1:-1] != padded[:-1, 1:-1], factor, "M{x} {y}h{n}")
        upright = _runs((padded[1:-1, 1:] != padded[1:-1, :-1]).T, factor, "M{y} {x}v{n}")
        text = level + upright
        if len(text) <= MOST_LETTERS:
            break
    return text


def area(mask: np.ndarray) -> str:
    """A mask (H, W) as an SVG path of its rows."""
    for factor in (1, 2, 4, 8):
        text = _runs(_blocks(mask, factor), factor, f"M{{x}} {{y}}h{{n}}v{factor}h-{{n}}z")
        if len(text) <= MOST_LETTERS:
            break
    return text


def _runs(lines: np.ndarray, factor: int, shape: str) -> str:
    """Each run of True along the rows of (n, m) as a piece of a path."""
    ends = np.diff(np.pad(lines.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(ends == 1)
    stops = np.nonzero(ends == -1)[1]
    lengths = (stops - starts) * factor
    pieces = zip((starts * factor).tolist(), (rows * factor).tolist(), lengths.tolist(), strict=True)
    return "".join([shape.format(x=x, y=y, n=n) for x, y, n in pieces])


def _blocks(mask: np.ndarray, factor: int) -> np.ndarray:
    """A mask of blocks of voxels; a block belongs to it when one of its voxels does."""
    if factor == 1:
        return mask
    height, width = (-(-size // factor) * factor for size in mask.shape)
    padded = np.zeros((height, width), dtype=np.bool_)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return np.asarray(padded.reshape(height // factor, factor, width // factor, factor).any(axis=(1, 3)), dtype=np.bool_)
