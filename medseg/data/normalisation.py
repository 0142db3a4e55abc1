"""Intensities of one case or channel to a scale that networks learn on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from medseg.data.case import Case
from medseg.data.images import RASTER_SUFFIXES, suffix_of
from medseg.errors import DataError

Normalisation = Literal["zscore", "ct", "unit", "none"]

MASKED_SHARE = 0.25
"""Share of exact zeros above which a channel counts as masked (skull-stripped, say): its zeros say nothing about its intensities."""

FLAT = 1e-7
"""A spread below this share of the offset is rounding noise: the channel is constant."""

_BLOCK = 2**20


@dataclass(frozen=True)
class Intensities:
    """What all normalisations need to know of one case, one number a channel.

    Args:
        mean: Mean of the voxels that `zscore` looks at.
        std: Their standard deviation.
        low: Lowest value of all voxels.
        high: Highest value of all voxels.
        eight_bit: Whether every file is a picture of 8 bits a channel.
        picture: Whether the case is a picture (PNG, JPEG, ...), whose channels are colours of one scale.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    eight_bit: bool
    picture: bool

    @classmethod
    def of(cls, image: np.ndarray, case: Case) -> Intensities:
        """Measures an image (C, *spatial) as it stands in the files of its case."""
        means, deviations = zip(*(_moments(channel.reshape(-1)) for channel in image), strict=True)
        return cls(
            mean=means,
            std=deviations,
            low=tuple(float(channel.min()) for channel in image),
            high=tuple(float(channel.max()) for channel in image),
            eight_bit=all(_is_eight_bit(path) for path in case.images),
            picture=suffix_of(case.images[0]) in RASTER_SUFFIXES,
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers in plain JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Intensities:
        """Inverse of `to_dict`."""
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        return cls(**plain)


class Normaliser:
    r"""Maps the raw intensities of a case, or of any part of it.

    Every normalisation is one increasing linear map $a x + b$ a channel (after clipping, for `ct`), the same for all voxels of a case:

    - `zscore`: $(x - \mu) / \sigma$ of the case. Where more than a quarter of a channel's voxels are exactly 0 (skull-stripped, or the
      black rim of a fundus picture) $\mu$ and $\sigma$ are those of the others. Does not depend on the unit of the intensities.
    - `ct`: clip to the training foreground's 0.5 to 99.5 percentiles, then subtract its mean and divide by its standard deviation.
    - `unit`: divided by 255 for 8-bit pictures, else from the case's minimum and maximum to [0, 1], over all channels of a picture and
      each channel of a scan.
    - `none`: as in the file.

    A constant channel becomes 0 (`zscore`, `unit`).

    Args:
        normalisation: One of the above for all channels, or a list with one for each.
        statistics: For `ct`, what `foreground_statistics` returned for the training cases; other channels' numbers are not looked at.

    Raises:
        ValueError: `ct` without statistics, or an unknown normalisation.
    """

    def __init__(self, normalisation: str | Sequence[str], statistics: dict[str, Any] | None = None) -> None:
        check_names(normalisation)
        self.normalisation = normalisation if isinstance(normalisation, str) else tuple(normalisation)
        if statistics is None and "ct" in (normalisation if not isinstance(normalisation, str) else [normalisation]):
            raise ValueError("normalisation 'ct' needs the statistics of the training cases' foreground")
        self.statistics = statistics
        self._maps: dict[Intensities, _Map] = {}

    def __call__(self, image: np.ndarray, intensities: Intensities) -> np.ndarray:
        """Normalises an image or a box of it.

        Args:
            image: (C, ...) of any type and number of axes; it is not changed.
            intensities: Those of its whole case.

        Returns:
            A new float32 array of the same shape.

        Raises:
            DataError: The case has another number of channels than the list of normalisations or the training data.
        """
        return self._found(intensities)(image)

    def inverse(self, image: np.ndarray, intensities: Intensities) -> np.ndarray:
        """Maps normalised intensities back, to be looked at.

        Args:
            image: (C, ...) float32, as `__call__` returned it or changed since; it is not changed.
            intensities: Those of its whole case.

        Returns:
            A new float32 array of the same shape. What `ct` has clipped stays clipped, and a channel that is constant has its value
            everywhere, up to rounding.

        Raises:
            DataError: As `__call__`.
        """
        return self._found(intensities).inverse(image)

    def _found(self, intensities: Intensities) -> _Map:
        found = self._maps.get(intensities)
        if found is None:
            found = self._maps[intensities] = self._map(intensities)
        return found

    def _map(self, intensities: Intensities) -> _Map:
        channels = len(intensities.mean)
        names = (self.normalisation,) * channels if isinstance(self.normalisation, str) else self.normalisation
        if len(names) != channels:
            raise DataError(f"data.normalisation lists {len(names)} normalisations, the images have {channels} channels; list one for each")
        if "ct" in names and self.statistics is not None and len(self.statistics["mean"]) != channels:
            raise DataError(
                f"an image has {channels} channels, the training data had {len(self.statistics['mean'])}; use images of the same channels"
            )
        return _Map([self._channel(name, number, intensities) for number, name in enumerate(names)])

    def _channel(self, name: str, number: int, intensities: Intensities) -> _Linear:
        if name == "zscore":
            return _Linear.standard(intensities.mean[number], intensities.std[number])
        if name == "ct":
            assert self.statistics is not None
            low, high, mean, std = (float(self.statistics[key][number]) for key in ("low", "high", "mean", "std"))
            return _Linear(mean, 1 / std, low, high)
        if name == "unit" and intensities.eight_bit:
            return _Linear(0.0, 1 / 255)
        if name == "unit":
            own = slice(None) if intensities.picture else slice(number, number + 1)
            low, high = min(intensities.low[own]), max(intensities.high[own])
            return _Linear.standard(low, high - low)
        return _Linear(0.0, 1.0)


def check_names(normalisation: str | Sequence[str]) -> None:
    """Raises ValueError for a name that is no normalisation."""
    for name in [normalisation] if isinstance(normalisation, str) else normalisation:
        if name not in get_args(Normalisation):
            raise ValueError(f"unknown normalisation '{name}'; choose zscore, ct, unit or none")


def foreground_statistics(samples: Iterable[np.ndarray]) -> dict[str, Any]:
    """Measures the intensities of the foreground over the training cases, for `ct`.

    Args:
        samples: Raw intensities of foreground voxels, (C, n), one array a case. As many of each case as of the others, so that one long
            scan does not outweigh them.

    Returns:
        `low`, `high` (0.5 and 99.5 percentiles), `mean` and `std`, each a list with one float a channel. Cases without foreground add
        nothing.

    Raises:
        DataError: No case has any foreground, or the channels differ between cases.
    """
    kept = [sample for sample in samples if sample.shape[1]]
    if not kept:
        raise DataError(
            "data.normalisation is 'ct' but no training case has any foreground to measure; choose 'zscore', or check the labels"
        )
    if len({len(sample) for sample in kept}) > 1:
        raise DataError("the training cases have different numbers of channels; `medseg check` lists them")
    values = np.concatenate(kept, axis=1).astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5], axis=1)
    std = values.std(axis=1)
    return {
        "low": low.tolist(),
        "high": high.tolist(),
        "mean": values.mean(axis=1).tolist(),
        "std": np.where(std > 0, std, 1.0).tolist(),
    }


