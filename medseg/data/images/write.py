"""Writing of label maps."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from PIL import Image

from medseg.data.geometry import Geometry
from medseg.data.images.axes import LPS_TO_RAS, swap_rows_and_columns
from medseg.data.images.names import LOSSY_SUFFIXES, NIFTI_SUFFIXES, RASTER_SUFFIXES, FileError, suffix_of
from medseg.data.images.slices import is_one_slice, to_rows


def write_label(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write a label map in the format of the path's suffix and in the smallest unsigned integer type that holds it.

    The file appears complete or not at all.

    Args:
        path: Where to; its folder is made.
        array: Non-negative integers, (*geometry.shape).
        geometry: Grid of the array. Pictures cannot store it, and hold one slice.

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
    if suffix in RASTER_SUFFIXES and geometry.spatial_dims == 3 and not is_one_slice(geometry):
        raise FileError(path, f"a picture cannot hold a volume of {geometry.shape[2]} slices", "use .nii.gz")
    array = array.astype(np.min_scalar_type(high))
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file is written under its own name (a .mhd names its .raw), in a folder beside its place, and then moved.
    folder = path.parent / f".writing-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()  # in here, so that Ctrl-C never leaves it
        _write(folder / path.name, array, geometry)
        for written in sorted(folder.iterdir(), key=lambda file: file.name == path.name):
            os.replace(written, path.parent / written.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    suffix = suffix_of(path)
    if suffix in RASTER_SUFFIXES:
        Image.fromarray(to_rows(array, geometry)[0] if is_one_slice(geometry) else array).save(path)
        return
    flat = geometry.spatial_dims == 2
    if suffix in NIFTI_SUFFIXES:
        affine = swap_rows_and_columns(geometry.affine) if flat else geometry.affine
        nifti = nibabel.Nifti1Image(array.T if flat else array, affine)
        nifti.header.set_xyzt_units("mm")
        nibabel.save(nifti, path)
        return
    image = SimpleITK.GetImageFromArray(array if flat else array.transpose(2, 1, 0))
    dims = geometry.spatial_dims
    affine = LPS_TO_RAS @ (swap_rows_and_columns(geometry.affine) if flat else geometry.affine)
    spacing = np.linalg.norm(affine[:dims, :dims], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:dims, :dims] / spacing).ravel().tolist())
    image.SetOrigin(affine[:dims, 3].tolist())
    SimpleITK.WriteImage(image, str(path), useCompression=suffix != ".mhd")
