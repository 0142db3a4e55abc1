"""Who trains, who validates, who is held out: splits that never part a group (a patient)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from medseg.data.case import Case
from medseg.errors import DataError
from medseg.files import write_text


class Fold(TypedDict):
    """Case ids of one fold, sorted."""

    train: list[str]
    val: list[str]


@dataclass(frozen=True)
class Splits:
    """Case ids of the test set and of each fold."""

    test: list[str]
    folds: list[Fold]

    def to_json(self) -> str:
        """`{"test": [...], "folds": [{"train": [...], "val": [...]}, ...]}`, which `read_split_file` reads again."""
        return json.dumps({"test": self.test, "folds": self.folds}, indent=1) + "\n"


def make_splits(cases: Iterable[Case], folds: int, seed: int, test_fraction: float) -> Splits:
    """Divide the cases into a test set and folds, whole groups at a time.

    The test set takes a random share of the groups. The others go, the largest first, to the fold that has the fewest cases, so that folds
    are about as equal as groups allow. The result depends on the seed and on which cases there are, not on their order.

    Args:
        cases: All cases to divide.
        folds: Number of folds, at least 2.
        seed: Seed of the shuffling.
        test_fraction: Share of the groups to hold out, at least one group where it is above 0.

    Raises:
        DataError: When there are fewer groups than needed.
    """
    cases = list(cases)
    if folds < 2:
        raise DataError(f"data.folds={folds}: cross-validation needs at least 2 folds; data.fold chooses the one that validates")
    if not 0 <= test_fraction < 1:
        raise DataError(f"data.test_fraction={test_fraction} must lie in [0, 1)")
    members: dict[str, list[str]] = {}
    for case in cases:
        members.setdefault(case.group, []).append(case.id)
    names = sorted(members)
    held_out = max(1, round(test_fraction * len(names))) if test_fraction > 0 else 0
    if len(names) - held_out < folds:
        raise DataError(_too_few(len(cases), len(names), held_out, folds))
    shuffled = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    parts: list[list[str]] = [[] for _ in range(folds)]
    for name in sorted(shuffled[held_out:], key=lambda group: -len(members[group])):  # a stable sort: equal groups stay shuffled
        min(parts, key=len).extend(members[name])
    test = sorted(case for name in shuffled[:held_out] for case in members[name])
    return Splits(test, [_fold(parts, index) for index in range(folds)])


def read_split_file(path: Path, cases: Iterable[Case]) -> Splits:
    """Read folds from a JSON file: nnU-Net's splits_final.json, or what `write_splits` wrote.

    Raises:
        DataError: When the file is malformed, names unknown cases, or lets a case or group train and validate in one fold.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON, line {error.lineno} column {error.colno}: {error.msg}; correct the file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the split file cannot be read ({error}); correct data.split_file") from error
    listed, test = (content.get("folds"), content.get("test", [])) if isinstance(content, dict) else (content, [])
    if not isinstance(listed, list) or not listed or not _is_ids(test) or not all(map(_is_fold, listed)):
        raise DataError(
            f'{path}: must be a list of {{"train": [case, ...], "val": [case, ...]}}, one per fold, none empty; correct the file'
        )
    splits = Splits(sorted(test), [{"train": sorted(fold["train"]), "val": sorted(fold["val"])} for fold in listed])
    _check_split_file(path, splits, {case.id: case.group for case in cases})
    return splits


def write_splits(path: Path, splits: Splits) -> None:
    """Write the splits as JSON; the file appears complete or not at all."""
    write_text(path, splits.to_json())


def _fold(parts: Sequence[Sequence[str]], index: int) -> Fold:
    train = sorted(case for other, part in enumerate(parts) if other != index for case in part)
    return {"train": train, "val": sorted(parts[index])}


def _too_few(cases: int, groups: int, held_out: int, folds: int) -> str:
    test = f", {held_out} of them held out for the test" if held_out else ""
    left = groups - held_out
    if left < 2:
        return f"the data set has {groups} groups (patients) in {cases} cases{test}: too few to train and validate; add cases" + (
            ", or lower data.test_fraction" if held_out else ", or correct data.format.params.groups"
        )
    return (
        f"the data set has {groups} groups (patients) in {cases} cases{test}: too few for data.folds={folds}; set data.folds={left} or less"
    )


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_fold(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_ids(value.get(part)) and value[part] for part in ("train", "val"))


def _check_split_file(path: Path, splits: Splits, groups: dict[str, str]) -> None:
    named = {case for fold in splits.folds for part in (fold["train"], fold["val"]) for case in part} | set(splits.test)
    unknown = sorted(named - groups.keys())
    if unknown:
        shown = ", ".join(unknown[:5]) + (f", ... ({len(unknown)} in all)" if len(unknown) > 5 else "")
        raise DataError(f"{path}: names cases that the data set does not have: {shown}; correct the file, or data.root")
    for index, fold in enumerate(splits.folds):
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            parts = {"train": fold["train"], "val": fold["val"], "test": splits.test}
            both = sorted({groups[case] for case in parts[first]} & {groups[case] for case in parts[second]})
            if both:
                raise DataError(f"{path}: fold {index} has group '{both[0]}' in {first} and in {second}; put all of its cases on one side")
