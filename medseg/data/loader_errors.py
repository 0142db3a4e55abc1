"""Errors of the loader's processes, told as they would be without them."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset

from medseg.errors import DataError

_MARK = "\x1e"


class LoaderError(DataError):
    """A `DataError` on its way out of a loader's process.

    PyTorch takes along an error's type and its text with the traceback around it, and makes a new error of that type and all of that text.
    There, only what stands between two marks is shown.
    """

    leaving = False
    """Whether this is the one in the loader's process, which shows its marks."""

    @classmethod
    def of(cls, error: DataError) -> LoaderError:
        """The error to raise in the loader's process."""
        made = cls(f"{_MARK}{error}{_MARK}")
        made.leaving = True
        return made

    def __str__(self) -> str:
        text = super().__str__()
        parts = text.split(_MARK)
        return parts[1] if len(parts) > 2 and not self.leaving else text


class Telling(Dataset[Any]):
    """A data set whose `DataError`s come out of the loader's processes as one message without a traceback.

    Args:
        items: The data set.
    """

    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        try:
            return self.items[number]
        except DataError as error:
            raise LoaderError.of(error) from None
