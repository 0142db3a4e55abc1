"""Read the conformance cases of the reference folder: arrays described by operations on zeros."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

REFERENCE = Path(os.environ.get("MEDSEG_REFERENCE", Path(__file__).parents[3] / "shared" / "reference"))


def conformance_cases(*metrics: str) -> list[Any]:
    """The cases of some metrics as pytest parameters; one skipped parameter where the file is absent."""
    return [case for case in all_cases() if case.values[0] is None or case.values[0]["metric"] in metrics]


def all_cases() -> list[Any]:
    """All cases, likewise."""
    path = REFERENCE / "metric_cases.json"
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{path.name} is absent; set MEDSEG_REFERENCE to its folder"))]
    return [pytest.param(case, id=case["id"]) for case in json.loads(path.read_text())["cases"]]


def build_array(description: Any) -> np.ndarray:
    """Nested lists, or zeros with boxes, points and runs written into them."""
    if isinstance(description, list):
        return np.array(description)
    array = np.zeros(description["shape"], description["dtype"])
    for name, *arguments in description["ops"]:
        if name == "box":
            low, high, value = arguments
            array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = value
        elif name == "points":
            points, value = arguments
            array[tuple(np.array(points, dtype=np.int64).reshape(-1, array.ndim).T)] = value
        elif name == "sphere":
            radius, centre, spacing, value = arguments
            steps = [(np.arange(n) * s - c) ** 2 for n, s, c in zip(array.shape, spacing, centre, strict=True)]
            array[sum(np.meshgrid(*steps, indexing="ij", sparse=True)) <= radius**2] = value
        elif name == "runs":
            array[:] = np.repeat([value for _, value in arguments[0]], [count for count, _ in arguments[0]])
        else:
            raise NotImplementedError(name)
    return array
