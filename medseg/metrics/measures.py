"""Name -> metric. To add one: a function of `ClassCounts`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from medseg.metrics.counts import ClassCounts
from medseg.metrics.lesions import lesion_f1, lesion_precision, lesion_recall
from medseg.metrics.overlap import dice, iou, precision, recall, volume_difference_ml

METRICS: dict[str, Callable[[ClassCounts], float]] = {
    "dice": dice,
    "iou": iou,
    "precision": precision,
    "recall": recall,
    "volume_difference_ml": volume_difference_ml,
    "lesion_f1": lesion_f1,
    "lesion_precision": lesion_precision,
    "lesion_recall": lesion_recall,
}
