"""How the libraries' axes relate to ours: ITK and DICOM count in LPS, 2-D files index (x, y)."""

from __future__ import annotations

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Takes world coordinates of ITK and DICOM (left, posterior, superior) to RAS+, and back."""


def swap_rows_and_columns(affine: np.ndarray) -> np.ndarray:
    """The affine of a 2-D array (row, column) = (y, x) from that of a file that indexes (x, y), or back."""
    return affine[:, [1, 0, 2, 3]]
