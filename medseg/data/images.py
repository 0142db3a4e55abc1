"""Reading and writing of image files: NIfTI, MetaImage, NRRD, PNG, JPEG, TIFF, BMP.

Every reader returns channels first and a `Geometry` in RAS+ millimetres. 2-D arrays are (rows, columns), whatever the format. A file that
cannot be used raises `FileError` with its name, what is wrong and what to do.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from PIL import Image

from medseg.data.geometry import Geometry
from medseg.errors import DataError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".mha", ".mhd", ".nrrd")
RASTER_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
IMAGE_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES + RASTER_SUFFIXES
LOSSY_SUFFIXES = (".jpg", ".jpeg")


class FileError(DataError):
    """A `DataError` about one file, in parts: which file, what is wrong with it, what to do."""

    def __init__(self, file: Path, problem: str, remedy: str) -> None:
        super().__init__(f"{file}: {problem}; {remedy}")
        self.file = file
        self.problem = problem
        self.remedy = remedy


_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_INTEGER_WITHIN = 1e-4
"""How far a float label may be from an integer: scaled NIfTI files store 2 as 1.9999999."""


def lossless_suffix(suffix: str) -> str:
    """The suffix for label maps where images have `suffix`: PNG in place of JPEG, which would change the values."""
    return ".png" if suffix in LOSSY_SUFFIXES else suffix


def suffix_of(path: Path | str) -> str:
    """The suffix that decides the format, in lower case: ".nii.gz" for "a.b.nii.gz", "" for a file that is no image."""
    name = Path(path).name.lower()
    return next((suffix for suffix in IMAGE_SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path | str) -> str:
    """The file's name without the suffix of its format: "a.b" for "a.b.nii.gz"."""
    name = Path(path).name
    return name[: len(name) - len(suffix_of(path))]


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, hidden ones left out, sorted by name."""
    return sorted(path for path in folder.iterdir() if suffix_of(path) and not path.name.startswith(".") and path.is_file())


def read_image(path: Path) -> tuple[np.ndarray, Geometry]:
    """Read an image.

    The fourth axis of a NIfTI file, the components of a vector image and the colours of a picture become channels. An alpha channel is
    dropped, a palette is looked up.

    Returns:
        float32 (C, *spatial) and its geometry.

    Raises:
        FileError: When the file is missing, unreadable or no image.
    """
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


def read_label(path: Path) -> tuple[np.ndarray, Geometry]:
    """Read a label map. Palette pictures give their indices, colour pictures must be grey.

    Returns:
        Integer (*spatial), the values as they stand on disk, and the geometry.

    Raises:
        FileError: When the file is missing or unreadable, has several channels, or holds values that are not integers.
    """
    with _reading(path) as suffix:
        if suffix in NIFTI_SUFFIXES:
            nifti = nibabel.load(path, mmap=False)
            array, geometry = _channels_first(np.asanyarray(nifti.dataobj), nifti.shape), _nifti_geometry(nifti)
        elif suffix in ITK_SUFFIXES:
            image = SimpleITK.ReadImage(str(path))
            array, geometry = _itk_array(image), _itk_geometry(image)
        else:
            with _open_picture(path) as picture:
                array = np.array(picture) if picture.mode in ("P", "1") else _picture_array(picture)
            array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
            geometry = _picture_geometry(array.shape[1:])
            if (array == array[:1]).all():
                array = array[:1]  # a grey mask that was saved in colour
        if array.shape[0] != 1:
            raise FileError(path, f"the label map has {array.shape[0]} channels", "store one integer per voxel, the class's value")
        return _as_integers(array[0], path), geometry


def read_geometry(path: Path) -> Geometry:
    """Read the geometry alone, from the header.

    Raises:
        FileError: When the file is missing or its header unreadable.
    """
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
    with _reading(path) as suffix:
        if suffix in NIFTI_SUFFIXES:
            shape = nibabel.load(path, mmap=False).shape
            return int(np.prod(shape[3:], dtype=int))
        if suffix in ITK_SUFFIXES:
            reader = _itk_header(path)
            return reader.GetNumberOfComponents() * (reader.GetSize()[3] if reader.GetDimension() == 4 else 1)
        with _open_picture(path) as picture:
            return 1 if _is_grey(picture) else 3


def write_label(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a label map in the format of the path's suffix and in the smallest unsigned integer type that holds it.

    The file appears complete or not at all.

    Args:
        path: Where to; its folder is made.
        array: Non-negative integers, (*geometry.shape).
        geometry: Grid of the array. Pictures cannot store it.

    Raises:
        FileError: For a lossy format, a value that the format cannot hold, or a disk that refuses.
        ValueError: When array and geometry do not fit.
    """
    if array.shape != geometry.shape:
        raise ValueError(f"label map {array.shape} does not fit its grid {geometry.shape}")
    suffix = suffix_of(path)
    if not suffix or suffix in LOSSY_SUFFIXES:
        raise FileError(path, "label maps cannot be stored in this format", "use .nii.gz, .mha, .nrrd, .png or .tif")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or (suffix in RASTER_SUFFIXES and high > (255 if suffix == ".bmp" else 65535)):
        raise FileError(path, f"the format cannot hold the label values {low} to {high}", "use .nii.gz")
    array = array.astype(np.min_scalar_type(high))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file is written under its own name (a .mhd names its .raw), in a folder beside its place, and then moved.
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        _write(folder / path.name, array, geometry)
        for written in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            os.replace(written, path.parent / written.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    suffix = suffix_of(path)
    if suffix in RASTER_SUFFIXES:
        Image.fromarray(array).save(path)
        return
    flat = geometry.spatial_dims == 2
    if suffix in NIFTI_SUFFIXES:
        affine = _swap_rows_and_columns(geometry.affine) if flat else geometry.affine
        nifti = nibabel.Nifti1Image(array.T if flat else array, affine)
        nifti.header.set_xyzt_units("mm")
        nibabel.save(nifti, path)
        return
    image = SimpleITK.GetImageFromArray(array if flat else array.transpose(2, 1, 0))
    dims = geometry.spatial_dims
    affine = _LPS_TO_RAS @ (_swap_rows_and_columns(geometry.affine) if flat else geometry.affine)
    spacing = np.linalg.norm(affine[:dims, :dims], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:dims, :dims] / spacing).ravel().tolist())
    image.SetOrigin(affine[:dims, 3].tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=suffix != ".mhd")


@contextmanager
def _reading(path: Path) -> Iterator[str]:
    """Give the path's suffix, and turn whatever a library raises into one `FileError`."""
    suffix = suffix_of(path)
    if not suffix:
        raise FileError(path, "not an image format that medseg reads", f"convert it to one of {', '.join(IMAGE_SUFFIXES)}")
    if not path.is_file():
        raise FileError(path, "the file does not exist", "put it there, or remove the case from the data set")
    try:
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
    if len(nifti.shape) == 2:
        return Geometry(nifti.shape[::-1], _swap_rows_and_columns(nifti.affine))
    return Geometry(nifti.shape[:3], nifti.affine)


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
    affine = _LPS_TO_RAS @ affine
    shape = image.GetSize()[:dims]
    return Geometry(shape[::-1], _swap_rows_and_columns(affine)) if dims == 2 else Geometry(shape, affine)


def _swap_rows_and_columns(affine: np.ndarray) -> np.ndarray:
    """2-D files index (x, y), arrays (row, column) = (y, x)."""
    return affine[:, [1, 0, 2, 3]]


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
