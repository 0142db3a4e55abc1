"""What is read from the two lists of distances between two surfaces; the definitions that differ between tools, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Hd95Definition = Literal["max_of_directed", "pooled"]

_ROUNDING = 1e-6
"""Relative. Spacings are stored as float32 in many files: 1.2 mm comes back as 1.2000000477 mm, and is within a tolerance of 1.2 mm."""

_CUMULATED = 1e-9
"""Of the whole area: 19 of 20 equal areas are 95 % of them, whatever rounding does to their sum."""


@dataclass(frozen=True)
class Surfaces:
    """The distances from each element of either surface of one class to the nearest element of the other, in mm.

    A list is empty where its mask is; the other one is then infinite. The measures ask for two masks that are not empty.
    """

    pred_to_ref: np.ndarray
    """float64 (n,): from each element of the prediction's surface."""
    ref_to_pred: np.ndarray
    """float64 (m,): from each element of the reference's surface."""
    pred_weights: np.ndarray | None = None
    """float64 (n,): lengths (mm) or areas (mm^2) of the elements; None: all count the same."""
    ref_weights: np.ndarray | None = None
    """float64 (m,)."""


def hd(s: Surfaces) -> float:
    """Hausdorff distance in mm: the longest way from either surface to the other, max(max d(p, R), max d(r, P)); 0 is best.

    Source: Huttenlocher et al., IEEE TPAMI 15(9), 1993, equation 1.
    """
    _refuse_empty(s)
    return float(max(s.pred_to_ref.max(), s.ref_to_pred.max()))


def hd95(s: Surfaces, definition: Hd95Definition = "max_of_directed", percentile: float = 95.0) -> float:
    """A percentile in place of the maximum of the Hausdorff distance, in mm; 0 is best.

    `max_of_directed` takes the larger of the two lists' percentiles (MONAI, Metrics Reloaded), `pooled` the percentile of both lists
    together (medpy, panoptica, BraTS from 2024): on one pair of masks they differ by a factor of three and more. With linear interpolation.
    Of weighted elements it is the smallest distance that at least this part of the area lies within, as in DeepMind's surface-distance.

    Args:
        s: Both lists.
        definition: `max_of_directed` or `pooled`.
        percentile: 0 to 100.

    Source: Maier-Hein, Reinke et al., Nature Methods 21, 2024 (Metrics Reloaded); Nikolov et al., JMIR 23(7), 2021, for the weighted one.
    """
    _refuse_empty(s)
    if definition == "max_of_directed":
        directed = (s.pred_to_ref, s.pred_weights), (s.ref_to_pred, s.ref_weights)
        return max(_percentile(distances, weights, percentile) for distances, weights in directed)
    if definition == "pooled":
        return _percentile(np.concatenate((s.pred_to_ref, s.ref_to_pred)), _pooled_weights(s), percentile)
    raise ValueError(f"definition must be 'max_of_directed' or 'pooled', not {definition!r}")


def assd(s: Surfaces) -> float:
    """Average symmetric surface distance in mm: the mean over the elements of both surfaces together; 0 is best.

    (sum d(p, R) + sum d(r, P)) / (|S_P| + |S_R|), as in Metrics Reloaded, MONAI and medpy. panoptica gives `masd` this name.
    """
    _refuse_empty(s)
    distances, weights = np.concatenate((s.pred_to_ref, s.ref_to_pred)), _pooled_weights(s)
    return float(np.average(distances, weights=weights))


def masd(s: Surfaces) -> float:
    """Mean average surface distance in mm: the mean of the two directed means, so that a long surface has no more say; 0 is best.

    (mean d(p, R) + mean d(r, P)) / 2 (Metrics Reloaded).
    """
    _refuse_empty(s)
    return float(np.average(s.pred_to_ref, weights=s.pred_weights) + np.average(s.ref_to_pred, weights=s.ref_weights)) / 2


def nsd(s: Surfaces, tolerance: float) -> float:
    """Normalised surface Dice: the part of both surfaces that lies within a tolerance of the other; 1 is best.

    (|{p: d(p, R) <= tau}| + |{r: d(r, P) <= tau}|) / (|S_P| + |S_R|), with lengths or areas in place of counts for weighted elements.

    Args:
        s: Both lists.
        tolerance: tau in mm. A distance that exceeds it by rounding alone (one part in a million) is within.

    Source: Nikolov et al., JMIR 23(7), 2021 (surface DSC).
    """
    _refuse_empty(s)
    within = np.concatenate((s.pred_to_ref, s.ref_to_pred)) <= tolerance * (1 + _ROUNDING)
    return float(np.average(within, weights=_pooled_weights(s)))


def _refuse_empty(s: Surfaces) -> None:
    if not s.pred_to_ref.size or not s.ref_to_pred.size:
        raise ValueError("an empty mask has no surface: decide by the rule for empty masks before asking for a distance")


def _pooled_weights(s: Surfaces) -> np.ndarray | None:
    return None if s.pred_weights is None or s.ref_weights is None else np.concatenate((s.pred_weights, s.ref_weights))


def _percentile(distances: np.ndarray, weights: np.ndarray | None, percentile: float) -> float:
    if weights is None:
        return float(np.percentile(distances, percentile))
    order = np.argsort(distances)
    covered = np.cumsum(weights[order])
    at = int(np.searchsorted(covered / covered[-1], percentile / 100 - _CUMULATED))
    return float(distances[order[min(at, len(order) - 1)]])
