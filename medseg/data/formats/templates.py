r"""Path templates such as `{site}/{id:\d+}/orig/FLAIR.nii.gz`, and the folder tree that they are matched against."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from medseg.errors import DataError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ENDLESS = re.compile(r"(?<!\\)(?:[+*]|\{\d*,\})\)(?:[+*]|\{\d*,\})")
"""A repeated group that ends in a repetition, as in "(a+)+": on a path that does not match it may take for ever."""
_LONGEST = 1024
"""Characters of a path that expressions are asked about."""


@dataclass(frozen=True)
class _Field:
    """A part of a path that a template captures."""

    name: str
    regex: str | None


_ANY = None
"""The part `*`."""

_Part = str | _Field | None


@dataclass(frozen=True)
class Template:
    """A path below a root, some parts of which are open.

    `{field}` captures a part of a name, `{field:regex}` what the regular expression matches (it may contain "/"), `*` stands for anything
    but "/". All else is literal, blanks and parentheses too. The same field twice means the same text. A template that ends in "/" matches
    folders. Matching is case-sensitive.

    Args:
        text: As it was written, for messages.
        parts: Literal text, fields, and None for `*`.
    """

    text: str
    parts: tuple[_Part, ...]

    @classmethod
    def parse(cls, text: object, key: str) -> Template:
        """Read a template.

        Args:
            text: The template.
            key: The config key that it stands at, for messages.

        Raises:
            DataError: When it is no text, leads out of the root, or has a field or regular expression that cannot be read, or repeats a
                repetition.
        """
        if not isinstance(text, str) or not text:
            raise DataError(f"{key}: {text!r} is no template; give a path below data.root, such as images/{{id}}.png")
        parts = tuple(_parse(text, key))
        literal = "".join(part if isinstance(part, str) else "x" for part in parts)
        if os.path.isabs(text) or re.match(r"[A-Za-z]:", literal) or ".." in literal.split("/"):
            raise DataError(f"{key}: {text!r} leads out of the data set's folder; give a path below data.root")
        if "\\" in literal or "." in literal.split("/") or "//" in literal:
            raise DataError(f'{key}: {text!r} is not written plainly; part folders by one "/", without "." or backslashes')
        template = cls(text, parts)
        try:
            _ = template.regex
        except re.error as error:
            raise DataError(f"{key}: {text!r} has a regular expression that cannot be used ({error}); correct it") from error
        for regex in template.definitions.values():
            if _ENDLESS.search(regex):
                raise DataError(
                    f"{key}: {text!r} repeats a repetition, which may take for ever; write {regex!r} without the inner or outer one"
                )
        return template

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the captured fields, in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, _Field)))

    @property
    def definitions(self) -> dict[str, str]:
        """The regular expressions that the fields are given, where they are given one."""
        return {part.name: part.regex for part in self.parts if isinstance(part, _Field) and part.regex is not None}

    @property
    def is_literal(self) -> bool:
        """Whether nothing is open, so that the template is a path."""
        return all(isinstance(part, str) for part in self.parts)

    @property
    def prefix(self) -> str:
        """What every matching path begins with."""
        literal = []
        for part in self.parts:
            if not isinstance(part, str):
                break
            literal.append(part)
        return "".join(literal)

    @property
    def file_name(self) -> str:
        """The name that all matching files have; empty where it is open, or a folder is matched."""
        last = self.parts[-1]
        return last.rpartition("/")[2] if isinstance(last, str) and "/" in last else ""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The regular expression that whole paths must match."""
        pattern, seen = "", set()
        for part in self.parts:
            if isinstance(part, _Field):
                pattern += f"(?P={part.name})" if part.name in seen else f"(?P<{part.name}>{part.regex or '[^/]+'})"
                seen.add(part.name)
            else:
                pattern += "[^/]*" if part is _ANY else re.escape(part)
        return re.compile(pattern)

    def fill(self, values: Mapping[str, str]) -> Template:
        """The template with the text of some fields put in; the others stay open."""
        parts = (values.get(part.name, part) if isinstance(part, _Field) else part for part in self.parts)
        return Template(self.text, tuple(_joined(parts)))

    def define(self, regexes: Mapping[str, str]) -> Template:
        """The template whose fields that have no regular expression of their own take those of another one."""
        parts = (_Field(part.name, part.regex or regexes.get(part.name)) if isinstance(part, _Field) else part for part in self.parts)
        return Template(self.text, tuple(parts))

    def below(self, levels: int) -> Template | None:
        """The template without its first folders, to match in a subfolder; None where it has too few, or a field hides a "/"."""
        parts: list[_Part] = list(self.parts)
        for _ in range(levels):
            while parts and not (isinstance(parts[0], str) and "/" in parts[0]):
                if isinstance(parts[0], _Field) and "/" in (parts[0].regex or ""):
                    return None
                parts.pop(0)
            if not parts:
                return None
            head = parts.pop(0)
            assert isinstance(head, str)
            rest = head.split("/", 1)[1]
            if rest:
                parts.insert(0, rest)
        return Template(self.text, tuple(parts)) if parts else None

    def __str__(self) -> str:
        return "".join("*" if part is _ANY else part if isinstance(part, str) else f"{{{part.name}}}" for part in self.parts)


