"""Compare containers for prepared cases: reading random patches, size on disk and writing, beside a bare memory map and `np.load`.

    python scripts/benchmark_store.py                       # the table behind medseg/data/store/arrays.py
    python scripts/benchmark_store.py --images "3-D int16" --patch 96 --sweep

Every container reads the same boxes in turn, in one thread and from the page cache, in wall time; medians over the boxes are printed as
ratios to copying the box out of a bare `np.memmap` of the same array. `--sweep` tries chunk and block sizes, codecs and filters as well.
What is not installed is left out (`pip install zarr`; blosc2 comes with medseg).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from scipy import ndimage

from medseg.data.store.arrays import BoxFile, save

Box = tuple[slice, ...]
Read = Callable[[Box], np.ndarray]


@dataclass
class Container:
    """A way to keep an array on disk.

    Args:
        write: Writes an array below a folder.
        open: Opens it again; the result reads one box.
    """

    write: Callable[[np.ndarray, Path], Any]
    open: Callable[[Path], Read]


def images(seed: int = 0) -> dict[str, tuple[np.ndarray, int]]:
    """Smooth structures with noise, (C, *spatial), and the side of a patch: what scans and pictures are to a compressor."""
    rng = np.random.default_rng(seed)

    def scene(shape: tuple[int, ...], smooth: Any) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), smooth)
        return field / np.abs(field).max()

    body = scene((192, 192, 160), 6.0)
    inside = body > -0.05
    noise = rng.standard_normal(body.shape).astype(np.float32)
    ct = np.where(inside, 60 + 300 * body + 12 * noise, -1000).astype(np.int16)
    thick = scene((256, 256, 40), (6, 6, 2))
    picture = np.stack([scene((1024, 1024), 12.0) for _ in range(3)])
    return {
        "3-D float32": (np.where(inside, body + 0.03 * noise, 0).astype(np.float32)[None], 64),
        "3-D int16": (ct[None], 64),
        "3-D uint8 label": (((body > 0.25) + 2 * (body < -0.4)).astype(np.uint8)[None], 64),
        "3-D int16 256x256x40": ((500 + 400 * thick + 10 * rng.standard_normal(thick.shape)).astype(np.int16)[None], 64),
        "2-D uint8 RGB": (np.clip(120 + 100 * picture + 3 * rng.standard_normal(picture.shape), 0, 255).astype(np.uint8), 256),
        "4 x 3-D int16": (np.stack([ct[:128, :128, :128] + 7 * k for k in range(4)]), 64),
    }


def memory_map() -> Container:
    """A bare memory-mapped file."""

    def open_(folder: Path) -> Read:
        array = np.load(folder / "a.npy", mmap_mode="r")
        return lambda box: np.array(array[box])

    return Container(lambda array, folder: np.save(folder / "a.npy", array), open_)


def whole_file() -> Container:
    """`np.load` of the whole array for each box."""
    return Container(
        lambda array, folder: np.save(folder / "a.npy", array),
        lambda folder: lambda box: np.load(folder / "a.npy")[box].copy(),
    )


def medseg() -> Container:
    """What prepared cases are kept in."""

    def write(array: np.ndarray, folder: Path) -> None:
        save(array, folder / "a.b2nd")

    def open_(folder: Path) -> Read:
        array = blosc2.open(str(folder / "a.b2nd"), mode="r")
        return BoxFile(folder / "a.b2nd", array.shape, array.dtype).__getitem__

    return Container(write, open_)


def blosc(chunk: int, block: int, codec: str, level: int, filters: str) -> Container:
    """A `.b2nd` file, memory-mapped, cubic chunks and blocks of the given sides (in 2-D squares of as many voxels)."""

    def write(array: np.ndarray, folder: Path) -> None:
        blosc2.asarray(
            array,
            urlpath=str(folder / "a.b2nd"),
            mode="w",
            chunks=tiles(array.shape, chunk),
            blocks=tiles(array.shape, block),
            cparams=blosc2.CParams(
                codec=blosc2.Codec[codec], clevel=level, filters=[blosc2.Filter[filters]], nthreads=1, typesize=array.itemsize
            ),
        )

    def open_(folder: Path) -> Read:
        array = blosc2.open(str(folder / "a.b2nd"), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        return lambda box: array[box]

    return Container(write, open_)


def zarr_array(chunk: int, shard: int | None, codec: str, level: int) -> Container:
    """A zarr v3 folder, its chunks compressed by Blosc, in shards or not."""
    zarr: Any = importlib.import_module("zarr")

    def write(array: np.ndarray, folder: Path) -> None:
        inner = tiles(array.shape, chunk)
        outer = None if shard is None else tuple(side * shard if side == chunk else side for side in inner)
        zarr.create_array(
            str(folder / "a.zarr"),
            data=array,
            chunks=inner,
            shards=outer,
            compressors=zarr.codecs.BloscCodec(cname=codec, clevel=level, shuffle="shuffle"),
        )

    def open_(folder: Path) -> Read:
        array = zarr.open_array(str(folder / "a.zarr"), mode="r")
        return lambda box: array[box]

    return Container(write, open_)


def tiles(shape: tuple[int, ...], side: int) -> tuple[int, ...]:
    """One channel, and about `side`^3 voxels of it along all its axes, short ones taken whole."""
    spatial = shape[1:]
    left, axes = side**3, len(spatial)
    tile = [0] * axes
    for rank, axis in enumerate(np.argsort(spatial)):
        tile[axis] = max(1, min(spatial[axis], round(left ** (1 / (axes - rank)))))
        left = max(1, left // tile[axis])
    return (1, *tile)


def candidates(sweep: bool) -> dict[str, Container]:
    """What takes part, by the name that is printed."""
    found = {
        "memmap": memory_map(),
        "np.load": whole_file(),
        "medseg": medseg(),
        "blosc2 64/16 lz4hc 5 shuffle": blosc(64, 16, "LZ4HC", 5, "SHUFFLE"),
        "blosc2 64/16 lz4hc 5 nofilter": blosc(64, 16, "LZ4HC", 5, "NOFILTER"),
        "blosc2 64/32 lz4hc 5 shuffle": blosc(64, 32, "LZ4HC", 5, "SHUFFLE"),
        "blosc2 64/16 lz4 5 shuffle": blosc(64, 16, "LZ4", 5, "SHUFFLE"),
        "blosc2 64/16 zstd 1 shuffle": blosc(64, 16, "ZSTD", 1, "SHUFFLE"),
    }
    if sweep:
        for chunk, block in ((32, 16), (64, 16), (64, 24), (96, 24), (96, 32), (128, 32)):
            for codec, level in (("LZ4", 1), ("LZ4HC", 1), ("LZ4HC", 5), ("ZSTD", 1)):
                for filters in ("NOFILTER", "SHUFFLE", "BITSHUFFLE"):
                    found[f"blosc2 {chunk}/{block} {codec.lower()} {level} {filters.lower()}"] = blosc(chunk, block, codec, level, filters)
    if importlib.util.find_spec("zarr") is not None:
        found["zarr 32 lz4hc 5"] = zarr_array(32, None, "lz4hc", 5)
        found["zarr 32 in 128 lz4hc 5"] = zarr_array(32, 4, "lz4hc", 5)
        found["zarr 64 lz4hc 5"] = zarr_array(64, None, "lz4hc", 5)
    return found


def boxes(shape: tuple[int, ...], side: int, count: int, seed: int = 1) -> list[Box]:
    """Random boxes of `side` voxels an axis, all channels."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        spatial = [(int(rng.integers(0, max(1, size - side + 1))), min(side, size)) for size in shape[1:]]
        found.append((slice(None), *(slice(start, start + size) for start, size in spatial)))
    return found


