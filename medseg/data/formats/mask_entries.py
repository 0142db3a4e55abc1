"""The `masks` of the layout `cases`: which files show which classes, and the label values that they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from medseg.data.formats import layout
from medseg.data.formats.fields import Ranges, applies, condition, read_ranges, unknown
from medseg.data.formats.problems import kept, raise_all
from medseg.data.formats.templates import Template
from medseg.data.labels import LabelSchema
from medseg.data.masks import HIGHEST, LOWEST, Layer, Masks
from medseg.errors import DataError

Missing = Literal["error", "empty", "unlabelled"]
Overlap = Literal["paint", "keep"]

KEY = "data.format.params.masks"
_KEYS = ("file", "values", "class", "classes", "threshold", "missing", "where")
_MOST_KEPT = 7


@dataclass(frozen=True)
class Source:
    """One kind of mask file.

    Args:
        templates: Where it is; several files are one mask.
        classes: The values on disk, as ranges, of the classes that it shows.
        background: Values that are none of them.
        ignore: Values of voxels to ignore.
        missing: What it means that there is no file.
        where: The cases that have such files, by their fields; the others show none of these classes.
        file_values: Whether it was written as `values`.
    """

    templates: tuple[Template, ...]
    classes: Mapping[str, Ranges]
    background: Ranges
    ignore: Ranges
    missing: Missing
    where: Mapping[str, tuple[str, ...]]
    file_values: bool


class MaskPlan:
    """All mask entries of a data set: the meaning of its labels, and the composition of each case's.

    Args:
        entries: `masks` as in the config.
        overlap: `paint` lets later files win; `keep` lets voxels belong to several classes, as sums of powers of two.
        regions: Unions of classes that take the classes' place.
        classes: The classes or regions to keep; files that show only others are not read.
        fields: Names that the images' templates capture.
        definitions: The regular expressions that they are given there.

    Attributes:
        labels: What the composed values mean.
        sources: What is read.

    Raises:
        DataError: When the entries make no sense.
    """

    def __init__(
        self,
        entries: Sequence[Mapping[str, Any]],
        overlap: Overlap,
        regions: Mapping[str, list[str]] | None,
        classes: Sequence[str] | None,
        fields: Iterable[str],
        definitions: Mapping[str, str],
    ) -> None:
        fields = tuple(fields)
        sources = read_sources(entries, fields, definitions)
        names = tuple(dict.fromkeys(name for source in sources for name in source.classes))
        self._keep = overlap == "keep"
        self._fields = fields
        self._on_disk = len(sources) == 1 and sources[0].file_values and not self._keep
        shared = _shared_values(sources)
        if shared and not self._keep and not self._on_disk:
            raise DataError(f"{KEY}: {shared}; give each value to one class and unite classes in data.format.params.regions")
        self._identity = bool(shared) and self._on_disk
        self._background = _first(sources[0].background, 0) if self._on_disk else 0
        members = self._members(names, sources)
        self._paint = {name: values[0] for name, values in members.items()}
        if self._keep:
            bits = range(1, 2 ** len(names))
            members = {name: tuple(value for value in bits if value & self._paint[name]) for name in names}
        self._ignore = self._ignore_value(sources, members)
        self.labels, used = self._schema(members, regions, classes)
        self.sources = tuple(source for source in sources if used & source.classes.keys() or source.ignore)
        self._painted = tuple(self._values(source) for source in self.sources)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Where masks may be."""
        return tuple(template for source in self.sources for template in source.templates)

    def compose(
        self, fields: Mapping[str, str], find: Callable[[Template], list[Path]], absent: Callable[[Template], Path]
    ) -> tuple[Masks, int]:
        """The label of one case.

        Args:
            fields: What the case's image captured.
            find: The files that match a template.
            absent: The path that messages name where a template should have matched.

        Returns:
            The label, and the number of files that were found for it.
        """
        layers, found = [], 0
        lacking = set(self._fields) - fields.keys()
        for source, values in zip(self.sources, self._painted, strict=True):
            if not applies(source.where, fields):
                continue
            filled = [template.fill(fields) for template in source.templates if not lacking.intersection(template.fields)]
            files = tuple(dict.fromkeys(path for template in filled for path in find(template)))
            found += len(files)
            if not files and source.missing == "error":
                files = (absent((filled or source.templates)[0]),)
            if files or source.missing == "unlabelled":
                layers.append(Layer(files, values, source.background, unlabelled=not files))
        return Masks(tuple(layers), self._background, self._ignore, self._keep), found

    def _members(self, names: tuple[str, ...], sources: Sequence[Source]) -> dict[str, tuple[int, ...]]:
        """Label values of each class, the one to write first."""
        if self._keep:
            if len(names) > _MOST_KEPT:
                raise DataError(f"data.format.params.overlap: keep holds at most {_MOST_KEPT} classes, there are {len(names)}; use paint")
            return {name: (1 << index,) for index, name in enumerate(names)}
        if not self._on_disk:
            return {name: (index,) for index, name in enumerate(names, start=1)}
        ranges = sources[0].classes
        if self._identity:
            return {name: tuple(dict.fromkeys(value for low, high in ranges[name] for value in range(low, high + 1))) for name in names}
        return {name: (ranges[name][0][0],) for name in names}

    def _ignore_value(self, sources: Sequence[Source], members: Mapping[str, tuple[int, ...]]) -> int | None:
        if not any(source.ignore or source.missing == "unlabelled" for source in sources):
            return None
        if self._on_disk and sources[0].ignore:
            return sources[0].ignore[0][0]
        taken = {self._background, *(value for values in members.values() for value in values)}
        return 255 if max(taken) < 255 else max(taken) + 1

    def _values(self, source: Source) -> tuple[tuple[int, int, int], ...]:
        """(low, high, label value) of a source's values on disk."""
        ignored = tuple((low, high, self._ignore or 0) for low, high in source.ignore)
        if self._identity:
            return tuple((value, value, value) for value in sorted(_enumerated(source))) + ignored
        if not self._keep:
            return tuple((low, high, self._paint[name]) for name, ranges in source.classes.items() for low, high in ranges) + ignored
        if not _shared_values([source]):
            return tuple((low, high, self._paint[name]) for name, ranges in source.classes.items() for low, high in ranges) + ignored
        bits = {
            value: sum(self._paint[name] for name, ranges in source.classes.items() if _in(value, ranges)) for value in _enumerated(source)
        }
        return tuple((value, value, bit) for value, bit in sorted(bits.items())) + ignored

    def _schema(
        self, members: Mapping[str, tuple[int, ...]], regions: Mapping[str, list[str]] | None, classes: Sequence[str] | None
    ) -> tuple[LabelSchema, set[str]]:
        """What the label values mean, and the classes on disk that they need."""
        united = {name: [name] for name in members} if regions is None else _checked_regions(regions, list(members))
        try:
            schema = LabelSchema(
                tuple(united),
                tuple(tuple(dict.fromkeys(value for name in names for value in members[name])) for names in united.values()),
                self._ignore,
                tuple(self._paint[names[0]] for names in united.values()),
                (self._background,),
            )
            unused = {value for values in members.values() for value in values} - {value for group in schema.members for value in group}
            if unused:  # of classes that no region takes
                schema = LabelSchema(schema.classes, schema.members, schema.ignore_value, schema.paint, (self._background, *sorted(unused)))
        except ValueError as error:
            raise DataError(f"{KEY}: {error}; correct the entries") from error
        chosen = layout.select_classes(schema, classes)
        return chosen, {name for region in chosen.classes for name in united[region]}


