"""Labels that are composed of several mask files, by rules."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.geometry import Geometry, resample_to
from medseg.data.images import RASTER_SUFFIXES, FileError, read_label, suffix_of

LOWEST, HIGHEST = -(2**62), 2**62
"""Bounds of a range that is open on one side."""

_NOTHING = np.iinfo(np.int32).min
"""Stands for "paints nothing" where an array of label values is meant."""
_UNKNOWN = _NOTHING + 1


@dataclass(frozen=True)
class Layer:
    """Mask files of one kind and what their voxels become.

    Args:
        files: The files, painted in order. None at all is a case that shows nothing of the kind.
        values: (low, high, value) for values on disk from low to high, both included, that become the label value.
        background: (low, high) for values on disk that paint nothing. Values in neither list are an error.
        unlabelled: Whether nobody looked for these structures in this case, so that its background may hold them.
    """

    files: tuple[Path, ...]
    values: tuple[tuple[int, int, int], ...]
    background: tuple[tuple[int, int], ...] = ((0, 0),)
    unlabelled: bool = False

    @classmethod
    def above(cls, files: Iterable[Path], threshold: int, value: int, unlabelled: bool = False) -> Layer:
        """A layer of binary masks: what lies above the threshold in any of them becomes the value."""
        return cls(tuple(files), ((threshold + 1, HIGHEST, value),), ((LOWEST, threshold),), unlabelled)


@dataclass(frozen=True)
class Masks:
    r"""A label composed of mask files. Later files are painted over earlier ones.

    With `keep`, values are sets of bits: a voxel that several files paint gets the union $v_1 \lor v_2 \lor \dots$ of their values.

    Args:
        layers: What is painted, in order.
        background: Label value where nothing is painted.
        ignore: Label value of ignored voxels. Background is ignored too where a layer is unlabelled.
        keep: Whether voxels may belong to several classes. Ignored voxels are in none.
    """

    layers: tuple[Layer, ...]
    background: int = 0
    ignore: int | None = None
    keep: bool = False

    def __post_init__(self) -> None:
        if self.ignore is None and any(layer.unlabelled for layer in self.layers):
            raise ValueError("an unlabelled layer needs an ignore value")

    @property
    def files(self) -> tuple[Path, ...]:
        """The mask files, in the order of painting."""
        return tuple(file for layer in self.layers for file in layer.files)

    def read(self, image: Path, grid: Geometry, resample: bool = False) -> np.ndarray:
        """Compose the label on an image's grid.

        Args:
            image: First file of the image, which messages name, or its folder of DICOM slices.
            grid: The image's grid.
            resample: Whether masks in another grid are read at the voxels of this one (nearest neighbour, nothing outside); otherwise they
                are a fault.

        Returns:
            Label values (*grid.shape), in the smallest integer type that holds all that may occur.

        Raises:
            FileError: When a file is missing or unreadable, lies in another grid, or holds values that stand for nothing.
        """
        label = np.full(grid.shape, self.background, dtype=self._dtype)
        ignored = np.zeros(grid.shape, dtype=np.bool_) if self.keep and self.ignore is not None else None
        for layer in self.layers:
            for file in layer.files:
                where, painted = self._painted(layer, file, image, grid, resample)
                if ignored is not None:
                    ignored[where] |= painted == self.ignore
                if self.keep:
                    painted = label[where] | painted.astype(label.dtype)
                label[where] = painted
        if ignored is not None:
            label[ignored] = self.ignore
        if any(layer.unlabelled for layer in self.layers):
            label[label == self.background] = self.ignore
        return label

    def _painted(self, layer: Layer, file: Path, image: Path, grid: Geometry, resample: bool) -> tuple[np.ndarray, np.ndarray]:
        """Where a file paints on the grid, boolean, and the label values there, int32 in the order of the voxels."""
        values, geometry = read_label(file, image)
        if resample and resamples(file, geometry, image, grid):
            painted = on_grid(_translate(values, layer, file), file, geometry, image, grid, resample, fill=_NOTHING)
            where = painted != _NOTHING
            return where, painted[where]
        require_same_grid(file, geometry, image, grid)
        where = np.ones(values.shape, np.bool_)  # most masks are background nearly everywhere, which then costs no look-up
        for low, high in layer.background:
            where &= values != low if low == high else (values < low) | (values > high)
        return where, _translate(values[where], layer, file)

    @property
    def _dtype(self) -> np.dtype:
        values = [self.background, *(value for layer in self.layers for _, _, value in layer.values)]
        if self.keep:
            values.append(int(np.bitwise_or.reduce(values)))
        if self.ignore is not None:
            values.append(self.ignore)
        return np.result_type(np.min_scalar_type(min(values)), np.min_scalar_type(max(values)))


def on_grid(
    values: np.ndarray, file: Path, geometry: Geometry, image: Path, grid: Geometry, resample: bool, *, fill: int = 0
) -> np.ndarray:
    """Bring a mask onto the image's grid: as it is where the grids agree, else at the nearest voxels where that is allowed.

    Args:
        values: int32 (*geometry.shape) or a smaller type.
        file: Where they were read from.
        geometry: Their grid.
        image: The image, which messages name.
        grid: Its grid.
        resample: Whether another grid is allowed. Pictures, which know no position, must have the image's size all the same.
        fill: Value of voxels outside the mask's grid.

    Raises:
        FileError: When the grids differ and may not.
    """
    if not resample or not resamples(file, geometry, image, grid):
        require_same_grid(file, geometry, image, grid)
        return values
    dims = geometry.spatial_dims
    padded = np.pad(values, 1, constant_values=fill)  # resample_to continues the border voxels to infinity
    shift = np.eye(4)
    shift[:dims, 3] = -1
    moved: np.ndarray = resample_to(padded[None], Geometry(padded.shape, geometry.affine @ shift), grid, "nearest")[0]
    return moved


def resamples(file: Path, geometry: Geometry, image: Path, grid: Geometry) -> bool:
    """Whether a file lies in another grid than the image, and in one that can be resampled to it."""
    if geometry.spatial_dims != grid.spatial_dims or geometry.mismatch(grid) is None:
        return False
    return not any(suffix_of(path) in RASTER_SUFFIXES for path in (file, image))


def require_same_grid(file: Path, geometry: Geometry, image: Path, grid: Geometry) -> None:
    """Check that a channel or mask lies in the grid of the image. Pictures know their size alone, so that is all they are held to.

    Raises:
        FileError: When it does not: what differs, and what to do.
    """
    if geometry.spatial_dims == 2 and any(suffix_of(path) in RASTER_SUFFIXES for path in (file, image)):
        geometry = Geometry(geometry.shape, grid.affine)
    difference = geometry.mismatch(grid)
    if difference:
        problem = f"lies in another grid than {image.name}: {difference}"
        same_voxels = "the shapes agree: if both show the same voxels, copy the image's header to this file"
        other = "resample it to the image's grid, or replace it by the file that belongs to the image"
        raise FileError(file, problem, same_voxels if "shape" not in difference else other)


def _translate(array: np.ndarray, layer: Layer, file: Path) -> np.ndarray:
    """int32 label values of a mask's values on disk, `_NOTHING` for background."""
    if array.size == 0:
        return np.full(array.shape, _NOTHING, np.int32)
    low, high = int(array.min()), int(array.max())
    if high - low < 2**16:
        present, inverse = np.arange(low, high + 1), array.astype(np.int64) - low if low else array
    else:
        present, inverse = np.unique(array, return_inverse=True)
        inverse = inverse.reshape(array.shape)
    table = np.full(len(present), _UNKNOWN, dtype=np.int32)
    for first, last in layer.background:
        table[(present >= first) & (present <= last)] = _NOTHING
    for first, last, value in layer.values:
        table[(present >= first) & (present <= last)] = value
    translated = table[inverse]
    if (table == _UNKNOWN).any():
        unknown = np.unique(array[translated == _UNKNOWN])
        if unknown.size:
            found = ", ".join(str(value) for value in unknown[:8].tolist()) + (f", ... ({unknown.size} values)" if unknown.size > 8 else "")
            raise FileError(
                file,
                f"holds the values {found}, which stand for nothing",
                "correct the file, or name them in the `values` of its mask entry",
            )
    return translated
