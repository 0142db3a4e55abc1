"""What a data set consists of, whatever its format on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.data.geometry import Geometry, resample_to
from medseg.data.images import FileError, files_of, read_geometry, read_image, read_label
from medseg.data.labels import LabelSchema
from medseg.data.masks import Masks, on_grid, require_same_grid, resamples
from medseg.errors import DataError

# ITU-R BT.601: how Pillow turns colours into grey.
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Case:
    """One subject to segment.

    Args:
        id: Name of the case, unique in its data set.
        images: One file per channel, or one file that holds all channels. A folder stands for the DICOM series in it.
        label: The reference: a file, or a composition of mask files; or None.
        group: What must not be split between training and validation: the patient.
        channels: Channels that `read_image` returns. None: as many as the files hold.
        resample: Whether files in another grid are brought to that of the first image: channels by linear interpolation, masks by nearest
            neighbour. Otherwise they are a fault.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | Masks | None
    group: str
    channels: int | None = None
    resample: bool = False

    @property
    def label_file(self) -> Path:
        """The file to name when something is wrong with the label: its only or first one, the image where it has none."""
        if isinstance(self.label, Masks):
            return next(iter((*self.label.files, *self.images)))
        return self.images[0] if self.label is None else self.label

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that image and label are read from, series of slices expanded; whether they exist is not asked."""
        label = () if self.label is None else self.label.files if isinstance(self.label, Masks) else (self.label,)
        return tuple(file for path in (*self.images, *label) for file in files_of(path))

    def read_image(self) -> tuple[np.ndarray, Geometry]:
        """Read all channels; grey pictures become three channels and colours one (BT.601 luma) where `channels` asks for it.

        Returns:
            float32 (C, *spatial) and its geometry.

        Raises:
            DataError: When a file cannot be read, lies in another grid than the first, or the number of channels is wrong.
        """
        arrays, geometries = map(list, zip(*(read_image(path) for path in self.images), strict=True))
        for index, path in enumerate(self.images):
            if self.resample and resamples(path, geometries[index], self.images[0], geometries[0]):
                arrays[index] = resample_to(arrays[index], geometries[index], geometries[0], "linear")
            else:
                self.require_same_grid(path, geometries[index], geometries[0])
        array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        self.require_channels(len(array), geometries[0].spatial_dims)
        if self.channels is not None and self.channels != len(array):
            array = np.tensordot(_GREY, array, axes=1)[None] if self.channels == 1 else np.repeat(array, 3, axis=0)
        return array, geometries[0]

    def read_label(self) -> tuple[np.ndarray, Geometry]:
        """Read the reference.

        A single file is returned as it stands on disk, in its own grid; a composed label, and any with `resample`, in the image's grid.

        Returns:
            Integers (*spatial) and the geometry.

        Raises:
            DataError: When there is none, or it cannot be read.
        """
        if self.label is None:
            raise DataError(f"case '{self.id}' has no label")
        if isinstance(self.label, Path) and not self.resample:
            return read_label(self.label, next(iter(self.images), None))
        grid = read_geometry(self.images[0])
        if isinstance(self.label, Masks):
            return self.label.read(self.images[0], grid, self.resample), grid
        values, geometry = read_label(self.label, self.images[0])
        return on_grid(values, self.label, geometry, self.images[0], grid, resample=True), grid

    def require_same_grid(self, path: Path, geometry: Geometry, reference: Geometry) -> None:
        """Raise `FileError` when a channel or label lies in another grid than the first image."""
        require_same_grid(path, geometry, self.images[0], reference)

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
