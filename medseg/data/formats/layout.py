"""What the formats share: data-set files, labels in JSON, groups, and folders of images."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.data.case import Case, Fault
from medseg.data.formats.problems import raise_all
from medseg.data.formats.rows import read_rows
from medseg.data.images import RASTER_SUFFIXES, count_channels, list_images, lossless_suffix, read_geometry, suffix_of
from medseg.data.labels import LabelSchema
from medseg.errors import DataError


def require_folder(folder: Path, what: str, remedy: str) -> Path:
    """Return the folder, or raise `DataError`: "<folder>: <what> does not exist; <remedy>"."""
    if folder.is_dir():
        return folder
    problem = "is a file, not a folder" if folder.exists() else "does not exist"
    raise DataError(f"{folder}: {what} {problem}; {remedy}")


def find_root(root: Path, layout: str) -> Path:
    """The folder that holds dataset.json: `root` itself or its only subfolder that does.

    Raises:
        DataError: When there is none, or several.
    """
    require_folder(root, "the data set's folder", "set data.root to the folder that holds dataset.json")
    if (root / "dataset.json").is_file():
        return root
    below = sorted(path.parent for path in root.glob("*/dataset.json") if not path.parent.name.startswith("."))
    if len(below) == 1:
        return below[0]
    if below:
        names = ", ".join(path.name for path in below)
        raise DataError(f"{root}: holds several data sets ({names}); set data.root to one of them")
    raise DataError(
        f"{root}: no dataset.json here, which the {layout} layout needs; set data.root to its folder, or use data.format.name=folders"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        DataError: When the file is no JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON, line {error.lineno} column {error.colno}: {error.msg}; correct the file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); check the file and its permissions") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, an object with keys is expected; see data/README.md")
    return content


def inside(root: Path, relative: Any, source: Path) -> Path:
    """A path that a data-set file gives, below the data set's folder.

    Links are not followed: a data set may link to files elsewhere, but its JSON cannot name them.

    Raises:
        DataError: When the path is no text or leads out of the folder.
    """
    if not isinstance(relative, str) or not relative:
        raise DataError(f"{source}: {relative!r} is not a path; give the path of a file below {root}")
    path = Path(os.path.normpath(root / relative))
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(root)):
        raise DataError(f"{source}: the path {relative!r} leads out of {root}; give paths below the data set's folder")
    return path


def schema_from_json(labels: Any, source: Path, regions_order: Any = None, classes: Sequence[str] | None = None) -> LabelSchema:
    """Build the schema from a dataset.json's labels: {"1": "liver"}, {"liver": 1}, or regions {"tumour": [1, 2]} with their painting order.

    Raises:
        DataError: When the labels make no sense.
    """
    if not isinstance(labels, Mapping) or not labels:
        raise DataError(f'{source}: "labels" must map class names to values, such as {{"background": 0, "lesion": 1}}; correct the file')
    if all(isinstance(name, str) for name in labels.values()):
        named = [(name, value) for value, name in labels.items()]
    else:
        named = list(labels.items())
    if len({name for name, _ in named}) < len(named):
        raise DataError(f'{source}: two entries of "labels" have the same name; give every class its own')
    values = {name: _label_values(name, value, source) for name, value in named}
    background = values.pop("background", (0,))
    ignore = values.pop("ignore", None)
    if len(background) != 1 or (ignore is not None and len(ignore) != 1):
        raise DataError(f'{source}: "background" and "ignore" need one value each in "labels"; correct the file')
    paint = _paint_values(values, regions_order, source)
    try:
        schema = LabelSchema(tuple(values), tuple(values.values()), ignore[0] if ignore else None, paint, background)
    except ValueError as error:
        raise DataError(f'{source}: "labels": {error}; correct the file') from error
    return select_classes(schema, classes)


def schema_from_params(labels: Mapping[str, int] | None, threshold: int | None, classes: Sequence[str] | None) -> LabelSchema:
    """Build the schema that a format's parameters `labels`, `threshold` and `classes` describe.

    Args:
        labels: Name -> value. None: a single class "foreground", which is every value above the threshold.
        threshold: For masks of one class: values above it are the class. None: 0 where there are no labels.
        classes: The classes to keep; None keeps all.

    Raises:
        DataError: When they make no sense together.
    """
    if labels is None:
        schema = _binary("foreground", 1, 0 if threshold is None else threshold)
    else:
        schema = with_threshold(schema_from_json(labels, Path("data.format.params.labels")), threshold)
    return select_classes(schema, classes)


def with_threshold(schema: LabelSchema, threshold: int | None) -> LabelSchema:
    """The schema of one class, which is every value above a threshold; the schema itself where there is none.

    Raises:
        DataError: When the schema has several classes or an ignore label.
    """
    if threshold is None:
        return schema
    if schema.num_classes != 1 or schema.ignore_value is not None:
        names = ", ".join(schema.classes)
        raise DataError(f"data.format.params.threshold parts one class from the background, but the labels are {names}; remove it")
    return _binary(schema.classes[0], schema.paint[0], threshold)


def _binary(name: str, value: int, threshold: int) -> LabelSchema:
    """One class above a threshold, written as 255 where its own value lies below."""
    try:
        return LabelSchema((name,), ((value if value > threshold else 255,),), threshold=threshold)
    except ValueError as error:
        raise DataError(f"data.format.params.threshold: {error}; give a number from 0 to 254") from error


def select_classes(schema: LabelSchema, classes: Sequence[str] | None) -> LabelSchema:
    """The schema with the classes that the config asks for; all of them for None.

    Raises:
        DataError: For a class that the data set does not have.
    """
    if classes is None:
        return schema
    try:
        return schema.select(classes)
    except ValueError as error:
        raise DataError(f"data.format.params.classes: {error}") from error


def channel_names(names: Any, key: str, source: Path) -> tuple[str, ...]:
    """Channel names of a dataset.json, {"0": "T1", "1": "T2"}, in the order of their numbers.

    Raises:
        DataError: When the numbers are not 0, 1, 2, ...
    """
    if not isinstance(names, Mapping) or sorted(names) != sorted(str(index) for index in range(len(names))) or not names:
        raise DataError(f'{source}: "{key}" must number the channels from 0, such as {{"0": "FLAIR", "1": "T1"}}; correct the file')
    return tuple(str(names[str(index)]) for index in range(len(names)))


def assign_groups(cases: Iterable[Case], root: Path, rule: str | None) -> tuple[tuple[Case, ...], list[Fault]]:
    """Give every case its group (the patient), so that folds never split one.

    Args:
        cases: Cases whose group is not known yet.
        root: Folder of the data set.
        rule: A CSV file with the columns case and group, below `root` or absolute; or a regular expression that is searched in the case's
            id, its first bracket (or whole match) being the group. None: groups.csv where there is one, otherwise every case for itself.

    Returns:
        The cases with groups, and what was found wrong.

    Raises:
        DataError: When the file or the expression cannot be used.
    """
    cases = list(cases)
    if rule is None:
        rule = "groups.csv" if (root / "groups.csv").is_file() else None
    if rule is None:
        return tuple(cases), []
    faults: list[Fault] = []
    source: Path | None = None
    if rule.lower().endswith(".csv"):
        source = root / rule
        groups = _read_groups(source, faults)
        remedy = "add a line for it, so that no patient is split between training and validation"
    else:
        groups = _match_groups([case.id for case in cases], rule)
        remedy = f"correct data.format.params.groups={rule!r}, so that no patient is split between training and validation"
    for case in cases:
        if case.id not in groups:
            faults.append(Fault("error", case.id, source, f"case '{case.id}' has no group", remedy))
    return tuple(replace(case, group=groups.get(case.id, case.group)) for case in cases), faults


def images_in(folder: Path) -> list[Path]:
    """The images of a folder to predict, or the one image that `folder` is.

    Raises:
        DataError: When there is none.
    """
    if folder.is_file() and suffix_of(folder):
        return [folder]
    require_folder(folder, "the folder of images", "give the folder that holds the images to predict")
    paths = list_images(folder)
    if not paths:
        raise DataError(f"{folder}: no images here; give the folder that holds the images to predict")
    return paths


def label_suffix(suffixes: Iterable[str], spatial_dims: int) -> str:
    """The suffix to write predictions with: the most frequent one of the labels, PNG in place of JPEG.

    Folders of slices ("") have none, and pictures hold no volume: then .nii.gz, or .png in 2-D.
    """
    found = sorted(suffix for suffix in suffixes if suffix and (spatial_dims == 2 or suffix not in RASTER_SUFFIXES))
    if not found:
        return ".nii.gz" if spatial_dims == 3 else ".png"
    return lossless_suffix(max(sorted(set(found)), key=found.count))


def spatial_dims(paths: Iterable[Path]) -> int:
    """2 or 3, from the header of the first image that has a readable one.

    Raises:
        DataError: When none can be read: what is wrong with the first.
    """
    return _first_readable(paths, lambda path: read_geometry(path).spatial_dims)


def channels_of_first(paths: Iterable[Path]) -> int:
    """Channels of the first image whose header can be read.

    Raises:
        DataError: When none can be read: what is wrong with the first.
    """
    return _first_readable(paths, count_channels)


def most_channels(images: Iterable[Path], spatial_dims: int) -> int:
    """Channels of images that are one file each: of pictures 3 if any is in colour, of volumes what the first readable file holds."""
    if spatial_dims == 3:
        return channels_of_first(images)
    found = []
    for path in images:
        try:
            found.append(count_channels(path))
        except DataError:
            continue  # check_dataset reports it
        if suffix_of(path) in RASTER_SUFFIXES and found[-1] == 3:
            break
    return max(found, default=1)


def names_of_channels(channels: int, spatial_dims: int) -> tuple[str, ...]:
    """Names for channels that nobody named."""
    if channels == 1:
        return ("image",)
    return ("red", "green", "blue") if (channels, spatial_dims) == (3, 2) else tuple(f"channel_{index}" for index in range(channels))


def _first_readable(paths: Iterable[Path], look: Any) -> int:
    first: DataError | None = None
    for path in paths:
        try:
            return int(look(path))
        except DataError as error:
            first = first or error
    raise DataError(f"no image of the data set can be read; the first: {first}")


def _label_values(name: Any, value: Any, source: Path) -> tuple[int, ...]:
    entries = value if isinstance(value, list) else [value]
    try:
        values = tuple(int(entry) for entry in entries)
        exact = all(str(entry).strip() == str(number) for entry, number in zip(entries, values, strict=True))
    except (TypeError, ValueError):
        exact = False
    if not exact or not values:
        raise DataError(f'{source}: label "{name}" has the value {value!r}; give an integer, or a list of integers for a region')
    return values


def _paint_values(values: Mapping[str, tuple[int, ...]], order: Any, source: Path) -> tuple[int, ...]:
    """nnU-Net's regions_class_order: the value that is written for each foreground class."""
    if order is None:
        if any(len(members) > 1 for members in values.values()):
            raise DataError(f'{source}: "labels" holds regions, so "regions_class_order" must give the value to write for each; add it')
        return ()
    if not isinstance(order, list) or len(order) != len(values) or not all(isinstance(value, int) for value in order):
        raise DataError(f'{source}: "regions_class_order" must list one integer for each of {", ".join(values)}; correct the file')
    return tuple(order)


