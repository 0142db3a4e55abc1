"""The raw data layout of nnU-Net v2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medseg.data.case import Case, DataSet, Fault
from medseg.data.formats import layout
from medseg.data.images import IMAGE_SUFFIXES, RASTER_SUFFIXES, list_images, stem_of, suffix_of
from medseg.errors import DataError

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


class NnUNet:
    """nnU-Net v2 raw data: regions, ignore label, explicit file lists and RGB pictures included.

        DatasetXXX_Name/dataset.json  imagesTr/<case>_0000.nii.gz ...  labelsTr/<case>.nii.gz  imagesTs/  labelsTs/

    A data set whose cases all have the file _0000 alone, while dataset.json names several channels, keeps them in one file (RGB pictures).

    Args:
        groups: CSV file with columns case,group, or a regular expression on case ids whose first bracket is the patient. None: groups.csv
            in the folder where there is one, otherwise every case for itself.
        classes: The classes or regions to segment; what belongs to none of them becomes background. None: all.
    """

    def __init__(self, *, groups: str | None = None, classes: list[str] | None = None) -> None:
        self.groups = groups
        self.classes = classes

    def read(self, root: Path) -> DataSet:
        """Read dataset.json and list the cases; no image is opened but one header.

        Args:
            root: The data set's folder, or a folder that holds just one.

        Raises:
            DataError: When the data set cannot be read as a whole. What is wrong with single files is `check_dataset`'s business.
        """
        root = layout.find_root(root, "nnU-Net")
        source = root / "dataset.json"
        content = layout.read_json(source)
        for key in ("channel_names", "labels", "file_ending"):
            if key not in content:
                hint = "; it looks like a Decathlon task: use data.format.name=decathlon" if "modality" in content else "; add it"
                raise DataError(f'{source}: the key "{key}" is missing{hint}')
        channels = layout.channel_names(content["channel_names"], "channel_names", source)
        labels = layout.schema_from_json(content["labels"], source, content.get("regions_class_order"), self.classes)
        ending = content["file_ending"]
        if ending not in IMAGE_SUFFIXES:
            raise DataError(f'{source}: "file_ending" is {ending!r}; medseg reads {", ".join(IMAGE_SUFFIXES)}')
        if "dataset" in content:
            found = _listed_cases(content["dataset"], root, source, len(channels))
            faults: list[Fault] = []
        else:
            found, faults = _cases(root, "Tr", ending, len(channels))
        if not found:
            raise DataError(
                f"{root / 'imagesTr'}: no training image named <case>_0000{ending} here; rename the files or correct file_ending"
            )
        cases, group_faults = layout.assign_groups(found, root, self.groups)
        tests, test_faults = _cases(root, "Ts", ending, len(channels)) if (root / "imagesTs").is_dir() else ([], [])
        grouped_tests, _ = layout.assign_groups(tests, root, self.groups)
        spatial_dims = layout.spatial_dims(path for case in cases for path in case.images)
        return DataSet(
            name=str(content.get("name", root.name)),
            root=root,
            cases=cases,
            channels=channels,
            labels=labels,
            spatial_dims=spatial_dims,
            suffix=layout.label_suffix([ending], spatial_dims),
            test_cases=grouped_tests,
            faults=(*faults, *group_faults, *test_faults),
        )

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder as cases without labels: <case>_0000, _0001, ... or, of one channel or RGB, any name."""
        paths = layout.images_in(folder)
        grouped = _by_case(paths)
        if sum(map(len, grouped.values())) < len(paths):
            if channels > 1 and suffix_of(paths[0]) not in RASTER_SUFFIXES:
                stray = next(path for path in paths if not _CHANNEL.fullmatch(stem_of(path)))
                raise DataError(f"{stray}: has no channel number; name the {channels} files of a case <case>_0000, <case>_0001, ...")
            return tuple(Case(stem_of(path), (path,), None, stem_of(path), channels) for path in paths)
        ending = suffix_of(paths[0])
        files = _channel_files(paths[0].parent, grouped, ending, channels)
        return tuple(Case(case, images, None, case, channels) for case, images in files.items())


def _by_case(paths: Iterable[Path]) -> dict[str, dict[int, Path]]:
    """Case -> channel number -> file, of the files that follow the naming rule."""
    grouped: dict[str, dict[int, Path]] = {}
    for path in paths:
        match = _CHANNEL.fullmatch(stem_of(path))
        if match:
            grouped.setdefault(match["case"], {})[int(match["channel"])] = path
    return grouped


def _channel_files(folder: Path, grouped: Mapping[str, Mapping[int, Path]], ending: str, channels: int) -> dict[str, tuple[Path, ...]]:
    """The image files of each case: one that holds all channels, or one per channel, also where it is missing on disk."""
    numbers = range(channels)
    if grouped and channels > 1 and all(set(files) == {0} for files in grouped.values()):
        first = [files[0] for files in grouped.values()]
        if ending in RASTER_SUFFIXES or layout.channels_of_first(first) == channels:
            numbers = range(1)
    return {
        case: tuple(files.get(number, folder / f"{case}_{number:04d}{ending}") for number in numbers) for case, files in grouped.items()
    }


def _cases(root: Path, part: str, ending: str, channels: int) -> tuple[list[Case], list[Fault]]:
    """The cases of imagesTr (every one should have a label) or imagesTs (labels only where they are), and the files that fit nowhere."""
    images = layout.require_folder(root / f"images{part}", "the folder of images", "set data.root to the folder that holds it")
    labels = root / f"labels{part}"
    paths = [path for path in list_images(images) if path.name.endswith(ending)]
    grouped = _by_case(paths)
    files = _channel_files(images, grouped, ending, channels)
    cases = []
    for case, members in files.items():
        label = labels / f"{case}{ending}"
        cases.append(Case(case, members, label if part == "Tr" or label.is_file() else None, case, channels))
    faults = [
        Fault("warning", "", path, "is not named <case>_<four digits>, so it belongs to no case", "rename or remove it")
        for path in paths
        if not _CHANNEL.fullmatch(stem_of(path))
    ]
    for case, channel_files in grouped.items():
        for number, path in channel_files.items():
            if number >= len(files[case]):
                message = f"is channel {number} of a data set with {channels} channels"
                faults.append(Fault("warning", case, path, message, "add it to channel_names in dataset.json, or remove it"))
    for path in list_images(labels) if labels.is_dir() else []:
        if path.name.endswith(ending) and stem_of(path) not in files:
            faults.append(
                Fault("warning", stem_of(path), path, "is a label without images", f"add the images to {images.name}, or remove it")
            )
    return cases, faults


def _listed_cases(entries: Any, root: Path, source: Path, channels: int) -> list[Case]:
    """Cases that dataset.json lists with explicit paths."""
    if not isinstance(entries, Mapping):
        raise DataError(f'{source}: "dataset" must map case names to {{"images": [...], "label": ...}}; correct the file')
    cases = []
    for case, entry in entries.items():
        if not isinstance(entry, Mapping) or not isinstance(entry.get("images"), list) or not entry["images"] or "label" not in entry:
            raise DataError(f'{source}: dataset["{case}"] must be {{"images": [one path per channel], "label": path}}; correct it')
        if case in ("", ".", "..") or Path(case).name != case:  # it becomes the name of a prediction's file
            raise DataError(f'{source}: dataset["{case}"] is not usable as a case name; use a plain file name without folders')
        images = tuple(layout.inside(root, path, source) for path in entry["images"])
        cases.append(Case(case, images, layout.inside(root, entry["label"], source), case, channels))
    return cases
