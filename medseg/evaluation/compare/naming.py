"""Names of methods: short, and no two alike."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

LONGEST = 40
_LONGEST_VALUE = 16
_FIRST = ("network.name", "loss.terms", "optimizer.name", "finetuned")


def method_names(names: Sequence[Sequence[str]], settings: Sequence[Mapping[str, Any]], folders: Sequence[Path | None]) -> list[str]:
    """The config's name, and where several methods share it what differs between them; the folder's name where there is no config.

    What all methods have in common is dropped: a config's name that all of them share, and the ends that long names share.

    Args:
        names: Of each method: the names in the configs of its runs.
        settings: Of each method: the flat keys that make it.
        folders: Of each method: its folder, where it has no config.

    Returns:
        A name each, all of them different.
    """
    paths = [folder for folder in folders if folder is not None]
    bases = [_folder_name(folder, paths) if folder is not None else _common_name(names[at]) for at, folder in enumerate(folders)]
    alike = [[at for at, other in enumerate(bases) if other == base] for base in bases]
    details = [
        _details([settings[at] for at in members])[members.index(at)] if len(members) > 1 else "" for at, members in enumerate(alike)
    ]
    if len(set(bases)) == 1 and all(details):
        found = details
    else:
        found = [", ".join(part for part in (base, detail) if part) for base, detail in zip(bases, details, strict=True)]
    if max(map(len, found)) > LONGEST:
        found = _without_common_ends(found)
    return _distinct([one if len(one) <= LONGEST else f"{one[:24]}..{one[26 - LONGEST :]}" for one in found])


def _common_name(names: Sequence[str]) -> str:
    """The name of a method's runs, or what several have in common: `focal` of `focal-s0` and `focal-s1`."""
    unique = sorted(set(names))
    if len(unique) == 1:
        return unique[0]
    letters = takewhile(lambda column: len(set(column)) == 1, zip(*unique, strict=False))
    common = re.sub(r"[-_. ]+(s|seed|run|fold)?[-_. ]*$", "", "".join(column[0] for column in letters))
    return common or unique[0]


def _folder_name(folder: Path, folders: Sequence[Path]) -> str:
    """The folder's own name; of folders with the same name, the part of the path that differs."""
    rivals = [one for one in folders if one.name == folder.name]
    depth = 1
    while len({one.parts[-depth:] for one in rivals}) < len(rivals):
        depth += 1
    parts = [one.parts[-depth:] for one in rivals]
    mine = folder.parts[-depth:]
    return "/".join(part for at, part in enumerate(mine) if len({other[at] for other in parts}) > 1) or folder.name


def _details(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What differs between methods, a text each: all of it where that is short, else the fewest settings that tell them apart."""
    flat = [dict(_flat_terms(one)) for one in settings]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if len({_text(one.get(key)) for one in flat}) > 1]
    keys.sort(key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    texts = _texts(flat, keys)
    if max(map(len, texts)) <= LONGEST:
        return texts
    return _texts(flat, _fewest(flat, keys))


def _fewest(flat: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """Keys that tell apart what all keys together do, one after the other the one that splits most."""

    def kinds(some: Sequence[str]) -> int:
        return len({tuple(_text(one.get(key)) for key in some) for one in flat})

    chosen: list[str] = []
    while kinds(chosen) < kinds(keys):
        chosen.append(max((key for key in keys if key not in chosen), key=lambda key: kinds([*chosen, key])))
    return [key for key in keys if key in chosen]


def _texts(flat: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    lasts = [key.rpartition(".")[2] for key in keys]
    named = [last if lasts.count(last) == 1 else ".".join(key.split(".")[-2:]) for key, last in zip(keys, lasts, strict=True)]
    columns = [_values([one.get(key) for one in flat]) for key in keys]
    return [
        ", ".join(_told(key, name, column[at]) for key, name, column in zip(keys, named, columns, strict=True) if one.get(key) is not None)
        for at, one in enumerate(flat)
    ]


def _told(key: str, name: str, value: str) -> str:
    if key in ("finetuned", "folder"):
        return key
    return value if key in _FIRST else f"{name}={value}"


def _values(values: Sequence[Any]) -> list[str]:
    """Values as texts; of long ones, the part in which they differ."""
    texts = [_text(value) for value in values]
    if max(map(len, texts)) <= _LONGEST_VALUE or "+" in "".join(texts):
        return texts
    start = len(list(takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))))
    return [text if len(text) <= _LONGEST_VALUE else (".." if start else "") + text[start : start + _LONGEST_VALUE] for text in texts]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)


def _flat_terms(setting: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values, with a list of loss terms as their names and the settings of each: `bce+dice`, `dice.weight` 0.5."""
    for key, value in setting.items():
        if key == "loss.terms" and isinstance(value, list):
            yield key, "+".join(str(term["name"]) for term in value)
            for term in value:
                yield from ((f"{key}.{term['name']}.{name}", inner) for name, inner in term.items() if name != "name")
        else:
            yield key, value


def _without_common_ends(names: Sequence[str]) -> list[str]:
    """Long names without the words that all begin or end with."""
    words = [re.findall(r"[^-_., ]+|[-_., ]+", name) for name in names]
    start, stop = _shared(words, lambda one: one), _shared(words, lambda one: one[::-1])
    cut = ["".join(one[start : len(one) - stop]).strip("-_., ") for one in words]
    return cut if all(cut) else list(names)


def _shared(words: Sequence[Sequence[str]], turned: Callable[[Sequence[str]], Sequence[str]]) -> int:
    return len(list(takewhile(lambda column: len(set(column)) == 1, zip(*map(turned, words), strict=False))))


def _distinct(names: Sequence[str]) -> list[str]:
    return [name if names.count(name) == 1 else f"{name} #{names[:at].count(name) + 1}" for at, name in enumerate(names)]
