"""Time medseg's data engine beside MONAI, nnU-Net, TorchIO and albumentations: patches, pictures, preparation, the first epoch.

    python scripts/benchmark_data.py                     # everything
    python scripts/benchmark_data.py --only patches --rounds 9
    python scripts/benchmark_data.py --only start --cases 1000

One thread, CPU seconds, candidates taking turns in one process, medians over the rounds, ratios to medseg in the same run. All read the
same phantoms, held in memory where the peer can (MONAI's CacheDataset, TorchIO's tensors) and in each one's own prepared files otherwise.
Peers that are not installed are left out (`pip install nnunetv2 torchio`; MONAI and albumentations come with medseg).
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import importlib.util
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmark_data_ours import (
    crop_only,
    first_batch,
    generate,
    generate_pictures,
    medseg_patches,
    medseg_pictures,
    medseg_prepare,
    memory_mapped_copy,
)
from benchmark_data_peers import PATCH_PEERS, PICTURE_PEERS, PREPARE_PEERS

Step = Callable[[], int]
"""Makes something and says how many of it."""


def medians(candidates: dict[str, Step], rounds: int, least: float) -> dict[str, float]:
    """CPU milliseconds an item: candidates take turns, each for at least `least` seconds a round."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for step in candidates.values():
        step()
    for _ in range(rounds):
        for name, step in candidates.items():
            start, made = time.process_time(), 0
            while time.process_time() - start < least:
                made += step()
            found[name].append(1000 * (time.process_time() - start) / made)
    return {name: statistics.median(values) for name, values in found.items()}


def table(title: str, results: dict[str, float], ours: str) -> None:
    """Print milliseconds and the ratio to ours."""
    print(f"\n{title}")
    width = max(map(len, results))
    for name, value in results.items():
        print(f"  {name:<{width}}  {value:9.3f} ms   {value / results[ours]:6.2f} x")


def available(peers: dict[str, tuple[str, Callable[..., Step]]]) -> dict[str, Callable[..., Step]]:
    """The peers whose package is installed."""
    return {name: build for name, (package, build) in peers.items() if importlib.util.find_spec(package)}


def patches(folder: Path, options: argparse.Namespace) -> None:
    """3-D patches of 64^3 with nnU-Net's list of augmentations, and without any."""
    root = generate(folder, "lesions_3d", options.volumes, [128, 128, 96])
    candidates = {"medseg": medseg_patches(root, folder)}
    candidates |= {name: build(root, folder) for name, build in available(PATCH_PEERS).items()}
    table("3-D patches 64^3, nnU-Net's augmentation (CPU time each, ratio to medseg)", medians(candidates, options.rounds, 1.0), "medseg")
    bare = {"memory-mapped copy": memory_mapped_copy(root, folder), "medseg, crop and flip": crop_only(root, folder)}
    table("crop and flip alone (ratio to a bare copy)", medians(bare, options.rounds, 0.3), "memory-mapped copy")


def pictures(folder: Path, options: argparse.Namespace) -> None:
    """2-D patches of 256 x 256 of colour pictures with the same operations."""
    root = generate_pictures(folder, options.volumes)
    candidates = {"medseg": medseg_pictures(root, folder)}
    candidates |= {name: build(root, folder) for name, build in available(PICTURE_PEERS).items()}
    table("2-D patches 256^2 (CPU time each, ratio to medseg)", medians(candidates, options.rounds, 0.5), "medseg")


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """From files to the prepared store, resampled to another voxel size."""
    root = generate(folder, "lesions_3d", options.volumes, [128, 128, 96])
    candidates = {"medseg": medseg_prepare(root, folder)}
    candidates |= {name: build(root, folder) for name, build in available(PREPARE_PEERS).items()}
    table("preparation of a case (CPU time, ratio to medseg)", medians(candidates, min(options.rounds, 5), 1.0), "medseg")


def start(folder: Path, options: argparse.Namespace) -> None:
    """From the config to the first batch, over prepared cases."""
    print(f"\nfirst batch of {options.cases} prepared cases: {first_batch(folder, options.cases):.2f} s of wall time")


SECTIONS = {"patches": patches, "pictures": pictures, "prepare": prepare, "start": start}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--volumes", type=int, default=8, help="phantoms of each kind")
    parser.add_argument("--cases", type=int, default=1000, help="prepared cases of the first epoch")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' own
    packages = ("torch", "monai", "nnunetv2", "torchio", "albumentations")
    found = ", ".join(f"{name} {version(name)}" for name in packages if importlib.util.find_spec(name))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {found}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            SECTIONS[name](Path(folder), options)


if __name__ == "__main__":
    main()
