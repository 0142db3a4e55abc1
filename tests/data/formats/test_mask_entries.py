"""Mask entries: what their values come to mean, and what is composed for a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg.data.formats.mask_entries import MaskPlan
from medseg.data.formats.templates import Template, Tree
from medseg.data.geometry import Geometry
from medseg.data.labels import IGNORE
from medseg.errors import DataError

GRID = Geometry((6, 7), np.eye(4))
RNG = np.random.default_rng(0)


def plan(entries: Sequence[Mapping[str, Any]], overlap: Any = "paint", regions: Any = None, classes: Any = None) -> MaskPlan:
    return MaskPlan(entries, overlap, regions, classes, ["id", "kind"], {"id": r"\d+"})


def save(path: Path, array: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)
    return array


def drawing(path: Path, values: Sequence[int] = (0, 1)) -> np.ndarray:
    return save(path, RNG.choice(values, size=GRID.shape))


def masks(made: MaskPlan, root: Path, fields: Mapping[str, str] | None = None) -> dict[str, np.ndarray]:
    """Each class's mask of the case with id 1, and what is ignored."""
    tree = Tree(root, made.templates)
    label, _ = made.compose(
        fields or {"id": "1", "kind": "a"},
        lambda template: [tree.path(path) for path, _ in tree.match(template)],
        lambda template: root / str(template),
    )
    ids = made.labels.encode(label.read(root / "image.png", GRID))
    return dict(zip(made.labels.classes, made.labels.masks(ids), strict=True)) | {"ignored": ids == IGNORE}


