"""Whether a probability means what it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.evaluation.report.source import Source
from medseg.html import Axis, Column, Line, Rule, figure, figures, folded, plot, section, table
from medseg.metrics import ece, reliability
from medseg.metrics.calibration import Bins

MOST_CLASSES = 7
"""Classes in the diagram."""


def calibration(source: Source) -> str:
    """Reliability diagram and calibration errors; nothing where no probabilities were looked at."""
    by_class = {name: reliability(row for row in source.calibration if row.class_name == name) for name in source.classes}
    by_class = {name: bins for name, bins in by_class.items() if bins.voxels.sum()}
    if not by_class:
        return ""
    lines = []
    for colour, (name, bins) in enumerate(list(by_class.items())[:MOST_CLASSES]):
        confidence, share, _ = _means(bins)
        lines.append(Line(name, confidence.tolist(), share.tolist(), dots=True, colour=colour))
    axes = Axis("mean probability", low=0.0, high=1.0), Axis("share that is the class", low=0.0, high=1.0)
    said = source.summary.get("calibration", {}).get("definition", "")
    note = (
        f"{said + '. ' if said else ''}On the dashed line probabilities are as good as they claim; below it the network is too sure. "
        "Far from the target nearly all is background with certainty, which would hide any error: those voxels are left out."
    )
    chart = figure(plot("Reliability", [Rule(), *lines], *axes), "Voxels of all cases together; a dot is a bin that holds voxels.")
    return section("Calibration", _errors(by_class), figures(chart), folded("The bins", _bins(by_class)), note=note)


def _means(bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability and share of the class of the bins that hold voxels, and which these are."""
    there = np.flatnonzero(bins.voxels)
    return bins.probability[there] / bins.voxels[there], bins.positives[there] / bins.voxels[there], there


def _errors(by_class: dict[str, Bins]) -> str:
    columns = [
        Column("class"),
        Column("voxels", "Near the target, all cases together."),
        Column("ECE", "Expected calibration error: mean over voxels of |share that is the class - mean probability| of their bin.", 4),
        Column("largest gap", "Largest |share - mean probability| of a bin.", 3),
        Column("mean probability", "Of these voxels.", 4),
        Column("share that is the class", "Of these voxels.", 4),
    ]
    rows: list[list[Any]] = []
    for name, bins in by_class.items():
        confidence, share, _ = _means(bins)
        total = int(bins.voxels.sum())
        gap = float(np.abs(share - confidence).max())
        rows.append([name, total, ece(bins), gap, float(bins.probability.sum()) / total, float(bins.positives.sum()) / total])
    return table(columns, rows, name="calibration")


def _bins(by_class: dict[str, Bins]) -> str:
    names = ("class", "above", "up to", "voxels", "mean probability", "share that is the class")
    rows: list[list[Any]] = []
    for name, bins in by_class.items():
        edges = bins.edges
        for confidence, share, at in zip(*_means(bins), strict=True):
            rows.append([name, float(edges[at]), float(edges[at + 1]), int(bins.voxels[at]), float(confidence), float(share)])
    return table([Column(name) for name in names], rows, name="calibration bins")
