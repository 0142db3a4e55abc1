from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.data.check import check_dataset
from medseg.data.formats.table import Table
from medseg.errors import DataError


def picture(path: Path, value: int = 1, shape: tuple[int, ...] = (8, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.uint8)
    array[:3] = value
    Image.fromarray(array).save(path)
    return path


def volume(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype(np.uint8), np.eye(4)), path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in "abc":
        picture(tmp_path / "x" / f"{name}.png", ord(name))
        picture(tmp_path / "y" / f"{name}.png", 255)
    return tmp_path


def write(root: Path, text: str, name: str = "cases.csv") -> Path:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    return root


class TestReading:
    def test_a_row_is_a_case(self, root: Path) -> None:
        write(root, "case,image,label,group,split\none,x/a.png,y/a.png,p,Train\n,x/b.png,y/b.png,,\n,x/c.png,,q,testing\n")
        dataset = Table(threshold=127).read(root)
        assert [(case.id, case.group, case.images[0].name, case.label_file.name) for case in dataset.cases] == [
            ("one", "p", "a.png", "a.png"),
            ("b", "b", "b.png", "b.png"),
        ]
        assert [(case.id, case.label, case.group) for case in dataset.test_cases] == [("c", None, "q")]
        assert (dataset.channels, dataset.labels.classes, dataset.spatial_dims, dataset.suffix) == (("image",), ("foreground",), 2, ".png")
        assert [fault for fault in check_dataset(dataset, 1) if fault.severity == "error"] == []
        values, _ = dataset.cases[0].read_label()
        assert dataset.labels.encode(values).sum() == 27

    def test_columns_of_channels_are_channels(self, root: Path) -> None:
        for name in ("t1", "t2", "m"):
            volume(root / f"{name}.nii.gz")
        write(root, "image_T1,image_T2,label\nt1.nii.gz,t2.nii.gz,m.nii.gz\n")
        labels = {"core": 1, "rim": 2}
        dataset = Table(labels=labels).read(root)
        assert (dataset.channels, dataset.labels.classes, dataset.cases[0].channels, dataset.suffix) == (
            ("T1", "T2"),
            ("core", "rim"),
            2,
            ".nii.gz",
        )
        chosen = Table(labels=labels, channels=["T2"], classes=["rim"]).read(root)
        assert (chosen.channels, chosen.cases[0].images[0].name, chosen.labels.classes) == (("T2",), "t2.nii.gz", ("rim",))
        with pytest.raises(DataError, match=r"params\.channels: unknown channel 'T3'; there are T1, T2"):
            Table(channels=["T3"]).read(root)

    def test_channels_of_one_file_can_be_named(self, root: Path) -> None:
        picture(root / "rgb.png", shape=(8, 9, 3))
        write(root, "image,label\nrgb.png,y/a.png\n")
        assert Table().read(root).channels == ("red", "green", "blue")
        assert Table(channels=["r", "g", "b"]).read(root).channels == ("r", "g", "b")

    def test_json_will_do(self, root: Path) -> None:
        write(root, json.dumps([{"image": "x/a.png", "label": "y/a.png"}]), "list/all.json")
        with pytest.raises(DataError, match=r"holds neither cases\.csv nor cases\.json; set data\.format\.params\.file"):
            Table().read(root)
        write(root, json.dumps([{"image": "../x/a.png", "label": "../y/a.png"}]), "list/all.json")
        assert [case.images[0] for case in Table(file="list/all.json").read(root).cases] == [root / "x" / "a.png"]

    def test_groups_may_come_from_a_rule(self, root: Path) -> None:
        write(root, "image,label,group\nx/a.png,y/a.png,p\nx/b.png,y/b.png,p\n")
        assert [case.group for case in Table().read(root).cases] == ["p", "p"]
        assert [case.group for case in Table(groups="(.)").read(root).cases] == ["a", "b"]

    def test_a_training_case_without_a_label_is_found_by_the_check(self, root: Path) -> None:
        write(root, "image,label\nx/a.png,y/a.png\nx/b.png,\n")
        faults = [fault for fault in check_dataset(Table().read(root), 1) if fault.severity == "error"]
        assert [(fault.case, fault.message) for fault in faults] == [("b", "case 'b' has no label")]


class TestFaults:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("image,label\n", "the table lists no case"),
            ("label\ny/a.png\n", "has no column image or image_<channel>; its columns are label"),
            ("path,label\nx/a.png,y/a.png\n", "has no column image or image_<channel>; rename the column 'path'"),
            ("image,image_T1\nx/a.png,x/a.png\n", "has a column image and a column image_T1"),
            ("image,label\nx/a.png,y/a.png\n,y/b.png\n", "line 3 has nothing in the column image"),
            ("image,split\nx/a.png,val\n", "line 2 has the split 'val'; write train or test"),
            ("image\nx/a.png\nx/b.png\nx/a.png\n", "line 4 and line 2 are both case 'a'"),
            ("image\n../a.png\n", "line 2 names the path '../a.png', which leads out of"),
            ("image,label\nx/a.png,/etc/passwd\n", "line 2 names the path '/etc/passwd', which leads out of"),
            (
                "image,Group\nx/a.png,p\n",
                r"unknown column 'Group'; did you mean group\? Otherwise remove it \(a table takes case, image, label, group, split and",
            ),
            ("image,grupo\nx/a.png,p\n", r"unknown column 'grupo'; did you mean group\?"),
            ("image,sex\nx/a.png,f\n", "unknown column 'sex'; rename it, or remove it"),
            ("case,image\na,x/a.png\nA,x/b.png\n", "line 3 and line 2 are cases 'A' and 'a', files of which are one where letter case"),
            ("case,image\n../b,x/a.png\n", "line 2 names the case '../b', which cannot be a file's name"),
        ],
    )
    def test_the_line_at_fault_is_named(self, text: str, message: str, root: Path) -> None:
        with pytest.raises(DataError, match=rf"cases\.csv: {message}"):
            Table().read(write(root, text))

    @pytest.mark.parametrize("column", ["imgae", "Image", "images"])
    def test_a_misspelled_column_of_images_is_guessed(self, column: str, root: Path) -> None:
        with pytest.raises(DataError, match=rf"unknown column '{column}'; did you mean image\?"):
            Table().read(write(root, f"{column}\nx/a.png\n"))

    @pytest.mark.parametrize("column", ["imgae_T1", "Image_T1"])
    def test_so_is_one_of_a_channel(self, column: str, root: Path) -> None:
        with pytest.raises(DataError, match=rf"unknown column '{column}'; did you mean image_T1\?"):
            Table().read(write(root, f"image_T2,{column}\nx/a.png,x/b.png\n"))

    def test_all_lines_at_fault_are_named_at_once(self, root: Path) -> None:
        rows = ["x/a.png,p,train", "x/a.png,p,train", "../a.png,p,train", "x/gone.png,p,val", "x/b.png,p,train,more", ",p,"]
        with pytest.raises(DataError) as caught:
            Table().read(write(root, "\n".join(["image,grup,split", *rows])))
        lines = [line.removeprefix(f"{root / 'cases.csv'}: ").split(";")[0] for line in str(caught.value).splitlines()]
        assert lines == [
            "line 6 has 4 cells for 3 columns",
            "unknown column 'grup'",
            "line 3 and line 2 are both case 'a'",
            f"line 4 names the path '../a.png', which leads out of {root}",
            "line 5 has the split 'val'",
            "line 7 has nothing in the column image",
            f"line 5 names {root / 'x/gone.png'}, which does not exist",
        ]

    def test_of_very_many_the_first_are_shown(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"(?s)line 21 .*\n\.\.\. and 30 more such problems$"):
            Table().read(write(root, "image\n" + "../a.png\n" * 50))

    def test_files_that_are_missing_alone_are_for_the_check(self, root: Path) -> None:
        dataset = Table().read(write(root, "image,label\nx/a.png,y/a.png\nx/gone.png,y/b.png\nx/b.png,y/gone.png\n"))
        faults = [fault.file for fault in check_dataset(dataset, 1) if fault.severity == "error"]
        assert faults == [root / "y/gone.png", root / "x/gone.png"]

    def test_two_tables_are_one_too_many(self, root: Path) -> None:
        write(write(root, "image\nx/a.png\n"), "[]", "cases.json")
        with pytest.raises(DataError, match=r"holds both cases\.csv and cases\.json; set data\.format\.params\.file"):
            Table().read(root)

    def test_a_table_that_is_not_there_is_named(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"other\.csv: there is no such table; correct data\.format\.params\.file"):
            Table(file="other.csv").read(root)
        with pytest.raises(DataError, match="leads out of"):
            Table(file="../other.csv").read(root)


class TestFinding:
    def test_a_table_lists_what_to_predict(self, root: Path) -> None:
        write(root, "case,image_T1,image_T2\none,x/a.png,x/b.png\n")
        for given in (root, root / "cases.csv"):
            (case,) = Table().find(given, 2)
            assert (case.id, [path.name for path in case.images], case.label, case.channels) == ("one", ["a.png", "b.png"], None, 2)

    def test_without_one_every_file_is_a_case(self, root: Path) -> None:
        assert [case.id for case in Table().find(root / "x", 1)] == ["a", "b", "c"]
        assert [case.id for case in Table().find(root / "x" / "a.png", 1)] == ["a"]
