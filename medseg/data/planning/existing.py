"""A plan that is there already: what it was made from, and whether it is what is asked for now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.config import find_config, load_config, shipped_configs, to_dict
from medseg.config.find import find_in
from medseg.config.read import read_file, shown_path
from medseg.config.schema import Config
from medseg.config.tree import KeyPath, key_text, plain
from medseg.data.planning.given import Given, shown, value_at
from medseg.data.planning.write import FINGERPRINT, HEADER, is_plan
from medseg.errors import DataError


def existing_plan(path: Path, given: Given, source: str, memory_gib: float | None) -> Config:
    """The config of a plan that exists, where it is what is asked for.

    Args:
        path: The plan.
        given: What is asked for.
        source: The config that is asked for.
        memory_gib: The memory that is asked for; None: any.

    Raises:
        DataError: It is not; the message names every difference.
        ConfigError: The plan has been edited and is not valid.
    """
    planned = load_config(str(path))
    found = list(_differences(path, planned, given, source, memory_gib))
    if found:
        raise DataError(
            f"{shown_path(path)}: this plan is there already and is not what is asked for now:\n"
            + "\n".join(f"  {line}" for line in found)
            + "\nwrite another plan with --out OTHER.yaml, or this one anew with --replan, which drops what was edited in it; "
            f"`medseg prepare {shown_path(path)}` goes on with it as it is"
        )
    return planned


def refuse_to_overwrite(path: Path) -> None:
    """Refuses to put a plan in the place of a file that is none.

    Raises:
        DataError: There is such a file.
    """
    if path.exists() and not is_plan(path):
        raise DataError(f"{shown_path(path)}: is no plan of `medseg prepare`, and --replan would write over it; choose another --out")


def fingerprint_of(path: Path) -> str | None:
    """The snapshot that a plan says it was made from; None where it says nothing."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return next((line.removeprefix(FINGERPRINT).strip() for line in file if line.startswith(FINGERPRINT)), None)


def _differences(path: Path, planned: Config, given: Given, source: str, memory_gib: float | None) -> Iterator[str]:
    parents = _parents(path)
    if find_config(source).resolve() not in [found for _, found in parents]:
        yield f"extends: {', '.join(name for name, _ in parents) or 'nothing'} in the plan, {source} on the command line"
    old, new = to_dict(planned), to_dict(given.config)
    told = set()
    for key in sorted(given.paths, key=key_text):
        before, after = value_at(old, key), value_at(new, key)
        if not _same(key, before, after):
            told.add(key)
            yield f"{key_text(key)}: {shown(before)} in the plan, {shown(after)} on the command line"
    for key in _data_keys(given.config):
        before, after = value_at(old, key), value_at(new, key)
        if not any(one[: len(key)] == key for one in told) and not _same(key, before, after):
            yield f"{key_text(key)}: {shown(before)} in the plan, {shown(after)} in {source}"
    stated = _memory(path)
    if memory_gib is not None and stated is not None and f"{memory_gib:g}" != stated:
        yield f"--memory: {stated} GiB in the plan, {memory_gib:g} on the command line"


def _data_keys(config: Config) -> list[KeyPath]:
    """The keys that say which data set is meant; none where the config leaves it to the command line, which the plan remembers."""
    if config.data.root is not None:
        return [("data", "root"), ("data", "format")]
    return [("data", "format")] if config.data.format.name == "phantom" else []


def _same(key: KeyPath, before: Any, after: Any) -> bool:
    if key in (("data", "root"), ("data", "store")) and isinstance(before, str) and isinstance(after, str):
        return Path(before).expanduser().resolve() == Path(after).expanduser().resolve()
    return bool(before == after)


def _parents(path: Path) -> list[tuple[str, Path]]:
    """The configs that a plan extends: as it names them, and where they are."""
    extends = read_file(path, []).value.get("extends")
    names = [] if extends is None else plain(extends)
    names = names if isinstance(names, list) else [names]
    found = [(str(name), find_in(str(name), [path.parent, shipped_configs()])) for name in names]
    return [(name, file.resolve()) for name, file in found if file is not None]


def _memory(path: Path) -> str | None:
    with open(path, encoding="utf-8", errors="replace") as file:
        first = file.readline()
    match = re.search(r", (\S+) GiB\.", first) if first.startswith(HEADER) else None
    return None if match is None else match[1]