def read_sources(entries: Any, fields: tuple[str, ...] | None, definitions: Mapping[str, str]) -> list[Source]:
    """The sources that mask entries stand for.

    Args:
        entries: `masks` as in the config.
        fields: Names that the images' templates capture; None where these cannot be read, so that conditions cannot be checked.
        definitions: The regular expressions that they are given there.

    Raises:
        DataError: What is wrong with each entry.
    """
    if not isinstance(entries, list | tuple) or not entries:
        raise DataError(f"{KEY}: must list at least one {{file: template, values: {{class: value}}}}")
    problems: list[str] = []
    sources: list[Source] = []
    for index, entry in enumerate(entries):
        with kept(problems):
            sources += _parse(entry, f"{KEY}[{index}]", fields, definitions)
    raise_all(problems)
    return sources


def _parse(entry: Any, key: str, fields: tuple[str, ...] | None, definitions: Mapping[str, str]) -> list[Source]:
    """The sources that an entry stands for: one, or one per class."""
    if not isinstance(entry, Mapping) or "file" not in entry:
        raise DataError(f"{key}: {entry!r} must be {{file: template, ...}} with one of values, class and classes")
    for name in entry:
        if name not in _KEYS:
            raise DataError(unknown(key, "key", name, _KEYS))
    ways = [way for way in ("values", "class", "classes") if way in entry]
    if len(ways) != 1:
        raise DataError(f"{key}: give one of values, class and classes, not {' and '.join(ways) or 'none'}")
    missing = entry.get("missing", "error")
    if missing not in get_args(Missing):
        raise DataError(f"{key}.missing: {missing!r} is not a choice; choose from {', '.join(get_args(Missing))}")
    where = condition(entry["where"], f"{key}.where", fields) if "where" in entry and fields is not None else {}
    files = entry["file"] if isinstance(entry["file"], list) else [entry["file"]]
    templates = tuple(Template.parse(file, f"{key}.file").define(definitions) for file in files)
    if not templates:
        raise DataError(f"{key}.file: lists no template; give one")
    if ways == ["values"]:
        if "threshold" in entry:
            raise DataError(f"{key}.threshold: goes with class or classes, not with values; write the values as ranges such as 128-255")
        return [Source(templates, *_read_values(entry["values"], f"{key}.values"), missing, where, file_values=True)]
    threshold = entry.get("threshold", 0)
    if isinstance(threshold, bool) or not isinstance(threshold, int):
        raise DataError(f"{key}.threshold: {threshold!r} is no whole number; give the highest value of the background")
    named = _class_files(entry, ways[0], key, templates)
    above, below = ((threshold + 1, HIGHEST),), ((LOWEST, threshold),)
    return [Source(paths, {name: above}, below, (), missing, where, file_values=False) for name, paths in named.items()]


