from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.config.schema import Component, DataConfig
from medseg.data.case import Case, DataSet
from medseg.data.check_split import Places, split_of
from medseg.data.labels import LabelSchema
from medseg.data.splits import Splits


def dataset(count: int = 6, per_group: int = 2) -> DataSet:
    cases = tuple(Case(f"c{index}", (Path(f"c{index}.png"),), None, f"p{index // per_group}") for index in range(count))
    return DataSet("set", Path("root"), cases, ("a",), LabelSchema.exclusive({"lesion": 1}), 2, ".png")


def config(**changed: Any) -> DataConfig:
    return DataConfig(format=Component("folders"), patch_size=[8, 8], **changed)


def write(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content))
    return str(path)


class TestSplitOf:
    def test_seeded_folds_are_those_of_the_run(self) -> None:
        splits, faults = split_of(config(folds=3), dataset())
        assert splits is not None
        assert (len(splits.folds), faults) == (3, [])

    def test_too_few_patients_for_the_folds_are_a_warning(self) -> None:
        splits, (fault,) = split_of(config(folds=5), dataset())
        assert splits is None
        assert fault.severity == "warning"
        assert "too few for data.folds=5" in fault.message

    def test_a_sound_file_is_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "s.json", [{"train": ["c0", "c1"], "val": ["c2", "c3"]}])
        splits, faults = split_of(config(split_file=path), dataset())
        assert splits == Splits([], [{"train": ["c0", "c1"], "val": ["c2", "c3"]}])
        assert faults == []

    def test_every_parted_patient_is_told(self, tmp_path: Path) -> None:
        folds = [{"train": ["c0", "c2", "c4"], "val": ["c1", "c3"]}, {"train": ["c0", "c1"], "val": ["c2"]}]
        path = write(tmp_path / "s.json", {"test": ["c5"], "folds": folds})
        splits, faults = split_of(config(split_file=path), dataset())
        assert splits is None
        assert [(fault.severity, fault.case, fault.file) for fault in faults] == [("error", f"c{case}", Path(path)) for case in (0, 2, 4)]
        assert faults[0].message == "group 'p0' (c0, c1) is in train and val of fold 0"
        assert faults[2].message == "group 'p2' (c4, c5) is in train and test of fold 0"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([{"train": ["c0"], "val": ["zz"]}], "does not have: zz"),
            ({"folds": 3}, "must be a list"),
            ([{"train": 1, "val": []}], "must be a list"),
        ],
    )
    def test_whatever_else_is_wrong_with_the_file_is_one_error(self, content: Any, message: str, tmp_path: Path) -> None:
        path = write(tmp_path / "s.json", content)
        _, (fault,) = split_of(config(split_file=path), dataset())
        assert (fault.severity, fault.file) == ("error", Path(path))
        assert message in fault.message
        assert fault.remedy

    def test_a_missing_file_is_an_error(self, tmp_path: Path) -> None:
        _, (fault,) = split_of(config(split_file=str(tmp_path / "none.json")), dataset())
        assert fault.severity == "error"


class TestPlaces:
    SPLITS = Splits(["t"], [{"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]}])

    def test_folds_in_which_two_cases_stand_apart_are_listed_by_sides(self) -> None:
        places = Places(self.SPLITS)
        assert places.leak("a", "c") == "one trains and one validates in fold 0"
        assert places.leak("b", "c") == "one trains and one validates in fold 0, 1"
        assert places.leak("t", "b") == "one trains and one tests in fold 0; one validates and one tests in fold 1"

    def test_cases_on_one_side_and_unknown_ones_do_not_leak(self) -> None:
        both = Splits([], [{"train": ["a", "b"], "val": ["c"]}])
        assert Places(both).leak("a", "b") == Places(both).leak("a", "z") == Places(None).leak("a", "b") == ""

    def test_the_test_cases_of_the_data_set_count(self) -> None:
        apart = Case("x", (Path("x.png"),), None, "x")
        assert Places(self.SPLITS, (apart,)).leak("x", "a") == "one trains and one tests in fold 0, 1"
