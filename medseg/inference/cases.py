"""An image to predict: it fits the network, or says in the words of prediction why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.images import FileError, read_geometry
from medseg.data.images.slices import is_one_slice, to_rows, to_slice
from medseg.errors import DataError


@dataclass(frozen=True)
class InputCase(Case):
    """A case without label, for one network.

    Args:
        names: The network's image channels; () where only their number (`channels`) is known.
        dims: Its spatial axes. A 2-D network takes volumes of one slice, such as NIfTI files (x, y, 1), as well.
    """

    names: tuple[str, ...] = ()
    dims: int = 3

    @classmethod
    def of(cls, case: Case, names: Sequence[str], dims: int) -> InputCase:
        """The case for a network."""
        return cls(**{field.name: getattr(case, field.name) for field in fields(Case)}, names=tuple(names), dims=dims)

    def read_image(self) -> tuple[np.ndarray, Geometry]:
        """Read all channels as `Case.read_image` does.

        Raises:
            DataError: As there, and where files of channels are missing.
        """
        missing = [index for index, path in enumerate(self.images) if not path.exists()]
        if missing and len(missing) < len(self.images) == self.channels:
            names = self.names or tuple(path.name for path in self.images)
            lacks = ", ".join(f"{names[index]} ({self.images[index].name})" for index in missing)
            raise DataError(
                f"{self.images[0].parent}: case '{self.id}' has {len(self.images) - len(missing)} of the {len(self.images)} channels "
                f"that the network needs: {', '.join(names)}; missing: {lacks}"
            )
        array, geometry = super().read_image()
        return to_rows(array, geometry) if self.dims == 2 and is_one_slice(geometry) else (array, geometry)

    def require_channels(self, found: int, spatial_dims: int) -> None:
        """Raise `FileError` when the files' channels are neither those of the network nor grey or colour pictures of them."""
        wanted = self.channels
        if wanted in (None, found) or (self.dims == 2 and {found, wanted} == {1, 3}):
            return
        names = f": {', '.join(self.names)}" if self.names else ""
        where = f" in {', '.join(path.name for path in self.images)}" if len(self.images) > 1 else ""
        raise FileError(
            self.images[0],
            f"the image has {found} channel{'s' * (found != 1)}{where}, the network was trained on {wanted}{names}",
            f"give it {'that channel alone' if wanted == 1 else 'these channels'}",
        )


def as_stored(case: Case, array: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, Geometry]:
    """What was predicted, in the axes of the case's files: a volume of one slice again where its image is one.

    Shape:
        array: (..., *geometry.shape)
    """
    if isinstance(case, InputCase) and geometry.spatial_dims == 2 and read_geometry(case.images[0]).spatial_dims == 3:
        return to_slice(array, geometry)
    return array, geometry
