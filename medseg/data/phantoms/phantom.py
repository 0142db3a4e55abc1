"""Data sets generated from a seed, written once in the nnU-Net v2 raw layout."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from PIL import Image

from medseg.data.case import Case, DataSet
from medseg.data.formats.nnunet import NnUNet
from medseg.data.phantoms.head import CONTRASTS
from medseg.data.phantoms.lesions_2d import lesions_2d
from medseg.data.phantoms.lesions_3d import lesions_3d
from medseg.data.phantoms.organs_3d import organs_3d
from medseg.data.phantoms.sample import Sample
from medseg.data.phantoms.scanner import sites
from medseg.errors import DataError

SMALLEST_SIZE = 32
"""Voxels an axis needs for the anatomy to fit."""
EMPTY_EVERY = 6
"""One case in every so many consecutive ones has no lesion."""
SPECIAL_VERSION = 1
"""As `Kind.version`, of what the options in `OPTIONS` add."""


@dataclass(frozen=True)
class Kind:
    """What a generator makes, for dataset.json."""

    draw: Callable[..., Sample]
    version: int
    """To be raised with every change of the generator's output, so that data of an older one is not taken for it."""
    dims: int
    channel: str
    classes: tuple[str, ...]
    suffix: str
    some_empty: bool
    contrast: float
    """Default contrast: as in real images (see `Phantom`)."""


OPTIONS: dict[str, Any] = {"lesions": "round", "scanners": 0, "artefacts": 0.0, "channels": 1, "group_by": "case"}
"""What `lesions_3d` can do beside the plain phantom, with the values that leave it plain."""
KINDS = {
    "lesions_2d": Kind(lesions_2d, 1, 2, "red-free", ("lesion",), ".png", True, 5.0),
    "lesions_3d": Kind(lesions_3d, 1, 3, "FLAIR", ("lesion",), ".nii.gz", True, 8.0),
    "organs_3d": Kind(organs_3d, 1, 3, "CT", ("liver", "kidney", "gallbladder"), ".nii.gz", False, 5.0),
}


