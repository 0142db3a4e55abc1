"""Whatever folder a user has: the cases in it."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.data.formats.cases import Cases
from medseg.data.formats.decathlon import Decathlon
from medseg.data.formats.folders import Folders
from medseg.data.formats.nnunet import NnUNet
from medseg.data.formats.table import Table
from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.data.phantoms import Phantom
from medseg.errors import DataError
from medseg.inference.cases import InputCase
from medseg.inference.inputs import Format, find_cases, label_suffix, read_suffix
from tests.data.images.test_series import NAMES, write_series

TEMPLATES = Cases(images="{id}/scan.nii.gz", masks=[{"file": "{id}/mask.nii.gz", "values": {"lesion": 1}}])
TWO = Cases(images={"FLAIR": "{id}/flair.nii.gz", "T1": "{id}/t1.nii.gz"}, masks=[{"file": "{id}/mask.nii.gz", "values": {"lesion": 1}}])
ONE_CHANNEL: dict[str, Format] = {
    "nnunet": NnUNet(),
    "decathlon": Decathlon(),
    "folders": Folders(),
    "cases": TEMPLATES,
    "table": Table(labels={"background": 0, "lesion": 1}),
    "phantom": Phantom(kind="organs_3d"),
}


def write(folder: Path, *names: str) -> None:
    for name in names:
        write_label(folder / name, np.zeros((3, 4, 2), np.uint8), Geometry((3, 4, 2), np.eye(4)))


def write_pictures(folder: Path, *names: str, mode: str = "L") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new(mode, (4, 3)).save(folder / name)


def found(layout: Format, source: Path, channels: int = 1) -> dict[str, list[str]]:
    """Case -> names of its files."""
    cases = find_cases(layout, source, channels, source.parent / "elsewhere")
    assert all(case.label is None and case.channels == channels for case in cases)
    return {case.id: [path.name for path in case.images] for case in cases}


@pytest.mark.parametrize("name", ONE_CHANNEL)
class TestEveryFormatOfARun:
    """Whatever the run was trained on."""

    def test_takes_a_folder_of_volumes(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "in", "a.nii.gz", "b.mha", "c.nrrd")
        assert found(ONE_CHANNEL[name], tmp_path / "in") == {"a": ["a.nii.gz"], "b": ["b.mha"], "c": ["c.nrrd"]}

    def test_takes_a_folder_of_pictures(self, tmp_path: Path, name: str) -> None:
        write_pictures(tmp_path / "in", "x.png", "y.jpg", "z.tif")
        assert found(ONE_CHANNEL[name], tmp_path / "in") == {"x": ["x.png"], "y": ["y.jpg"], "z": ["z.tif"]}

    def test_takes_one_file(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "in", "a.nii.gz", "b.nii.gz")
        assert found(ONE_CHANNEL[name], tmp_path / "in" / "b.nii.gz") == {"b": ["b.nii.gz"]}

    def test_takes_nnunets_names_off(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "in", "a_0000.nii.gz", "b_0000.nii.gz")
        assert found(ONE_CHANNEL[name], tmp_path / "in") == {"a": ["a_0000.nii.gz"], "b": ["b_0000.nii.gz"]}
        assert found(ONE_CHANNEL[name], tmp_path / "in" / "a_0000.nii.gz") == {"a": ["a_0000.nii.gz"]}

    def test_numbered_images_are_no_channels(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "in", "scan_0001.nii.gz", "scan_0002.nii.gz")
        assert found(ONE_CHANNEL[name], tmp_path / "in") == {
            "scan_0001": ["scan_0001.nii.gz"],
            "scan_0002": ["scan_0002.nii.gz"],
        }

    def test_takes_a_series_of_slices_and_folders_of_series(self, tmp_path: Path, name: str) -> None:
        write_series(tmp_path / "in" / "one", NAMES)
        write_series(tmp_path / "in" / "two" / "deep", NAMES)
        assert found(ONE_CHANNEL[name], tmp_path / "in" / "one") == {"one": ["one"]}
        assert found(ONE_CHANNEL[name], tmp_path / "in") == {"one": ["one"], "two_deep": ["deep"]}

    def test_previews_beside_slices_are_no_images(self, tmp_path: Path, name: str) -> None:
        write_series(tmp_path / "one", NAMES)
        write_pictures(tmp_path / "one", "preview.png")
        assert found(ONE_CHANNEL[name], tmp_path / "one") == {"one": ["one"]}

    def test_refuses_an_empty_folder_and_a_text(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "in").mkdir()
        with pytest.raises(DataError, match=r"in: .*no image"):
            find_cases(ONE_CHANNEL[name], tmp_path / "in", 1, tmp_path / "out")
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(DataError, match=r"notes\.txt"):
            find_cases(ONE_CHANNEL[name], tmp_path / "notes.txt", 1, tmp_path / "out")


class TestChannels:
    @pytest.mark.parametrize(
        "layout", [NnUNet(), Decathlon(), Folders(), TWO, Phantom(kind="organs_3d")], ids=lambda one: type(one).__name__
    )
    def test_numbered_files_are_those_of_a_case(self, tmp_path: Path, layout: Format) -> None:
        write(tmp_path / "in", *(f"{case}_{channel:04d}.nii.gz" for case in "ab" for channel in (0, 1)))
        expected = {case: [f"{case}_0000.nii.gz", f"{case}_0001.nii.gz"] for case in "ab"}
        assert found(layout, tmp_path / "in", 2) == expected

    def test_the_runs_own_tree_goes_first(self, tmp_path: Path) -> None:
        write(tmp_path / "in", "p/flair.nii.gz", "p/t1.nii.gz", "q/flair.nii.gz", "q/t1.nii.gz")
        assert found(TWO, tmp_path / "in", 2) == {name: ["flair.nii.gz", "t1.nii.gz"] for name in "pq"}

    def test_a_missing_channel_is_the_cases_own_fault(self, tmp_path: Path) -> None:
        write(tmp_path / "in", "a_0000.nii.gz", "a_0001.nii.gz", "b_0000.nii.gz")
        cases = find_cases(NnUNet(), tmp_path / "in", 2, tmp_path / "out")
        assert [case.id for case in cases] == ["a", "b"]
        words = r"case 'b' has 1 of the 2 channels that the network needs: FLAIR, T1; missing: T1 \(b_0001\.nii\.gz\)$"
        with pytest.raises(DataError, match=words):
            InputCase.of(cases[1], ("FLAIR", "T1"), 3).read_image()

    def test_too_many_are_refused_in_the_words_of_prediction(self, tmp_path: Path) -> None:
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), tmp_path / "a.nii.gz")
        (case,) = find_cases(Decathlon(), tmp_path, 1, tmp_path / "out")
        words = r"a\.nii\.gz: the image has 2 channels, the network was trained on 1: FLAIR; give it that channel alone$"
        with pytest.raises(DataError, match=words):
            InputCase.of(case, ("FLAIR",), 3).read_image()

    def test_a_table_lists_its_own(self, tmp_path: Path) -> None:
        write(tmp_path / "in", "x.nii.gz", "y.nii.gz")
        (tmp_path / "in" / "cases.csv").write_text("case,image\nfirst,x.nii.gz\n")
        assert found(ONE_CHANNEL["table"], tmp_path / "in") == {"first": ["x.nii.gz"]}

    def test_colour_files_hold_three(self, tmp_path: Path) -> None:
        write_pictures(tmp_path / "in", "x.png", mode="RGB")
        assert found(NnUNet(), tmp_path / "in", 3) == {"x": ["x.png"]}

    def test_volumes_of_too_few_are_explained_by_the_runs_format(self, tmp_path: Path) -> None:
        write(tmp_path / "in", "a.nii.gz")
        with pytest.raises(DataError, match="no channel number"):
            find_cases(NnUNet(), tmp_path / "in", 2, tmp_path / "out")


class TestRefusals:
    def test_one_slice_is_no_series(self, tmp_path: Path) -> None:
        write_series(tmp_path / "one", NAMES)
        with pytest.raises(DataError, match="one slice of a DICOM series; give the folder"):
            find_cases(Folders(), tmp_path / "one" / NAMES[0], 1, tmp_path / "out")

    def test_the_folder_of_a_data_set_names_its_folder_of_images(self, tmp_path: Path) -> None:
        write(tmp_path / "Task01" / "imagesTs", "a.nii.gz")
        with pytest.raises(DataError, match=r"imagesTs may be what you mean"):
            find_cases(Decathlon(), tmp_path / "Task01", 1, tmp_path / "out")

    @pytest.mark.parametrize("layout", [Folders(), NnUNet(), Decathlon(), Phantom(kind="organs_3d")])
    def test_images_in_folders_below_are_counted(self, tmp_path: Path, layout: Format) -> None:
        write(tmp_path / "in", "p/a.nii.gz", "p/b.nii.gz", "q/r/c.nii.gz")
        with pytest.raises(DataError, match=r"no images here.*\(images in folders below: 2 in p, 1 in q/r\)$"):
            find_cases(layout, tmp_path / "in", 1, tmp_path / "out")

    def test_the_folder_of_data_sets_names_the_images_to_predict(self, tmp_path: Path) -> None:
        write(tmp_path, *(f"set/{folder}/{name}.nii.gz" for folder in ("imagesTr", "imagesTs", "labelsTr") for name in "ab"))
        with pytest.raises(DataError, match=r"2 in set/imagesTs.*; \S*/set/imagesTs may be what you mean\)$"):
            find_cases(Folders(), tmp_path, 1, tmp_path / "out")

    @pytest.mark.parametrize("name", ONE_CHANNEL)
    def test_a_file_of_another_kind_is_answered_with_those_that_are_read(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(DataError, match=r"notes\.txt: is no image that medseg reads; give one of \.nii\.gz.*\.gif, or a folder"):
            find_cases(ONE_CHANNEL[name], tmp_path / "notes.txt", 1, tmp_path / "out")

    def test_a_tables_own_fault_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "cases.csv").write_text("nonsense\n")
        with pytest.raises(DataError) as caught:
            find_cases(ONE_CHANNEL["table"], tmp_path / "cases.csv", 1, tmp_path / "out")
        assert "no image" not in str(caught.value)

    def test_names_that_differ_in_case_alone_are_one_file_on_some_disks(self, tmp_path: Path) -> None:
        write(tmp_path / "in", "a.nii.gz", "A.nii.gz")
        if len(list((tmp_path / "in").iterdir())) == 2:
            with pytest.raises(DataError, match="two images are called"):
                find_cases(Folders(), tmp_path / "in", 1, tmp_path / "out")

    def test_output_among_images_of_a_tree_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "in", "p/scan.nii.gz")
        with pytest.raises(DataError, match="holds the images"):
            find_cases(TEMPLATES, tmp_path / "in", 1, tmp_path / "in" / "p")


class TestSuffixes:
    def test_the_point_and_capitals_do_not_matter(self) -> None:
        assert read_suffix("nii.gz", 3) == read_suffix(".NII.GZ", 3) == ".nii.gz"
        assert read_suffix("png", 2) == ".png"

    def test_lossy_and_unknown_formats_are_refused(self) -> None:
        for name in ("jpg", "gif", "dcm", "nii.bz2", ""):
            with pytest.raises(DataError, match="are written as"):
                read_suffix(name, 2)

    def test_a_picture_holds_no_volume(self) -> None:
        for name in ("png", "tif", "bmp"):
            with pytest.raises(DataError, match=r"a picture holds no volume.*\.nii\.gz"):
                read_suffix(name, 3)

    def test_scans_of_a_run_on_pictures_become_nifti(self, tmp_path: Path) -> None:
        write(tmp_path, "a.nii.gz")
        write_pictures(tmp_path, "b.jpg")
        a, b = find_cases(Folders(), tmp_path, 1, tmp_path / "out")
        assert [label_suffix(one, ".png") for one in (a, b)] == [".nii.gz", ".png"]
        assert label_suffix(a, ".mha") == ".mha"
        assert label_suffix(a, ".png", ".nrrd") == ".nrrd"
