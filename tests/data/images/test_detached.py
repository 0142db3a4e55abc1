"""Voxels in other files than their header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.case import Case
from medseg.data.images import FileError, count_channels, files_of, read_geometry, read_image, read_label
from medseg.data.images.detached import detached_files

VOXELS = np.arange(24, dtype=np.uint8)
META = "ObjectType = Image\nNDims = 3\nBinaryData = True\nElementSpacing = 1 1 1\nDimSize = 4 3 2\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\n# data file: comment.raw\ntype: uint8\ndimension: 3\nsizes: 4 3 2\nencoding: raw\nkey:=data file: value\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.raw", "b 1.raw", "sub/c.raw", "../out.raw"):
        (folder / name).write_bytes(VOXELS.tobytes())
    for index in range(2):
        (folder / f"s{index + 1:02d}.raw").write_bytes(VOXELS[12 * index : 12 * index + 12].tobytes())
    return folder


def header(folder: Path, line: str, name: str) -> Path:
    text = NRRD + line + "\n\n" if name.endswith("nrrd") else META + line + "\n"
    (folder / name).write_bytes(text.encode())
    return folder / name


NAMED = [
    ("ElementDataFile = a.raw", "h.mhd", ["a.raw"]),
    (" ElementDataFile : a.raw ", "h.mha", ["a.raw"]),
    ("ElementDataFile = b 1.raw", "h.mhd", ["b 1.raw"]),
    ("ElementDataFile = sub/c.raw", "h.mhd", ["c.raw"]),
    ("ElementDataFile = s%02d.raw 1 2 1", "h.mhd", ["s01.raw", "s02.raw"]),
    ("ElementDataFile = LIST\ns01.raw\ns02.raw", "h.mhd", ["s01.raw", "s02.raw"]),
    ("data file: b 1.raw", "h.nrrd", ["b 1.raw"]),
    ("DataFile: sub/c.raw", "h.nrrd", ["c.raw"]),
    ("data file: s%02d.raw 1 2 1 2", "h.nrrd", ["s01.raw", "s02.raw"]),
]


class TestVoxels:
    @pytest.mark.parametrize(("line", "name", "files"), NAMED)
    def test_the_files_that_are_read_are_files_of_the_case(self, line: str, name: str, files: list[str], folder: Path) -> None:
        path = header(folder, line, name)
        assert [file.name for file in Case("a", (path,), None, "a").files] == [name, *files]
        assert (read_image(path)[0].ravel(order="F") == VOXELS).all()

    def test_a_list_of_nrrd_ends_with_the_file(self, folder: Path) -> None:
        path = folder / "h.nrrd"
        path.write_text(NRRD + "data file: LIST 2\ns01.raw\ns02.raw\n")
        assert [file.name for file in files_of(path)] == ["h.nrrd", "s01.raw", "s02.raw"]
        assert (read_image(path)[0].ravel(order="F") == VOXELS).all()

    @pytest.mark.parametrize(("line", "name"), [("ElementDataFile = LOCAL", "h.mha"), ("", "h.nrrd")])
    def test_voxels_may_follow_the_header(self, line: str, name: str, folder: Path) -> None:
        path = header(folder, line, name)
        text = path.read_bytes().rstrip(b"\n") + (b"\n\n" if name.endswith("nrrd") else b"\n")
        path.write_bytes(text + VOXELS.tobytes())
        assert files_of(path) == (path,)
        assert (read_image(path)[0].ravel(order="F") == VOXELS).all()

    def test_other_formats_are_not_opened(self, tmp_path: Path) -> None:
        assert detached_files(tmp_path / "gone.nii.gz") == ()


class TestPaths:
    @pytest.mark.parametrize("read", [read_image, read_label, read_geometry, count_channels])
    def test_what_leads_out_of_the_folder_is_refused(self, read: object, folder: Path) -> None:
        path = header(folder, "ElementDataFile = ../out.raw", "h.mhd")
        with pytest.raises(FileError, match=r"h\.mhd: says that its voxels are in '\.\./out\.raw', which leads out of its folder; put"):
            read(path)  # type: ignore[operator]

    @pytest.mark.parametrize("name", ["h.mhd", "h.mha", "h.nrrd"])
    @pytest.mark.parametrize(
        "target", ["{out}", "sub/../../out.raw", "..\\out.raw", "C:\\out.raw", "LIST\n{out}\n../out.raw", "../o%02d.raw 1 2 1"]
    )
    def test_all_kinds_of_paths_are_refused(self, name: str, target: str, folder: Path) -> None:
        key = "data file: " if name.endswith("nrrd") else "ElementDataFile = "
        path = header(folder, key + target.format(out=folder.parent / "out.raw"), name)
        with pytest.raises(FileError, match="leads out of its folder"):
            read_image(path)
        assert files_of(path) == (path,)

    @pytest.mark.parametrize("target", ["%s", "s%n.raw 1 2 1", "s%999999d.raw 1 2 1", "s%02d%02d.raw 1 2 1", "s%02d.raw 1 2 0"])
    def test_patterns_are_numbers_alone(self, target: str, folder: Path) -> None:
        with pytest.raises(FileError, match=r"names its voxels as '.*', which medseg does not read; convert it"):
            read_image(header(folder, f"ElementDataFile = {target}", "h.mhd"))

    @pytest.mark.parametrize("line", ["", "NDims = 3 ElementDataFile = ../out.raw", "Elements ElementDataFile = ../out.raw"])
    def test_a_header_that_names_no_voxels_is_refused(self, line: str, folder: Path) -> None:
        with pytest.raises(FileError, match=r"h\.mhd: cannot be read \(no line 'ElementDataFile = \.\.\.'\); the file is damaged"):
            read_image(header(folder, line, "h.mhd"))

    def test_the_missing_one_of_several_is_named(self, folder: Path) -> None:
        (folder / "s02.raw").unlink()
        with pytest.raises(FileError, match=r"its voxels are in s02\.raw, which does not exist; put s02\.raw beside it"):
            read_image(header(folder, "ElementDataFile = s%02d.raw 1 2 1", "h.mhd"))
