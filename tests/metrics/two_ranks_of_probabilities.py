"""Cases of `test_detection.py` and `test_calibration.py`, in a module that spawned processes can import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch.distributed as dist

from medseg.metrics.calibration import CalibrationMetrics
from medseg.metrics.detection import DetectionMetrics

CLASSES = ["lesion", "organ"]
MEMBERSHIP = np.array([[0, 1, 0], [0, 0, 1]], bool)
SPACING = (1.0, 1.0, 2.0)

M = TypeVar("M", DetectionMetrics, CalibrationMetrics)


def maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    ids = generator.choice([0, 1, 2, 255], (6, 7, 5), p=[0.86, 0.06, 0.05, 0.03]).astype(np.uint8)
    noise = generator.random((2, *ids.shape)) ** 6
    return np.clip(0.4 * np.stack([ids == 1, ids == 2]) + noise, 0, 1), ids


def detection() -> DetectionMetrics:
    return DetectionMetrics(CLASSES, MEMBERSHIP)


def calibration() -> CalibrationMetrics:
    return CalibrationMetrics(CLASSES, MEMBERSHIP, margin_mm=2.0)


def fill(metric: M, seeds: list[int]) -> M:
    for seed in seeds:
        metric.update(f"case {seed} é", *maps(seed), SPACING)
    return metric


def results(seeds: list[int]) -> dict[str, float]:
    metrics = fill(detection(), seeds), fill(calibration(), seeds)
    return {key: float(value) for metric in metrics for key, value in metric.compute().items()} | {"rows": len(metrics[1].rows())}


def worker(rank: int, folder: str, shares: list[list[int]]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(shares))
    Path(folder, f"{rank}.json").write_text(json.dumps(results(shares[rank])))
    dist.destroy_process_group()
