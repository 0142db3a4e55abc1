"""What the integers of a label file mean, and how classes become training targets and predictions become label files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

IGNORE = 255
"""Internal id of voxels that count as no voxel at all."""

Activation = Literal["softmax", "sigmoid"]

_AT_ONCE = 2**20  # voxels


@dataclass(frozen=True)
class LabelSchema:
    """The classes of a data set and the label values that stand for them on disk.

    Inside medseg a label map holds *ids*: 0 for background, then 1, 2, ... for the sorted label values of the classes, and `IGNORE` (255)
    for ignored voxels, always uint8. A class may own several values, and a value may belong to several classes (overlapping regions).

    Args:
        classes: Names of the foreground classes, in channel order.
        members: The label values of each class.
        paint: The label value that is written for each class, painted in order, later classes over earlier ones. Empty: each one's first.
        ignore_value: Label value of ignored voxels.
        background: Label values that are background; the first one is written.
        threshold: For grey masks of one class: values above it are the class, the others background.

    Raises:
        ValueError: When the values contradict each other; the message says how.
    """

    classes: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    ignore_value: int | None = None
    paint: tuple[int, ...] = ()
    background: tuple[int, ...] = (0,)
    threshold: int | None = None

    def __post_init__(self) -> None:
        if not self.paint:
            object.__setattr__(self, "paint", tuple(member[0] for member in self.members if member))
        if not self.classes:
            raise ValueError("there is no foreground class")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"a class name occurs twice: {', '.join(self.classes)}")
        if not len(self.classes) == len(self.members) == len(self.paint):
            raise ValueError(f"{len(self.classes)} classes need as many member lists and painted values")
        for name, members, value in zip(self.classes, self.members, self.paint, strict=True):
            if not members:
                raise ValueError(f"class '{name}' has no label value")
            if value not in members:
                raise ValueError(f"class '{name}' is painted as {value}, which is none of its values {list(members)}")
            if set(members) & set(self.background):
                raise ValueError(f"class '{name}' and the background share the value {min(set(members) & set(self.background))}")
            if self.ignore_value in members:
                raise ValueError(f"class '{name}' and the ignore label share the value {self.ignore_value}")
        if self.ignore_value is not None and self.ignore_value in self.background:
            raise ValueError(f"the background and the ignore label share the value {self.ignore_value}")
        if len(self.values) > IGNORE:
            raise ValueError(f"{len(self.values)} label values, at most {IGNORE} fit")
        if self.threshold is not None:
            self._check_threshold(self.threshold)

    def _check_threshold(self, threshold: int) -> None:
        if self.num_classes != 1 or len(self.members[0]) != 1 or self.ignore_value is not None:
            raise ValueError("a threshold needs exactly one class with one label value and no ignore label")
        if not self.background[0] <= threshold < self.paint[0]:
            raise ValueError(
                f"the threshold {threshold} must part the background {self.background[0]} from the class value {self.paint[0]}"
            )

    @classmethod
    def exclusive(cls, labels: Mapping[str, int], threshold: int | None = None) -> LabelSchema:
        """Build a schema of exclusive classes from name -> value. "background" (default 0) and "ignore" are special names.

        Example:
            >>> LabelSchema.exclusive({"background": 0, "liver": 1, "ignore": 2}).values
            (0, 1)
        """
        classes = {name: int(value) for name, value in labels.items() if name not in ("background", "ignore")}
        return cls(
            tuple(classes),
            tuple((value,) for value in classes.values()),
            ignore_value=int(labels["ignore"]) if "ignore" in labels else None,
            background=(int(labels.get("background", 0)),),
            threshold=threshold,
        )

    @property
    def num_classes(self) -> int:
        """Number of foreground classes, K."""
        return len(self.classes)

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The label value of each internal id, V of them: background, then the classes' values in ascending order."""
        return (self.background[0], *sorted({value for members in self.members for value in members}))

    @cached_property
    def membership(self) -> np.ndarray:
        """Boolean (K, V) table: whether the internal id (column) belongs to the class (row)."""
        return np.array([[value in members for value in self.values] for members in self.members], dtype=np.bool_)

    @property
    def overlapping(self) -> bool:
        """Whether a voxel can belong to several classes."""
        return bool((self.membership.sum(axis=0) > 1).any())

    def num_outputs(self, activation: Activation) -> int:
        """Channels of the network: K + 1 with softmax (background is channel 0), K with sigmoid.

        Raises:
            ValueError: For overlapping classes with softmax.
        """
        if activation == "sigmoid":
            return self.num_classes
        self._require_exclusive()
        return self.num_classes + 1

    def select(self, names: Sequence[str]) -> LabelSchema:
        """Keep some classes, in this schema's order; the values that only the others own become background.

        Raises:
            ValueError: For a name that is no class of this schema, or no name at all.
        """
        unknown = [name for name in names if name not in self.classes]
        if unknown or not names:
            raise ValueError(f"no class named {', '.join(unknown) or '(none given)'}; the classes are {', '.join(self.classes)}")
        kept = [index for index, name in enumerate(self.classes) if name in names]
        values = {value for index in kept for value in self.members[index]}
        dropped = sorted({value for members in self.members for value in members} - values)
        return LabelSchema(
            tuple(self.classes[index] for index in kept),
            tuple(self.members[index] for index in kept),
            self.ignore_value,
            tuple(self.paint[index] for index in kept),
            self.background + tuple(dropped),
            self.threshold,
        )

    def encode(self, disk_array: np.ndarray) -> np.ndarray:
        """Turn label values into internal ids (uint8, 255 where ignored).

        Raises:
            ValueError: For values that are no label of this schema; the message lists them.
        """
        disk_array = np.asarray(disk_array)
        if self.threshold is not None:
            return (disk_array > self.threshold).astype(np.uint8)
        if disk_array.size == 0:
            return np.zeros(disk_array.shape, np.uint8)
        low, high = int(disk_array.min()), int(disk_array.max())
        if high - low < 2**16:
            table = np.full(high - low + 1, -1, dtype=np.int16)
            for value, internal in self._ids.items():
                if low <= value <= high:
                    table[value - low] = internal
            ids = np.empty(disk_array.shape, dtype=np.int16)
            # Some rows at a time: the indices of all voxels at once would take eight times the label.
            step = max(1, _AT_ONCE * len(ids) // ids.size)
            for start in range(0, len(ids), step):
                ids[start : start + step] = table[disk_array[start : start + step].astype(np.int64) - low]
        else:
            present, inverse = np.unique(disk_array, return_inverse=True)
            ids = np.array([self._ids.get(int(value), -1) for value in present], dtype=np.int16)[inverse].reshape(disk_array.shape)
        unknown = ids < 0
        if unknown.any():
            found = _listed(np.unique(disk_array[unknown]).tolist())
            raise ValueError(f"label values {found} are not among the data set's values {_listed(sorted(self._ids))}")
        return ids.astype(np.uint8)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Turn internal ids into the label values that are written to disk, in the smallest unsigned integer type that holds them.

        Raises:
            ValueError: For ids that this schema does not have, 255 included when it has no ignore label.
        """
        ids = np.asarray(ids)
        known = len(self.values)
        if ids.size and bool(((ids >= known) & ((ids != IGNORE) | (self.ignore_value is None))).any()):
            raise ValueError(f"ids above {known - 1} have no label value")
        table = np.zeros(IGNORE + 1, dtype=np.int64)
        table[:known] = self.values
        if self.ignore_value is not None:
            table[IGNORE] = self.ignore_value
        used = table[[*range(known), IGNORE]]
        dtype = np.min_scalar_type(int(used.max())) if used.min() >= 0 else np.dtype(np.int32)
        return table.astype(dtype)[ids]

    def masks(self, ids: np.ndarray) -> np.ndarray:
        """One boolean mask per class. Ignored voxels are in none.

        Shape:
            (*spatial) -> (K, *spatial)
        """
        return self._mask_table.astype(np.bool_)[:, ids] if ids.size else np.zeros((self.num_classes, *ids.shape), np.bool_)

    def targets(self, ids: torch.Tensor, activation: Activation) -> torch.Tensor:
        """The loss's target for a batch of ids, with 255 where ignored.

        Shape:
            (B, 1, *spatial) uint8 -> softmax: (B, 1, *spatial) class indices; sigmoid: (B, K, *spatial) of 0 and 1; both uint8.

        Raises:
            ValueError: For overlapping classes with softmax.
        """
        if activation == "softmax":
            self._require_exclusive()
            if len(self.values) == self.num_classes + 1 and self._paint_ids == list(range(1, self.num_classes + 1)):
                return ids
            return torch.as_tensor(self._class_table, device=ids.device)[ids.long()]
        table = self._mask_table.copy()
        table[:, IGNORE] = IGNORE
        index = ids[:, 0].long()
        return torch.stack([row[index] for row in torch.as_tensor(table, device=ids.device)], dim=1)

    def ids_from_probabilities(self, prob: torch.Tensor, activation: Activation) -> torch.Tensor:
        """The predicted label map of one case, as ids (uint8).

        Softmax takes the most probable class. Sigmoid takes, of exclusive classes, the most probable one above 0.5, and paints overlapping
        ones above 0.5 in the schema's order; where several are, and a value stands for just these, it takes that one: none is lost.

        Shape:
            softmax (K + 1, *spatial), sigmoid (K, *spatial) -> (*spatial)
        """
        if prob.shape[0] != self.num_outputs(activation):
            raise ValueError(f"{prob.shape[0]} channels of probabilities, {self.num_outputs(activation)} expected with {activation}")
        written = torch.tensor([0, *self._paint_ids], dtype=torch.uint8, device=prob.device)
        if activation == "softmax":
            return written[prob.max(dim=0).indices]
        if not self.overlapping:
            highest, index = prob.max(dim=0)
            return written[torch.where(highest > 0.5, index + 1, 0)]
        ids = torch.zeros(prob.shape[1:], dtype=torch.uint8, device=prob.device)
        for channel, value in zip(prob, self._paint_ids, strict=True):
            ids[channel > 0.5] = value
        codes, values = self._unpainted
        if len(codes):
            code = torch.zeros(ids.numel(), dtype=torch.int64, device=prob.device)
            for number, channel in enumerate(prob):
                code += (channel.reshape(-1) > 0.5).long() << number
            several = (code & (code - 1)).nonzero()[:, 0]
            code, known = code[several], torch.as_tensor(codes, device=prob.device)
            place = torch.searchsorted(known, code).clamp(max=len(codes) - 1)
            exact = known[place] == code
            ids.view(-1)[several[exact]] = torch.as_tensor(values, device=prob.device)[place[exact]]
        return ids

    def to_dict(self) -> dict[str, Any]:
        """The schema in plain JSON types."""
        return {
            "classes": list(self.classes),
            "members": [list(members) for members in self.members],
            "ignore_value": self.ignore_value,
            "paint": list(self.paint),
            "background": list(self.background),
            "threshold": self.threshold,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LabelSchema:
        """Inverse of `to_dict`."""
        return cls(
            tuple(data["classes"]),
            tuple(tuple(members) for members in data["members"]),
            data["ignore_value"],
            tuple(data["paint"]),
            tuple(data["background"]),
            data["threshold"],
        )

    @cached_property
    def _ids(self) -> dict[int, int]:
        """Label value -> internal id."""
        ids = dict.fromkeys(self.background, 0) | {value: index for index, value in enumerate(self.values) if index}
        return ids if self.ignore_value is None else ids | {self.ignore_value: IGNORE}

    @cached_property
    def _paint_ids(self) -> list[int]:
        return [self.values.index(value, 1) for value in self.paint]

    @cached_property
    def _unpainted(self) -> tuple[np.ndarray, np.ndarray]:
        """Sets of several classes that have a value which painting would not give: bit k of an ascending code for class k, and the id."""
        found: dict[int, int] = {}
        if self.num_classes <= 62:  # bits of a code
            for index, column in reversed(list(enumerate(self.membership.T))):
                classes = np.flatnonzero(column).tolist()
                if len(classes) > 1 and not np.array_equal(self.membership[:, self._paint_ids[classes[-1]]], column):
                    found[sum(1 << number for number in classes)] = index
        codes = sorted(found)
        return np.array(codes, dtype=np.int64), np.array([found[code] for code in codes], dtype=np.uint8)

    @cached_property
    def _mask_table(self) -> np.ndarray:
        """uint8 (K, 256): membership of every possible id."""
        table = np.zeros((self.num_classes, IGNORE + 1), dtype=np.uint8)
        table[:, : len(self.values)] = self.membership
        return table

    @cached_property
    def _class_table(self) -> np.ndarray:
        """uint8 (256,): the softmax channel of every possible id."""
        table = np.zeros(IGNORE + 1, dtype=np.uint8)
        table[: len(self.values)] = np.where(self.membership.any(axis=0), self.membership.argmax(axis=0) + 1, 0)
        table[IGNORE] = IGNORE
        return table

    def _require_exclusive(self) -> None:
        if self.overlapping:
            raise ValueError("the classes overlap, which softmax cannot express; set loss.activation=sigmoid, or choose exclusive classes")


def _listed(values: Iterable[int], most: int = 8) -> str:
    values = list(values)
    return ", ".join(str(value) for value in values[:most]) + (f", ... ({len(values)} values)" if len(values) > most else "")
