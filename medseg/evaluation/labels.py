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
            return _with_ignore(schema, ignore, source), str(source)
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


def _with_ignore(schema: LabelSchema, ignore: int | None, source: Path) -> LabelSchema:
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
            raise DataError(
                f"{folder}: {path.name} and the files before it hold {len(values)} different integers, so these are images, no label maps; "
                "give the folder of label maps, or add a dataset.json that names the classes"
            )
    return values - {0}
