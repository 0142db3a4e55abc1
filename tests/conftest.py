"""What all tests share."""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CTYPE = locale.setlocale(locale.LC_CTYPE)


@pytest.fixture(autouse=True)
def same_locale() -> Iterator[None]:
    """Writing DICOM leaves the locale at "C", where text is ASCII."""
    locale.setlocale(locale.LC_CTYPE, CTYPE)
    yield
    locale.setlocale(locale.LC_CTYPE, CTYPE)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: `MEDSEG_REAL_DATA`, by default `../shared/data` beside the project."""
    folder = Path(os.environ.get("MEDSEG_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set MEDSEG_REAL_DATA")
    return folder
