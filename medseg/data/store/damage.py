"""What happens to a prepared case whose files are not what was written."""

from __future__ import annotations

import contextlib
from pathlib import Path

from medseg.errors import DataError

MANIFEST = "manifest.json"
"""The file that vouches for the others of a case: where it is gone, the case counts as missing."""

REMEDY = "run `medseg prepare` again, which makes what is damaged or missing anew"
"""What to do about a stored file that cannot be used."""


def condemn(folder: Path) -> None:
    """Makes the case in a folder count as missing, where the store may be written."""
    with contextlib.suppress(OSError):
        (folder / MANIFEST).unlink()


def damaged(path: Path, problem: object) -> DataError:
    """Condemns the case that a stored file belongs to, and gives the error to raise."""
    condemn(path.parent)
    return DataError(f"{path}: the stored file cannot be used ({problem}); {REMEDY}")