class Tree:
    """The files and folders below a root that some templates may match, found in one walk. Hidden ones are skipped, links followed.

    Args:
        root: The folder.
        templates: Only folders that their literal beginnings lead to are entered.

    Raises:
        DataError: When a path below the root is extremely long.
    """

    def __init__(self, root: Path, templates: Iterable[Template]) -> None:
        self.root = root
        starts = sorted({template.prefix.rpartition("/")[0] for template in templates})
        found: set[str] = set()
        for start in starts:
            if start not in found and f"{start}/" not in found and not _hidden(start):
                found.update(_walk(root, start))
        self.paths = sorted(found)
        longest = max(self.paths, key=len, default="")
        if len(longest) > _LONGEST:
            raise DataError(f"{root}: the path {longest[:80]}... has {len(longest)} characters, {_LONGEST} may be; shorten or remove it")

    def match(self, template: Template) -> list[tuple[str, dict[str, str]]]:
        """The paths (folders end in "/") that a template matches, sorted, and what its fields captured."""
        prefix = template.prefix
        if template.is_literal:
            index = bisect_left(self.paths, prefix)
            return [(prefix, {})] if index < len(self.paths) and self.paths[index] == prefix else []
        needle = max((part for part in template.parts if isinstance(part, str)), key=len, default="")
        name = template.file_name
        found = []
        for path in self._named.get(name, []) if name and not prefix else self._below(prefix):
            if needle not in path:  # a fortieth of the time of the expression, and thousands of cases ask for one file each
                continue
            match = template.regex.fullmatch(path)
            if match and path.endswith("/") == template.text.endswith("/"):
                found.append((path, match.groupdict()))
        return found

    def nearly(self, template: Template) -> list[str]:
        """The paths that a template matches but for upper and lower case, sorted."""
        needle = max((part for part in template.parts if isinstance(part, str)), key=len, default="").lower()
        regex = re.compile(template.regex.pattern, re.IGNORECASE)
        ending = template.text.endswith("/")
        near = (path for path in self.paths if needle in path.lower() and path.endswith("/") == ending and regex.fullmatch(path))
        return [path for path in near if not template.regex.fullmatch(path)]

    def _below(self, prefix: str) -> Iterator[str]:
        """The paths that begin so."""
        for index in range(bisect_left(self.paths, prefix), len(self.paths)):
            if not self.paths[index].startswith(prefix):
                break
            yield self.paths[index]

    @cached_property
    def _named(self) -> dict[str, list[str]]:
        """The paths of each file name: a hundred masks a case are asked for by name in the whole tree."""
        named: dict[str, list[str]] = {}
        for path in self.paths:
            named.setdefault(path.rpartition("/")[2], []).append(path)
        return named

    def path(self, relative: str) -> Path:
        """The path of what `match` found."""
        return self.root / relative


def some_files(root: Path, count: int = 4) -> str:
    """A few of the files below a folder, for messages on what does not match."""
    names = list(islice((path for path in _walk(root, "") if not path.endswith("/")), count + 1))
    return "it holds no file" if not names else "it holds " + ", ".join(sorted(names[:count])) + ", ..." * (len(names) > count)


def _parse(text: str, key: str) -> Iterator[_Part]:
    """Parts of a template's text; braces may nest in a regular expression."""
    position = 0
    for match in re.finditer(r"[{}*]", text):
        start = match.start()
        if start < position:  # within a field
            continue
        if start > position:
            yield text[position:start]
        if match[0] == "*":
            yield _ANY
            position = start + 1
            continue
        end = _closing(text, start) if match[0] == "{" else None
        if end is None:
            raise DataError(f"{key}: {text!r} has a brace without its counterpart; write fields as {{name}} or {{name:regex}}")
        name, colon, regex = text[start + 1 : end].partition(":")
        if not _NAME.fullmatch(name):
            raise DataError(f"{key}: {text!r} has a field named {name!r}; names are letters, digits and _")
        yield _Field(name, regex if colon else None)
        position = end + 1
    if position < len(text):
        yield text[position:]


def _closing(text: str, start: int) -> int | None:
    """Place of the brace that closes the one at `start`; escaped braces do not count."""
    depth, position = 0, start
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
        position += 1
    return None


def _joined(parts: Iterable[_Part]) -> Iterator[_Part]:
    """Parts with neighbouring literal text as one."""
    literal = ""
    for part in parts:
        if isinstance(part, str):
            literal += part
            continue
        if literal:
            yield literal
        literal = ""
        yield part
    if literal:
        yield literal


def _walk(root: Path, start: str) -> Iterator[str]:
    """Paths relative to the root, folders with "/" at their end, of all that lies below a folder."""
    if start and (root / start).is_dir():
        yield f"{start}/"
    stack: list[tuple[str, frozenset[tuple[int, int]]]] = [(start, frozenset())]
    while stack:
        folder, above = stack.pop()
        try:
            status = os.stat(root / folder)
            entries = [(entry.name, os.path.isdir(entry)) for entry in os.scandir(root / folder)]
        except OSError:  # not there, not a folder, or not ours to read: then nothing lies below
            continue
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a link to a folder that it lies in
            continue
        for name, is_folder in entries:
            if name.startswith("."):
                continue
            relative = f"{folder}/{name}" if folder else name
            if is_folder:
                yield f"{relative}/"
                stack.append((relative, above | {identity}))
            else:
                yield relative


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
