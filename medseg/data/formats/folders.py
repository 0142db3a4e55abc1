"""A folder of images beside a folder of masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medseg.data.case import Case, DataSet, Fault
from medseg.data.formats import layout
from medseg.data.images import list_images, stem_of, suffix_of
from medseg.data.labels import LabelSchema
from medseg.errors import DataError


class Folders:
    """Images and masks that belong together by name, in any mix of formats.

        images/<case>.<any>  masks/<case><mask_suffix>.<any>  dataset.json (optional: labels)  groups.csv (optional: case,group)

    Grey and colour pictures may be mixed: all become colour if any is. Hidden files are skipped.

    Args:
        images: Folder of the images, below the data set's folder.
        masks: Folder of the masks; it may be the same one where there is a mask suffix.
        mask_suffix: What a mask's name has after the image's name: "_segmentation" for ISIC.
        labels: Name -> value of the masks' classes; "background" (0) and "ignore" are special names. None: the labels in dataset.json, and
            without one a single class "foreground", which is every value above 0.
        threshold: For grey masks of one class (0 and 255, or JPEG): values above it are the class.
        channels: 1 turns all pictures grey, 3 into colour. None: 3 if any is in colour; for volumes, what the files hold.
        groups: CSV file with columns case,group, or a regular expression on case ids whose first bracket is the patient. None: groups.csv
            in the folder where there is one, otherwise every case for itself.
        classes: The classes to segment; the others become background. None: all.
    """

    def __init__(
        self,
        *,
        images: str = "images",
        masks: str = "masks",
        mask_suffix: str = "",
        labels: Mapping[str, int] | None = None,
        threshold: int | None = None,
        channels: int | None = None,
        groups: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        self.images = images
        self.masks = masks
        self.mask_suffix = mask_suffix
        self.labels = labels
        self.threshold = threshold
        self.channels = channels
        self.groups = groups
        self.classes = classes

    def read(self, root: Path) -> DataSet:
        """Pair images with masks; only headers are opened.

        Raises:
            DataError: When the data set cannot be read as a whole. What is wrong with single files is `check_dataset`'s business.
        """
        layout.require_folder(root, "the data set's folder", "set data.root to the folder that holds the images and masks")
        image_folder, mask_folder = root / self.images, root / self.masks
        layout.require_folder(image_folder, "the folder of images", "is data.root right? Else set data.format.params.images to its name")
        layout.require_folder(mask_folder, "the folder of masks", "is data.root right? Else set data.format.params.masks to its name")
        images, masks = list_images(image_folder), list_images(mask_folder)
        if image_folder.resolve() == mask_folder.resolve():
            images, masks = self._part(images)
        if not images:
            raise DataError(f"{image_folder}: no images here; set data.format.params.images to the folder that holds them")
        labels, name = self._labels(root)
        cases, faults = self._pair(images, masks, mask_folder)
        spatial_dims = layout.spatial_dims(images)
        channels = self.channels or layout.most_channels(images, spatial_dims)
        cases = [replace(case, channels=channels) for case in cases]
        grouped, group_faults = layout.assign_groups(cases, root, self.groups)
        return DataSet(
            name=name,
            root=root,
            cases=grouped,
            channels=layout.names_of_channels(channels, spatial_dims),
            labels=labels,
            spatial_dims=spatial_dims,
            suffix=layout.label_suffix((suffix_of(case.label_file) for case in cases if case.label), spatial_dims),
            faults=(*faults, *group_faults),
        )

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder as cases without labels, one file each."""
        return tuple(Case(stem_of(path), (path,), None, stem_of(path), channels) for path in layout.images_in(folder))

    def _part(self, paths: list[Path]) -> tuple[list[Path], list[Path]]:
        """Tell images from masks where both lie in one folder."""
        if not self.mask_suffix:
            raise DataError(
                "data.format.params.mask_suffix is needed to tell masks from images in one folder; set it, as in mask_suffix=_mask"
            )
        masks = [path for path in paths if stem_of(path).endswith(self.mask_suffix)]
        return [path for path in paths if path not in masks], masks

    def _labels(self, root: Path) -> tuple[LabelSchema, str]:
        """The meaning of the masks' values, and the data set's name."""
        source, content = root / "dataset.json", {}
        if source.is_file():
            content = layout.read_json(source)
        name = str(content.get("name", root.name))
        if self.labels is None and "labels" in content:
            labels = layout.schema_from_json(content["labels"], source, content.get("regions_class_order"))
            return layout.select_classes(layout.with_threshold(labels, self.threshold), self.classes), name
        return layout.schema_from_params(self.labels, self.threshold, self.classes), name

    def _pair(self, images: list[Path], masks: list[Path], mask_folder: Path) -> tuple[list[Case], list[Fault]]:
        """One case per image, with the mask of its name, and what has no counterpart."""
        by_stem: dict[str, list[Path]] = {}
        for mask in masks:
            by_stem.setdefault(stem_of(mask), []).append(mask)
        wanted = {stem_of(image) + self.mask_suffix for image in images}
        if not wanted & by_stem.keys():
            raise DataError(self._no_match(images, masks, mask_folder))
        usual = Counter(suffix_of(mask) for mask in masks).most_common(1)[0][0]
        cases, faults = [], []
        for image in images:
            stem = stem_of(image) + self.mask_suffix
            found = by_stem.get(stem, [mask_folder / f"{stem}{usual}"])
            cases.append(Case(stem_of(image), (image,), found[0], stem_of(image)))
            for extra in found[1:]:
                faults.append(Fault("error", stem_of(image), extra, f"is a second mask beside {found[0].name}", "keep one of them"))
        for stem in sorted(by_stem.keys() - wanted):
            faults.append(
                Fault(
                    "warning",
                    stem,
                    by_stem[stem][0],
                    "is a mask without an image, and is not used",
                    f"add its image to {self.images}, or remove it",
                )
            )
        return cases, faults

    def _no_match(self, images: list[Path], masks: list[Path], mask_folder: Path) -> str:
        """Why no mask fits any image, with the suffix that would make them fit."""
        if not masks:
            return f"{mask_folder}: no masks here; set data.format.params.masks to the folder that holds them"
        stems = {stem_of(image) for image in images}
        endings = Counter(
            mask[len(stem) :] for mask in map(stem_of, masks) for stem in (mask[:end] for end in range(1, len(mask))) if stem in stems
        )
        expected = f"{stem_of(images[0])}{self.mask_suffix}"
        advice = f"set data.format.params.mask_suffix={endings.most_common(1)[0][0]}" if endings else "rename the masks after their images"
        return f"{mask_folder}: no mask is named after an image ({images[0].name} needs {expected}.*, there is {masks[0].name}); {advice}"