class TestOneFile:
    def test_disk_values_are_kept_and_the_first_listed_is_written(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "1.png", [0, 55, 63, 70, 126, 2])
        made = plan([{"file": "{id}.png", "values": {"liver": [63, "55-70"], "kidney": 126, "ignore": 2}}])
        assert (made.labels.values, made.labels.paint, made.labels.ignore_value) == ((0, 63, 126), (63, 126), 2)
        found = masks(made, tmp_path)
        np.testing.assert_array_equal(found["liver"], (array >= 55) & (array <= 70))
        np.testing.assert_array_equal(found["kidney"], array == 126)
        np.testing.assert_array_equal(found["ignored"], array == 2)

    def test_the_background_can_be_named(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "1.png", [0, 85, 255])
        made = plan([{"file": "{id}.png", "values": {"background": [255, 85], "membrane": 0}}])
        assert (made.labels.background, made.labels.values) == ((255,), (255, 0))
        np.testing.assert_array_equal(masks(made, tmp_path)["membrane"], array == 0)

    def test_classes_that_share_values_overlap(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "1.png", [0, 1, 2, 4])
        made = plan([{"file": "{id}.png", "values": {"whole": [2, 1, 4], "core": [1, 4], "enhancing": 4}}])
        assert made.labels.overlapping
        assert made.labels.paint == (2, 1, 4)
        found = masks(made, tmp_path)
        for name, values in {"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}.items():
            np.testing.assert_array_equal(found[name], np.isin(array, values))

    def test_unknown_values_are_a_fault(self, tmp_path: Path) -> None:
        drawing(tmp_path / "1.png", [0, 1, 3])
        with pytest.raises(DataError, match=r"1\.png: holds the values 3, which stand for nothing"):
            masks(plan([{"file": "{id}.png", "values": {"a": 1}}]), tmp_path)


class TestSeveralFiles:
    def test_values_count_from_one_and_later_entries_win(self, tmp_path: Path) -> None:
        organ, lesion = drawing(tmp_path / "o" / "1.png", [0, 255]), drawing(tmp_path / "l" / "1.png", [0, 4])
        made = plan([{"file": "o/{id}.png", "class": "organ", "threshold": 127}, {"file": "l/{id}.png", "values": {"lesion": 4}}])
        assert made.labels.values == (0, 1, 2)
        found = masks(made, tmp_path)
        np.testing.assert_array_equal(found["lesion"], lesion == 4)
        np.testing.assert_array_equal(found["organ"], (organ > 127) & (lesion == 0))

    def test_a_template_may_match_many_files(self, tmp_path: Path) -> None:
        arrays = [drawing(tmp_path / "1" / "masks" / f"{name}.png", [0, 255]) for name in "abc"]
        drawing(tmp_path / "2" / "masks" / "a.png", [255])
        found = masks(plan([{"file": "{id}/masks/*.png", "class": "nucleus"}]), tmp_path)
        np.testing.assert_array_equal(found["nucleus"], np.any(arrays, axis=0))

    def test_one_file_per_class(self, tmp_path: Path) -> None:
        ears = {name: drawing(tmp_path / "1" / f"{name}_ear.png") for name in ("left", "right")}
        made = plan([{"file": "{id}/{class}_ear.png", "classes": {"L": "left", "R": "right"}}], overlap="keep")
        assert made.labels.classes == ("L", "R")
        found = masks(made, tmp_path)
        np.testing.assert_array_equal(found["L"], ears["left"])
        np.testing.assert_array_equal(found["R"], ears["right"])

    def test_lists_of_templates_are_united(self, tmp_path: Path) -> None:
        arrays = [drawing(tmp_path / name / "1.png") for name in "ab"]
        found = masks(plan([{"file": ["a/{id}.png", "b/{id}.png"], "class": "x"}]), tmp_path)
        np.testing.assert_array_equal(found["x"], np.any(arrays, axis=0))

    def test_an_entry_may_belong_to_some_cases_only(self, tmp_path: Path) -> None:
        drawing(tmp_path / "1.png")
        made = plan([{"file": "{id}.png", "class": "x", "where": {"kind": ["b", "c"]}}])
        assert not masks(made, tmp_path, {"id": "1", "kind": "a"})["x"].any()
        assert masks(made, tmp_path, {"id": "1", "kind": "c"})["x"].any()

    def test_a_field_that_the_case_lacks_matches_no_mask(self, tmp_path: Path) -> None:
        drawing(tmp_path / "a_1.png")
        made = plan([{"file": "{kind}_{id}.png", "class": "x", "missing": "empty"}])
        assert not masks(made, tmp_path, {"id": "1"})["x"].any()


class TestMissing:
    def entries(self, missing: str) -> list[dict[str, Any]]:
        return [{"file": "a/{id}.png", "class": "a"}, {"file": "b/{id}_*.png", "class": "b", "missing": missing}]

    def test_is_an_error(self, tmp_path: Path) -> None:
        drawing(tmp_path / "a" / "1.png")
        with pytest.raises(DataError, match=r"b/1_\*\.png: the file does not exist"):
            masks(plan(self.entries("error")), tmp_path)

    def test_or_empty(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "a" / "1.png")
        found = masks(plan(self.entries("empty")), tmp_path)
        np.testing.assert_array_equal(found["a"], array)
        assert not found["b"].any()
        assert not found["ignored"].any()

    def test_or_unlabelled(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "a" / "1.png")
        made = plan(self.entries("unlabelled"))
        assert made.labels.ignore_value == 255
        found = masks(made, tmp_path)
        np.testing.assert_array_equal(found["a"], array)
        np.testing.assert_array_equal(found["ignored"], array == 0)

    def test_a_free_value_is_ignored(self, tmp_path: Path) -> None:
        made = plan([{"file": "{id}.png", "values": {"a": 255, "b": 1000}, "missing": "unlabelled"}])
        assert made.labels.ignore_value == 1001
        assert masks(made, tmp_path)["ignored"].all()


class TestKeeping:
    def test_voxels_belong_to_several_classes(self, tmp_path: Path) -> None:
        arrays = {name: drawing(tmp_path / name / "1.png") for name in "abc"}
        made = plan([{"file": "{class}/{id}.png", "classes": list(arrays)}], overlap="keep")
        assert made.labels.paint == (1, 2, 4)
        found = masks(made, tmp_path)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)

    def test_values_that_classes_share_are_kept_too(self, tmp_path: Path) -> None:
        first, second = drawing(tmp_path / "a" / "1.png", [0, 1, 2]), drawing(tmp_path / "b" / "1.png")
        entries = [{"file": "a/{id}.png", "values": {"x": [1, 2], "y": 2, "ignore": 9}}, {"file": "b/{id}.png", "class": "z"}]
        found = masks(plan(entries, overlap="keep"), tmp_path)
        np.testing.assert_array_equal(found["x"], first > 0)
        np.testing.assert_array_equal(found["y"], first == 2)
        np.testing.assert_array_equal(found["z"], second)

    def test_seven_classes_are_the_most(self) -> None:
        assert len(plan([{"file": "{class}.png", "classes": list("abcdefg")}], overlap="keep").labels.values) == 128
        with pytest.raises(DataError, match=r"overlap: keep holds at most 7 classes, there are 8; use paint"):
            plan([{"file": "{class}.png", "classes": list("abcdefgh")}], overlap="keep")


