"""What an evaluation says about probabilities: detection curves and calibration of each class over all cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from medseg.metrics import CalibrationRow, CandidateRow, LesionRow, average_precision, ece, froc, reliability, scored_lesions
from medseg.metrics.calibration import MARGIN_MM
from medseg.metrics.detection import FP_PER_CASE, THRESHOLD

_DETECTION = (
    f"candidates: components of the probability above {THRESHOLD:g}, scored by their highest probability; a lesion is found by one that "
    "shares a voxel with it, a candidate is false if it shares none with any lesion; froc: mean sensitivity at "
    "1/8, 1/4, 1/2, 1, 2, 4 and 8 false candidates a case; average_precision: area under the precision-recall curve"
)
_CALIBRATION = (
    f"ECE of each class, bins (l, u] of equal width, over the voxels in the box around reference and prediction "
    f"widened by {MARGIN_MM:g} mm; mean: over classes"
)


def summarise_detection(
    candidates: Sequence[CandidateRow], lesions: Sequence[LesionRow], classes: Iterable[str], cases: Iterable[str]
) -> dict[str, Any]:
    """FROC and average precision of each class, and their means over the classes that have lesions.

    Args:
        candidates: Of all classes and cases.
        lesions: Likewise; rows of cases without probabilities are passed over.
        classes: Names of the classes.
        cases: Ids of the cases whose probabilities were looked at: a case without any candidate is one, too.
    """
    looked_at = set(cases)
    lesions = [row for row in lesions if row.case_id in looked_at]
    by_class: dict[str, dict[str, Any]] = {}
    for name in classes:
        own = [row for row in candidates if row.class_name == name]
        numbers = scored_lesions(looked_at, lesions, name)
        curve = froc(own, numbers)
        by_class[name] = {
            "froc": curve.mean,
            "sensitivity": list(curve.at),
            "average_precision": average_precision(own, numbers),
            "lesions": sum(map(len, numbers.values())),
            "candidates": len(own),
        }
    mean = {key: _mean(one[key] for one in by_class.values()) for key in ("froc", "average_precision")}
    return {"definition": _DETECTION, "cases": len(looked_at), "fp_per_case": list(FP_PER_CASE), "mean": mean, "classes": by_class}


def summarise_calibration(rows: Sequence[CalibrationRow]) -> dict[str, Any]:
    """Expected calibration error of each class with its bins, and the mean over the classes that have any voxel."""
    by_class: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(row.class_name for row in rows):
        bins = reliability(row for row in rows if row.class_name == name)
        by_class[name] = {
            "ece": ece(bins),
            "edges": bins.edges.tolist(),
            "voxels": bins.voxels.tolist(),
            "probability": bins.probability.tolist(),
            "positives": bins.positives.tolist(),
        }
    return {"definition": _CALIBRATION, "mean": {"ece": _mean(one["ece"] for one in by_class.values())}, "classes": by_class}


def _mean(values: Iterable[float]) -> float:
    valid = [value for value in values if not math.isnan(value)]
    return sum(valid) / len(valid) if valid else math.nan