def disk(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(array: np.ndarray, side: int, count: int, containers: dict[str, Container]) -> None:
    """Print one table: all containers, one array."""
    root = Path(tempfile.mkdtemp(prefix="benchmark-store-"))
    try:
        writes, readers = {}, {}
        for name, container in containers.items():
            folder = root / name.replace("/", "-")
            folder.mkdir()
            begin = time.process_time()
            container.write(array, folder)
            writes[name] = time.process_time() - begin
            readers[name] = container.open(folder)
        times: dict[str, list[float]] = {name: [] for name in containers}
        for turn, box in enumerate(boxes(array.shape, side, count)):
            for name, read in readers.items():
                if name == "np.load" and turn % 10:
                    continue
                begin = time.perf_counter()
                found = read(box)
                times[name].append(time.perf_counter() - begin)
                assert np.array_equal(found, array[box])
        floor = statistics.median(times["memmap"])
        for name in containers:
            middle = statistics.median(times[name])
            size = disk(root / name.replace("/", "-"))
            timing = f"{1e3 * middle:8.3f} ms {middle / floor:7.1f}x"
            print(f"  {name:38} {timing}   {size / array.nbytes:6.3f} of raw   write {writes[name]:6.3f} s")
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    """Parse the command line and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="*", help="names of the arrays to take; all by default")
    parser.add_argument("--patch", type=int, help="side of the patches; by default 64 in 3-D and 256 in 2-D")
    parser.add_argument("--count", type=int, default=60, help="boxes to read")
    parser.add_argument("--sweep", action="store_true", help="try chunk and block sizes, codecs and filters")
    arguments = parser.parse_args()
    blosc2.set_nthreads(1)
    packages = [name for name in ("numpy", "blosc2", "zarr", "numcodecs") if importlib.util.find_spec(name)]
    print(f"{platform.machine()}, {os.cpu_count()} cores; python {platform.python_version()}, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    print(" ".join(["python", *sys.argv]))
    for name, (array, side) in images().items():
        if arguments.images and name not in arguments.images:
            continue
        print(f"{name}, {array.shape}, patch {arguments.patch or side}:")
        measure(array, arguments.patch or side, arguments.count, candidates(arguments.sweep))


if __name__ == "__main__":
    main()