class TestRegions:
    REGIONS = {"whole": ["oedema", "core", "enhancing"], "core": ["core", "enhancing"], "enhancing": ["enhancing"]}  # noqa: RUF012
    ENTRIES = [{"file": "{id}.png", "values": {"core": 1, "oedema": 2, "enhancing": 4}}]  # noqa: RUF012

    def test_take_the_classes_place(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "1.png", [0, 1, 2, 4])
        made = plan(self.ENTRIES, regions=self.REGIONS)
        assert (made.labels.classes, made.labels.paint) == (("whole", "core", "enhancing"), (2, 1, 4))
        found = masks(made, tmp_path)
        for name, values in {"whole": [1, 2, 4], "core": [1, 4], "enhancing": [4]}.items():
            np.testing.assert_array_equal(found[name], np.isin(array, values))

    def test_classes_in_no_region_are_background(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "1.png", [0, 1, 2, 4])
        found = masks(plan(self.ENTRIES, regions={"rest": ["oedema"]}), tmp_path)
        np.testing.assert_array_equal(found["rest"], array == 2)
        assert not found["ignored"].any()

    def test_unite_classes_that_were_kept(self, tmp_path: Path) -> None:
        arrays = {name: drawing(tmp_path / name / "1.png") for name in "ab"}
        made = plan([{"file": "{class}/{id}.png", "classes": ["a", "b"]}], "keep", {"any": ["a", "b"], "b": ["b"]})
        found = masks(made, tmp_path)
        np.testing.assert_array_equal(found["any"], arrays["a"] | arrays["b"])
        np.testing.assert_array_equal(found["b"], arrays["b"])

    @pytest.mark.parametrize(
        ("regions", "message"),
        [
            ({}, "must map a region's name"),
            ({"x": []}, "must map"),
            ({"x": ["oedma"]}, r"regions\.x: unknown class 'oedma'; did you mean oedema"),
        ],
    )
    def test_must_unite_known_classes(self, regions: object, message: str) -> None:
        with pytest.raises(DataError, match=message):
            plan(self.ENTRIES, regions=regions)


class TestChoosing:
    def test_files_of_other_classes_are_not_read(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "liver" / "1.png")
        (tmp_path / "brain").mkdir()
        (tmp_path / "brain" / "1.png").write_text("damaged")
        made = plan([{"file": "{class}/{id}.png", "classes": ["brain", "liver", "spleen"]}], classes=["liver"])
        assert (made.labels.classes, made.labels.paint, len(made.sources)) == (("liver",), (2,), 1)
        np.testing.assert_array_equal(masks(made, tmp_path)["liver"], array)

    def test_other_values_of_a_file_are_background(self, tmp_path: Path) -> None:
        array = drawing(tmp_path / "1.png", [0, 1, 2])
        found = masks(plan([{"file": "{id}.png", "values": {"a": 1, "b": 2}}], classes=["b"]), tmp_path)
        np.testing.assert_array_equal(found["b"], array == 2)

    def test_regions_need_the_files_of_their_classes(self) -> None:
        entries = [{"file": "{class}/{id}.png", "classes": ["a", "b", "c"]}]
        assert len(plan(entries, regions={"ab": ["a", "b"], "c": ["c"]}, classes=["ab"]).sources) == 2

    def test_unknown_classes_are_refused(self) -> None:
        with pytest.raises(DataError, match=r"params\.classes: no class named x"):
            plan([{"file": "{id}.png", "class": "a"}], classes=["x"])


