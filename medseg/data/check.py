"""Look at every file of a data set and report all that is wrong with it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.data.case import Case, DataSet, Fault
from medseg.data.check_case import Finding, check_case
from medseg.data.check_outliers import unusual_intensities, unusual_orientations, unusual_spacings
from medseg.data.check_similar import alike
from medseg.data.check_split import Places, shared_patients
from medseg.data.splits import Splits

__all__ = ["ClassCount", "Fault", "Inspection", "check_dataset", "inspect_dataset", "layout_errors"]

FORMAT = 1
"""Version of the JSON that `Inspection.to_dict` gives."""


@dataclass(frozen=True)
class ClassCount:
    """How frequent a class is in the labels that could be read.

    Args:
        name: The class, or "background" for voxels in none.
        cases: Cases that show it.
        voxels: Its voxels in all of them.
        share: These among all voxels that are not ignored; 0 where there are none.
    """

    name: str
    cases: int
    voxels: int
    share: float


@dataclass(frozen=True)
class Inspection:
    """All that was found out about a data set.

    Args:
        dataset: The data set.
        faults: Errors first, then by case.
        classes: Background first, then the data set's classes.
        labelled: Cases with a readable label.
        empty: Those among them that show no class.
    """

    dataset: DataSet
    faults: tuple[Fault, ...]
    classes: tuple[ClassCount, ...]
    labelled: int
    empty: int

    @property
    def errors(self) -> list[Fault]:
        """What makes cases unusable."""
        return [fault for fault in self.faults if fault.severity == "error"]

    @property
    def warnings(self) -> list[Fault]:
        """What deserves a look."""
        return [fault for fault in self.faults if fault.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        """The inspection in plain JSON types.

        `{"format": 1, "data_set": str, "root": str, "cases": int, "test_cases": int, "labelled": int, "empty": int, "errors": int,
        "warnings": int, "faults": [{"severity": "error" | "warning", "case": str (empty: the data set), "file": str | null, "message": str,
        "remedy": str}], "classes": [{"name": str, "cases": int, "voxels": int, "share": float}]}`.
        """
        return {
            "format": FORMAT,
            "data_set": self.dataset.name,
            "root": str(self.dataset.root),
            "cases": len(self.dataset.cases),
            "test_cases": len(self.dataset.test_cases),
            "labelled": self.labelled,
            "empty": self.empty,
            "errors": len(self.errors),
            "warnings": len(self.warnings),
            "faults": [vars(fault) | {"file": None if fault.file is None else str(fault.file)} for fault in self.faults],
            "classes": [dict(vars(count)) for count in self.classes],
        }


def inspect_dataset(
    dataset: DataSet,
    *,
    splits: Splits | None = None,
    known: Iterable[Fault] = (),
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read every file of a data set, test cases included.

    Args:
        dataset: What a format's `read` returned.
        splits: The folds of a run; images that occur in two places are then reported with the folds that they spoil.
        known: Further faults to list, of the split for example.
        workers: Threads that read files; None: one a processor.
        progress: Called with the number of cases done and their total.
    """
    faults = [*dataset.faults, *known]
    if not dataset.cases:
        faults.append(Fault("error", "", dataset.root, "the data set has no cases", "set data.root to a folder that holds some"))
    faults += _repeated_ids((*dataset.cases, *dataset.test_cases))
    faults += shared_patients(dataset)
    findings = _look(dataset, (*dataset.cases, *dataset.test_cases), workers, progress)
    for finding in findings:
        faults += finding.faults
    faults += _duplicates(findings, Places(splits, dataset.test_cases)) + _absent_classes(dataset, findings)
    faults += unusual_spacings(findings) + unusual_orientations(findings) + unusual_intensities(findings, dataset.channels)
    labelled = [finding for finding in findings if finding.counts is not None]
    return Inspection(
        dataset,
        tuple(sorted(faults, key=lambda fault: (fault.severity, fault.case, str(fault.file)))),
        _class_counts(dataset, labelled),
        len(labelled),
        sum(finding.empty for finding in labelled),
    )


def check_dataset(dataset: DataSet, workers: int | None = None, progress: Callable[[int, int], None] | None = None) -> list[Fault]:
    """The faults that `inspect_dataset` finds, errors first, then by case."""
    return list(inspect_dataset(dataset, workers=workers, progress=progress).faults)