def _class_files(entry: Mapping[str, Any], way: str, key: str, templates: tuple[Template, ...]) -> dict[str, tuple[Template, ...]]:
    """Class -> templates of its binary masks."""
    given = entry[way]
    if way == "class":
        if not isinstance(given, str) or given in ("background", "ignore"):
            raise DataError(f"{key}.class: {given!r} is not the name of a class; give one")
        return {given: templates}
    names = (
        {str(name): str(disk) for name, disk in given.items()} if isinstance(given, Mapping) else {str(name): str(name) for name in given}
    )
    if not names:
        raise DataError(f"{key}.classes: names no class; list them")
    for name, disk in names.items():
        if name in ("background", "ignore"):
            raise DataError(f"{key}.classes: {name} is not the name of a class; leave it out")
        if not Template.parse(disk, f"{key}.classes").is_literal:
            raise DataError(f"{key}.classes: {disk!r} must be a plain part of the file's path")
    if any("class" not in template.fields for template in templates):
        raise DataError(f"{key}.file: needs {{class}} where a class's name stands in the path, since the entry has `classes`")
    return {name: tuple(template.fill({"class": disk}) for template in templates) for name, disk in names.items()}


def _read_values(values: Any, key: str) -> tuple[dict[str, Ranges], Ranges, Ranges]:
    """Ranges on disk of the classes, of background and of ignored voxels."""
    if not isinstance(values, Mapping) or not values.keys() - {"background", "ignore"}:
        raise DataError(f"{key}: must map class names to values, such as {{liver: 63, kidney: [126, 110-135]}}")
    ranges = {str(name): read_ranges(given, f"{key}.{name}") for name, given in values.items()}
    background, ignore = ranges.pop("background", None), ranges.pop("ignore", ())
    if background is None:
        taken = any(_in(0, group) for group in (*ranges.values(), ignore))
        if taken:
            raise DataError(f"{key}: 0 stands for a class, so the value of the background must be given as `background`")
        background = ((0, 0),)
    for name, group in (("ignore", ignore), ("background", background)):
        other = next((other for other, theirs in ranges.items() if any(a <= d and c <= b for a, b in group for c, d in theirs)), None)
        if other:
            raise DataError(f"{key}: {name} and '{other}' share a value; give each its own")
    return ranges, background, ignore


def _shared_values(sources: Iterable[Source]) -> str:
    """What to say of two classes of a source that share a value on disk; empty where none do."""
    for source in sources:
        spans = sorted((low, high, name) for name, ranges in source.classes.items() for low, high in ranges)
        reach: tuple[int, str] | None = None
        for low, high, name in spans:
            if reach and low <= reach[0] and name != reach[1]:
                return f"the value {low} stands for '{reach[1]}' and for '{name}'"
            reach = (high, name) if reach is None or high > reach[0] else reach
    return ""


def _checked_regions(regions: Any, classes: Sequence[str]) -> dict[str, list[str]]:
    key = "data.format.params.regions"
    if not isinstance(regions, Mapping) or not regions or not all(isinstance(names, list) and names for names in regions.values()):
        raise DataError(f"{key}: must map a region's name to the classes that it unites, such as {{tumour: [core, oedema]}}")
    for region, names in regions.items():
        for name in names:
            if name not in classes:
                raise DataError(unknown(f"{key}.{region}", "class", name, classes))
    return {str(region): list(names) for region, names in regions.items()}


def _enumerated(source: Source) -> set[int]:
    spans = [span for ranges in source.classes.values() for span in ranges]
    if sum(high - low for low, high in spans) > 2**16:
        raise DataError(f"{KEY}: classes that share values cannot have such long ranges; list the values")
    return {value for low, high in spans for value in range(low, high + 1)}


def _in(value: int, ranges: Ranges) -> bool:
    return any(low <= value <= high for low, high in ranges)


def _first(ranges: Ranges, default: int) -> int:
    return ranges[0][0] if ranges else default
