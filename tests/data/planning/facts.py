"""Fingerprints of data sets that exist nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.data.planning.fingerprint import PERCENTILES, CaseFacts, Fingerprint


def facts(number: int = 0, shape: Sequence[int] = (180, 200, 160), spacing: Sequence[float] = (1.0, 1.0, 1.0), **changes: Any) -> CaseFacts:
    """A case of one channel and one class with 100 lesions of 20 voxels."""
    row = tuple(float(value) for value in PERCENTILES)
    values: dict[str, Any] = {
        "id": f"case_{number}",
        "shape": tuple(shape),
        "spacing": tuple(spacing),
        "orientation": "RAS" if len(shape) == 3 else "",
        "image": (row,),
        "foreground": (row,),
        "low": (0.0,),
        "high": (100.0,),
        "std": (20.0,),
        "whole_numbers": True,
        "eight_bit": False,
        "picture": False,
        "labelled": True,
        "counts": (2000,),
        "lesions": (100,),
        "sizes": ((20,) * 100,),
        "sources": ("recipe",),
    }
    return CaseFacts(**(values | changes))


def fingerprint(cases: Sequence[CaseFacts], channels: Sequence[str] = ("FLAIR",), classes: Sequence[str] = ("lesion",)) -> Fingerprint:
    """A data set of these cases."""
    return Fingerprint("made_up", tuple(channels), tuple(classes), len(cases[0].shape), tuple(cases))
