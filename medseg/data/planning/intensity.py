"""Which normalisation each channel gets."""

from __future__ import annotations

import re

import numpy as np

from medseg.data.planning.fingerprint import PERCENTILES, Fingerprint

CT_NAMES = {"ct", "cta", "cbct", "ncct", "cect", "hu"}

AIR, BONE = -800.0, 200.0
"""Hounsfield units that a CT falls below and rises above."""

UNEVEN = 0.5
"""Spread of the pictures' median brightness, in standard deviations within a picture, from which on each is standardised by itself."""

_MEDIAN = PERCENTILES.index(50.0)


def choose_normalisation(fingerprint: Fingerprint) -> tuple[str | list[str], str]:
    """One normalisation for all channels, or one for each, and why."""
    if all(case.eight_bit for case in fingerprint.cases):
        return _for_pictures(fingerprint)
    chosen = [_for_channel(fingerprint, number, name) for number, name in enumerate(fingerprint.channels)]
    names, reasons = [name for name, _ in chosen], dict.fromkeys(reason for _, reason in chosen)
    return names[0] if len(set(names)) == 1 else names, "; ".join(reasons)


def _for_pictures(fingerprint: Fingerprint) -> tuple[str, str]:
    medians = np.array([[row[_MEDIAN] for row in case.image] for case in fingerprint.cases]).mean(axis=1)
    within = float(np.median([np.mean(case.std) for case in fingerprint.cases]))
    if medians.std() > UNEVEN * within:
        return "zscore", f"8-bit pictures whose brightness varies between cases (medians {medians.min():.0f} to {medians.max():.0f})"
    return "unit", "8-bit pictures of even brightness: divided by 255"


def _for_channel(fingerprint: Fingerprint, number: int, name: str) -> tuple[str, str]:
    foreground = any(case.foreground for case in fingerprint.cases)
    named = bool(CT_NAMES & set(re.split(r"[^a-z]+", name.lower())))
    hounsfield = np.mean([case.whole_numbers and case.low[number] <= AIR and case.high[number] >= BONE for case in fingerprint.cases]) > 0.9
    if (named or hounsfield) and foreground:
        why = "its name" if named else "its values, integers from air to bone"
        return "ct", f"'{name}' is CT by {why}: one scale for all cases, clipped to what the foreground shows"
    return "zscore", f"{_quoted(fingerprint, named)} have no unit: each case is standardised by itself"


def _quoted(fingerprint: Fingerprint, named: bool) -> str:
    if named:
        return "CT without any foreground to measure, and other channels,"
    return "pictures of more than 8 bits" if all(case.picture for case in fingerprint.cases) else "intensities other than CT's"
