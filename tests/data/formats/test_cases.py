from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.data.check import check_dataset
from medseg.data.formats.cases import Cases
from medseg.errors import DataError

VALUES = [{"file": "{site}/{id}/wmh.nii.gz", "values": {"WMH": 1, "ignore": 2}}]


def volume(path: Path, spacing: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32("/".join(path.parts[-3:]).encode())
    array = np.random.default_rng(seed).integers(0, 3, size=(4, 5, 6)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([spacing, 1, 1, 1])), path)
    return path


def picture(path: Path, value: int = 1, shape: tuple[int, ...] = (8, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.uint8)
    array[:4] = value
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for site, case in (("Utrecht", "0"), ("Utrecht", "7"), ("GE3T", "0")):
        for name in ("FLAIR", "T1", "wmh"):
            volume(tmp_path / site / case / f"{name}.nii.gz")
    return tmp_path


def make(**params: Any) -> Cases:
    images = {"FLAIR": "{site}/{id}/FLAIR.nii.gz", "T1": "{site}/{id}/T1.nii.gz"}
    return Cases(**{"images": images, "masks": VALUES} | params)


def errors(root: Path, **params: Any) -> list[str]:
    return [str(fault) for fault in check_dataset(make(**params).read(root), 1) if fault.severity == "error"]


class TestReading:
    def test_channels_and_masks_are_put_together(self, root: Path) -> None:
        dataset = make().read(root)
        assert [case.id for case in dataset.cases] == ["GE3T_0", "Utrecht_0", "Utrecht_7"]
        assert [path.relative_to(root).as_posix() for path in dataset.cases[0].images] == ["GE3T/0/FLAIR.nii.gz", "GE3T/0/T1.nii.gz"]
        assert (dataset.channels, dataset.labels.classes, dataset.labels.ignore_value) == (("FLAIR", "T1"), ("WMH",), 2)
        assert (dataset.spatial_dims, dataset.suffix, dataset.name, dataset.root) == (3, ".nii.gz", root.name, root)
        image, _ = dataset.cases[0].read_image()
        np.testing.assert_array_equal(image[1], nibabel.load(root / "GE3T/0/T1.nii.gz").get_fdata())
        np.testing.assert_array_equal(dataset.cases[0].read_label()[0], nibabel.load(root / "GE3T/0/wmh.nii.gz").get_fdata())
        assert errors(root) == []

    def test_ids_and_patients_follow_templates(self, root: Path) -> None:
        dataset = make(case="{id} of {site}", group="{site}").read(root)
        assert [(case.id, case.group) for case in dataset.cases] == [
            ("0 of GE3T", "GE3T"),
            ("0 of Utrecht", "Utrecht"),
            ("7 of Utrecht", "Utrecht"),
        ]

    def test_groups_take_the_place_of_a_group(self, root: Path) -> None:
        assert [case.group for case in make(groups="_(.)", group="{site}").read(root).cases] == ["0", "0", "7"]
        (root / "groups.csv").write_text("case,group\nGE3T_0,p\nUtrecht_0,q\nUtrecht_7,q\n")
        assert [case.group for case in make().read(root).cases] == ["p", "q", "q"]
        assert [case.group for case in make(group="{id}").read(root).cases] == ["0", "0", "7"]

    def test_channels_may_be_chosen_in_another_order(self, root: Path) -> None:
        dataset = make(channels=["T1"]).read(root)
        assert (dataset.channels, dataset.cases[0].images, dataset.cases[0].channels) == (("T1",), (root / "GE3T/0/T1.nii.gz",), 1)
        assert make(channels=["T1", "FLAIR"]).read(root).cases[0].images[1].name == "FLAIR.nii.gz"
        with pytest.raises(DataError, match=r"params\.channels: unknown channel 'FLAIRS'; did you mean FLAIR"):
            make(channels=["FLAIRS"])

    def test_classes_may_be_chosen(self, root: Path) -> None:
        values = {"WMH": 1, "other": 2}
        dataset = make(masks=[{"file": VALUES[0]["file"], "values": values}], classes=["other"]).read(root)
        assert dataset.labels.classes == ("other",)

    def test_overlap_and_regions_reach_the_labels(self, root: Path) -> None:
        values = {"file": VALUES[0]["file"], "values": {"a": 1, "b": 2}}
        assert make(masks=[values], overlap="keep").read(root).labels.overlapping
        assert make(masks=[values], regions={"all": ["a", "b"]}).read(root).labels.classes == ("all",)

    def test_cases_may_be_kept_for_the_test(self, root: Path) -> None:
        dataset = make(test={"site": "GE3T"}).read(root)
        assert ([case.id for case in dataset.cases], [case.id for case in dataset.test_cases]) == (["Utrecht_0", "Utrecht_7"], ["GE3T_0"])
        assert dataset.test_cases[0].label is not None
        (root / "GE3T/0/wmh.nii.gz").unlink()
        assert make(test={"site": ["GE3T", "x"]}).read(root).test_cases[0].label is None
        assert errors(root, test={"site": "GE3T"}) == []

    def test_a_table_may_say_which(self, root: Path) -> None:
        (root / "meta.csv").write_text("name;split\nUtrecht_7;test\n")
        test = {"file": "meta.csv", "case": "name", "column": "split", "values": "test"}
        assert [case.id for case in make(test=test).read(root).test_cases] == ["Utrecht_7"]

    @pytest.mark.parametrize(("text", "problem"), [(None, "does not exist"), ("name;split\nUtrecht_8;test\n", "names none of the cases")])
    def test_a_table_that_holds_nobody_out_is_a_warning(self, text: str | None, problem: str, root: Path) -> None:
        if text:
            (root / "meta.csv").write_text(text)
        test = {"file": "meta.csv", "case": "name", "column": "split", "values": "test"}
        dataset = make(test=test).read(root)
        assert (len(dataset.cases), dataset.test_cases) == (3, ())
        assert [str(fault).split(",")[0] for fault in dataset.faults] == [f"{root}/meta.csv: {problem}"]

    def test_test_cases_have_their_patients_too(self, root: Path) -> None:
        (root / "groups.csv").write_text("case,group\nGE3T_0,p\nUtrecht_0,p\nUtrecht_7,q\n")
        dataset = make(test={"site": "GE3T"}).read(root)
        assert ([case.group for case in dataset.cases], [case.group for case in dataset.test_cases]) == (["p", "q"], ["p"])
        warnings = [str(fault) for fault in check_dataset(dataset, 1) if "group" in fault.message]
        assert len(warnings) == 1
        assert "GE3T/0/FLAIR.nii.gz: is a test case of group 'p', which trains too (case 'Utrecht_0')" in warnings[0]

    def test_templates_of_a_channel_are_united(self, tmp_path: Path) -> None:
        for name in ("a/x1.png", "b/y2.png"):
            picture(tmp_path / name)
            picture(tmp_path / "m" / name)
        dataset = Cases(images=["a/{n}.png", "b/{n}.png"], masks=[{"file": "m/*/{n}.png", "class": "c"}]).read(tmp_path)
        assert [case.id for case in dataset.cases] == ["x1", "y2"]

    def test_one_file_may_hold_all_channels(self, tmp_path: Path) -> None:
        picture(tmp_path / "i" / "1.jpg", shape=(8, 9, 3))
        picture(tmp_path / "i" / "2.jpg")
        for name in "12":
            picture(tmp_path / "m" / f"{name}.png")
        masks: list[Mapping[str, Any]] = [{"file": "m/{id}.png", "class": "c"}]
        assert Cases(images="i/{id}.jpg", masks=masks).read(tmp_path).channels == ("red", "green", "blue")
        dataset = Cases(images="i/{id}.jpg", masks=masks, channels=["grey"]).read(tmp_path)
        assert (dataset.channels, dataset.cases[0].read_image()[0].shape) == (("grey",), (1, 8, 9))
        assert dataset.suffix == ".png"

    def test_an_only_subfolder_may_hold_it_all(self, root: Path) -> None:
        (root.parent / "above").mkdir()
        root = root.rename(root.parent / "above" / "inner")
        assert make().read(root.parent).root == root
        volume(root.parent / "second" / "a" / "0" / "FLAIR.nii.gz")
        with pytest.raises(DataError, match=r"no image matches .*\(it matches below inner, second\); set data\.root"):
            make().read(root.parent)

    def test_a_folder_of_pictures_suffices_for_the_suffix(self, root: Path) -> None:
        picture(root / "Utrecht" / "0" / "m.png")
        masks = [{"file": "{site}/{id}/m.png", "class": "c", "missing": "empty"}]
        assert make(masks=masks).read(root).suffix == ".nii.gz"


class TestGrids:
    def test_other_grids_are_a_fault_unless_asked_for(self, root: Path) -> None:
        volume(root / "GE3T/0/T1.nii.gz", 2.0)
        volume(root / "GE3T/0/wmh.nii.gz", 2.0)
        assert sorted(fault.split(":")[0].split("/")[-1] for fault in errors(root)) == ["T1.nii.gz", "wmh.nii.gz"]
        assert errors(root, resample=True) == []
        case = make(resample=True).read(root).cases[0]
        assert case.read_image()[0].shape == (2, 4, 5, 6)
        assert case.read_label()[0].shape == (4, 5, 6)
        assert make(resample=True).find(root, 2)[0].resample


class TestFaults:
    def test_a_missing_channel_is_found_by_the_check(self, root: Path) -> None:
        (root / "GE3T/0/T1.nii.gz").unlink()
        assert [fault.split("; ")[0] for fault in errors(root)] == [f"{root}/GE3T/0/T1.nii.gz: the file does not exist"]
        images = {"FLAIR": "{site}/{id}/FLAIR.nii.gz", "T1": "{site}/{id}/T1*.nii.gz"}
        assert [fault.split("; ")[0] for fault in errors(root, images=images)] == [f"{root}/GE3T/0/T1*.nii.gz: the file does not exist"]

    def test_a_missing_mask_is_found_by_the_check(self, root: Path) -> None:
        (root / "GE3T/0/wmh.nii.gz").unlink()
        assert [fault.split("; ")[0] for fault in errors(root)] == [f"{root}/GE3T/0/wmh.nii.gz: the file does not exist"]

    def test_a_second_file_of_a_channel_is_one_too_many(self, root: Path) -> None:
        volume(root / "GE3T/0/T1b.nii.gz")
        images = {"FLAIR": "{site}/{id}/FLAIR.nii.gz", "T1": "{site}/{id}/T1*.nii.gz"}
        (fault,) = make(images=images).read(root).faults
        assert (fault.severity, fault.case, fault.file) == ("error", "GE3T_0", root / "GE3T/0/T1b.nii.gz")
        assert "is a second file of channel 'T1' beside GE3T/0/T1.nii.gz" in fault.message

    def test_masks_without_images_are_reported(self, root: Path) -> None:
        (root / "GE3T/0/FLAIR.nii.gz").unlink()
        (root / "GE3T/0/T1.nii.gz").unlink()
        (fault,) = make().read(root).faults
        assert (fault.severity, fault.file, fault.message) == (
            "warning",
            root / "GE3T/0/wmh.nii.gz",
            "is a mask without an image, and is not used",
        )

    def test_a_scan_whose_first_channel_is_missing_is_reported_once(self, root: Path) -> None:
        (root / "GE3T/0/FLAIR.nii.gz").unlink()
        (fault,) = make().read(root).faults
        assert (fault.severity, fault.file) == ("warning", root / "GE3T/0/T1.nii.gz")
        assert str(fault).endswith(
            "has no FLAIR (GE3T/0/FLAIR.nii.gz), so that the scan is not used; add it, or remove the rest of the scan"
        )

    def test_so_is_one_whose_first_channel_has_other_capitals(self, root: Path) -> None:
        (root / "GE3T/0/FLAIR.nii.gz").rename(root / "GE3T/0/flair.NII.gz")
        dataset = make().read(root)
        (fault,) = dataset.faults
        assert [case.id for case in dataset.cases] == ["Utrecht_0", "Utrecht_7"]
        assert str(fault).endswith("; rename GE3T/0/flair.NII.gz, where upper and lower case differ")

    def test_other_capitals_are_reported_where_nothing_else_is_left_of_the_scan(self, root: Path) -> None:
        volume(root / "GE3T/1/flair.nii.gz")
        (fault,) = make().read(root).faults
        assert (fault.severity, fault.file) == ("warning", root / "GE3T/1/flair.nii.gz")
        assert fault.message == "is not used, since {site}/{id}/FLAIR.nii.gz has other upper and lower case"

    def test_files_that_no_template_means_are_no_matter(self, root: Path) -> None:
        volume(root / "GE3T/0/orig/FLAIR.nii.gz")
        volume(root / "GE3T/0/T2.nii.gz")
        assert make().read(root).faults == ()

    def test_repeated_ids_are_found_by_the_check(self, root: Path) -> None:
        assert any("the case id '0' occurs more than once" in fault for fault in errors(root, case="{id}"))

    def test_nothing_that_matches_shows_what_is_there(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"no image matches \{site\}/flair\.nii\.gz; .*\(it holds .*/0/.*nii\.gz, .*\.\.\.\)"):
            make(images="{site}/flair.nii.gz", masks=[{"file": "{site}", "class": "c"}]).read(root)

    @pytest.mark.parametrize("missing", ["error", "empty", "unlabelled"])
    def test_no_mask_at_all_shows_what_is_there(self, missing: str, root: Path) -> None:
        masks = [{"file": "{site}/{id}/lesion.nii.gz", "class": "c", "missing": missing}]
        message = r"no mask belongs to an image; case 'GE3T_0' needs GE3T/0/lesion\.nii\.gz \(\{site\}/.*\), it holds .*; correct"
        with pytest.raises(DataError, match=message):
            make(masks=masks).read(root)

    def test_a_missing_folder_is_named(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"gone: the data set's folder does not exist"):
            make().read(root / "gone")

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"images": {}}, r"params\.images: names no channel"),
            ({"images": {"a": []}}, r"params\.images\.a: lists no template"),
            ({"images": {"a": "{x"}}, r"params\.images\.a: .*brace"),
            ({"case": "{nr}"}, r"params\.case: unknown field.*'nr'; there are site, id"),
            ({"group": "{sit}"}, r"params\.group: unknown field.*did you mean site"),
            ({"test": {"sit": 1}}, r"params\.test: unknown field 'sit'; did you mean site"),
        ],
    )
    def test_parameters_are_checked(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            make(**params)

    def test_all_faults_of_the_parameters_are_told_at_once(self) -> None:
        with pytest.raises(DataError) as caught:
            make(
                case="{nr}",
                group="{sit}",
                test={"sit": 1},
                masks=[{"file": "{x", "class": "c"}, VALUES[0], {"file": "m", "clas": "c"}],
            )
        keys = [line.split(":")[0].removeprefix("data.format.params.") for line in str(caught.value).splitlines()]
        assert keys == ["case", "group", "test", "masks[0].file", "masks[2]"]

    def test_faults_of_images_do_not_hide_those_of_masks(self) -> None:
        masks = [{"file": "{x", "class": "c", "where": {"site": 1}}]
        with pytest.raises(DataError) as caught:
            make(images={"a": ["{x", "../b"], "b": []}, channels=["a", "d"], masks=masks)
        keys = [line.split(":")[0].removeprefix("data.format.params.") for line in str(caught.value).splitlines()]
        assert keys == ["images.a", "images.a", "images.b", "channels", "masks[0].file"]

    def test_all_values_without_a_group_are_told_at_once(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"group\.id: '0' lies in none of its ranges.*\n.*group\.id: '7' lies in none"):
            make(group={"id": ["1-6"]}).read(root)


class TestFinding:
    def test_the_data_sets_tree_or_any_part_of_it_will_do(self, root: Path) -> None:
        layout = make()
        for folder, ids in [(root, ["GE3T_0", "Utrecht_0", "Utrecht_7"]), (root / "Utrecht", ["0", "7"]), (root / "Utrecht" / "7", ["7"])]:
            cases = layout.find(folder, 2)
            assert [case.id for case in cases] == ids
            assert all(case.label is None and case.channels == 2 for case in cases)
            assert [path.name for path in cases[-1].images] == ["FLAIR.nii.gz", "T1.nii.gz"]

    def test_ids_follow_the_template_where_its_fields_are_there(self, root: Path) -> None:
        layout = make(case="{id} of {site}")
        assert layout.find(root, 2)[0].id == "0 of GE3T"
        assert layout.find(root / "GE3T", 2)[0].id == "0"

    def test_a_missing_channel_is_named_as_its_template(self, root: Path) -> None:
        (root / "Utrecht/7/T1.nii.gz").unlink()
        assert make().find(root / "Utrecht", 2)[-1].images[1] == root / "Utrecht/7/T1.nii.gz"

    def test_chosen_channels_suffice(self, root: Path) -> None:
        for path in root.rglob("FLAIR.nii.gz"):
            path.unlink()
        assert [case.id for case in make(channels=["T1"]).find(root, 1)] == ["GE3T_0", "Utrecht_0", "Utrecht_7"]

    def test_files_of_one_channel_may_have_any_name(self, tmp_path: Path) -> None:
        layout = Cases(images="i/{id}_x.png", masks=[{"file": "m/{id}.png", "class": "c"}])
        picture(tmp_path / "new" / "strange.jpg")
        assert [case.id for case in layout.find(tmp_path / "new", 1)] == ["strange"]
        assert [case.id for case in layout.find(tmp_path / "new" / "strange.jpg", 1)] == ["strange"]
        picture(tmp_path / "new" / "a_x.png")
        assert [case.id for case in layout.find(tmp_path / "new", 1)] == ["a"]

    def test_files_of_several_channels_may_be_numbered(self, tmp_path: Path) -> None:
        for name in ("new_0000", "new_0001", "other_0000", "other_0001"):
            volume(tmp_path / f"{name}.nii.gz")
        cases = make().find(tmp_path, 2)
        assert [(case.id, [path.name for path in case.images]) for case in cases] == [
            ("new", ["new_0000.nii.gz", "new_0001.nii.gz"]),
            ("other", ["other_0000.nii.gz", "other_0001.nii.gz"]),
        ]

    def test_the_folder_of_one_case_names_it(self, tmp_path: Path) -> None:
        images = {"A": "{case}/*_a.{ext:nii|nii\\.gz}", "B": "{case}/*_b.{ext}"}
        layout = Cases(images=images, masks=[{"file": "{case}/m.nii", "class": "c"}], case="{case}")
        for name in ("x_a", "x_b"):
            volume(tmp_path / "case 7" / f"{name}.nii.gz")
        assert [case.id for case in layout.find(tmp_path / "case 7", 2)] == ["case 7"]
        assert [case.id for case in layout.find(tmp_path, 2)] == ["case 7"]

    def test_series_may_lie_in_any_folders(self, tmp_path: Path) -> None:
        layout = Cases(images={"CT": "CT/{id}/DICOM/"}, masks=[{"file": "CT/{id}/m/", "class": "c"}])
        for name in ("one", "two"):
            (tmp_path / "new" / name).mkdir(parents=True)
            (tmp_path / "new" / name / "a.dcm").touch()
        assert [case.images for case in layout.find(tmp_path / "new", 1)] == [(tmp_path / "new" / "one",), (tmp_path / "new" / "two",)]
        assert [case.id for case in layout.find(tmp_path / "new" / "one", 1)] == ["one"]

    def test_nothing_that_matches_shows_what_is_there(self, tmp_path: Path) -> None:
        volume(tmp_path / "a.nii.gz")
        with pytest.raises(
            DataError, match=r"no image matches \{site\}/\{id\}/FLAIR\.nii\.gz here; .*T1\.nii\.gz \(it holds a\.nii\.gz\), .*_0001 \(T1\)"
        ):
            make().find(tmp_path, 2)
        with pytest.raises(DataError, match=r"a\.nii\.gz: is no folder of images; give one with .*FLAIR\.nii\.gz, "):
            make().find(tmp_path / "a.nii.gz", 2)
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"no image matches .* here \(it holds no file\); give the folder of images"):
            make(channels=["T1"]).find(tmp_path / "empty", 1)


