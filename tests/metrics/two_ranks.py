"""Cases of `test_case_metrics.py`, in a module that spawned processes can import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch.distributed as dist

from medseg.metrics import CaseMetrics

CLASSES = ["lesion", "organ"]
MEMBERSHIP = np.array([[0, 1, 0], [0, 0, 1]], bool)
SPACING = (1.0, 1.0, 2.0)


def maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return tuple(generator.choice(3, (6, 7, 5), p=[0.8, 0.1, 0.1]).astype(np.uint8) for _ in range(2))  # type: ignore[return-value]


def fill(metric: CaseMetrics, seeds: list[int]) -> CaseMetrics:
    for seed in seeds:
        metric.update(f"case {seed} é", *maps(seed), SPACING, group=f"patient {seed // 2}")
    return metric


def worker(rank: int, folder: str, trials: list[list[list[int]]]) -> None:
    """Every trial in one pair of processes: starting them costs seconds."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    found = []
    for shares in trials:
        metric = fill(CaseMetrics(CLASSES, MEMBERSHIP), shares[rank])
        twice = [{key: float(value) for key, value in metric.compute().items()} for _ in range(2)]
        found.append({"results": twice, "rows": len(metric.rows()), "own": len(metric.records)})
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()