class TestFaults:
    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ("x", r"masks\[0\]: 'x' must be \{file: template"),
            ({"class": "a"}, r"masks\[0\]: .* must be \{file"),
            ({"file": "x", "class": "a", "treshold": 3}, r"masks\[0\]: unknown key 'treshold'; did you mean threshold"),
            ({"file": "x"}, "give one of values, class and classes, not none"),
            ({"file": "x", "class": "a", "classes": ["b"]}, "not class and classes"),
            (
                {"file": "x", "class": "a", "missing": "nothing"},
                r"missing: 'nothing' is not a choice; choose from error, empty, unlabelled",
            ),
            ({"file": "x", "class": "a", "threshold": "high"}, r"threshold: 'high' is no whole number"),
            ({"file": "x", "values": {"a": 1}, "threshold": 3}, r"threshold: goes with class or classes"),
            ({"file": "x", "class": 3}, r"class: 3 is not the name of a class"),
            ({"file": "x", "class": "background"}, "is not the name of a class"),
            ({"file": "x", "classes": ["a"]}, r"file: needs \{class\}"),
            ({"file": "{class}", "classes": []}, "names no class"),
            ({"file": "{class}", "classes": ["ignore"]}, "ignore is not the name of a class"),
            ({"file": "{class}.png", "classes": {"a": "../../a"}}, r"masks\[0\]\.classes: '\.\./\.\./a' leads out"),
            ({"file": "{class}.png", "classes": ["a*"]}, r"classes: 'a\*' must be a plain part of the file's path"),
            ({"file": "x", "values": {}}, "must map class names to values"),
            ({"file": "x", "values": {"background": 0}}, "must map class names to values"),
            ({"file": "x", "values": {"a": 0}}, "0 stands for a class, so the value of the background must be given"),
            ({"file": "x", "values": {"a": [1, 2], "ignore": 2}}, "ignore and 'a' share a value"),
            ({"file": "x", "values": {"a": "3-9", "background": 4}}, "background and 'a' share a value"),
            ({"file": "x", "values": {"a": "many"}}, r"values\.a: 'many' is neither a whole number nor a range"),
            ({"file": [], "class": "a"}, "lists no template"),
            ({"file": "../x", "class": "a"}, r"masks\[0\]\.file: '\.\./x' leads out"),
            ({"file": "x", "class": "a", "where": {"knd": 1}}, r"where: unknown field 'knd'; did you mean kind"),
            ({"file": "x", "values": {"a": "1-400", "b": "5-6"}}, "400 label values|401 label values"),
        ],
    )
    def test_entries_are_checked(self, entry: Any, message: str) -> None:
        with pytest.raises(DataError, match=rf"^data\.format\.params\.(?=masks).*({message})"):
            plan([entry])

    def test_shared_values_in_several_files_need_regions(self) -> None:
        with pytest.raises(DataError, match=r"the value 2 stands for 'a' and for 'b'; .*regions"):
            plan([{"file": "x", "values": {"a": [1, 2], "b": 2}}, {"file": "y", "class": "c"}])

    def test_there_must_be_an_entry(self) -> None:
        with pytest.raises(DataError, match="must list at least one"):
            plan([])

    def test_strays_have_the_fields_of_the_images(self) -> None:
        (template,) = plan([{"file": "{id}.png", "class": "a"}]).templates
        assert template.regex.pattern == Template.parse(r"{id:\d+}.png", "key").regex.pattern
