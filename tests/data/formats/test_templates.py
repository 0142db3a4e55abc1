"""Templates of paths, and the walk that finds what they match."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medseg.data.formats.templates import Template, Tree, some_files
from medseg.errors import DataError


def grow(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def found(root: Path, text: str) -> dict[str, dict[str, str]]:
    template = Template.parse(text, "key")
    return dict(Tree(root, [template]).match(template))


class TestFields:
    def test_a_field_captures_a_part_of_a_name(self, tmp_path: Path) -> None:
        grow(tmp_path, "Utrecht/0/FLAIR.nii.gz", "Utrecht/19/FLAIR.nii.gz", "Utrecht/19/T1.nii.gz", "Utrecht/deep/er/FLAIR.nii.gz")
        assert found(tmp_path, "{site}/{id}/FLAIR.nii.gz") == {
            "Utrecht/0/FLAIR.nii.gz": {"site": "Utrecht", "id": "0"},
            "Utrecht/19/FLAIR.nii.gz": {"site": "Utrecht", "id": "19"},
        }

    def test_a_regular_expression_limits_it_and_may_hold_a_slash(self, tmp_path: Path) -> None:
        grow(tmp_path, "Amsterdam/GE3T/1/x.png", "Utrecht/2/x.png", "Utrecht/b/x.png")
        assert found(tmp_path, r"{site:Amsterdam/GE3T|Utrecht}/{id:\d+}/x.png") == {
            "Amsterdam/GE3T/1/x.png": {"site": "Amsterdam/GE3T", "id": "1"},
            "Utrecht/2/x.png": {"site": "Utrecht", "id": "2"},
        }

    def test_it_may_match_nothing_and_hold_brackets_and_braces(self, tmp_path: Path) -> None:
        grow(tmp_path, "database/training/p001.png", "testing/p0001.png")
        assert found(tmp_path, r"{above:(database/)?}{split:training|testing}/{id:p\d{3}}.png") == {
            "database/training/p001.png": {"above": "database/", "split": "training", "id": "p001"}
        }

    def test_the_same_field_twice_is_the_same_text(self, tmp_path: Path) -> None:
        grow(tmp_path, "a/a_t1.png", "a/b_t1.png")
        assert found(tmp_path, "{id}/{id}_t1.png") == {"a/a_t1.png": {"id": "a"}}

    def test_all_else_is_literal_and_case_counts(self, tmp_path: Path) -> None:
        grow(tmp_path, "benign (1).png", "benign (10).png", "benign [1].png", "benign (1)+png", "x/Benign (1).png")
        assert list(found(tmp_path, "benign (1).png")) == ["benign (1).png"]
        assert list(found(tmp_path, r"benign ({n:\d+}).png")) == ["benign (1).png", "benign (10).png"]
        assert list(found(tmp_path, "{a}/benign (1).png")) == []

    def test_a_star_is_anything_within_a_name(self, tmp_path: Path) -> None:
        grow(tmp_path, "a/1_mask.png", "a/1_mask_1.png", "a/b/1_mask.png", "a/mask.png")
        assert list(found(tmp_path, "a/*_mask*.png")) == ["a/1_mask.png", "a/1_mask_1.png"]
        assert list(found(tmp_path, "*/*/*")) == ["a/b/1_mask.png"]

    def test_a_slash_at_the_end_is_a_folder(self, tmp_path: Path) -> None:
        grow(tmp_path, "CT/1/DICOM/a.dcm", "CT/2/DICOM")
        assert list(found(tmp_path, "CT/{id}/DICOM/")) == ["CT/1/DICOM/"]
        assert list(found(tmp_path, "CT/{id}/DICOM")) == ["CT/2/DICOM"]
        assert list(found(tmp_path, "CT/1/DICOM/")) == ["CT/1/DICOM/"]
        assert list(found(tmp_path, "CT/{rest:.*}")) == ["CT/1/DICOM/a.dcm", "CT/2/DICOM"]

    def test_filling_takes_text_as_it_is(self, tmp_path: Path) -> None:
        grow(tmp_path, "m/a.c (1)_x.png", "m/abc (1)_x.png")
        template = Template.parse("m/{id}_*.png", "key").fill({"id": "a.c (1)", "other": "z"})
        assert [path for path, _ in Tree(tmp_path, [template]).match(template)] == ["m/a.c (1)_x.png"]
        assert str(template) == "m/a.c (1)_*.png"

    def test_definitions_pass_to_templates_that_lack_them(self) -> None:
        images, masks = Template.parse(r"{id:\d+}/{name}.png", "key"), Template.parse("{id}_{name:[a-z]}.png", "key")
        defined = masks.define(images.definitions)
        assert (defined.regex.pattern, defined.fields) == (r"(?P<id>\d+)_(?P<name>[a-z])\.png", ("id", "name"))


class TestParsing:
    @pytest.mark.parametrize("text", ["../a.png", "a/../b.png", "/etc/passwd", "C:/a.png", "{a}/../b"])
    def test_paths_that_leave_the_root_are_refused(self, text: str) -> None:
        with pytest.raises(DataError, match=r"^images: .*leads out of the data set's folder"):
            Template.parse(text, "images")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a{b.png", "a brace without its counterpart"),
            ("a}b.png", "a brace without its counterpart"),
            ("{}.png", "a field named ''"),
            ("{1a}.png", "a field named '1a'"),
            ("{a:(}.png", r"a regular expression that cannot be used \(missing \)"),
            ("{a:(x+)+}.png", "repeats a repetition, which may take for ever"),
            ("{a:(x|[^/]*)*}.png", "repeats a repetition"),
            ("{a:(.{2,})+}.png", "repeats a repetition"),
            ("", "is no template"),
            (3, "3 is no template"),
            ("./a.png", "is not written plainly"),
            ("a//b.png", "is not written plainly"),
            ("a\\b.png", "is not written plainly"),
        ],
    )
    def test_what_cannot_be_read_is_explained(self, text: object, message: str) -> None:
        with pytest.raises(DataError, match=f"^key: .*{message}"):
            Template.parse(text, "key")

    @pytest.mark.parametrize("text", [r"{a:([^/]+/)*}x", r"{a:(_\d+)?}x", r"{a:(x\+)+}x", r"{a:(ab)*}x"])
    def test_harmless_repetitions_may_stay(self, text: str) -> None:
        assert Template.parse(text, "key").fields == ("a",)

    def test_escaped_braces_do_not_close_a_field(self) -> None:
        assert Template.parse(r"{a:x\}y}z", "key").regex.fullmatch("x}yz")


class TestBelow:
    @pytest.mark.parametrize(
        ("text", "levels", "rest"),
        [
            ("train/{site}/{id}/a.png", 0, "train/{site}/{id}/a.png"),
            ("train/{site}/{id}/a.png", 1, "{site}/{id}/a.png"),
            ("train/{site}/{id}/a.png", 2, "{id}/a.png"),
            ("train/{site}/{id}/a.png", 3, "a.png"),
            ("train/{site}/{id}/a.png", 4, None),
            ("*x{a}/b.png", 1, "b.png"),
            ("a/b/{c}/", 2, "{c}/"),
            ("a/b/", 2, None),
            ("{a:x/y|z}/b.png", 1, None),
        ],
    )
    def test_leading_folders_are_left_out(self, text: str, levels: int, rest: str | None) -> None:
        template = Template.parse(text, "key").below(levels)
        assert (None if template is None else str(template)) == rest


class TestTree:
    @pytest.mark.parametrize(
        "text", ["{case}/masks/a.png", "{case}/a.png", "{folder:.+/}a.png", "*/masks/{name}.png", "one/{rest:.+}", "{case}/masks/"]
    )
    def test_matching_is_what_the_expression_says_of_every_path(self, text: str, tmp_path: Path) -> None:
        grow(tmp_path, *(f"{case}/{folder}{name}.png" for case in ("one", "two") for folder in ("", "masks/") for name in ("a", "ba", "b")))
        template = Template.parse(text, "key")
        tree = Tree(tmp_path, [Template.parse("{all}", "key")])
        expected = [path for path in tree.paths if template.regex.fullmatch(path) and path.endswith("/") == text.endswith("/")]
        assert [path for path, _ in tree.match(template)] == expected != []

    def test_a_name_is_looked_up_in_place_of_asking_every_path(self, tmp_path: Path) -> None:
        grow(tmp_path, *(f"{case}/masks/{name}.png" for case in "abc" for name in "xyz"))
        tree = Tree(tmp_path, [Template.parse("{all}", "key")])
        template = Template.parse("{case}/masks/x.png", "key")
        assert template.file_name == "x.png"
        tree.match(template)
        tree.paths = []  # not looked at again
        assert [fields["case"] for _, fields in tree.match(template)] == ["a", "b", "c"]

    def test_hidden_files_and_folders_are_skipped(self, tmp_path: Path) -> None:
        grow(tmp_path, "a.png", "._a.png", ".git/a.png", "b/.DS_Store", "__MACOSX/._b.png")
        assert Tree(tmp_path, [Template.parse("{p}", "key")]).paths == ["__MACOSX/", "a.png", "b/"]

    def test_links_are_followed_and_loops_are_harmless(self, tmp_path: Path) -> None:
        root = grow(tmp_path / "root", "a/x.png")
        grow(tmp_path / "elsewhere", "y.png")
        (root / "a" / "up").symlink_to(root, target_is_directory=True)
        (root / "self").symlink_to("self")
        (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        (root / "c").symlink_to(root / "a", target_is_directory=True)
        assert list(found(root, "{p}/{n}.png")) == ["a/x.png", "b/y.png", "c/x.png"]
        assert len(Tree(root, [Template.parse("{p:.*}", "key")]).paths) < 20

    def test_only_folders_that_the_templates_begin_in_are_entered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        grow(tmp_path, "images/a.png", "masks/a.png", "other/a.png", "images/deep/a.png")
        entered = []
        scandir = os.scandir
        monkeypatch.setattr(os, "scandir", lambda path: entered.append(Path(path).name) or scandir(path))
        templates = [Template.parse(text, "key") for text in ("images/{id}.png", "images/deep/{id}.png", "masks/{id}.png")]
        assert [path for path in Tree(tmp_path, templates).paths if path.endswith(".png")] == [
            "images/a.png",
            "images/deep/a.png",
            "masks/a.png",
        ]
        assert sorted(entered) == ["deep", "images", "masks"]

    def test_folders_that_are_not_there_hold_nothing(self, tmp_path: Path) -> None:
        assert found(tmp_path, "gone/{id}.png") == {}
        assert found(tmp_path / "gone", "{id}.png") == {}
        assert found(grow(tmp_path, ".hidden/a.png"), ".hidden/{id}.png") == {}

    def test_extremely_long_paths_are_refused(self, tmp_path: Path) -> None:
        folder = tmp_path
        for _ in range(5):
            folder /= "x" * 220
        folder.mkdir(parents=True)
        with pytest.raises(DataError, match=r"the path x+\.\.\. has 1105 characters, 1024 may be; shorten"):
            found(tmp_path, "{p}")

    def test_paths_that_match_but_for_case_are_near(self, tmp_path: Path) -> None:
        template = Template.parse("{p}/flair_{n}.nii", "key")
        tree = Tree(grow(tmp_path, "a/flair_1.nii", "a/FLAIR_2.nii", "b/Flair_3.NII", "b/x_flair_4.nii", "b/FLAIR_5.nii/z"), [template])
        assert tree.nearly(template) == ["a/FLAIR_2.nii", "b/Flair_3.NII"]

    def test_messages_show_a_few_files(self, tmp_path: Path) -> None:
        assert some_files(tmp_path) == "it holds no file"
        assert some_files(grow(tmp_path, "b/x.png", "a.png")) == "it holds a.png, b/x.png"
        assert some_files(grow(tmp_path, *(f"{index}.png" for index in range(9)))).endswith(", ...")
