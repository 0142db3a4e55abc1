"""Random changes of the intensities, for pictures and volumes, each channel by itself.

A change draws its numbers for all channels of a patch, and is applied in place to rows: channels of one patch or of a whole batch, on any
device. Where a number is NaN the channel is left alone.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medseg.data.augmentation.linear import coarsening, gaussian, separable, spline

_POOL = 2**20  # Gaussian numbers, from which noise is cut: 0.1 ms for 64^3 voxels, 0.8 by torch.randn, 2.7 by NumPy
_CUT = 2**18
_BIAS_CONTROLS = 4  # a single cubic piece an axis


@dataclass(frozen=True)
class Change(ABC):
    """One change of the intensities.

    Args:
        probability: Share of the patches.
        per_channel: Share of the channels of those patches.
    """

    probability: float
    per_channel: float

    def draw(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray | None:
        """Draws the numbers of a patch.

        Args:
            channels: Of the image.
            patch: Size in voxels.
            still: The axis across the slices of an anisotropic volume, if it is one.
            rng: Generator of the patch.

        Returns:
            (channels, *numbers), with NaN for channels that are left alone; None when all are.
        """
        if rng.random() >= self.probability:
            return None
        chosen = rng.random(channels) < self.per_channel
        if not chosen.any():
            return None
        values = self.numbers(channels, patch, still, rng)
        values[~chosen] = np.nan
        return values

    @abstractmethod
    def numbers(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray:
        """Draws the numbers of all channels, (channels, *numbers) float64."""

    @abstractmethod
    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Changes rows (N, *patch) float32, contiguous, in place by the numbers of each, (N, *numbers) without NaN."""


