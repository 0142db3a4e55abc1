"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: `MEDSEG_REAL_DATA`, by default `../shared/data` beside the project."""
    folder = Path(os.environ.get("MEDSEG_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set MEDSEG_REAL_DATA")
    return folder