class Phantom:
    """The embedded default data: generated, so nothing is downloaded, and hard enough to tell methods apart.

    A case is a function of the seed and its own number alone: more cases leave the others as they were, to the byte.

    Args:
        kind: `lesions_2d` (red-free retina, 128 to 192 pixels), `lesions_3d` (FLAIR head, about 56 x 64 x 48 voxels) or `organs_3d` (CT
            abdomen, about 48^3). Lesions fill 0.1 to 2 % of the voxels of a case; one case in six has none.
        cases: Number of cases to train and validate on.
        test_cases: Number of held-out cases, with labels.
        seed: Another seed is another data set.
        size: Voxels an axis, the same for all cases (3-D: left to right, back to front, bottom to top); null takes the kind's own sizes.
        contrast: Contrast-to-noise ratio, on average, of the undisturbed middle of a lesion, or of liver against kidney; null takes the
            kind's own. Blurring and partial volume lower it: the default 8 of `lesions_3d` leaves whole lesions 1.8 standard deviations of
            their surroundings above them (median; 10 to 90 %: 1.3 to 3.0), where those of three real FLAIR scans lie 1.8 to 2.1 above.
        lesions: `round`: irregular blobs of 3 to 300 voxels. `realistic` (of `lesions_3d`, like all below): numbers, volumes in mm, shapes,
            gaps and distances to the ventricles follow 3115 lesions of 30 patients (`medseg.data.phantoms.openms`), confluent ones
            included; the default size is then 112 x 128 x 96 voxels of 1.5 mm.
        scanners: Number of simulated sites, in turn; 0: one scanner, a little different for every case. Sites differ in voxel size, slice
            thickness (up to 5 mm, as far as the grid is finer than that), noise, blur, contrast between tissues, intensity units and
            orientation. `size` is then the finest site's. cases.csv in the data set's folder says which case is whose.
        artefacts: Probability that a case has one of strong bias field, ghosts of motion, spikes, ringing, missing slices, or an end of the
            head cut off; cases.csv names it. What is missing in the image is missing in the label.
        channels: 1: FLAIR; 2: and T1; 3: and T2.
        group_by: What folds keep together: `case`: every case is a patient of its own; `scanner`: all cases of one site (groups.csv), so
            that validation is on sites that were not trained on.
    """

    def __init__(
        self,
        *,
        kind: Literal["lesions_2d", "lesions_3d", "organs_3d"],
        cases: int = 40,
        test_cases: int = 10,
        seed: int = 0,
        size: list[int] | None = None,
        contrast: float | None = None,
        lesions: Literal["round", "realistic"] = "round",
        scanners: int = 0,
        artefacts: float = 0.0,
        channels: int = 1,
        group_by: Literal["case", "scanner"] = "case",
    ) -> None:
        if kind not in KINDS:
            raise DataError(f"phantom: kind {kind!r} is unknown; choose from {', '.join(KINDS)}")
        if cases < 1 or test_cases < 0 or seed < 0:
            raise DataError(f"phantom: needs cases >= 1, test_cases >= 0 and seed >= 0, got {cases}, {test_cases} and {seed}")
        if size is not None and (len(size) != KINDS[kind].dims or min(size) < SMALLEST_SIZE):
            raise DataError(f"phantom: size {list(size)} of {kind} must be {KINDS[kind].dims} numbers of at least {SMALLEST_SIZE}")
        contrast = KINDS[kind].contrast if contrast is None else contrast
        if not contrast > 0:
            raise DataError(f"phantom: contrast must be above 0, got {contrast}")
        self.kind, self.cases, self.test_cases, self.seed, self.contrast = kind, cases, test_cases, seed, float(contrast)
        self.size = None if size is None else tuple(size)
        self.options: dict[str, Any] = {
            "lesions": lesions,
            "scanners": scanners,
            "artefacts": float(artefacts),
            "channels": channels,
            "group_by": group_by,
        }
        _check_options(kind, self.options)
        self.scanners = sites(seed, scanners)

    @property
    def _special(self) -> dict[str, Any]:
        """The options that are not the plain phantom's."""
        return {name: value for name, value in self.options.items() if value != OPTIONS[name]}

    @property
    def folder_name(self) -> str:
        """Name of the data set's folder: the kind and a hash of all that its content depends on."""
        content: list[Any] = [self.kind, KINDS[self.kind].version, self.cases, self.test_cases, self.seed, self.size, self.contrast]
        if self._special:
            content.append([self._special, SPECIAL_VERSION])
        return f"{self.kind}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]}"

    def read(self, root: Path | None = None) -> DataSet:
        """Give the data set in a folder of its own below `root` (default: `data/phantoms`), generating it on the first call.

        It is written to a temporary folder and renamed, so that a killed generation leaves nothing that could be taken for a data set, and
        that of several processes which start at once the first to finish wins.
        """
        folder = (Path("data/phantoms") if root is None else Path(root)) / self.folder_name
        if not folder.exists():
            self._generate(folder)
        return NnUNet().read(folder)

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """Find images without labels, named as this data set's are."""
        return NnUNet().find(folder, channels)

    def sample(self, index: int, *, test: bool = False) -> Sample:
        """Draw one case."""
        kind = KINDS[self.kind]
        stream = [self.seed, int(test)]
        options: dict[str, Any] = {"size": self.size, "contrast": self.contrast}
        if kind.some_empty:
            block, place = divmod(index, EMPTY_EVERY)
            options["empty"] = place == np.random.default_rng([*stream, 1, block]).integers(EMPTY_EVERY)
        if self._special:
            site = self.scanners[index % len(self.scanners)] if self.scanners else None
            rate, channels = self.options["artefacts"], self.options["channels"]
            options |= {"lesions": self.options["lesions"], "site": site, "artefact_rate": rate, "channels": channels}
        return kind.draw(np.random.default_rng([*stream, 0, index]), **options)

    def _generate(self, folder: Path) -> None:
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
        rows: list[list[Any]] = []
        try:
            for images, labels, count, test in (
                ("imagesTr", "labelsTr", self.cases, False),
                ("imagesTs", "labelsTs", self.test_cases, True),
            ):
                for sub in (images, labels):
                    (temporary / sub).mkdir(parents=True)
                for index in range(count):
                    name, suffix = f"{self.kind}_{'test_' * test}{index:03d}", KINDS[self.kind].suffix
                    sample = self.sample(index, test=test)
                    for channel, image in enumerate((sample.image, *sample.others)):
                        _write(temporary / images / f"{name}_{channel:04d}{suffix}", image, sample.affine)
                    _write(temporary / labels / f"{name}{suffix}", sample.label, sample.affine)
                    rows.append([name, "test" if test else "train", sample.scanner, sample.artefact, np.count_nonzero(sample.label)])
            self._write_tables(temporary, rows)
            (temporary / "dataset.json").write_text(json.dumps(self._description(), indent=2) + "\n", encoding="utf-8")
            _publish(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _write_tables(self, folder: Path, rows: list[list[Any]]) -> None:
        """Say which case is whose; a plain phantom has nothing to say."""
        if self._special:
            _write_csv(folder / "cases.csv", ["case", "part", "scanner", "artefact", "lesion_voxels"], rows)
        if self.options["group_by"] == "scanner":
            _write_csv(folder / "groups.csv", ["case", "group"], [[row[0], f"scanner{row[2]}"] for row in rows if row[1] == "train"])

    def _description(self) -> dict[str, Any]:
        kind = KINDS[self.kind]
        made = f"generator version {kind.version}, seed {self.seed}, contrast {self.contrast}"
        names = [kind.channel, *list(CONTRASTS)[1 : self.options["channels"]]]
        return {
            "name": self.kind,
            "description": f"Generated by medseg: {made}" + "".join(f", {name} {value}" for name, value in self._special.items()),
            "channel_names": {str(number): name for number, name in enumerate(names)},
            "labels": {"background": 0} | {name: value for value, name in enumerate(kind.classes, start=1)},
            "numTraining": self.cases,
            "file_ending": kind.suffix,
        }


def _check_options(kind: str, options: dict[str, Any]) -> None:
    changed = [name for name, value in options.items() if value != OPTIONS[name]]
    if changed and kind != "lesions_3d":
        raise DataError(f"phantom: {', '.join(changed)} can be set for lesions_3d only, not for {kind}; remove it, or change the kind")
    for name, choices in (("lesions", ("round", "realistic")), ("group_by", ("case", "scanner")), ("channels", (1, 2, 3))):
        if options[name] not in choices:
            raise DataError(f"phantom: {name} is {options[name]!r}; choose from {', '.join(map(str, choices))}")
    if options["scanners"] < 0 or not 0 <= options["artefacts"] <= 1:
        raise DataError(f"phantom: needs scanners >= 0 and artefacts from 0 to 1, got {options['scanners']} and {options['artefacts']}")
    if options["group_by"] == "scanner" and options["scanners"] < 2:
        raise DataError("phantom: group_by=scanner needs at least 2 scanners, to train on one and validate on another; set scanners")


def _publish(temporary: Path, folder: Path) -> None:
    """Rename the finished folder to its name, unless another process was faster."""
    try:
        os.rename(temporary, folder)
    except OSError:
        if not (folder / "dataset.json").is_file():
            raise


def _write(path: Path, volume: np.ndarray, affine: np.ndarray | None) -> None:
    if affine is None:
        Image.fromarray(volume).save(path)
        return
    image = nib.Nifti1Image(volume, affine)
    image.set_qform(affine, 1)  # some readers look at one form, some at the other
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def _write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
