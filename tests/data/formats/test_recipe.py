from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from medseg.data import FORMATS
from medseg.data.formats import recipe
from medseg.data.formats.recipe import Recipe, find_recipe, unfolded
from medseg.errors import DataError

CONTENT = {
    "title": "Toy",
    "home": "https://example.org",
    "licence": "CC0",
    "cite": "nobody",
    "layout": "cases",
    "params": {
        "images": {"a": "{id}/a.png", "b": "{id}/b.png"},
        "masks": [{"file": "{id}/m.png", "values": {"core": 1, "rim": 2}}],
    },
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for case in ("p1_1", "p1_2"):
        (tmp_path / "set" / case).mkdir(parents=True)
        for name in ("a", "b", "m"):
            Image.fromarray(np.eye(5, dtype=np.uint8)).save(tmp_path / "set" / case / f"{name}.png")
    return tmp_path / "set"


def write(tmp_path: Path, **changes: object) -> str:
    content = {key: value for key, value in {**CONTENT, **changes}.items() if value is not None}
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(tmp_path / "toy.yaml")


class TestReading:
    def test_the_layout_reads_by_the_recipe(self, root: Path, tmp_path: Path) -> None:
        dataset = Recipe(name=write(tmp_path)).read(root)
        assert (dataset.name, dataset.channels, dataset.labels.classes) == ("toy", ("a", "b"), ("core", "rim"))
        assert [case.id for case in dataset.cases] == ["p1_1", "p1_2"]

    def test_the_config_may_choose_classes_groups_and_channels(self, root: Path, tmp_path: Path) -> None:
        dataset = Recipe(name=write(tmp_path), classes=["rim"], groups=r"(p\d)_", channels=["b"]).read(root)
        assert (dataset.channels, dataset.labels.classes) == (("b",), ("rim",))
        assert {case.group for case in dataset.cases} == {"p1"}

    def test_images_are_found_as_the_layout_does(self, root: Path, tmp_path: Path) -> None:
        cases = Recipe(name=write(tmp_path)).find(root, 2)
        assert [(case.id, case.label, len(case.images)) for case in cases] == [("p1_1", None, 2), ("p1_2", None, 2)]

    def test_shipped_recipes_have_names(self, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "recipes").mkdir()
        write(tmp_path / "recipes")
        monkeypatch.setattr(recipe, "shipped_configs", lambda: tmp_path)
        assert find_recipe("toy") == tmp_path / "recipes" / "toy.yaml"
        with pytest.raises(DataError, match=r"there is no recipe 'toi'; did you mean toy\? \(there are toy\)"):
            Recipe(name="toi")
        with pytest.raises(DataError, match=r"gone/toy\.yaml does not exist"):
            Recipe(name="gone/toy.yaml")

    def test_what_goes_wrong_names_the_recipe(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=r"no image matches .*\[recipe .*toy\.yaml\]"):
            Recipe(name=write(tmp_path)).read(tmp_path / "empty")


class TestUnfolded:
    def test_a_run_needs_the_file_no_more(self, root: Path, tmp_path: Path) -> None:
        section = {"name": "recipe", "params": {"name": write(tmp_path), "channels": ["b"], "groups": None}}
        expected = [(case.id, case.images) for case in Recipe(**section["params"]).find(root, 1)]  # type: ignore[arg-type]
        plain = unfolded(section)
        (tmp_path / "toy.yaml").unlink()
        assert plain == {"name": "cases", "params": {**CONTENT["params"], "channels": ["b"]}}  # type: ignore[dict-item]
        assert [(case.id, case.images) for case in FORMATS[plain["name"]](**plain["params"]).find(root, 1)] == expected

    def test_other_layouts_stay(self) -> None:
        assert unfolded({"name": "nnunet", "params": {}}) == {"name": "nnunet", "params": {}}


class TestFaults:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"licence": None}, r"toy\.yaml: licence: missing"),
            ({"licens": "x"}, r"toy\.yaml:\d+: licens: unknown key; did you mean licence"),
            ({"title": ""}, r"toy\.yaml:1: title: must be text"),
            ({"notes": ["x"]}, r"notes: must be text"),
            ({"params": ["x"]}, r"params: must be a section of keys"),
            ({"layout": "case"}, r"layout: unknown layout 'case'; did you mean cases"),
            ({"layout": "recipe"}, r"unknown layout 'recipe'"),
            ({"params": {"image": "x", "masks": []}}, r"toy\.yaml:\d+: params\.image: unknown parameter of cases; did you mean images"),
            ({"params": {"images": "x"}}, r"params\.masks: missing parameter of cases"),
            ({"params": {**CONTENT["params"], "resample": "yes"}}, r"params\.resample: expected true or false, got the text 'yes'"),  # type: ignore[dict-item]
            ({"params": {**CONTENT["params"], "overlap": "kept"}}, r"params\.overlap: 'kept' is not a choice; did you mean keep"),  # type: ignore[dict-item]
            ({"params": {"images": "{a", "masks": []}}, r"recipe .*toy\.yaml: data\.format\.params\.images: .*brace"),
        ],
    )
    def test_every_key_is_checked(self, changes: dict[str, object], message: str, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=message):
            Recipe(name=write(tmp_path, **changes))

    def test_all_faults_are_told_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"home: missing.*\n.*cite: missing"):
            Recipe(name=write(tmp_path, home=None, cite=None))

    def test_broken_yaml_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "toy.yaml").write_text("title: [", encoding="utf-8")
        with pytest.raises(DataError, match=r"toy\.yaml:\d+: not valid YAML"):
            Recipe(name=str(tmp_path / "toy.yaml"))

    def test_a_choice_that_the_layout_does_not_offer_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"params\.channels: recipe toy reads the layout 'nnunet', which takes no channels"):
            Recipe(name=write(tmp_path, layout="nnunet", params={}), channels=["a"])
        one_file = {**CONTENT["params"], "images": "{id}/a.png", "channels": ["red", "green", "blue"]}  # type: ignore[dict-item]
        with pytest.raises(DataError, match=r"params\.channels: recipe toy has all channels in one file"):
            Recipe(name=write(tmp_path, params=one_file), channels=["green"])
