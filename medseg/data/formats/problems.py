"""Problems of tables and templates: collected, so that one attempt shows them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from medseg.errors import DataError

_SHOWN = 20


@contextmanager
def kept(problems: list[str]) -> Iterator[None]:
    """Note what is raised as `DataError` inside, instead of raising it."""
    try:
        yield
    except DataError as error:
        problems.append(str(error))


def raise_all(problems: Iterable[str]) -> None:
    """Raise one `DataError` of all problems, a line each; nothing where there are none.

    Raises:
        DataError: When there are problems; of very many the first.
    """
    lines = list(dict.fromkeys(problems))
    if len(lines) > _SHOWN:
        lines[_SHOWN:] = [f"... and {len(lines) - _SHOWN} more such problems"]
    if lines:
        raise DataError("\n".join(lines))
