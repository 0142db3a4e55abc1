"""The layout of the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.data.case import Case, DataSet
from medseg.data.formats import layout
from medseg.data.images import stem_of, suffix_of
from medseg.errors import DataError


class Decathlon:
    """Task folders of the Medical Segmentation Decathlon, and the many sets that copy their layout.

        TaskXX_Name/dataset.json  imagesTr/<case>.nii.gz  labelsTr/<case>.nii.gz  imagesTs/<case>.nii.gz

    Several modalities are the fourth axis of one file. The case's id is the image's name.

    Args:
        groups: CSV file with columns case,group, or a regular expression on case ids whose first bracket is the patient. None: groups.csv
            in the folder where there is one, otherwise every case for itself.
        classes: The classes to segment; the others become background. None: all.
    """

    def __init__(self, *, groups: str | None = None, classes: list[str] | None = None) -> None:
        self.groups = groups
        self.classes = classes

    def read(self, root: Path) -> DataSet:
        """Read dataset.json and list the cases; no image is opened but one header.

        Args:
            root: The task folder, or a folder that holds just one.

        Raises:
            DataError: When the data set cannot be read as a whole. What is wrong with single files is `check_dataset`'s business.
        """
        root = layout.find_root(root, "Decathlon")
        source = root / "dataset.json"
        content = layout.read_json(source)
        for key in ("training", "labels", "modality"):
            if key not in content:
                hint = "; it looks like nnU-Net v2: use data.format.name=nnunet" if "channel_names" in content else "; add it"
                raise DataError(f'{source}: the key "{key}" is missing{hint}')
        channels = layout.channel_names(content["modality"], "modality", source)
        labels = layout.schema_from_json(content["labels"], source, classes=self.classes)
        cases = _cases(content["training"], "training", root, source, len(channels))
        if not cases:
            raise DataError(f'{source}: "training" lists no case; list {{"image": ..., "label": ...}} for each')
        cases, faults = layout.assign_groups(cases, root, self.groups)
        spatial_dims = layout.spatial_dims(path for case in cases for path in case.images)
        tests, _ = layout.assign_groups(_cases(content.get("test", []), "test", root, source, len(channels)), root, self.groups)
        return DataSet(
            name=str(content.get("name", root.name)),
            root=root,
            cases=cases,
            channels=channels,
            labels=labels,
            spatial_dims=spatial_dims,
            suffix=layout.label_suffix((suffix_of(case.label_file) for case in cases if case.label), spatial_dims),
            test_cases=tests,
            faults=tuple(faults),
        )

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder as cases without labels, one file each."""
        return tuple(Case(stem_of(path), (path,), None, stem_of(path), channels) for path in layout.images_in(folder))


def _cases(entries: Any, key: str, root: Path, source: Path, channels: int) -> tuple[Case, ...]:
    """Cases of a list of {"image", "label"} or of bare image paths; AppleDouble files ("._x.nii.gz") are skipped."""
    if not isinstance(entries, list):
        raise DataError(f'{source}: "{key}" must be a list of cases; correct the file')
    cases = []
    for index, entry in enumerate(entries):
        if key == "test" and isinstance(entry, str):
            entry = {"image": entry}
        if not isinstance(entry, Mapping) or "image" not in entry or (key == "training" and "label" not in entry):
            raise DataError(
                f'{source}: {key}[{index}] must be {{"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}}; correct it'
            )
        image = layout.inside(root, entry["image"], source)
        label = layout.inside(root, entry["label"], source) if "label" in entry else None
        if not image.name.startswith("."):
            cases.append(Case(stem_of(image), (image,), label, stem_of(image), channels))
    return tuple(cases)