def _read_groups(path: Path, faults: list[Fault]) -> dict[str, str]:
    problems: list[str] = []
    if not path.is_file():
        raise DataError(f"{path}: the groups file does not exist; correct data.format.params.groups")
    rows, columns = read_rows(path, problems)
    if not {"case", "group"} <= set(columns):
        found = ", ".join(columns)
        problems.append(f"{path}: the groups file needs the columns case,group, but has {found}; rename them in its first line")
        rows = []
    groups: dict[str, str] = {}
    for place, row in rows:
        case, group = row["case"], row["group"]
        if not case or not group:
            problems.append(f"{path}: {place} has no case or no group; give each line a value in both columns")
        elif groups.setdefault(case, group) != group:
            faults.append(
                Fault("error", case, path, f"case '{case}' is in group '{groups[case]}' and in group '{group}'", "keep one of the lines")
            )
    raise_all(problems)
    return groups


def _match_groups(ids: Iterable[str], rule: str) -> dict[str, str]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise DataError(
            f"data.format.params.groups: {rule!r} is neither a .csv file nor a regular expression ({error}); correct it"
        ) from error
    matches = {case: pattern.search(case) for case in ids}
    return {
        case: match.group(1 if pattern.groups else 0)
        for case, match in matches.items()
        if match and match.group(1 if pattern.groups else 0)
    }
