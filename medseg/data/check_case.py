"""What the files of one case turn out to be, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.data.case import Case, DataSet, Fault
from medseg.data.check_similar import signature
from medseg.data.geometry import Geometry, to_canonical
from medseg.data.images import FileError, read_image
from medseg.data.labels import IGNORE
from medseg.data.masks import resamples

EMPTY = "the mask is empty"
"""What the fault of a mask without any class begins with."""
SAMPLED = 100_000
"""Voxels of a channel that its intensity range is estimated from."""
EXTREMES = (0.5, 99.5)
"""Per cent of the voxels below the two ends of the range."""


@dataclass
class Finding:
    """What one case turned out to be.

    Attributes:
        case: The case.
        faults: What is wrong with it, seen by itself.
        digest: Hash of the voxels, None where the image could not be read.
        signature: Of its files one after the other, of length 1; None likewise, or where one shows nothing.
        spacing: Voxel size in mm along the axes that run from left to right, back to front and bottom to top; rows and columns in 2-D.
        orientation: As `Geometry.orientation`.
        ranges: (low, high) of each channel's intensities, but for the most extreme voxels.
        counts: Voxels of each class, None without a usable label.
        background: Voxels in no class.
        voxels: All that are not ignored.
    """

    case: Case
    faults: list[Fault] = field(default_factory=list)
    digest: str | None = None
    signature: np.ndarray | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str = ""
    ranges: tuple[tuple[float, float], ...] = ()
    counts: np.ndarray | None = None
    background: int = 0
    voxels: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is a usable label that shows no class."""
        return self.counts is not None and not self.counts.any()

    def error(self, file: Path | None, message: str, remedy: str) -> None:
        """Note what makes the case unusable."""
        self.faults.append(Fault("error", self.case.id, file, message, remedy))

    def warning(self, file: Path | None, message: str, remedy: str) -> None:
        """Note what deserves a look."""
        self.faults.append(Fault("warning", self.case.id, file, message, remedy))


def check_case(case: Case, dataset: DataSet, needs_label: bool) -> Finding:
    """Read all files of a case.

    Args:
        case: The case.
        dataset: The data set that it belongs to.
        needs_label: Whether it is a fault to have none.
    """
    finding = Finding(case)
    try:
        geometry = _check_images(case, dataset, finding)
        if case.label is not None:
            _check_label(case, dataset, geometry, finding)
    except Exception as error:  # folders that may not be listed, memory that is not there: the other cases are looked at all the same
        finding.error(case.images[0], f"could not be checked ({type(error).__name__}: {error})", "look at its files, or remove the case")
    if case.label is None and needs_label:
        finding.error(None, f"case '{case.id}' has no label", "add one, or move the case to the test images")
    return finding


def _check_images(case: Case, dataset: DataSet, finding: Finding) -> Geometry | None:
    """Read the channels one after the other, so that memory holds one. Returns the grid of the first readable one."""
    reference: Geometry | None = None
    channels, complete, digest = 0, True, hashlib.blake2b(digest_size=16)
    signatures: list[np.ndarray | None] = []
    for path in case.images:
        try:
            image, geometry = read_image(path)
        except FileError as error:
            finding.error(error.file, error.problem, error.remedy)
            complete = False
            continue
        channels += len(image)
        digest.update(str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        finite = _check_voxels(path, image, finding)
        if geometry.spatial_dims != dataset.spatial_dims:
            finding.error(path, f"is {geometry.spatial_dims}-D, the data set {dataset.spatial_dims}-D", "convert it, or remove the case")
        elif finite:
            signatures.append(_measure(image, geometry, finding))
        if reference is None:
            reference = geometry
        elif not (case.resample and resamples(path, geometry, case.images[0], reference)):
            _collect(finding, case.require_same_grid, path, geometry, reference)
    if complete and reference is not None:
        finding.digest = digest.hexdigest()
        found = [one for one in signatures if one is not None]
        if found and len(found) == len(case.images):
            finding.signature = np.concatenate(found) / np.float32(np.sqrt(len(found)))
        _collect(finding, case.require_channels, channels, reference.spatial_dims)
    return reference


def _check_voxels(path: Path, image: np.ndarray, finding: Finding) -> bool:
    """Whether all voxels are numbers."""
    wrong = image.size - int(np.count_nonzero(np.isfinite(image)))
    if wrong:
        finding.error(path, f"{wrong} of {image.size} voxels are NaN or infinite", "replace them by numbers, or remove the case")
        return False
    for channel in image:
        if channel.min() == channel.max():
            finding.warning(path, f"every voxel is {channel.flat[0]:.4g}", "the image shows nothing: export it again, or remove the case")
            break
    return True


def _measure(image: np.ndarray, geometry: Geometry, finding: Finding) -> np.ndarray | None:
    """Note what cases are compared by, and give the file's signature."""
    sampled = image.reshape(len(image), -1)[:, :: max(1, image[0].size // SAMPLED)]
    low, high = np.percentile(sampled, EXTREMES, axis=1)
    finding.ranges += tuple(zip(low.tolist(), high.tolist(), strict=True))
    turned, canonical = to_canonical(image.mean(axis=0, keepdims=True), geometry)
    if finding.spacing is None:
        finding.spacing, finding.orientation = canonical.spacing, geometry.orientation
    return signature(turned[0])


def _check_label(case: Case, dataset: DataSet, image: Geometry | None, finding: Finding) -> None:
    path = case.label_file
    if image is None and (case.resample or not isinstance(case.label, Path)):
        return  # no grid to compose it on
    try:
        values, geometry = case.read_label()
    except FileError as error:
        if all(fault.file != error.file for fault in finding.faults if fault.severity == "error"):  # else it is an image that gives no grid
            finding.error(error.file, error.problem, error.remedy)
        return
    if image is not None:
        _collect(finding, case.require_same_grid, path, geometry, image)
    try:
        ids = dataset.labels.encode(values)
    except ValueError as error:
        finding.error(path, str(error), "correct the file, or add the values to the data set's labels")
        return
    voxels = np.bincount(ids.ravel(), minlength=IGNORE + 1)
    if voxels[IGNORE] == ids.size:
        finding.warning(path, "every voxel is ignored", "remove the case")
        return
    membership = dataset.labels.membership.astype(np.int64)
    voxels = voxels[: membership.shape[1]]
    finding.counts = membership @ voxels
    finding.background, finding.voxels = int(voxels[~membership.any(axis=0)].sum()), int(voxels.sum())
    if finding.empty:
        names = ", ".join(dataset.labels.classes)
        finding.warning(path, f"{EMPTY} (no {names})", "nothing to do if the case shows none; otherwise complete the mask")


def _collect(finding: Finding, require: Callable[..., None], *arguments: object) -> None:
    """Turn what `require` raises into a fault."""
    try:
        require(*arguments)
    except FileError as error:
        finding.error(error.file, error.problem, error.remedy)
