"""What the integers of two folders of label maps mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from medseg.data.formats.layout import read_json, schema_from_json
from medseg.data.images import read_label
from medseg.data.labels import LabelSchema
from medseg.errors import DataError


def find_labels(folder: Path, references: Iterable[Path], predictions: Iterable[Path]) -> tuple[LabelSchema, str]:
    """Look for a dataset.json (nnU-Net or Decathlon) in the reference folder or its parent; else take every integer found as a class.

    Where both sides hold one value besides 0, it is the same class whatever the values are: 1 in predictions and 255 in reference pictures.

    Args:
        folder: The folder of references.
        references: Its label maps, to look through where there is no dataset.json; unreadable ones are passed over here.
        predictions: The predicted label maps, likewise.

    Returns:
        The schema, and where it comes from, in words.

    Raises:
        DataError: When the dataset.json makes no sense, or no label map holds any foreground.
    """
    for place in (folder, folder.resolve().parent):
        source = place / "dataset.json"
        if source.is_file():
            content = read_json(source)
            return schema_from_json(content.get("labels"), source, content.get("regions_class_order")), str(source)
    true, predicted = _foreground_values(references), _foreground_values(predictions)
    values = sorted(true | predicted)
    if not values:
        raise DataError(f"{folder}: neither references nor predictions hold anything but 0; check the folders")
    if len(true) == 1 and len(predicted) == 1:
        return LabelSchema(
            ("foreground",), (tuple(values),)
        ), f"the values found: {min(true)} in references, {min(predicted)} in predictions"
    try:
        schema = LabelSchema.exclusive({str(value): value for value in values})
    except ValueError as error:
        raise DataError(f"{folder}: the label maps hold {error}; add a dataset.json that names the classes") from error
    return schema, "the integers found in the label maps"


def _foreground_values(paths: Iterable[Path]) -> set[int]:
    values: set[int] = set()
    for path in paths:
        try:
            values.update(np.unique(read_label(path)[0]).tolist())
        except DataError:
            continue  # reported with its case
    return values - {0}
