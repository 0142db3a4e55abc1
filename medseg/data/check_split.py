"""Finds what a split lets through: patients and images that train and are scored at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.data.case import Case, DataSet, Fault
from medseg.data.splits import Splits, make_splits, read_split_file
from medseg.errors import DataError

if TYPE_CHECKING:
    from medseg.config.schema import DataConfig

PARTS = ("train", "val", "test")


def split_of(config: DataConfig, dataset: DataSet) -> tuple[Splits | None, list[Fault]]:
    """Give the split that a run with this config would have, and what is wrong with it.

    A split file that parts patients gives one fault for every patient. Seeded folds never do; that there are too few patients for them is a
    warning, since it is no fault of the data.
    """
    if config.split_file is None:
        try:
            return make_splits(dataset.cases, config.folds, config.split_seed, config.test_fraction), []
        except DataError as error:
            return None, [Fault("warning", "", dataset.root, str(error), "training will stop there")]
    path = Path(config.split_file).expanduser()
    try:
        return read_split_file(path, dataset.cases), []
    except DataError as error:
        parted = _parted_groups(path, dataset.cases)
        problem, _, remedy = str(error).removeprefix(f"{path}: ").rpartition("; ")
        return None, parted or [Fault("error", "", path, problem, remedy)]


def _parted_groups(path: Path, cases: Sequence[Case]) -> list[Fault]:
    """Every patient that a readable split file puts on two sides."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed, test = (content["folds"], content.get("test", [])) if isinstance(content, dict) else (content, [])
        folds = [{"train": set(fold["train"]), "val": set(fold["val"]), "test": set(test)} for fold in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    faults = []
    for group in dict.fromkeys(case.group for case in cases):
        members = [case.id for case in cases if case.group == group]
        places = [{part for part in PARTS if not fold[part].isdisjoint(members)} for fold in folds]
        parted = [index for index, parts in enumerate(places) if len(parts) > 1]
        if parted:
            sides = " and ".join(part for part in PARTS if part in places[parted[0]])
            message = (
                f"group '{group}' ({', '.join(members[:4])}{', ...' if len(members) > 4 else ''}) is in {sides} of fold {_list(parted)}"
            )
            faults.append(Fault("error", members[0], path, message, "put all cases of a patient on one side"))
    return faults


def shared_patients(dataset: DataSet) -> list[Fault]:
    """Patients of whom the data set itself keeps some cases for the test and gives others to train on."""
    trained = {case.group: case for case in reversed(dataset.cases)}
    tested = {case.group: case for case in reversed(dataset.test_cases)}
    remedy = "keep all cases of a patient on one side; if two patients have one name, set data.format.params.group or groups"
    return [
        Fault(
            "warning", case.id, case.images[0], f"is a test case of group '{group}', which trains too (case '{trained[group].id}')", remedy
        )
        for group, case in sorted(tested.items())
        if group in trained
    ]


class Places:
    """Where each case stands in each fold.

    Args:
        splits: The split of the training cases; None: not known.
        test_cases: Cases that the data set itself sets apart.
    """

    def __init__(self, splits: Splits | None, test_cases: Sequence[Case] = ()) -> None:
        apart = {case.id for case in test_cases}
        self.known = splits is not None
        tests = apart | set(splits.test if splits else ())
        self.folds: list[Mapping[str, str]] = [
            dict.fromkeys(tests, "test") | dict.fromkeys(fold["train"], "train") | dict.fromkeys(fold["val"], "val")
            for fold in (splits.folds if splits else ())
        ]

    def leak(self, first: str, second: str) -> str:
        """Say in which folds two cases that show the same stand on two sides, such as "one trains and one validates in folds 0, 3"."""
        sides: dict[frozenset[str], list[int]] = {}
        for index, fold in enumerate(self.folds):
            both = frozenset(part for part in (fold.get(first), fold.get(second)) if part is not None)
            if len(both) == 2:
                sides.setdefault(both, []).append(index)
        verbs = {"train": "trains", "val": "validates", "test": "tests"}
        return "; ".join(
            "one " + " and one ".join(verbs[part] for part in PARTS if part in both) + f" in fold {_list(folds)}"
            for both, folds in sides.items()
        )


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
