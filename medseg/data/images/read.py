"""Reading of images, label maps and their headers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from PIL import Image

from medseg.data.geometry import Geometry
from medseg.data.images.axes import LPS_TO_RAS, swap_rows_and_columns
from medseg.data.images.detached import detached_files
from medseg.data.images.names import IMAGE_SUFFIXES, ITK_SUFFIXES, LOSSY_SUFFIXES, NIFTI_SUFFIXES, FileError, suffix_of
from medseg.data.images.series import find_series, read_series, slices_of

_INTEGER_WITHIN = 1e-4
"""How far a float label may be from an integer: scaled NIfTI files store 2 as 1.9999999."""

_GREY_WITHIN = 32
"""How far the colours of a lossy mask may lie apart for it to count as grey."""

_MM = {"meter": 1e3, "mm": 1.0, "micron": 1e-3}
"""Millimetres in NIfTI's units of length. A file that names none means millimetres."""


def read_image(path: Path) -> tuple[np.ndarray, Geometry]:
    """Read an image: a file, or a folder that holds the slices of one DICOM series.

    The fourth axis of a NIfTI file, the components of a vector image and the colours of a picture become channels. An alpha channel is
    dropped, a palette is looked up. DICOM intensities are rescaled (CT: Hounsfield units).

    Returns:
        float32 (C, *spatial) and its geometry.

    Raises:
        FileError: When the file is missing, unreadable or no image.
    """
    if path.is_dir():
        return read_series(path)
    with _reading(path) as suffix:
        if suffix in NIFTI_SUFFIXES:
            nifti = nibabel.load(path, mmap=False)
            return _channels_first(np.asarray(nifti.get_fdata(dtype=np.float32)), nifti.shape), _nifti_geometry(nifti)
        if suffix in ITK_SUFFIXES:
            image = SimpleITK.ReadImage(str(path))
            return _itk_array(image).astype(np.float32, copy=False), _itk_geometry(image)
        with _open_picture(path) as picture:
            array = _picture_array(picture)
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        return np.ascontiguousarray(array, dtype=np.float32), _picture_geometry(array.shape[1:])


def read_label(path: Path, image: Path | None = None) -> tuple[np.ndarray, Geometry]:
    """Read a label map. Palette pictures give their indices (a GIF with a grey palette its grey levels), colour pictures must be grey.

    Args:
        path: A file; or a folder with one picture a slice of the DICOM series `image`, both counted by file name.
        image: The image that the label belongs to; only a folder of slices needs it.

    Returns:
        Integer (*spatial), the values as they stand on disk, and the geometry.

    Raises:
        FileError: When the file is missing or unreadable, has several channels, or holds values that are not integers.
    """
    if path.is_dir():
        return _read_slices(path, image)
    with _reading(path) as suffix:
        if suffix in NIFTI_SUFFIXES:
            nifti = nibabel.load(path, mmap=False)
            array, geometry = _channels_first(np.asanyarray(nifti.dataobj), nifti.shape), _nifti_geometry(nifti)
        elif suffix in ITK_SUFFIXES:
            itk = SimpleITK.ReadImage(str(path))
            array, geometry = _itk_array(itk), _itk_geometry(itk)
        else:
            with _open_picture(path) as picture:
                array = _label_array(picture)
            array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
            geometry = _picture_geometry(array.shape[1:])
            array = _grey_mask(array, lossy=suffix in LOSSY_SUFFIXES)
        if array.shape[0] != 1:
            raise FileError(path, f"the label map has {array.shape[0]} channels", "store one integer per voxel, the class's value")
        return _as_integers(array[0], path), geometry


def read_geometry(path: Path) -> Geometry:
    """Read the geometry alone, from the header; of a DICOM series from those of its slices.

    Raises:
        FileError: When the file is missing or its header unreadable.
    """
    if path.is_dir():
        return find_series(path).geometry
    with _reading(path) as suffix:
        if suffix in NIFTI_SUFFIXES:
            return _nifti_geometry(nibabel.load(path, mmap=False))
        if suffix in ITK_SUFFIXES:
            return _itk_geometry(_itk_header(path))
        with _open_picture(path) as picture:
            return _picture_geometry((picture.height, picture.width))


def count_channels(path: Path) -> int:
    """Number of channels that `read_image` will return, from the header.

    Raises:
        FileError: When the file is missing or its header unreadable.
    """
    if path.is_dir():
        return 1
    with _reading(path) as suffix:
        if suffix in NIFTI_SUFFIXES:
            shape = nibabel.load(path, mmap=False).shape
            return int(np.prod(shape[3:], dtype=int))
        if suffix in ITK_SUFFIXES:
            reader = _itk_header(path)
            return reader.GetNumberOfComponents() * (reader.GetSize()[3] if reader.GetDimension() == 4 else 1)
        with _open_picture(path) as picture:
            return 1 if _is_grey(picture) else 3


