"""What the integers of two folders of label maps mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medseg.data.formats.layout import read_json, schema_from_json
from medseg.data.images import read_label
from medseg.data.labels import LabelSchema
from medseg.errors import DataError

MOST_VALUES = 64
"""More different integers than this, and the files are images rather than label maps."""


def find_labels(
    places: Sequence[Path], references: Iterable[Path], predictions: Iterable[Path], ignore: int | None = None
) -> tuple[LabelSchema, str]:
    """Look for a dataset.json (nnU-Net or Decathlon) in some folders; else take every integer found as a class.

    Where both sides hold one value besides 0, it is the same class whatever the values are: 1 in predictions and 255 in reference pictures.

    Args:
        places: Folders to look in, the first one that of the references.
        references: Its label maps, to look through where there is no dataset.json; unreadable ones are passed over here.
        predictions: The predicted label maps, likewise.
        ignore: Label value of voxels that count as no voxel at all.

    Returns:
        The schema, and where it comes from, in words.

    Raises:
        DataError: When the dataset.json makes no sense or names another ignore value, no label map holds any foreground, or they hold so
            many values that they are no label maps.
    """
    for place in places:
        source = place / "dataset.json"
        if source.is_file():
            content = read_json(source)
            schema = schema_from_json(content.get("labels"), source, content.get("regions_class_order"))
            return with_ignore(schema, ignore, str(source)), str(source)
    true, predicted = _foreground_values(references, places[0]) - {ignore}, _foreground_values(predictions, places[-1])
    values = sorted(true | predicted)
    if not values:
        raise DataError(f"{places[0]}: neither references nor predictions hold anything but 0; check the folders")
    ignored = {} if ignore is None else {"ignore": ignore}
    try:
        if len(true) == 1 and len(predicted) == 1:
            schema = LabelSchema(("foreground",), (tuple(values),), ignore)
            return schema, f"the values found: {min(true)} in references, {min(predicted)} in predictions"
        schema = LabelSchema.exclusive({str(value): value for value in values} | ignored)
    except ValueError as error:
        raise DataError(f"{places[0]}: the label maps hold {error}; add a dataset.json that names the classes") from error
    return schema, "the integers found in the label maps"


def named_labels(pairs: Sequence[str]) -> LabelSchema:
    """What `--labels` says: `lesion=1 edema=2`, and `tumour=1,2 core=2` for classes of several values. `background` is 0 if not named.

    Args:
        pairs: As given.

    Raises:
        DataError: For what is no such pair, and for classes or values that contradict each other.
    """
    members: dict[str, tuple[int, ...]] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            values = tuple(int(value) for value in text.split(","))
        except ValueError:
            values = ()
        if not name or not values:
            raise DataError(f"--labels {pair}: is no class and its label value; write it as lesion=1, or lesion=1,2")
        twice = next((other for other, known in members.items() if other == name or set(known) == set(values)), None)
        if twice is not None:
            what = "named twice" if twice == name else f"the same as {twice}"
            raise DataError(f"--labels {pair}: the class is {what}; give every class once, with its own values")
        members[name] = values
    background = members.pop("background", (0,))
    try:
        return LabelSchema(tuple(members), tuple(members.values()), background=background)
    except ValueError as error:
        raise DataError(f"--labels: {error}; correct the names or values") from error


def no_label_map(found: str, values: Iterable[int]) -> str:
    """What is said where images were given instead of label maps.

    Args:
        found: File or folder, and "holds".
        values: The different integers there.
    """
    return f"{found} {len(set(values))} different integers, so these are images, no label maps; give the folder of label maps"


def with_ignore(schema: LabelSchema, ignore: int | None, source: str) -> LabelSchema:
    """Add the value that `--ignore` says to the labels that `source` says, None changing nothing.

    Raises:
        DataError: These have another one, or use it otherwise.
    """
    if ignore is None or schema.ignore_value == ignore:
        return schema
    if schema.ignore_value is not None:
        raise DataError(f"{source}: ignores the value {schema.ignore_value}, not {ignore}; leave --ignore away")
    try:
        return replace(schema, ignore_value=ignore)
    except ValueError as error:
        raise DataError(f"{source}: {error}; give another --ignore value") from error


def _foreground_values(paths: Iterable[Path], folder: Path) -> set[int]:
    values: set[int] = set()
    for path in paths:
        try:
            values.update(np.unique(read_label(path)[0]).tolist())
        except DataError:
            continue  # reported with its case
        if len(values) > MOST_VALUES:
            raise DataError(no_label_map(f"{folder}: {path.name} and the files before it hold", values))
    return values - {0}
