"""Finds cases that differ from the others of a data set: in voxel size, orientation or intensities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medseg.data.case import Fault
from medseg.data.check_case import Finding

FEWEST = 8
"""Cases below which none can be told to be unusual."""
SPREADS = 6.0
"""Robust standard deviations beyond which a case is unusual: 1.4826 times the median absolute deviation, 1 in 10^9 of a normal sample."""
RATIO = 2.0
"""An unusual voxel is at least so many times larger or smaller than the usual one."""
WIDTH, SHIFT = 3.0, 0.4
"""An unusual range of intensities is so many times wider or narrower than the usual one, or begins so many usual widths off."""
SHARE = 0.1
"""Where more of the cases than this are unusual, the data set is mixed and none is reported."""
USUAL = 0.9
"""Share of the cases from which on an orientation is the usual one."""


def unusual_spacings(findings: Sequence[Finding]) -> list[Fault]:
    """Cases whose voxels are at least twice as large or small along an axis as in most others."""
    measured = [finding for finding in findings if finding.spacing is not None]
    if len(measured) < FEWEST:
        return []
    sizes = np.array([finding.spacing for finding in measured])
    usual = np.median(sizes, axis=0)
    far: np.ndarray = _far(np.log(sizes), np.log(RATIO)).max(axis=1)
    remedy = "check the header; if it is right, set data.spacing, so that all cases have one voxel size"
    return [
        Fault("warning", finding.case.id, finding.case.images[0], f"has voxels of {_mm(size)}, the others usually of {_mm(usual)}", remedy)
        for finding, size, unusual in zip(measured, sizes, far.tolist(), strict=True)
        if unusual
    ]


def unusual_orientations(findings: Sequence[Finding]) -> list[Fault]:
    """Cases that are stored in another orientation than nearly all others."""
    measured = [finding for finding in findings if finding.orientation]
    if len(measured) < FEWEST:
        return []
    usual, count = Counter(finding.orientation for finding in measured).most_common(1)[0]
    if count < USUAL * len(measured):
        return []
    remedy = "nothing to do if its header is right, since all cases are turned alike; look at it once"
    return [
        Fault(
            "warning", finding.case.id, finding.case.images[0], f"is stored as {finding.orientation}, nearly all others as {usual}", remedy
        )
        for finding in measured
        if finding.orientation != usual
    ]


def unusual_intensities(findings: Sequence[Finding], channels: Sequence[str]) -> list[Fault]:
    """Cases whose intensities span another range than those of nearly all others: Hounsfield units without their offset, another scaling.

    Sets in which many cases differ, such as magnetic resonance from several scanners, are left alone.
    """
    measured = [finding for finding in findings if len(finding.ranges) == len(channels)]
    if len(measured) < FEWEST:
        return []
    faults = []
    for number, channel in enumerate(channels):
        ranges = np.array([finding.ranges[number] for finding in measured])
        usual = np.median(ranges, axis=0)
        width = ranges[:, 1] - ranges[:, 0]
        if usual[1] <= usual[0]:
            continue
        far = _far(np.log(np.maximum(width, 1e-6 * width.max()))[:, None], np.log(WIDTH))[:, 0]
        far |= _far(ranges[:, :1] / np.median(width), SHIFT)[:, 0]
        if np.count_nonzero(far) > SHARE * len(measured):
            continue
        remedy = "check its export (rescale slope and intercept, units); nothing to do if its scanner differs"
        for finding, (low, high), unusual in zip(measured, ranges, far, strict=True):
            if unusual and high > low:
                message = f"{channel} has intensities of {low:.4g} to {high:.4g}, the others usually of {usual[0]:.4g} to {usual[1]:.4g}"
                faults.append(
                    Fault("warning", finding.case.id, finding.case.images[min(number, len(finding.case.images) - 1)], message, remedy)
                )
    return faults


def _far(values: np.ndarray, least: float) -> np.ndarray:
    """Which of the values (N, K) lie further from their column's median than `least` and than `SPREADS` robust deviations."""
    away = np.abs(values - np.median(values, axis=0))
    far: np.ndarray = away >= np.maximum(least * (1 - 1e-6), SPREADS * 1.4826 * np.median(away, axis=0))
    return far


def _mm(size: np.ndarray) -> str:
    return " x ".join(f"{edge:.3g}" for edge in size) + " mm"
