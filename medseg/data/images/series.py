"""A folder of DICOM slices as one volume, and the pictures that label its slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from medseg.data.geometry import Geometry
from medseg.data.images.axes import LPS_TO_RAS
from medseg.data.images.names import RASTER_SUFFIXES, FileError, natural, suffix_of

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_MAGIC_AT, _MAGIC = 128, b"DICM"
_UNEVEN = 0.1
"""Share of the slice distance by which a slice may lie off its place: scanners round positions."""


@dataclass(frozen=True)
class Series:
    """The slices of a volume.

    Args:
        files: One file a slice, in the order of their positions: along the third axis of the grid.
        geometry: Grid of the volume: columns, rows, slices.
    """

    files: tuple[Path, ...]
    geometry: Geometry


@dataclass(frozen=True)
class _Slice:
    """What the header of a DICOM file says."""

    file: Path
    series: str
    size: tuple[int, ...]
    axes: np.ndarray
    """(3, 3): steps in mm of column, row and slice, in LPS."""
    position: np.ndarray


def find_series(folder: Path) -> Series:
    """Find the series of DICOM slices that a folder holds, and the grid that they form; only headers are read.

    Slices are sorted by position along the normal of their plane. A gantry tilt becomes a sheared affine. Of several series the one whose
    identifier (SeriesInstanceUID) is the folder's name is taken; files that each have an identifier of their own are one series.

    Raises:
        FileError: When there is no series, or several, or its slices do not form an even grid: some are missing or repeated, or differ in
            size or direction.
    """
    slices = [_read_header(path) for path in _dicom_files(folder)]
    if not slices:
        raise FileError(folder, "holds no DICOM files", "give the folder of the slices themselves")
    slices = _one_series(folder, slices)
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size or not np.allclose(other.axes[:, :2], first.axes[:, :2], atol=1e-3):
            raise FileError(
                other.file, f"differs in size, pixel spacing or direction from {first.file.name}", "keep one series in the folder"
            )
    normal = first.axes[:, 2] / np.linalg.norm(first.axes[:, 2])
    slices.sort(key=lambda one: (float(one.position @ normal), natural(one.file.name)))
    step = _step(folder, slices, normal)
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = first.axes[:, :2], step, slices[0].position
    return Series(tuple(one.file for one in slices), Geometry((*first.size[:2], len(slices)), LPS_TO_RAS @ affine))


def read_series(folder: Path) -> tuple[np.ndarray, Geometry]:
    """Read a series of DICOM slices, rescaled to the unit that its headers define (CT: Hounsfield units).

    Returns:
        float32 (1, columns, rows, slices) and the geometry.

    Raises:
        FileError: As `find_series`, and when a slice cannot be read.
    """
    series = find_series(folder)
    columns, rows, count = series.geometry.shape
    volume = np.empty((count, rows, columns), dtype=np.float32)
    for index, file in enumerate(series.files):
        reader = _reader(file)
        reader.SetOutputPixelType(SimpleITK.sitkFloat32)
        try:
            volume[index] = SimpleITK.GetArrayFromImage(reader.Execute())[0]
        except RuntimeError as error:
            raise _unreadable(file, error) from error
    return np.ascontiguousarray(volume.transpose(2, 1, 0))[None], series.geometry


def slices_of(folder: Path, series: Series) -> list[Path]:
    """The pictures that label the slices of a series, in the order of its slices: the k-th by name belongs to the k-th file by name.

    Raises:
        FileError: When there are not as many pictures as slices.
    """
    pictures = [path for path in folder.iterdir() if suffix_of(path) in RASTER_SUFFIXES and not path.name.startswith(".")]
    pictures.sort(key=lambda path: natural(path.name))
    if len(pictures) != len(series.files):
        raise FileError(
            folder,
            f"holds {len(pictures)} pictures for the {len(series.files)} slices in {series.files[0].parent}",
            "give one picture for each slice",
        )
    by_name = sorted(series.files, key=lambda path: natural(path.name))
    picture = dict(zip(by_name, pictures, strict=True))
    return [picture[file] for file in series.files]


def holds_series(folder: Path) -> bool:
    """Whether a folder holds DICOM files."""
    return next(iter(_dicom_files(folder)), None) is not None


def _dicom_files(folder: Path) -> list[Path]:
    """Files named as DICOM, and files without a known name that begin as DICOM does."""
    files = (path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name != "DICOMDIR" and path.is_file())
    return [path for path in files if path.suffix.lower() in DICOM_SUFFIXES or (not suffix_of(path) and _begins_as_dicom(path))]


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _reader(path: Path) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    return reader


def _read_header(path: Path) -> _Slice:
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    size = reader.GetSize()
    if len(size) != 3 or size[2] != 1:
        raise FileError(path, "holds several frames", "convert the series to .nii.gz, or export it as one file a slice")
    if reader.GetNumberOfComponents() != 1:
        raise FileError(path, "is a colour picture, no slice of a scan", "take it out of the folder")
    uid = reader.GetMetaData("0020|000e").strip("\0 ") if reader.HasMetaDataKey("0020|000e") else ""
    axes = np.reshape(reader.GetDirection(), (3, 3)) * np.array(reader.GetSpacing())
    return _Slice(path, uid, tuple(size), axes, np.array(reader.GetOrigin()))


def _one_series(folder: Path, slices: list[_Slice]) -> list[_Slice]:
    names = sorted({one.series for one in slices})
    if len(names) == len(slices):  # some tools that anonymise give every slice an identifier of its own
        return slices
    if folder.name in names:
        names = [folder.name]
    if len(names) > 1:
        counts = ", ".join(
            f"{sum(one.series == name for one in slices)} files such as {next(one.file.name for one in slices if one.series == name)}"
            for name in names
        )
        raise FileError(folder, f"holds {len(names)} DICOM series ({counts})", "give each series a folder of its own")
    return [one for one in slices if one.series == names[0]]


def _step(folder: Path, slices: list[_Slice], normal: np.ndarray) -> np.ndarray:
    """The way from slice to slice in mm, even along the whole series."""
    if len(slices) == 1:
        return slices[0].axes[:, 2]
    positions = np.array([one.position for one in slices])
    gaps = np.diff(positions @ normal)
    usual = float(np.median(gaps))
    repeated = int((gaps <= 1e-3 * max(usual, 1e-3)).sum())
    if repeated:
        index = int(np.argmin(gaps))
        raise FileError(
            folder,
            f"{repeated} of {len(slices)} slices lie at the place of another one, such as {slices[index + 1].file.name} and "
            f"{slices[index].file.name} (several time points or echoes, or files without positions)",
            "give each volume a folder of its own",
        )
    wide = int(np.argmax(gaps))
    if gaps[wide] > 1.5 * usual:
        missing = round(gaps[wide] / usual) - 1
        between = f"between {slices[wide].file.name} and {slices[wide + 1].file.name}"
        raise FileError(
            folder, f"{missing} slice{'s' * (missing > 1)} missing {between} ({gaps[wide]:.4g} mm apart, others {usual:.4g})",
            "copy or download the series again",
        )  # fmt: skip
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    off = np.linalg.norm(positions - (positions[0] + np.arange(len(slices))[:, None] * step), axis=1)
    if off.max() > _UNEVEN * np.linalg.norm(step):
        worst = slices[int(np.argmax(off))].file.name
        raise FileError(folder, f"the slices are not evenly spaced ({worst} lies {off.max():.4g} mm off)", "resample the series evenly")
    return np.asarray(step)


def _unreadable(path: Path, error: Exception) -> FileError:
    reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return FileError(
        path, f"cannot be read ({reason})", "the file is damaged or no DICOM image: copy it again, or take it out of the folder"
    )