def _read_slices(folder: Path, image: Path | None) -> tuple[np.ndarray, Geometry]:
    """Stack the pictures of a folder as the slices of a DICOM series lie."""
    if image is None or not image.is_dir():
        raise FileError(
            folder, "is a folder, whose slices have no place without a DICOM series", "give one file, or a folder of DICOM slices as image"
        )
    series = find_series(image)
    slices = []
    for path in slices_of(folder, series):
        values, geometry = read_label(path)
        if geometry.shape != series.geometry.shape[1::-1]:
            expected = " x ".join(map(str, series.geometry.shape[1::-1]))
            raise FileError(
                path,
                f"is {' x '.join(map(str, geometry.shape))} large, the slices of {image} are {expected}",
                "replace it by the image's mask",
            )
        slices.append(values)
    return np.ascontiguousarray(np.stack(slices).transpose(2, 1, 0)), series.geometry


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Give the path's suffix, and turn whatever a library raises into one `FileError`."""
    suffix = suffix_of(path)
    if not suffix and (path.suffix or path.exists()):
        raise FileError(path, "not an image format that medseg reads", f"convert it to one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise FileError(path, "the file does not exist", "put it there, or remove the case from the data set")
    try:
        for voxels in detached_files(path):
            if not voxels.is_file():
                raise FileError(path, f"its voxels are in {voxels.name}, which does not exist", f"put {voxels.name} beside it")
        yield suffix
    except FileError:
        raise
    except Exception as error:  # each library has its own zoo: OSError, EOFError, zlib.error, SyntaxError, RuntimeError, ...
        if path.stat().st_size == 0:
            reason = "the file is empty"
        else:
            reason = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise FileError(path, f"cannot be read ({reason})", "the file is damaged or truncated: copy or download it again") from error


def _channels_first(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(X, Y) -> (1, Y, X); (X, Y, Z[, C]) -> (C, X, Y, Z)."""
    if array.dtype.names or array.dtype.kind == "c":
        raise ValueError(f"voxels of type {array.dtype} are not supported; store real numbers, channels along the fourth axis")
    if len(shape) == 2:
        return np.ascontiguousarray(array.T[None])
    if len(shape) == 3:
        return np.ascontiguousarray(array[None])
    return np.ascontiguousarray(np.moveaxis(array.reshape(*shape[:3], -1), -1, 0))


def _nifti_geometry(nifti: nibabel.Nifti1Image) -> Geometry:
    if not 2 <= len(nifti.shape) <= 5 or 0 in nifti.shape:
        raise ValueError(f"an image of shape {nifti.shape} is neither 2-D nor 3-D")
    try:
        unit = nifti.header.get_xyzt_units()[0]
    except KeyError:  # a code that the standard does not define
        unit = "unknown"
    affine = np.diag([_MM.get(unit, 1.0)] * 3 + [1.0]) @ nifti.affine
    if len(nifti.shape) == 2:
        return Geometry(nifti.shape[::-1], swap_rows_and_columns(affine))
    return Geometry(nifti.shape[:3], affine)


def _itk_header(path: Path) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def _itk_array(image: SimpleITK.Image) -> np.ndarray:
    """SimpleITK's ([t,] z, y, x[, c]) -> (C, x, y, z); (y, x[, c]) -> (C, y, x)."""
    array = SimpleITK.GetArrayFromImage(image)
    array = np.moveaxis(array, -1, 0) if image.GetNumberOfComponentsPerPixel() > 1 else array[None]
    if image.GetDimension() == 4:
        array = array.reshape(-1, *array.shape[2:])
    return np.ascontiguousarray(array if image.GetDimension() == 2 else array.transpose(0, 3, 2, 1))


def _itk_geometry(image: SimpleITK.Image | SimpleITK.ImageFileReader) -> Geometry:
    stored = image.GetDimension()
    if not 2 <= stored <= 4:
        raise ValueError(f"an image of {stored} axes is neither 2-D nor 3-D")
    dims = min(stored, 3)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (stored, stored))[:dims, :dims]
    affine[:dims, :dims] = direction * np.array(image.GetSpacing()[:dims])
    affine[:dims, 3] = image.GetOrigin()[:dims]
    affine = LPS_TO_RAS @ affine
    shape = image.GetSize()[:dims]
    return Geometry(shape[::-1], swap_rows_and_columns(affine)) if dims == 2 else Geometry(shape, affine)


def _open_picture(path: Path) -> Image.Image:
    picture = Image.open(path)
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        picture.close()
        raise FileError(path, f"has {pages} pages", "store volumes as .nii.gz, .mha or .nrrd, and slices as one file each")
    return picture


def _picture_geometry(shape: tuple[int, ...]) -> Geometry:
    return Geometry(shape, np.eye(4))


def _is_grey(picture: Image.Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;")


def _picture_array(picture: Image.Image) -> np.ndarray:
    """(H, W) of a grey picture, (H, W, 3) of any other."""
    if picture.mode in ("LA", "La"):
        return np.array(picture)[..., 0]
    return np.array(picture if _is_grey(picture) or picture.mode == "RGB" else picture.convert("RGB"))


def _label_array(picture: Image.Image) -> np.ndarray:
    """(H, W) of a grey or palette picture, (H, W, 3) of any other."""
    if picture.mode == "P" and picture.format == "GIF":  # a format that cannot be grey otherwise
        colours = np.array(picture.convert("RGB"))
        if (colours == colours[..., :1]).all():
            return colours[..., 0]
    return np.array(picture) if picture.mode in ("P", "1") else _picture_array(picture)


def _grey_mask(array: np.ndarray, lossy: bool) -> np.ndarray:
    """(1, H, W) where a grey mask was saved in colour, otherwise the array (C, H, W). JPEG may tint what was grey."""
    if (array == array[:1]).all():
        return array[:1]
    if lossy and int(np.ptp(array, axis=0).max()) <= _GREY_WITHIN:
        return np.rint(array.mean(axis=0, keepdims=True)).astype(np.uint8)
    return array


def _as_integers(array: np.ndarray, path: Path) -> np.ndarray:
    if array.dtype.kind in "iu":
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if not np.isfinite(array).all():
        raise FileError(path, "the label map holds NaN or infinite values", "store integer labels")
    rounded = np.rint(array)
    wrong = np.abs(array - rounded) > _INTEGER_WITHIN
    if wrong.any():
        examples = ", ".join(f"{value:.4g}" for value in np.unique(array[wrong])[:3])
        raise FileError(
            path,
            f"the label map holds values that are not integers (such as {examples})",
            "store integers; resample with nearest neighbour",
        )
    return rounded.astype(np.int32)
