from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from medseg.data.case import Case
from medseg.data.splits import Splits, make_splits, read_split_file, write_splits
from medseg.errors import DataError


def make_cases(sizes: Iterable[int]) -> list[Case]:
    """One group per size, with that many cases."""
    return [
        Case(f"p{group:02d}_{index}", (Path("x.png"),), Path("y.png"), f"p{group:02d}")
        for group, size in enumerate(sizes)
        for index in range(size)
    ]


CASES = make_cases([5, 1, 1, 3, 2, 8, 1, 1, 4, 2, 2, 6])


class TestMakeSplits:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize(("folds", "test_fraction"), [(2, 0.0), (5, 0.0), (3, 0.25), (5, 0.4)])
    def test_a_group_is_never_split_and_nothing_is_lost(self, seed: int, folds: int, test_fraction: float) -> None:
        splits = make_splits(CASES, folds, seed, test_fraction)
        group = {case.id: case.group for case in CASES}
        everything = {case.id for case in CASES}
        validated = [case for fold in splits.folds for case in fold["val"]]
        assert sorted([*validated, *splits.test]) == sorted(everything)  # each case is validated or tested once
        for fold in splits.folds:
            assert {*fold["train"], *fold["val"], *splits.test} == everything
            sides = [{group[case] for case in part} for part in (fold["train"], fold["val"], splits.test)]
            assert sides[0]
            assert sides[1]
            assert sum(map(len, sides)) == len(set().union(*sides))

    def test_the_order_of_cases_does_not_matter(self) -> None:
        shuffled = CASES.copy()
        random.Random(0).shuffle(shuffled)
        assert make_splits(shuffled, 4, 7, 0.2) == make_splits(CASES, 4, 7, 0.2)

    def test_the_seed_decides(self) -> None:
        assert make_splits(CASES, 4, 7, 0.2) == make_splits(CASES, 4, 7, 0.2)
        assert len({make_splits(CASES, 4, seed, 0.2).to_json() for seed in range(10)}) == 10

    @pytest.mark.parametrize("seed", range(5))
    def test_folds_hold_about_as_many_cases(self, seed: int) -> None:
        sizes = [len(fold["val"]) for fold in make_splits(CASES, 4, seed, 0.0).folds]
        assert max(sizes) - min(sizes) <= 1
        sizes = [len(fold["val"]) for fold in make_splits(make_cases([1] * 13), 4, seed, 0.0).folds]
        assert sorted(sizes) == [3, 3, 3, 4]

    def test_the_test_set_takes_its_share_of_groups(self) -> None:
        group = {case.id: case.group for case in CASES}
        assert len({group[case] for case in make_splits(CASES, 3, 0, 0.25).test}) == 3
        assert len({group[case] for case in make_splits(CASES, 3, 0, 0.001).test}) == 1
        assert make_splits(CASES, 3, 0, 0.0).test == []

    def test_a_huge_group_leaves_no_fold_empty(self) -> None:
        assert all(fold["val"] for fold in make_splits(make_cases([100, 1, 1, 1]), 4, 0, 0.0).folds)

    @pytest.mark.parametrize(
        ("sizes", "folds", "test_fraction", "message"),
        [
            ([4, 4, 4], 5, 0.0, r"3 groups \(patients\) in 12 cases: too few for data\.folds=5; set data\.folds=3 or less"),
            ([4, 4, 4], 3, 0.2, r"1 of them held out for the test: too few for data\.folds=3; set data\.folds=2 or less"),
            ([9], 2, 0.0, r"too few to train and validate; add cases, or correct data\.format\.params\.groups"),
            ([1, 1], 2, 0.5, r"add cases, or lower data\.test_fraction"),
            ([], 2, 0.0, "0 groups"),
        ],
    )
    def test_too_few_groups_are_refused_with_the_way_out(self, sizes: list[int], folds: int, test_fraction: float, message: str) -> None:
        with pytest.raises(DataError, match=message):
            make_splits(make_cases(sizes), folds, 0, test_fraction)

    @pytest.mark.parametrize(("folds", "test_fraction"), [(1, 0.0), (0, 0.0), (2, 1.0), (2, -0.1)])
    def test_impossible_numbers_are_refused(self, folds: int, test_fraction: float) -> None:
        with pytest.raises(DataError, match=r"data\.(folds|test_fraction)="):
            make_splits(CASES, folds, 0, test_fraction)


class TestSplitFile:
    def write(self, path: Path, content: object) -> Path:
        path.write_text(json.dumps(content))
        return path

    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        splits = make_splits(CASES, 3, 0, 0.2)
        write_splits(tmp_path / "run" / "splits.json", splits)
        assert read_split_file(tmp_path / "run" / "splits.json", CASES) == splits
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["splits.json"]

    def test_the_format_of_nnunet_is_read(self, tmp_path: Path) -> None:
        cases = make_cases([1, 1, 1])
        path = self.write(tmp_path / "splits_final.json", [{"train": ["p02_0", "p00_0"], "val": ["p01_0"]}])
        assert read_split_file(path, cases) == Splits([], [{"train": ["p00_0", "p02_0"], "val": ["p01_0"]}])

    def test_unknown_cases_are_listed(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "s.json", [{"train": ["p00_0", "nobody"], "val": ["p01_0", "else"]}])
        with pytest.raises(DataError, match=r"s\.json: names cases that the data set does not have: else, nobody"):
            read_split_file(path, CASES)

    def test_a_patient_on_both_sides_is_refused(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "s.json", [{"train": ["p00_0", "p01_0"], "val": ["p00_1"]}])
        with pytest.raises(DataError, match="fold 0 has group 'p00' in train and in val"):
            read_split_file(path, CASES)

    def test_a_test_case_that_trains_is_refused(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "s.json", {"test": ["p00_0"], "folds": [{"train": ["p00_1"], "val": ["p01_0"]}]})
        with pytest.raises(DataError, match="'p00' in train and in test"):
            read_split_file(path, CASES)

    @pytest.mark.parametrize(
        "content", [[], {}, [{"train": ["p00_0"]}], [{"train": [], "val": ["p00_0"]}], [["p00_0"]], [{"train": [1], "val": [2]}], 3]
    )
    def test_another_shape_is_refused(self, content: object, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"s\.json: must be a list"):
            read_split_file(self.write(tmp_path / "s.json", content), CASES)

    def test_broken_json_and_missing_files_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "s.json").write_text('[{"train": ')
        with pytest.raises(DataError, match=r"s\.json: not valid JSON, line 1 column 12"):
            read_split_file(tmp_path / "s.json", CASES)
        with pytest.raises(DataError, match=r"gone\.json: the split file cannot be read"):
            read_split_file(tmp_path / "gone.json", CASES)
