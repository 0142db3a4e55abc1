"""Detection curves and calibration once more, by their definitions: every threshold is tried, every voxel looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.metrics import MetricOptions
from tests.metrics.reference import STEPS, components, voxels_of

Bin = tuple[int, float, int]
"""Voxels, sum of the probabilities, voxels of the class."""


@dataclass(frozen=True)
class DetectionCase:
    """Candidates (score, voxels, numbers of the lesions that it hits) of a case, and the numbers of its scored lesions."""

    candidates: list[tuple[float, int, tuple[int, ...]]]
    lesions: set[int]


def detection_case(
    probability: np.ndarray, reference: np.ndarray, considered: np.ndarray, spacing: Sequence[float], options: MetricOptions
) -> DetectionCase:
    """Components of what lies above 0.1, with their highest probability."""
    steps = STEPS[options.connectivity]
    lesions = components(voxels_of(reference & considered), steps)
    scored = {n for n, lesion in enumerate(lesions) if len(lesion) * math.prod(spacing) >= options.minimum_lesion}
    found = []
    for component in components(voxels_of((probability > 0.1) & considered), steps):
        hits = tuple(n for n, lesion in enumerate(lesions) if lesion & component)
        found.append((max(float(probability[voxel]) for voxel in component), len(component), hits))
    return DetectionCase(found, scored)


def operating_points(cases: Sequence[DetectionCase]) -> list[tuple[float, int, int]]:
    """(threshold, lesions found, false candidates) at every score from the highest to the lowest."""
    points = []
    for threshold in sorted({score for case in cases for score, _, _ in case.candidates}, reverse=True):
        found = false = 0
        for case in cases:
            detections = [hits for score, _, hits in case.candidates if score >= threshold]
            found += len(case.lesions.intersection(*[set().union(*detections)]))
            false += sum(not hits for hits in detections)
        points.append((threshold, found, false))
    return points


def froc(cases: Sequence[DetectionCase]) -> dict[str, tuple[float, ...]]:
    """The curve and the sensitivity at the seven rates: linear between points, the best where several have one rate."""
    lesions = sum(len(case.lesions) for case in cases)
    points = [(math.inf, 0, 0), *operating_points(cases)]
    rates = [false / len(cases) for _, _, false in points]
    sensitivities = [found / lesions if lesions else math.nan for _, found, _ in points]
    at = []
    for rate in (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8):
        last = max(n for n, there in enumerate(rates) if there <= rate)
        value = sensitivities[last]
        if last + 1 < len(rates):
            value += (sensitivities[last + 1] - value) * (rate - rates[last]) / (rates[last + 1] - rates[last])
        at.append(value)
    return {
        "fp_per_case": tuple(rates),
        "sensitivity": tuple(sensitivities),
        "thresholds": tuple(threshold for threshold, _, _ in points),
        "at": tuple(at),
        "mean": (math.fsum(at) / len(at),),
    }


def average_precision(cases: Sequence[DetectionCase]) -> float:
    """Sum of the gains of recall times the precision there."""
    lesions = sum(len(case.lesions) for case in cases)
    if not lesions:
        return math.nan
    area, before = 0.0, 0.0
    for _, found, false in operating_points(cases):
        recall = found / lesions
        area += (recall - before) * (found / (found + false) if found else 0.0)
        before = recall
    return area


def calibration_bins(
    probability: np.ndarray, reference: np.ndarray, considered: np.ndarray, spacing: Sequence[float], margin_mm: float, bins: int
) -> list[Bin]:
    """Counts in (0, 1/n], (1/n, 2/n], ... over the voxels at most a margin, along each axis, from the box of what is or seems the class."""
    target = voxels_of((reference | (probability > 0.5)) & considered)
    counts = [(0, 0.0, 0)] * bins
    if not target:
        return counts
    lows, highs = ([end(index) for index in zip(*target, strict=True)] for end in (min, max))
    for voxel in sorted(voxels_of(considered)):
        if all(low - margin_mm / s <= i <= high + margin_mm / s for i, low, high, s in zip(voxel, lows, highs, spacing, strict=True)):
            value = probability[voxel]
            n = next(n for n in range(bins) if value <= probability.dtype.type((n + 1) / bins))  # .3 in single precision lies in (.2, .3]
            voxels, total, positives = counts[n]
            counts[n] = (voxels + 1, total + float(value), positives + bool(reference[voxel]))
    return counts


def ece(counts: Sequence[Bin]) -> float:
    """Sum over the bins of their share of voxels times |share of the class - mean probability|."""
    everything = sum(voxels for voxels, _, _ in counts)
    if not everything:
        return math.nan
    return math.fsum(voxels / everything * abs(positives / voxels - total / voxels) for voxels, total, positives in counts if voxels)
