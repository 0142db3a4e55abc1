"""Time medseg's metrics beside MONAI, torchmetrics, surface-distance and panoptica: CPU seconds, peak memory, and the numbers themselves.

    python scripts/benchmark_metrics.py                        # everything
    python scripts/benchmark_metrics.py --only pictures --rounds 9

Three scenes: 13 organs and 40 lesions in 256 x 256 x 128 voxels, three classes in a picture of 512 x 512. One thread, candidates taking
turns in one process, medians over the rounds, ratios to medseg in the same run. The last column is a number that both sides compute:
one sees that they mean the same. Peak memory is that of one call in a forked process, above what the process held before. Peers that
are not installed are left out (`pip install surface-distance panoptica`; MONAI and torchmetrics come with medseg).
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ctypes
import importlib.util
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import benchmark_metrics_peers as peers
from benchmark_metrics_scenes import (
    COUNTING,
    LESIONS,
    SURFACES,
    SURFELS,
    Scene,
    counted,
    lesions,
    measured,
    measured_surfels,
    organs,
    scored,
)

Step = Callable[[], float]

PACKAGES = {"MONAI": "monai", "torchmetrics": "torchmetrics", "surface-distance": "surface_distance", "panoptica": "panoptica"}


def medians(candidates: dict[str, Step], rounds: int) -> dict[str, float]:
    """CPU seconds of a call: candidates take turns."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, step in candidates.items():
            start = time.process_time()
            step()
            found[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def peak_mib(step: Step) -> float:
    """Memory of one call above what the process held before it, in MiB; NaN where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return float("nan")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        # What earlier calls freed must not serve this one unseen: give it back, and let the peak begin anew.
        if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
            library.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        step()
        os.write(writing, f"{(_status('VmHWM') - before) / 1024:.3f}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return float(pipe.read() or "nan")


def _status(key: str) -> int:
    """A number of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


def table(title: str, candidates: dict[str, Step], rounds: int) -> None:
    """Warm up, measure and print; the first candidate is ours."""
    values = {name: step() for name, step in candidates.items()}
    memory = {name: peak_mib(step) for name, step in candidates.items()}
    results = medians(candidates, rounds)
    ours = next(iter(results.values()))
    print(f"\n{title}")
    width = max(map(len, results))
    for name, seconds in results.items():
        print(f"  {name:<{width}}  {1000 * seconds:10.1f} ms  {seconds / ours:8.1f} x  {memory[name]:8.1f} MiB  {values[name]:10.4f}")


def installed(candidates: dict[str, tuple[Callable[[Scene], Step], Scene]]) -> dict[str, Step]:
    """The peers whose package, the first word of their name, is there."""
    return {
        name: build(scene) for name, (build, scene) in candidates.items() if importlib.util.find_spec(PACKAGES[name.split()[0].strip(",")])
    }


def organ_counts(rounds: int, scene: Scene | None = None) -> None:
    """Counting metrics of 13 organs."""
    scene = scene or organs()
    candidates = {"medseg, 7 metrics": counted(scene), "medseg, score_case": scored(scene, COUNTING, "dice")}
    others = {
        "MONAI DiceMetric": (peers.monai_dice, scene),
        "torchmetrics DiceScore": (peers.torchmetrics_dice, scene),
    }
    table("13 organs, 256 x 256 x 128: counting metrics (mean Dice)", candidates | installed(others), rounds)


def organ_surfaces(rounds: int, scene: Scene | None = None) -> None:
    """Surface metrics of 13 organs."""
    scene = scene or organs()
    candidates = {"medseg Dice, HD, HD95, NSD x 2, ASSD, MASD": measured(scene), "medseg, score_case": scored(scene, SURFACES, "hd95")}
    others = {"MONAI Dice, HD95, NSD, ASSD": (peers.monai_all, scene)}
    table("13 organs: surface metrics of voxel borders (mean HD95, mm)", candidates | installed(others), rounds)
    candidates = {
        "medseg HD95, NSD x 2, ASSD, MASD (surfels)": measured_surfels(scene),
        "medseg, score_case": scored(scene, SURFELS, "hd95_surfel"),
    }
    others = {"surface-distance HD95, NSD x 2, ASD": (peers.surface_distance, scene)}
    table("13 organs: surface metrics of surfels (mean HD95, mm)", candidates | installed(others), rounds)


def lesion_block(rounds: int, scene: Scene | None = None) -> None:
    """Lesion metrics of 40 lesions."""
    scene = scene or lesions()
    candidates = {"medseg PQ, SQ, RQ": scored(scene, ("pq", "sq", "rq"), "pq")}
    table("40 lesions, 256 x 256 x 128: PQ", candidates | installed({"panoptica": (peers.panoptica, scene)}), rounds)
    candidates = {
        "medseg CC-Dice": scored(scene, ("cc_dice",), "cc_dice"),
        "medseg BraTS-2023 Dice, HD95": scored(scene, ("brats_dice", "brats_hd95"), "brats_dice"),
        f"medseg, all {len(LESIONS)} lesion metrics": scored(scene, LESIONS, "lesion_f1"),
    }
    table(
        "40 lesions: CC-Dice (the rows of medseg: their own first metric)",
        candidates | installed({"MONAI DiceMetric per component": (peers.monai_cc_dice, scene)}),
        rounds,
    )


def pictures(rounds: int, scene: Scene | None = None) -> None:
    """A picture of 512 x 512 with three classes."""
    scene = scene or organs((512, 512), 3)
    candidates = {"medseg, all standard metrics": scored(scene, (), "hd95")}
    others = {
        "MONAI Dice, HD95, NSD, ASSD": (peers.monai_all, scene),
        "torchmetrics DiceScore": (peers.torchmetrics_dice, scene),
        "surface-distance HD95, NSD x 2, ASD": (peers.surface_distance, scene),
    }
    table("512 x 512, 3 classes (mean HD95, mm; torchmetrics: Dice)", candidates | installed(others), rounds)


SECTIONS = {"counts": organ_counts, "surfaces": organ_surfaces, "lesions": lesion_block, "pictures": pictures}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # the peers' own
    import torch

    torch.set_num_threads(1)
    names = ("numpy", "scipy", "torch", "monai", "torchmetrics", "surface-distance", "panoptica")
    found = ", ".join(f"{name} {version(name)}" for name in names if importlib.util.find_spec(name.replace("-", "_")))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {found}")
    print("command:", " ".join(["python", *sys.argv]))
    for name in options.only:
        SECTIONS[name](options.rounds)


if __name__ == "__main__":
    main()
