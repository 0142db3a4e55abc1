from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import DataError
from medseg.evaluation.predictions import files_by_name, match_names


def named(*stems: str) -> dict[str, Path]:
    return {stem: Path(f"{stem}.nii.gz") for stem in stems}


class TestMatchNames:
    def test_names_of_cases_stay(self) -> None:
        assert match_names(named("a", "a_seg"), ["a", "b"]) == named("a", "a_seg")

    @pytest.mark.parametrize("ending", ["_seg", "_pred", "_0000_seg", "-mask"])
    def test_a_common_ending_is_taken_off(self, ending: str) -> None:
        found = match_names(named(f"a{ending}", f"b{ending}"), ["a", "b", "c"])
        assert {name: path.name for name, path in found.items()} == {"a": f"a{ending}.nii.gz", "b": f"b{ending}.nii.gz"}

    def test_the_longer_of_two_names_is_meant(self) -> None:
        assert set(match_names(named("a_1_seg", "a_2_seg"), ["a", "a_1", "a_2"])) == {"a_1", "a_2"}

    def test_other_names_stay_as_they_are(self) -> None:
        assert match_names(named("x", "y"), ["a"]) == named("x", "y")


class TestFilesByName:
    def test_subfolders_count_only_where_there_are_no_files(self, tmp_path: Path) -> None:
        for path in ("a/a_seg.nii.gz", "b/b_seg.nii.gz", ".c/c.nii.gz"):
            (tmp_path / path).parent.mkdir()
            (tmp_path / path).touch()
        assert list(files_by_name(tmp_path, "predictions")) == ["a_seg", "b_seg"]
        (tmp_path / "x.png").touch()
        assert list(files_by_name(tmp_path, "predictions")) == ["x"]

    def test_one_name_twice_in_subfolders_is_refused(self, tmp_path: Path) -> None:
        for place in "ab":
            (tmp_path / place).mkdir()
            (tmp_path / place / "x.nii.gz").touch()
        with pytest.raises(DataError, match=r"a/x\.nii\.gz and b/x\.nii\.gz"):
            files_by_name(tmp_path, "predictions")
