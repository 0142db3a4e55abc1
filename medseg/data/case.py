"""What a data set consists of, whatever its format on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.data.geometry import Geometry
from medseg.data.images import FileError, read_image, read_label
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
        """Read all channels; grey pictures become three channels and colours one (BT.601 luma) where `channels` asks for it.

        Returns:
            float32 (C, *spatial) and its geometry.

        Raises:
            DataError: When a file cannot be read, lies in another grid than the first, or the number of channels is wrong.
        """
        arrays, geometries = zip(*(read_image(path) for path in self.images), strict=True)
        for path, geometry in zip(self.images, geometries, strict=True):
            self.require_same_grid(path, geometry, geometries[0])
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        self.require_channels(len(array), geometries[0].spatial_dims)
        if self.channels is not None and self.channels != len(array):
            array = np.tensordot(_GREY, array, axes=1)[None] if self.channels == 1 else np.repeat(array, 3, axis=0)
        return array, geometries[0]

    def read_label(self) -> tuple[np.ndarray, Geometry]:
        """Read the reference as it stands on disk: integers (*spatial) and the geometry.

        Raises:
            DataError: When there is none, or it cannot be read.
        """
        if self.label is None:
            raise DataError(f"case '{self.id}' has no label")
        return read_label(self.label)

    def require_same_grid(self, path: Path, geometry: Geometry, reference: Geometry) -> None:
        """Raise `FileError` when a channel or label lies in another grid than the first image."""
        difference = geometry.mismatch(reference)
        if difference:
            problem = f"lies in another grid than {self.images[0].name}: {difference}"
            same_voxels = "the shapes agree: if both show the same voxels, copy the image's header to this file"
            other = "resample it to the image's grid, or replace it by the file that belongs to the image"
            raise FileError(path, problem, same_voxels if "shape" not in difference else other)

    def require_channels(self, found: int, spatial_dims: int) -> None:
        """Raise `FileError` when the files' channels are neither those of the data set nor grey or colour pictures of them."""
        wanted = self.channels
        if wanted in (None, found) or (spatial_dims == 2 and {found, wanted} == {1, 3}):
            return
        names = ", ".join(path.name for path in self.images)
        raise FileError(
            self.images[0],
            f"{found} channels in {names}, {wanted} in the data set (when predicting, the run's)",
            "give the case the same channels, or remove it",
        )


@dataclass(frozen=True)
class Fault:
    """Something wrong with a data set.

    Args:
        severity: With an `error` the case cannot be used; a `warning` deserves a look.
        case: Id of the case, empty when it concerns the data set.
        file: The file, where there is one.
        message: What is wrong.
        remedy: What to do.
    """

    severity: Literal["error", "warning"]
    case: str
    file: Path | None
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file or self.case or 'data set'}: {self.message}; {self.remedy}"


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
        faults: What reading the layout found wrong without opening an image, such as a mask that has none. `check_dataset` reports it.
    """

    name: str
    root: Path
    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    labels: LabelSchema
    spatial_dims: int
    suffix: str
    test_cases: tuple[Case, ...] = ()
    faults: tuple[Fault, ...] = ()

    def summary(self) -> dict[str, Any]:
        """What a trained network must remember of the data set, in plain JSON types."""
        return {
            "name": self.name,
            "channels": list(self.channels),
            "labels": self.labels.to_dict(),
            "spatial_dims": self.spatial_dims,
            "suffix": self.suffix,
        }
