"""Reading and writing of image files: NIfTI, MetaImage, NRRD, DICOM series, PNG, JPEG, TIFF, BMP, GIF.

Every reader returns channels first and a `Geometry` in RAS+ millimetres. 2-D arrays are (rows, columns), whatever the format. A file that
cannot be used raises `FileError` with its name, what is wrong and what to do.
"""

from __future__ import annotations

from medseg.data.images.detached import files_of
from medseg.data.images.names import (
    IMAGE_SUFFIXES,
    ITK_SUFFIXES,
    LOSSY_SUFFIXES,
    NIFTI_SUFFIXES,
    RASTER_SUFFIXES,
    FileError,
    list_images,
    lossless_suffix,
    natural,
    stem_of,
    suffix_of,
)
from medseg.data.images.read import count_channels, read_geometry, read_image, read_label
from medseg.data.images.write import write_label

__all__ = [
    "IMAGE_SUFFIXES",
    "ITK_SUFFIXES",
    "LOSSY_SUFFIXES",
    "NIFTI_SUFFIXES",
    "RASTER_SUFFIXES",
    "FileError",
    "count_channels",
    "files_of",
    "list_images",
    "lossless_suffix",
    "natural",
    "read_geometry",
    "read_image",
    "read_label",
    "stem_of",
    "suffix_of",
    "write_label",
]
