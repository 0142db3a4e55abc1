"""Look at every file of a data set and report all that is wrong with it at once."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.data.case import Case, DataSet, Fault
from medseg.data.geometry import Geometry
from medseg.data.images import FileError, read_image, read_label
from medseg.data.labels import IGNORE

__all__ = ["Fault", "check_cases", "check_dataset"]

WORKERS = 4


@dataclass
class _Finding:
    """What one case turned out to be."""

    case: Case
    faults: list[Fault] = field(default_factory=list)
    digest: str | None = None
    """Hash of the voxels, None where the image could not be read."""
    classes: frozenset[str] = frozenset()

    def error(self, file: Path | None, message: str, remedy: str) -> None:
        self.faults.append(Fault("error", self.case.id, file, message, remedy))

    def warning(self, file: Path | None, message: str, remedy: str) -> None:
        self.faults.append(Fault("warning", self.case.id, file, message, remedy))


def check_dataset(dataset: DataSet, workers: int = WORKERS, progress: Callable[[int, int], None] | None = None) -> list[Fault]:
    """Read every file of a data set and list its faults, errors first, then by case.

    Args:
        dataset: What a format's `read` returned.
        workers: Threads that read files.
        progress: Called with the number of cases done and their total.
    """
    faults = list(dataset.faults)
    if not dataset.cases:
        faults.append(Fault("error", "", dataset.root, "the data set has no cases", "set data.root to a folder that holds some"))
    faults += _repeated_ids((*dataset.cases, *dataset.test_cases))
    findings = _look(dataset, (*dataset.cases, *dataset.test_cases), workers, progress)
    for finding in findings:
        faults += finding.faults
    faults += _duplicates(findings) + _absent_classes(dataset, findings)
    return sorted(faults, key=lambda fault: (fault.severity, fault.case, str(fault.file)))


def check_cases(cases: Sequence[Case], dataset: DataSet, workers: int = WORKERS) -> list[Fault]:
    """The errors of the cases that a run will use, by the rules of `check_dataset`; training asks for them before it starts."""
    used = {case.id for case in cases}
    faults = [fault for fault in dataset.faults if fault.case in used]
    faults += _repeated_ids((*dataset.cases, *dataset.test_cases))
    for finding in _look(dataset, cases, workers):
        faults += finding.faults
    return [fault for fault in faults if fault.severity == "error"]


def _look(dataset: DataSet, cases: Sequence[Case], workers: int, progress: Callable[[int, int], None] | None = None) -> list[_Finding]:
    findings = []
    unlabelled = {case.id for case in dataset.test_cases if case.label is None}
    with ThreadPoolExecutor(max(1, workers)) as pool:
        for finding in pool.map(lambda case: _check_case(case, dataset, needs_label=case.id not in unlabelled), cases):
            findings.append(finding)
            if progress is not None:
                progress(len(findings), len(cases))
    return findings


def _check_case(case: Case, dataset: DataSet, needs_label: bool) -> _Finding:
    finding = _Finding(case)
    geometry = _check_images(case, dataset, finding)
    if case.label is not None:
        _check_label(case, case.label, dataset, geometry, finding)
    elif needs_label:
        finding.error(None, f"case '{case.id}' has no label", "add one, or move the case to the test images")
    return finding


def _check_images(case: Case, dataset: DataSet, finding: _Finding) -> Geometry | None:
    """Read the channels one after the other, so that memory holds one. Returns the grid of the first readable one."""
    reference: Geometry | None = None
    channels, complete, digest = 0, True, hashlib.blake2b(digest_size=16)
    for path in case.images:
        try:
            image, geometry = read_image(path)
        except FileError as error:
            finding.error(error.file, error.problem, error.remedy)
            complete = False
            continue
        channels += len(image)
        digest.update(str(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        _check_voxels(path, image, finding)
        if geometry.spatial_dims != dataset.spatial_dims:
            finding.error(path, f"is {geometry.spatial_dims}-D, the data set {dataset.spatial_dims}-D", "convert it, or remove the case")
        if reference is None:
            reference = geometry
        else:
            _collect(finding, case.require_same_grid, path, geometry, reference)
    if complete and reference is not None:
        finding.digest = digest.hexdigest()
        _collect(finding, case.require_channels, channels, reference.spatial_dims)
    return reference


def _check_voxels(path: Path, image: np.ndarray, finding: _Finding) -> None:
    wrong = image.size - int(np.count_nonzero(np.isfinite(image)))
    if wrong:
        finding.error(path, f"{wrong} of {image.size} voxels are NaN or infinite", "replace them by numbers, or remove the case")
        return
    for channel in image:
        if channel.min() == channel.max():
            finding.warning(path, f"every voxel is {channel.flat[0]:.4g}", "the image shows nothing: export it again, or remove the case")
            return


def _check_label(case: Case, path: Path, dataset: DataSet, image: Geometry | None, finding: _Finding) -> None:
    try:
        values, geometry = read_label(path)
    except FileError as error:
        finding.error(error.file, error.problem, error.remedy)
        return
    if image is not None:
        _collect(finding, case.require_same_grid, path, geometry, image)
    try:
        ids = dataset.labels.encode(values)
    except ValueError as error:
        finding.error(path, str(error), "correct the file, or add the values to the data set's labels")
        return
    present = np.flatnonzero(np.bincount(ids.ravel(), minlength=IGNORE + 1))
    if (present == IGNORE).all():
        finding.warning(path, "every voxel is ignored", "remove the case")
        return
    known = present[present < IGNORE]
    members = np.flatnonzero(dataset.labels.membership[:, known].any(axis=1))
    finding.classes = frozenset(dataset.labels.classes[index] for index in members)
    if not finding.classes:
        names = ", ".join(dataset.labels.classes)
        finding.warning(path, f"the mask is empty (no {names})", "nothing to do if the case shows none; otherwise complete the mask")


def _collect(finding: _Finding, require: Callable[..., None], *arguments: object) -> None:
    """Turn what `require` raises into a fault."""
    try:
        require(*arguments)
    except FileError as error:
        finding.error(error.file, error.problem, error.remedy)


def _repeated_ids(cases: Iterable[Case]) -> list[Fault]:
    cases = list(cases)
    repeated = [case for case, count in Counter(case.id for case in cases).items() if count > 1]
    faults = []
    for name in repeated:
        files = ", ".join(str(case.images[0]) for case in cases if case.id == name)
        faults.append(
            Fault("error", name, None, f"the case id '{name}' occurs more than once: {files}", "rename the files, so that ids are unique")
        )
    return faults


def _duplicates(findings: Iterable[_Finding]) -> list[Fault]:
    """Images that are the same, voxel by voxel, in several cases."""
    first: dict[str, Case] = {}
    faults = []
    for finding in findings:
        if finding.digest is None:
            continue
        case, other = finding.case, first.setdefault(finding.digest, finding.case)
        if other is case:
            continue
        apart = case.group != other.group
        message = f"shows the same image as case '{other.id}'" + (
            ", in another group, so that it can train and validate at once" if apart else ""
        )
        faults.append(
            Fault("warning", case.id, case.images[0], message, "remove one of them" + (", or give both one group" if apart else ""))
        )
    return faults


def _absent_classes(dataset: DataSet, findings: Iterable[_Finding]) -> list[Fault]:
    found = frozenset[str]().union(*(finding.classes for finding in findings))
    remedy = "check the labels' values, or leave it out with data.format.params.classes"
    return [
        Fault("warning", "", dataset.root, f"class '{name}' occurs in no readable label", remedy)
        for name in dataset.labels.classes
        if dataset.cases and name not in found
    ]