class TestRealData:
    def test_openms_is_read_as_by_its_own_layout(self, real_data: Path) -> None:
        root = real_data / "Dataset501_OpenMS"
        if not root.is_dir():
            pytest.skip("OpenMS is not there")
        from medseg.data.formats.nnunet import NnUNet

        images: dict[str, str | list[str]] = {f"c{number}": f"imagesTr/{{id}}_000{number}.nii.gz" for number in range(4)}
        here = Cases(images=images, masks=[{"file": "labelsTr/{id}.nii.gz", "values": {"lesion": 1}}]).read(root).cases[0]
        there = NnUNet().read(root).cases[0]
        assert (here.id, here.images) == (there.id, there.images)
        np.testing.assert_array_equal(here.read_label()[0], there.read_label()[0])
        assert here.read_label()[1].mismatch(there.read_label()[1]) is None

    def test_nuclei_drawn_one_by_one_are_united(self, real_data: Path) -> None:
        root = real_data / "dsb2018_120"
        if not root.is_dir():
            pytest.skip("DSB2018 is not there")
        for case in Cases(images="images/{id}.png", masks=[{"file": "instances/{id}.png", "class": "nucleus"}]).read(root).cases[:5]:
            np.testing.assert_array_equal(case.read_label()[0], np.array(Image.open(root / "masks" / f"{case.id}.png")) > 0)