@dataclass(frozen=True)
class Noise(Change):
    r"""Adds Gaussian noise of standard deviation $u \sigma$: $u$ uniform in [0, limit], the same for all channels, $\sigma$ the channel's.

    (nnU-Net calls its 0.1 a variance and uses it as standard deviation.) The noise is cut from a fixed pool at random places, with a random
    sign, so that it is the same on any device.
    """

    limit: float

    def numbers(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray:
        """Strength with sign, and place in the pool, of each piece."""
        shape = (channels, -(-int(np.prod(patch)) // _CUT))
        strength = rng.uniform(0, self.limit)
        return np.stack([rng.choice([-strength, strength], shape), rng.integers(_POOL - _CUT, size=shape)], axis=-1)

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Adds noise."""
        flat = rows.view(len(rows), -1)
        pool = _noise_pool(rows.device)
        strengths = _to(values[..., 0], rows) * flat.std(dim=1, correction=0)[:, None]
        for row, places, amounts in zip(flat, values[..., 1].astype(int), strengths, strict=True):
            for piece, place, amount in zip(row.split(_CUT), places.tolist(), amounts, strict=True):
                piece.addcmul_(pool[place : place + len(piece)], amount)


@dataclass(frozen=True)
class Blur(Change):
    """Blurs with a Gaussian; its standard deviation, in voxels, is drawn for each axis."""

    low: float
    high: float

    def numbers(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray:
        """Standard deviation along each axis."""
        return rng.uniform(self.low, self.high, (channels, len(patch)))

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Blurs."""
        for row, sigmas in zip(rows, values, strict=True):
            row.copy_(separable(row, [gaussian(size, sigma) for size, sigma in zip(row.shape, sigmas, strict=True)]))


@dataclass(frozen=True)
class LowResolution(Change):
    """Keeps a share of the voxels of each axis (nearest neighbour) and interpolates between them (linearly), as nnU-Net's second version.

    The axis across the slices of an anisotropic volume is left alone.
    """

    low: float
    high: float

    def numbers(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray:
        """Share of the voxels kept along each axis."""
        shares = np.repeat(rng.uniform(self.low, self.high, (channels, 1)), len(patch), axis=1)
        if still is not None:
            shares[:, still] = 1
        return shares

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Coarsens."""
        for row, shares in zip(rows, values, strict=True):
            coarse = [max(1, round(size * share)) for size, share in zip(row.shape, shares, strict=True)]
            matrices = [None if count == size else coarsening(size, count) for size, count in zip(row.shape, coarse, strict=True)]
            row.copy_(separable(row, matrices))


@dataclass(frozen=True)
class _Factor(Change):
    """A number around 1 for each channel: half of them below, half above, as nnU-Net does, where the range allows both."""

    low: float
    high: float

    def numbers(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray:
        """The factor of each channel."""
        if not self.low < 1 < self.high:
            return rng.uniform(self.low, self.high, channels)
        below = rng.random(channels) < 0.5
        return rng.uniform(np.where(below, self.low, 1), np.where(below, 1, self.high))


@dataclass(frozen=True)
class Brightness(_Factor):
    """Multiplies by a number. Zero stays: the case's mean after `zscore`, black after `unit`."""

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Multiplies."""
        rows.mul_(_to(values, rows))


@dataclass(frozen=True)
class Contrast(_Factor):
    """Multiplies the distance from the patch's mean by a number, and cuts off what leaves the patch's range."""

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Stretches or squeezes about the mean."""
        factor = _to(values, rows)
        flat = rows.view(len(rows), -1)
        low, high, mean = (_per_row(value, rows) for value in (flat.amin(1), flat.amax(1), flat.mean(1)))
        rows.mul_(factor).add_(mean * (1 - factor))
        if values.max() > 1:
            torch.maximum(rows, low, out=rows)
            torch.minimum(rows, high, out=rows)


@dataclass(frozen=True)
class Gamma(_Factor):
    r"""Maps the patch's range to [0, 1], raises it to a power, and restores the patch's mean and standard deviation.

    $x' = \mu + \sigma (v - \bar v) / s_v$ with $v = u^\gamma$, $u = (x - \min) / (\max - \min)$; `inverted` bends $1 - u$ instead, which
    works on the bright end.
    """

    inverted: bool

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Bends the intensities."""
        mean, spread = _centre(rows)
        flat = rows.view(len(rows), -1)
        low, high = _per_row(flat.amin(1), rows), _per_row(flat.amax(1), rows)
        extent = (high - low).clamp_(min=1e-20)  # of a constant patch: u is 0 then, and the result its mean
        direction = -1.0 if self.inverted else 1.0
        rows.sub_(high if self.inverted else low).mul_(direction / extent)
        # A power by way of the logarithm takes 0.2 ms instead of 0.7; of 0 it is -inf, and the result 0.
        torch.log2(rows, out=rows).mul_(_to(values, rows)).exp2_()
        bent = _centre(rows)[1]
        rows.mul_(direction * spread / bent.clamp_(min=1e-20)).add_(mean)


@dataclass(frozen=True)
class BiasField(Change):
    """Multiplies by a smooth positive field, as the coils of a scanner do; black, the channel's lowest value, stays.

    The logarithm of the field is a cubic B-spline over the patch with control points uniform in [-limit, limit], so that the field lies
    between exp(-limit) and exp(limit).
    """

    limit: float

    def numbers(self, channels: int, patch: tuple[int, ...], still: int | None, rng: np.random.Generator) -> np.ndarray:
        """Control points of each channel."""
        return rng.uniform(-self.limit, self.limit, (channels, *(_BIAS_CONTROLS,) * len(patch)))

    def apply(self, rows: Tensor, values: np.ndarray) -> None:
        """Multiplies by the field."""
        controls = torch.from_numpy(values.astype(np.float32)).to(rows.device, non_blocking=True)
        field = separable(controls, [spline(size, _BIAS_CONTROLS) for size in rows.shape[1:]])
        black = _per_row(rows.view(len(rows), -1).amin(1), rows)
        rows.sub_(black).mul_(field.exp_()).add_(black)


def apply_changes(images: Tensor, changes: Sequence[Change], values: Sequence[Sequence[np.ndarray | None]]) -> None:
    """Applies changes in order, in place.

    Args:
        images: (B, C, *patch) float32, contiguous.
        changes: The changes.
        values: For each change and each of the B patches what `draw` returned.
    """
    rows = images.view(-1, *images.shape[2:])
    channels = images.shape[1]
    for change, drawn in zip(changes, values, strict=True):
        chosen = [
            (patch * channels + int(channel), numbers[channel])
            for patch, numbers in enumerate(drawn)
            if numbers is not None
            for channel in np.flatnonzero(~np.isnan(numbers).reshape(channels, -1).any(axis=1))
        ]
        if not chosen:
            continue
        numbers = np.stack([number for _, number in chosen])
        if rows.device.type == "cpu":  # one row at a time stays in the cache
            for (row, _), number in zip(chosen, numbers, strict=True):
                change.apply(rows[row : row + 1], number[None])
        else:
            index = torch.tensor([row for row, _ in chosen]).to(rows.device, non_blocking=True)
            part = rows.index_select(0, index)
            change.apply(part, numbers)
            rows.index_copy_(0, index, part)


@functools.cache
def _noise_pool(device: torch.device) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(_POOL, dtype=np.float32)).to(device)


def _centre(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Subtracts each row's mean in place; returns the means and the standard deviations, (N, 1, ...)."""
    flat = rows.view(len(rows), -1)
    mean = flat.mean(1, keepdim=True)
    flat.sub_(mean)
    spread = torch.linalg.vector_norm(flat, dim=1) / flat.shape[1] ** 0.5
    return _per_row(mean, rows), _per_row(spread, rows)


def _to(values: np.ndarray, rows: Tensor) -> Tensor:
    """One number a row, broadcast over it; or a plain table, if there are several."""
    tensor = torch.from_numpy(values.astype(np.float32)).to(rows.device, non_blocking=True)
    return tensor if tensor.ndim > 1 else _per_row(tensor, rows)


def _per_row(values: Tensor, rows: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (rows.ndim - 1))