@dataclass(frozen=True)
class _Linear:
    """The map of one channel: (clip(x, low, high) - offset) * scale."""

    offset: float
    scale: float
    low: float = -np.inf
    high: float = np.inf

    @classmethod
    def standard(cls, offset: float, spread: float) -> _Linear:
        """The map x -> (x - offset) / spread, or to 0 where the spread is rounding noise."""
        return cls(offset, 0.0 if spread <= FLAT * abs(offset) else 1 / spread)


class _Map:
    """The maps of all channels of a case, as columns that broadcast over any number of axes."""

    def __init__(self, channels: Sequence[_Linear]) -> None:
        self._columns = np.array([[c.offset, c.scale, c.low, c.high] for c in channels], dtype=np.float32).T
        self._clips = bool(np.isfinite(self._columns[2:]).any())
        self._keeps = bool((self._columns[0] == 0).all() and (self._columns[1] == 1).all() and not self._clips)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        if self._keeps:
            return image.astype(np.float32)
        offset, scale, low, high = self._columns.reshape(4, len(image), *(1,) * (image.ndim - 1))
        # The difference before the product: intensities around 1e4 keep their digits.
        if self._clips:
            mapped = np.clip(image, low, high, dtype=np.float32)
            np.subtract(mapped, offset, out=mapped)
        else:
            mapped = np.subtract(image, offset, dtype=np.float32)
        return np.multiply(mapped, scale, out=mapped)

    def inverse(self, image: np.ndarray) -> np.ndarray:
        offset, scale = self._columns[:2].reshape(2, len(image), *(1,) * (image.ndim - 1))
        # The scale of a constant channel is 0.
        mapped = np.multiply(image, np.divide(1, scale, out=np.zeros_like(scale), where=scale != 0), dtype=np.float32)
        return np.add(mapped, offset, out=mapped)


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the voxels (n,) of a channel that `zscore` looks at, in float64, block by block."""
    nonzero = int(np.count_nonzero(values))
    masked = False
    if 0 < nonzero < (1 - MASKED_SHARE) * values.size:
        # A channel of zeros and one other value (a mask given as input) is not masked: all of it counts.
        extremes = [(float(block.min()), float(block.max())) for block in _blocks(values, masked=True)]
        masked = min(low for low, _ in extremes) < max(high for _, high in extremes)
    count = nonzero if masked else values.size
    mean = sum(float(block.sum(dtype=np.float64)) for block in _blocks(values, masked)) / count
    square = sum(float(np.square(block - mean, dtype=np.float64).sum()) for block in _blocks(values, masked))
    return mean, float(np.sqrt(square / count))


def _blocks(values: np.ndarray, masked: bool) -> Iterator[np.ndarray]:
    """The values in float64 pieces, exact zeros left out where they are masked."""
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        block = block[block != 0] if masked else block
        if block.size:
            yield block.astype(np.float64)


def _is_eight_bit(path: Path) -> bool:
    """Says whether a file is a picture of 8 bits a channel; told by its header."""
    if suffix_of(path) not in RASTER_SUFFIXES:
        return False
    with Image.open(path) as picture:
        return picture.mode not in ("1", "F") and not picture.mode.startswith("I")
