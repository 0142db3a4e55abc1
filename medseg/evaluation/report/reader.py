"""Images, references and predictions of the cases that are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config.schema import Component, DataConfig
from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.labels import LabelSchema
from medseg.data.modules import read_dataset
from medseg.errors import DataError
from medseg.evaluation.pairs import read_pair
from medseg.evaluation.predictions import files_by_name, match_names
from medseg.evaluation.report.source import Source

_CHANNEL = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class Shown:
    """A case to be drawn.

    Args:
        image: float32 (C, *spatial); None where there is none.
        prediction: uint8 ids (*spatial).
        reference: uint8 ids (*spatial), 255 where ignored.
        geometry: The grid of all three.
        fault: Why the prediction could not be used, or why there is no image.
    """

    image: np.ndarray | None
    prediction: np.ndarray
    reference: np.ndarray
    geometry: Geometry
    fault: str | None = None


class Reader:
    """Finds the files behind an evaluation.

    Args:
        source: The evaluation.

    Raises:
        DataError: The data set or the folders are not where they were.
    """

    def __init__(self, source: Source) -> None:
        self.channels: tuple[str, ...] = ()
        self.no_images = ""
        """Why only masks can be shown; empty where there are images."""
        if source.config is not None:
            self._take_dataset(source.config.data, Path(source.environment.get("folder", ".")))
        elif source.summary.get("data"):
            self._take_dataset(_data_config(source.summary["data"]), Path("."))
        elif "references" in source.summary:
            self._take_folders(source.summary)
        else:
            raise DataError("the run's config.yaml cannot be understood by this version of medseg, so that its data set is not known")
        if source.summary.get("labels"):
            self.labels = LabelSchema.from_dict(source.summary["labels"])
        self.predictions = match_names(files_by_name(source.predictions, "predictions"), self.cases.keys())

    def read(self, case_id: str) -> Shown:
        """Read a case.

        Raises:
            DataError: Its reference cannot be used.
        """
        case = self.cases.get(case_id)
        if case is None:
            raise DataError(f"{case_id}: the data set no longer has this case")
        pair = read_pair(case, self.predictions.get(case_id), self.labels)
        image, fault = None, pair.fault
        if case.images:
            try:
                image, geometry = case.read_image()
                difference = None if image.shape[1:] == pair.reference.shape else f"shape {geometry.shape} against {pair.reference.shape}"
            except DataError as error:
                image, difference = None, str(error)
            if difference:
                image, fault = None, "; ".join(filter(None, [fault, f"no image: {difference}"]))
        return Shown(image, pair.prediction, pair.reference, pair.geometry, fault)

    def _take_dataset(self, data: DataConfig, home: Path) -> None:
        dataset = read_dataset(_at_home(data, home))
        self.cases = {case.id: case for case in (*dataset.cases, *dataset.test_cases)}
        self.labels, self.channels = dataset.labels, dataset.channels

    def _take_folders(self, summary: Mapping[str, Any]) -> None:
        references = files_by_name(Path(summary["references"]), "references")
        images: dict[str, list[Path]] = {}
        try:
            for name, path in _images(summary.get("images")).items():
                images.setdefault(name if name in references else _CHANNEL.sub("", name), []).append(path)
        except DataError as error:
            self.no_images = str(error)
        self.cases = {name: Case(name, tuple(sorted(images.get(name, ()))), path, name) for name, path in references.items()}


def _images(folder: str | None) -> dict[str, Path]:
    if not folder:
        raise DataError("the evaluation was not told where the images are; score again with `medseg evaluate ... --images FOLDER`")
    if not Path(folder).is_dir():
        raise DataError(f"{folder}: the folder of images is no longer there; put it back, or score again with `--images FOLDER`")
    return files_by_name(Path(folder), "images")


def _at_home(data: DataConfig, home: Path) -> DataConfig:
    """A data set that was given by a relative path lies where the run was started."""
    root = Path("data/phantoms") if data.root is None else Path(data.root).expanduser()
    if root.is_absolute() or root.exists() or not (home / root).is_dir():
        return data
    return replace(data, root=str(home / root))


def _data_config(said: Mapping[str, Any]) -> DataConfig:
    return DataConfig(format=Component(**said["format"]), patch_size=[], root=said.get("root"))