def layout_errors(dataset: DataSet, used: Container[str]) -> list[Fault]:
    """The errors of the cases in `used` that show without opening a file, and ids that occur twice."""
    faults = [fault for fault in dataset.faults if fault.case in used and fault.severity == "error"]
    return faults + _repeated_ids((*dataset.cases, *dataset.test_cases))


def _look(
    dataset: DataSet,
    cases: Sequence[Case],
    workers: int | None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    findings = []
    unlabelled = {case.id for case in dataset.test_cases if case.label is None}
    # Decompression and NumPy let go of the interpreter's lock, and threads need not send arrays: processes were no faster.
    with ThreadPoolExecutor(max(1, workers or _processors())) as pool:
        for finding in pool.map(lambda case: check_case(case, dataset, case.id not in unlabelled), cases):
            findings.append(finding)
            if progress is not None:
                progress(len(findings), len(cases))
    return findings


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _repeated_ids(cases: Iterable[Case]) -> list[Fault]:
    """Ids that are the same, or but for upper and lower case: not every disk tells files of such names apart."""
    named: dict[str, list[Case]] = {}
    for case in cases:
        named.setdefault(case.id.casefold(), []).append(case)
    faults = []
    for alike_named in named.values():
        ids = list(dict.fromkeys(case.id for case in alike_named))
        files = ", ".join(str(case.images[0]) for case in alike_named)
        if len(ids) > 1:
            names = " and ".join(f"'{name}'" for name in ids)
            message = f"the case ids {names} differ in upper and lower case alone, which some disks do not tell apart: {files}"
        elif len(alike_named) > 1:
            message = f"the case id '{ids[0]}' occurs more than once: {files}"
        else:
            continue
        faults.append(Fault("error", ids[0], None, message, "rename the files, so that ids are unique"))
    return faults


def _duplicates(findings: Iterable[Finding], places: Places) -> list[Fault]:
    """Images that are the same in several cases: voxel by voxel, or nearly so in different groups."""
    first: dict[str, Case] = {}
    faults, told = [], set()
    for finding in findings:
        if finding.digest is None:
            continue
        case, other = finding.case, first.setdefault(finding.digest, finding.case)
        if other is not case:
            told.add(case.id)
            faults.append(_same(case, other, f"shows the same image as case '{other.id}'", places))
    by_size: dict[int, list[tuple[Case, np.ndarray]]] = {}  # all of one size, unless some cases lack channels
    for finding in findings:
        if finding.signature is not None and finding.case.id not in told:
            by_size.setdefault(finding.signature.size, []).append((finding.case, finding.signature))
    for described in by_size.values():
        for one, two, correlation in alike([found for _, found in described], [case.group for case, _ in described]):
            case, other = described[two][0], described[one][0]
            message = f"shows nearly the same image as case '{other.id}' (correlation {correlation:.3f})"
            faults.append(_same(case, other, message, places))
    return faults


def _same(case: Case, other: Case, message: str, places: Places) -> Fault:
    if case.group == other.group:
        return Fault("warning", case.id, case.images[0], message, "remove one of them")
    leak = places.leak(other.id, case.id)
    message += f", in another group: {leak}" if leak else ", in another group, so that it can train and validate at once"
    return Fault("warning", case.id, case.images[0], message, "remove one of them, or give both one group")


def _class_counts(dataset: DataSet, labelled: Sequence[Finding]) -> tuple[ClassCount, ...]:
    counts = np.array([[finding.background, *(finding.counts if finding.counts is not None else ())] for finding in labelled])
    counts = counts.reshape(len(labelled), len(dataset.labels.classes) + 1)
    # Overlapping classes count a voxel each; the share is of the voxels, which background and the union of the classes are together.
    total = sum(finding.voxels for finding in labelled)
    return tuple(
        ClassCount(name, int(np.count_nonzero(column)), int(column.sum()), float(column.sum() / total) if total else 0.0)
        for name, column in zip(("background", *dataset.labels.classes), counts.T, strict=True)
    )


def _absent_classes(dataset: DataSet, findings: Iterable[Finding]) -> list[Fault]:
    found = sum((finding.counts for finding in findings if finding.counts is not None), np.zeros(len(dataset.labels.classes), np.int64))
    remedy = "check the labels' values, or leave it out with data.format.params.classes"
    return [
        Fault("warning", "", dataset.root, f"class '{name}' occurs in no readable label", remedy)
        for name, voxels in zip(dataset.labels.classes, found, strict=True)
        if dataset.cases and not voxels
    ]
