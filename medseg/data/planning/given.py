"""What the command line says, which wins over what the data says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from medseg.config import find_config, to_dict
from medseg.config.load import load_file
from medseg.config.read import write_text
from medseg.config.resolve import resolve
from medseg.config.schema import Config
from medseg.config.tree import COMMAND_LINE, KeyPath, Node
from medseg.data.planning.fingerprint import Fingerprint
from medseg.errors import DataError

NOTE = "as given on the command line"


@dataclass(frozen=True)
class Decision:
    """One key of the config.

    Args:
        key: Where it stands: "data.patch_size".
        value: Its value, of plain JSON types.
        note: What it means, in a few words.
        reason: Why it is so.
    """

    key: str
    value: Any
    note: str
    reason: str


@dataclass(frozen=True)
class Given:
    """A config, and those of its keys that the command line has set.

    Args:
        config: The config, overrides included.
        paths: The keys that overrides set, sections taken apart.
    """

    config: Config
    paths: frozenset[KeyPath] = frozenset()

    @classmethod
    def of(cls, config: Config, source: str, overrides: Sequence[str]) -> Given:
        """Finds out which keys `overrides`, that are in `config` already, set over those of the file `source`.

        Raises:
            ConfigError: The file or an override is not valid.
        """
        problems: list[Any] = []
        root = load_file(find_config(source), problems)
        return cls(config, frozenset(_set_by_overrides(resolve(root, overrides, problems), ())))

    def says(self, key: str) -> bool:
        """Whether the command line sets a key, or something in it."""
        path = tuple(key.split("."))
        return any(given[: len(path)] == path for given in self.paths)

    def over(self, decision: Decision) -> Decision:
        """The decision, or what the command line says about its key instead."""
        if not self.says(decision.key):
            return decision
        value = value_at(to_dict(self.config), tuple(decision.key.split(".")))
        same = f"so would the data: {decision.reason}"
        other = f"the data alone would make it {shown(decision.value)}: {decision.reason}"
        return replace(decision, value=value, note=NOTE, reason=same if value == decision.value else other)

    @property
    def network(self) -> bool:
        """Whether the command line asks for a network that no plan is made for."""
        return self.says("network") and self.config.network.name != "dynunet"

    def check(self, fingerprint: Fingerprint) -> None:
        """Refuses lists that do not fit the data set.

        Raises:
            DataError: One has another length than there are axes or channels.
        """
        data, axes = self.config.data, fingerprint.spatial_dims
        for key, value in (("data.spacing", data.spacing), ("data.patch_size", data.patch_size)):
            if self.says(key) and value is not None and len(value) != axes:
                raise DataError(f"{key}={list(value)} must have {axes} numbers: data set '{fingerprint.name}' is {axes}-D")
        names, channels = data.normalisation, fingerprint.channels
        if self.says("data.normalisation") and not isinstance(names, str) and len(names) != len(channels):
            raise DataError(
                f"data.normalisation={list(names)} must be one name, or {len(channels)} names, one for each channel of data set "
                f"'{fingerprint.name}' ({', '.join(channels)})"
            )


def shown(value: Any) -> str:
    """A value of a config as its file shows it, on one line."""
    return " ".join(write_text({"x": value}).removeprefix("x:").split())


def value_at(values: Any, path: KeyPath) -> Any:
    """What stands at a key of a config as plain values; None where there is nothing."""
    for part in path:
        found = isinstance(values, dict) and part in values if isinstance(part, str) else isinstance(values, list) and part < len(values)
        if not found:
            return None
        values = values[part]
    return values


def _set_by_overrides(node: Node, path: KeyPath) -> list[KeyPath]:
    if node.is_section:
        return [found for key, child in node.value.items() for found in _set_by_overrides(child, (*path, key))]
    if node.origin == COMMAND_LINE:
        return [path]
    if isinstance(node.value, list):
        return [found for index, child in enumerate(node.value) for found in _set_by_overrides(child, (*path, index))]
    return []
