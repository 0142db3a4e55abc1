"""The container of prepared images and labels: Blosc2 `.b2nd` files.

Chosen by `scripts/benchmark_store.py` (x86-64, one thread, page cache; ratios to copying the patch out of a bare `np.memmap`): patches of
64^3 voxels of int16, float32 and uint8 volumes are read in 3.2x, 3.4x and 2.4x the time of the copy, of 256^2 pixels of a colour picture
in 2.0x, at 0.37, 0.59, 0.03 and 1.0 of the raw size. zarr v3 with the same codec takes 19x to 90x, because each chunk passes through
Python, and `np.load` of the whole array 7x to 21x. Of the codecs LZ4HC (level 5) is read fastest, faster than LZ4 since it has less to
read, and packs 15 % better; Zstandard saves another 12 % of an int16 scan and takes three times as long to read. It is written at 60 to 160
MB/s, once. Bytes are shuffled where a voxel has more than one: that saves a third of an int16 scan, and costs labels and pictures time.
Blocks of 4,096 voxels (16^3) beat larger ones, since a patch cuts through fewer voxels that it does not need; a chunk holds 64 of them, all
of one channel, and takes short axes (thick slices) whole, so that patches of 32 to 128 voxels touch few.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from medseg.data.store.damage import damaged

CHUNK, BLOCK = 64**3, 16**3
"""Voxels of a chunk and of a block, the least that is unpacked."""

KEPT_OPEN = 64

Box = tuple[slice, ...]


def save(array: np.ndarray, path: Path) -> None:
    """Compresses an array (C, *spatial) into a new `.b2nd` file, chunk by chunk: nothing as large as the array is held beside it.

    Raises:
        OSError: The file cannot be written.
    """
    if array.size == 0:
        raise ValueError(f"an array of shape {array.shape} holds nothing")
    filters = [blosc2.Filter.SHUFFLE if array.itemsize > 1 else blosc2.Filter.NOFILTER]
    try:
        blosc2.asarray(
            np.ascontiguousarray(array),
            urlpath=str(path),
            mode="w",
            chunks=tile(array.shape, CHUNK),
            blocks=tile(array.shape, BLOCK),
            cparams=blosc2.CParams(codec=blosc2.Codec.LZ4HC, clevel=5, filters=filters, nthreads=1, typesize=array.itemsize),
        )
        blosc2.open(str(path), mode="r")  # fails where the end is missing
    except RuntimeError as error:
        raise OSError(f"{path}: {error}") from error


def unpack(data: bytes, out: np.ndarray) -> None:
    """Unpacks the bytes of a whole file into an array of the same shape and type, channel by channel.

    Raises:
        ValueError: The bytes are no such file.
    """
    try:
        packed = blosc2.ndarray_from_cframe(data)
        _require(packed, out.shape, out.dtype)
        for channel in range(len(out)):
            out[channel] = packed[channel]
    except RuntimeError as error:
        raise ValueError(str(error)) from error


class BoxFile:
    """A stored array of which boxes are read; only the blocks that a box meets are unpacked, in the calling thread.

    The file is mapped into memory. Each thread keeps the last `KEPT_OPEN` files open, since opening and mapping one anew takes a third of
    the time of a patch; that leaves most of the common limit of 1,024 open files to others.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: np.dtype) -> None:
        self.path = path
        self.shape = tuple(shape)
        self.dtype = dtype

    def __getitem__(self, box: Box) -> np.ndarray:
        """Reads a box, one slice an axis, as a new array.

        Raises:
            DataError: The file is gone or damaged; the case counts as missing from then on.
        """
        try:
            return self._opened()[box]
        except (RuntimeError, ValueError, OSError) as error:
            raise damaged(self.path, error) from error

    def _opened(self) -> Any:
        status = self.path.stat()
        key = (str(self.path), status.st_ino, status.st_size, status.st_mtime_ns)
        packed = _open.files.pop(key, None)
        if packed is None:
            # Windows could not replace a file that is mapped.
            mmap_mode = "r" if os.name == "posix" else None
            packed = blosc2.open(str(self.path), mode="r", mmap_mode=mmap_mode, dparams=blosc2.DParams(nthreads=1))
            _require(packed, self.shape, self.dtype)
        _open.files[key] = packed
        if len(_open.files) > KEPT_OPEN:
            del _open.files[next(iter(_open.files))]
        return packed


class _Open(threading.local):
    """Open files of one thread, the last used one last; Blosc2's are not to be shared by threads."""

    def __init__(self) -> None:
        self.files: dict[tuple[str, int, int, int], Any] = {}


_open = _Open()


def tile(shape: Sequence[int], voxels: int) -> tuple[int, ...]:
    """A box of one channel and about `voxels` voxels, as even as the image's shape allows.

    Example:
        >>> tile((4, 256, 256, 40), 64**3)
        (1, 81, 81, 40)
    """
    spatial = shape[1:]
    sides = [1] * len(spatial)
    left = voxels
    for rank, axis in enumerate(sorted(range(len(spatial)), key=spatial.__getitem__)):
        sides[axis] = max(1, min(spatial[axis], round(left ** (1 / (len(spatial) - rank)))))
        left = max(1, left // sides[axis])
    return (1, *sides)


def _require(packed: object, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if not isinstance(packed, blosc2.NDArray) or tuple(packed.shape) != shape or packed.dtype != dtype:
        raise ValueError(f"it holds something else than {dtype} {shape}")
