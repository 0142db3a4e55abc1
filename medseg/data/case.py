"""What a data set consists of, whatever its format on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.geometry import Geometry
from medseg.data.images import read_image, read_label
from medseg.data.labels import LabelSchema
from medseg.errors import DataError

# ITU-R BT.601: how Pillow turns colours into grey.
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """One subject to segment.

    Args:
        id: Name of the case, unique in its data set.
        images: One file per channel, or one file that holds all channels.
        label: The reference, or None.
        group: What must not be split between training and validation: the patient.
        channels: Channels that `read_image` returns. None: as many as the files hold.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    group: str
    channels: int | None = None

    def read_image(self) -> tuple[np.ndarray, Geometry]:
        """Read all channels. Grey pictures are repeated to three channels, colours averaged to one (BT.601), where `channels` asks for it.

        Returns:
            float32 (C, *spatial) and its geometry.

        Raises:
            DataError: When a file cannot be read, lies in another grid than the first, or the number of channels is wrong.
        """
        arrays, geometries = zip(*(read_image(path) for path in self.images), strict=True)
        for path, geometry in zip(self.images, geometries, strict=True):
            difference = geometries[0].mismatch(geometry)
            if difference:
                raise DataError(
                    f"{path}: lies in another grid than {self.images[0].name}: {difference}; resample the channels of case '{self.id}' to one grid"
                )
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return self._with_channels(array, geometries[0]), geometries[0]

    def read_label(self) -> tuple[np.ndarray, Geometry]:
        """Read the reference as it stands on disk: integers (*spatial) and the geometry.

        Raises:
            DataError: When there is none, or it cannot be read.
        """
        if self.label is None:
            raise DataError(f"case '{self.id}' has no label")
        return read_label(self.label)

    def _with_channels(self, array: np.ndarray, geometry: Geometry) -> np.ndarray:
        found, wanted = len(array), self.channels
        if wanted in (None, found):
            return array
        if geometry.spatial_dims == 2 and (found, wanted) == (1, 3):
            return np.repeat(array, 3, axis=0)
        if geometry.spatial_dims == 2 and (found, wanted) == (3, 1):
            return np.tensordot(_GREY, array, axes=1)[None]
        names = ", ".join(path.name for path in self.images)
        raise DataError(f"{self.images[0]}: case '{self.id}' has {found} channels ({names}), the data set {wanted}; add or remove channels")


@dataclass(frozen=True)
class DataSet:
    """All cases of a data set and what their channels and labels mean.

    Args:
        name: Name of the data set.
        root: Its folder.
        cases: The cases to train and validate on.
        channels: Names of the image channels.
        labels: Meaning of the label values.
        spatial_dims: 2 or 3.
        suffix: Suffix of label files, ".nii.gz" for example; predictions are written with it.
        test_cases: Cases that are never trained on, labelled or not.
        strays: Files that belong to no case, such as a mask without an image: path and what is wrong. `medseg check` reports them.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: LabelSchema
    spatial_dims: int
    suffix: str
    test_cases: tuple[Case, ...] = ()
    strays: tuple[tuple[Path, str], ...] = ()

    def summary(self) -> dict[str, Any]:
        """What a trained network must remember of the data set, in plain JSON types."""
        return {
            "name": self.name,
            "channels": list(self.channels),
            "labels": self.labels.to_dict(),
            "spatial_dims": self.spatial_dims,
            "suffix": self.suffix,
        }
