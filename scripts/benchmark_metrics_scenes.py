"""The scenes of `benchmark_metrics.py`, and what medseg computes on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.metrics import METRICS, MetricOptions, class_counts, overlap, score_case
from medseg.metrics.surface import assd, hd, hd95, masd, nsd, surfaces, surfels

COUNTING = ("dice", "iou", "precision", "recall", "volume_similarity", "volume_difference_ml", "absolute_volume_difference_ml")
SURFACES = ("dice", "hd", "hd95", "nsd", "assd", "masd")
SURFELS = ("hd95_surfel", "nsd_surfel")
LESIONS = tuple(name for name, metric in METRICS.items() if metric.family == "lesion")
TOLERANCES = (1.0, 2.0)


@dataclass(frozen=True)
class Scene:
    """Two label maps of exclusive classes."""

    prediction: np.ndarray
    reference: np.ndarray
    num_classes: int
    """Foreground classes; the ids are 0 to this."""
    spacing: tuple[float, ...]

    @property
    def membership(self) -> np.ndarray:
        """Which id belongs to which class."""
        return np.eye(self.num_classes, self.num_classes + 1, 1, dtype=bool)

    def masks(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Prediction and reference of each class, for packages that take masks."""
        return [(self.prediction == index, self.reference == index) for index in range(1, self.num_classes + 1)]


def organs(shape: tuple[int, ...] = (256, 256, 128), count: int = 13, seed: int = 0) -> Scene:
    """Ellipsoids that are predicted a little shifted, and two stray false positives far away."""
    generator = np.random.default_rng(seed)
    prediction, reference = np.zeros((2, *shape), np.uint8)
    for index in range(1, count + 1):
        centre = generator.uniform(0.2, 0.8, len(shape)) * shape
        radii = generator.uniform(0.05, 0.13, len(shape)) * shape
        _paint(reference, centre, radii, index)
        _paint(prediction, centre + generator.integers(-2, 3, len(shape)), radii * generator.uniform(0.95, 1.05), index)
    prediction[(2,) * len(shape)], prediction[(-3,) * len(shape)] = 1, count
    return Scene(prediction, reference, count, (1.5, 1.5, 2.0)[: len(shape)])


def lesions(shape: tuple[int, ...] = (256, 256, 128), count: int = 40, hits: int = 31, false: int = 10, seed: int = 1) -> Scene:
    """Balls of 7 to 1400 voxels, most of them hit, and false ones, none touching another."""
    generator = np.random.default_rng(seed)
    prediction, reference = np.zeros((2, *shape), np.uint8)
    cells = [np.arange(12, size - 12, 24) for size in shape]
    centres = generator.permutation(np.stack(np.meshgrid(*cells), axis=-1).reshape(-1, len(shape)))[: count + false]
    for index, centre in enumerate(centres):
        radius = generator.uniform(1.2, 7.0)
        if index < count:
            _paint(reference, centre, np.full(len(shape), radius), 1)
        if index < hits or index >= count:
            _paint(prediction, centre + generator.integers(-1, 2, len(shape)), np.full(len(shape), radius * generator.uniform(0.8, 1.2)), 1)
    return Scene(prediction, reference, 1, (1.0,) * len(shape))


def _paint(ids: np.ndarray, centre: np.ndarray, radii: np.ndarray, value: int) -> None:
    axes = np.ogrid[tuple(slice(0, size) for size in ids.shape)]
    inside: Any = sum(((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True))
    ids[inside <= 1] = value


def counted(scene: Scene) -> Callable[[], float]:
    """Every counting metric of every class from the confusion table."""
    functions = [getattr(overlap, name) for name in COUNTING]

    def step() -> float:
        voxel_ml = float(np.prod(scene.spacing)) / 1000
        counts = class_counts(scene.prediction, scene.reference, scene.membership, voxel_ml)
        return float(np.mean([[function(one) for function in functions] for one in counts], axis=0)[0])

    return step


def measured(scene: Scene) -> Callable[[], float]:
    """Counts and distances of voxel borders, and every measure of them; returns the mean HD95."""
    counting = counted(scene)

    def step() -> float:
        counting()
        found = surfaces(scene.prediction, scene.reference, scene.membership, scene.spacing)
        values = [(hd95(one), hd(one), nsd(one, 1.0), nsd(one, 2.0), assd(one), masd(one)) for one in found]
        return float(np.mean(values, axis=0)[0])

    return step


def measured_surfels(scene: Scene) -> Callable[[], float]:
    """The same of surfels, without the counts."""

    def step() -> float:
        found = surfels(scene.prediction, scene.reference, scene.membership, scene.spacing)
        values = [(hd95(one), nsd(one, 1.0), nsd(one, 2.0), assd(one), masd(one)) for one in found]
        return float(np.mean(values, axis=0)[0])

    return step


def scored(scene: Scene, metrics: tuple[str, ...], shown: str) -> Callable[[], float]:
    """`score_case`, with the components and their table that every row speaks of; returns the mean of one metric."""
    options = MetricOptions(metrics=metrics, tolerances=TOLERANCES)
    names = [f"{index}" for index in range(scene.num_classes)]

    def step() -> float:
        rows = score_case("a", "", scene.prediction, scene.reference, names, scene.membership, scene.spacing, options).rows
        return float(np.nanmean([row.value for row in rows if row.metric == shown]))

    return step
