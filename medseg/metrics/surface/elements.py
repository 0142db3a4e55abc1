"""The elements of a surface: where they are, whose they are, and what they weigh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Elements:
    """Elements of the surfaces of all classes of one map, in any order."""

    at: np.ndarray
    """intp (n,): flat index in the frame. A place can hold elements of several classes."""
    owner: np.ndarray
    """uint8 (n,): index of the class."""
    weight: np.ndarray | None = None
    """float64 (n,): length in mm or area in mm^2; None: all count the same."""

    def __getitem__(self, chosen: np.ndarray) -> Elements:
        """Some of the elements."""
        return Elements(self.at[chosen], self.owner[chosen], None if self.weight is None else self.weight[chosen])


def join(parts: list[Elements]) -> Elements:
    """The elements of all parts."""
    weights = [part.weight for part in parts if part.weight is not None]
    at, owner = (np.concatenate([getattr(part, name) for part in parts]) for name in ("at", "owner"))
    return Elements(at, owner, np.concatenate(weights) if weights else None)
