"""What deserves a line before an image is predicted: colours that are lost, images that show nothing."""

from __future__ import annotations

from collections.abc import Iterator

from medseg.data.images import RASTER_SUFFIXES, count_channels, suffix_of
from medseg.data.preparation import PreparedCase
from medseg.inference.cases import InputCase


class Remarks:
    """Looks at prepared cases, and says of colours only once that they are turned to grey."""

    def __init__(self) -> None:
        self._said_grey = False

    def of(self, prepared: PreparedCase) -> Iterator[str]:
        """The lines about a case, mostly none."""
        case, known = prepared.case, prepared.intensities
        if (
            not self._said_grey
            and case.channels == 1
            and suffix_of(case.images[0]) in RASTER_SUFFIXES
            and count_channels(case.images[0]) == 3
        ):
            self._said_grey = True
            yield f"{case.images[0]}: colours are turned to grey, since the network was trained on one channel (said once)"
        if known is None:
            return
        flat = [index for index, (low, high) in enumerate(zip(known.low, known.high, strict=True)) if low == high]
        if flat and len(flat) == len(known.low):
            yield f"warning: {case.images[0]}: the image is constant, {known.low[0]:g} everywhere"
        elif flat:
            names = case.names if isinstance(case, InputCase) and case.names else tuple(map(str, range(len(known.low))))
            shown = ", ".join(names[index] for index in flat)
            yield f"warning: {case.images[0]}: constant in {len(flat)} of {len(known.low)} channels: {shown}"
