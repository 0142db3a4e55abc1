from __future__ import annotations

import os
from pathlib import Path

import pytest

from medseg.data.case import Case
from medseg.data.formats import layout
from medseg.errors import DataError

SOURCE = Path("dataset.json")


def cases(*names: str) -> list[Case]:
    return [Case(name, (Path(f"{name}.png"),), None, name) for name in names]


class TestRoot:
    def test_the_only_data_set_below_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "Task04").mkdir()
        (tmp_path / "Task04" / "dataset.json").write_text("{}")
        assert layout.find_root(tmp_path, "x") == tmp_path / "Task04"
        assert layout.find_root(tmp_path / "Task04", "x") == tmp_path / "Task04"

    def test_several_data_sets_are_listed(self, tmp_path: Path) -> None:
        for name in ("Task04", "Task09"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "dataset.json").write_text("{}")
        with pytest.raises(DataError, match=r"several data sets \(Task04, Task09\); set data\.root to one of them"):
            layout.find_root(tmp_path, "x")

    def test_nothing_there_is_said_with_the_way_out(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no dataset\.json here, which the Decathlon layout needs; set data\.root"):
            layout.find_root(tmp_path, "Decathlon")
        with pytest.raises(DataError, match="the data set's folder does not exist"):
            layout.find_root(tmp_path / "gone", "Decathlon")
        (tmp_path / "file").touch()
        with pytest.raises(DataError, match="is a file, not a folder"):
            layout.find_root(tmp_path / "file", "Decathlon")


class TestJson:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b'{"a": 1,\n}', "not valid JSON, line 2 column 1|not valid JSON, line 1"),
            (b"[]", "holds a list"),
            (b'{"a": "\xff"}', "cannot be read"),
        ],
    )
    def test_a_broken_file_is_named(self, text: bytes, message: str, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_bytes(text)
        with pytest.raises(DataError, match=rf"dataset\.json: .*({message})"):
            layout.read_json(tmp_path / "dataset.json")

    def test_a_byte_order_mark_is_fine(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
        assert layout.read_json(tmp_path / "dataset.json") == {"a": 1}


class TestPaths:
    @pytest.mark.parametrize("path", ["../secret.nii.gz", "a/../../x.png", "/etc/passwd", "..", "", None, 3])
    def test_a_path_cannot_leave_its_folder(self, path: object, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"leads out of|is not a path"):
            layout.inside(tmp_path, path, SOURCE)

    def test_a_folder_with_a_similar_name_is_outside(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="leads out of"):
            layout.inside(tmp_path / "set", "../set2/a.png", SOURCE)

    def test_paths_inside_are_cleaned(self, tmp_path: Path) -> None:
        assert layout.inside(tmp_path, "./imagesTr/a.nii.gz", SOURCE) == tmp_path / "imagesTr" / "a.nii.gz"
        assert layout.inside(tmp_path, str(tmp_path / "b.png"), SOURCE) == tmp_path / "b.png"

    def test_relative_roots_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert layout.inside(Path("."), "./a.png", SOURCE) == Path("a.png")
        assert layout.inside(Path("../") / tmp_path.name, "a.png", SOURCE) == Path(os.path.normpath(f"../{tmp_path.name}/a.png"))
        for root, path in [(".", "../a.png"), ("..", "../a.png")]:
            with pytest.raises(DataError, match="leads out of"):
                layout.inside(Path(root), path, SOURCE)


class TestLabels:
    def test_both_directions_mean_the_same(self) -> None:
        expected = layout.schema_from_json({"background": 0, "liver": 1, "cancer": 2}, SOURCE)
        assert layout.schema_from_json({"0": "background", "1": "liver", "2": "cancer"}, SOURCE) == expected
        assert expected.classes == ("liver", "cancer")

    def test_regions_keep_their_order_and_paint(self) -> None:
        schema = layout.schema_from_json({"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, SOURCE, [1, 2, 3])
        assert schema.classes == ("whole", "core", "enhancing")
        assert schema.members == ((1, 2, 3), (2, 3), (3,))
        assert schema.paint == (1, 2, 3)

    @pytest.mark.parametrize(
        ("labels", "order", "message"),
        [
            ({}, None, '"labels" must map'),
            ([1, 2], None, '"labels" must map'),
            ({"background": 0}, None, "no foreground class"),
            ({"background": 0, "a": 1.5}, None, 'label "a" has the value 1.5; give an integer'),
            ({"background": 0, "a": "one"}, None, 'label "a" has the value|same name|integer'),
            ({"background": 0, "a": True}, None, 'label "a" has the value True'),
            ({"background": 0, "a": []}, None, 'label "a" has the value'),
            ({"0": "background", "1": "a", "2": "a"}, None, "same name"),
            ({"background": 0, "a": [1, 2], "b": [2]}, None, '"regions_class_order" must give'),
            ({"background": 0, "a": [1, 2], "b": [2]}, [1], '"regions_class_order" must list one integer for each of a, b'),
            ({"background": 0, "a": [1, 2], "b": [2]}, [3, 2], "painted as 3"),
            ({"background": [0, 1], "a": 2}, None, "one value each"),
            ({"background": 0, "a": 0}, None, "share the value 0"),
        ],
    )
    def test_nonsense_is_refused_by_name(self, labels: object, order: object, message: str) -> None:
        with pytest.raises(DataError, match=rf"dataset\.json: .*({message})"):
            layout.schema_from_json(labels, SOURCE, order)

    def test_a_class_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"data\.format\.params\.classes: no class named b; the classes are a"):
            layout.schema_from_json({"a": 1}, SOURCE, classes=["b"])


class TestGroups:
    def test_without_a_rule_every_case_is_its_own(self, tmp_path: Path) -> None:
        grouped, faults = layout.assign_groups(cases("a", "b"), tmp_path, None)
        assert [case.group for case in grouped] == ["a", "b"]
        assert faults == []

    def test_groups_csv_is_found_by_itself(self, tmp_path: Path) -> None:
        (tmp_path / "groups.csv").write_text("case,group\na,p1\nb,p1\nunknown,p9\n")
        grouped, faults = layout.assign_groups(cases("a", "b"), tmp_path, None)
        assert [case.group for case in grouped] == ["p1", "p1"]
        assert faults == []

    @pytest.mark.parametrize(("rule", "groups"), [(r"^(p\d+)_", ["p1", "p1", "p2"]), (r"^p\d", ["p1", "p1", "p2"])])
    def test_an_expression_finds_the_patient(self, rule: str, groups: list[str], tmp_path: Path) -> None:
        grouped, faults = layout.assign_groups(cases("p1_a", "p1_b", "p2_a"), tmp_path, rule)
        assert [case.group for case in grouped] == groups
        assert faults == []

    def test_a_case_without_a_group_is_an_error(self, tmp_path: Path) -> None:
        _, faults = layout.assign_groups(cases("p1_a", "other"), tmp_path, r"^(p\d+)_")
        assert [(fault.severity, fault.case) for fault in faults] == [("error", "other")]
        (tmp_path / "g.csv").write_text("case,group\np1_a,p1\n")
        _, faults = layout.assign_groups(cases("p1_a", "other"), tmp_path, "g.csv")
        assert [(fault.severity, fault.case, fault.file) for fault in faults] == [("error", "other", tmp_path / "g.csv")]

    def test_a_case_in_two_groups_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "groups.csv").write_text("case,group\na,p1\na,p2\n")
        _, faults = layout.assign_groups(cases("a"), tmp_path, None)
        assert [(fault.severity, fault.message) for fault in faults] == [("error", "case 'a' is in group 'p1' and in group 'p2'")]

    @pytest.mark.parametrize(
        ("rule", "text", "message"),
        [
            ("gone.csv", None, r"gone\.csv: the groups file does not exist"),
            ("g.csv", "name,patient\na,p1\n", r"g\.csv: the groups file needs the columns case,group, but has name, patient"),
            ("g.csv", "case,group\na,\nb,p\nc,\n", r"g\.csv: line 2 has no case or no group.*\n.*g\.csv: line 4 has"),
            ("(", None, "neither a .csv file nor a regular expression"),
        ],
    )
    def test_a_rule_that_cannot_be_used_is_named(self, rule: str, text: str | None, message: str, tmp_path: Path) -> None:
        if text is not None:
            (tmp_path / "g.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            layout.assign_groups(cases("a"), tmp_path, rule)


class TestSuffix:
    def test_predictions_take_the_usual_suffix_but_never_a_lossy_one(self) -> None:
        assert layout.label_suffix([".png", ".tif", ".tif"], 2) == ".tif"
        assert layout.label_suffix([".jpg", ".jpg"], 2) == ".png"

    def test_volumes_labelled_by_pictures_get_a_format_for_volumes(self) -> None:
        assert [layout.label_suffix(found, 3) for found in ([], [""], [".png", ".png", ".mha"], [".nii"])] == [
            ".nii.gz",
            ".nii.gz",
            ".mha",
            ".nii",
        ]
        assert layout.label_suffix([], 2) == ".png"
