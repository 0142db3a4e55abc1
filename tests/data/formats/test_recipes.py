"""Every shipped recipe reads a tiny copy of its data set, voxel by voxel."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medseg.config import load_config
from medseg.data import FORMATS
from medseg.data.case import Case, DataSet
from medseg.data.check import check_dataset
from medseg.data.labels import IGNORE
from medseg.data.phantoms.phantom import OPTIONS, Phantom
from medseg.errors import DataError
from tests.data.formats.trees import RECIPES, Expected, Tree, recipe_of
from tests.data.formats.trees_lesions import LESION_TREES
from tests.data.formats.trees_organs import ORGAN_TREES, PDDCA
from tests.data.formats.trees_pictures import PICTURE_TREES

Builder = Callable[[Path], Tree]

TREES: dict[str, list[Builder]] = {**PICTURE_TREES, **LESION_TREES, **ORGAN_TREES}
SHIPPED = sorted(path.stem for path in RECIPES.glob("*.yaml"))
PAIRS = [pytest.param(name, build, id=getattr(build, "__name__", name)) for name in TREES for build in TREES[name]]
KEYS = ["title", "home", "licence", "cite", "layout", "params", "notes"]


def read(name: str, root: Path, **params: Any) -> DataSet:
    return FORMATS["recipe"](name=name, **params).read(root)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Builder], tuple[Tree, DataSet]]:
    """Builds each tree and reads it once for all tests of this file; they do not change it."""

    @cache
    def make(name: str, build: Builder) -> tuple[Tree, DataSet]:
        tree = build(tmp_path_factory.mktemp(name))
        return tree, read(name, tree.root)

    return make


def require_label(case: Case, expected: Expected, dataset: DataSet) -> None:
    """The label of a case, encoded, against what was painted."""
    if expected.masks is None:
        assert case.label is None
        return
    values, geometry = case.read_label()
    _, image = case.read_image()
    assert geometry.mismatch(image) is None
    ids = dataset.labels.encode(values)
    ignored = np.zeros(ids.shape, bool) if expected.ignored is None else expected.ignored
    np.testing.assert_array_equal(ids == IGNORE, ignored)
    for name, mask in zip(dataset.labels.classes, dataset.labels.masks(ids), strict=True):
        np.testing.assert_array_equal(mask, expected.masks.get(name, np.zeros(ids.shape, bool)), err_msg=f"{case.id}: {name}")


@pytest.mark.parametrize(("name", "build"), PAIRS)
class TestEveryRecipe:
    def test_finds_the_cases_and_keeps_the_test_cases_apart(self, name: str, build: Builder, made: Any) -> None:
        tree, dataset = made(name, build)
        assert {case.id: case.group for case in dataset.cases} == {id_: case.group for id_, case in tree.cases.items()}
        assert {case.id for case in dataset.test_cases} == set(tree.tests)
        assert {(fault.severity, fault.file) for fault in dataset.faults} == {("warning", tree.root / name) for name in tree.lonely}

    def test_names_channels_and_classes(self, name: str, build: Builder, made: Any) -> None:
        tree, dataset = made(name, build)
        assert dataset.channels == tuple(tree.channels)
        assert dataset.labels.classes == tuple(tree.classes)
        assert dataset.spatial_dims == (2 if name in PICTURE_TREES else 3)

    def test_reads_images_voxel_by_voxel(self, name: str, build: Builder, made: Any) -> None:
        tree, dataset = made(name, build)
        for case in (*dataset.cases, *dataset.test_cases):
            image, _ = case.read_image()
            expected = {**tree.cases, **tree.tests}[case.id].image
            assert len(image) == len(dataset.channels)
            if expected is not None:
                np.testing.assert_allclose(image, expected, atol=1e-3, err_msg=case.id)

    def test_reads_labels_voxel_by_voxel(self, name: str, build: Builder, made: Any) -> None:
        tree, dataset = made(name, build)
        for case in (*dataset.cases, *dataset.test_cases):
            require_label(case, {**tree.cases, **tree.tests}[case.id], dataset)

    def test_passes_the_check(self, name: str, build: Builder, made: Any) -> None:
        _, dataset = made(name, build)
        assert [str(fault) for fault in check_dataset(dataset) if fault.severity == "error"] == []


class TestValues:
    """What is written for each class."""

    @pytest.mark.parametrize(
        ("name", "paint"),
        [
            ("brats2020", (1, 2, 4)),
            ("brats2020_regions", (2, 1, 4)),
            ("brats2023_regions", (2, 1, 3)),
            ("kits23_regions", (1, 3, 2)),
            ("totalsegmentator_v2", tuple(range(1, 118))),
            ("btcv", tuple(range(1, 14))),
            ("pddca", tuple(range(1, 10))),
            ("idrid", (1, 2, 3, 4, 5)),
            ("wmh2017", (1,)),
        ],
    )
    def test_are_those_of_the_data_set(self, name: str, paint: tuple[int, ...], made: Any) -> None:
        _, dataset = made(name, TREES[name][0])
        assert dataset.labels.paint == paint

    def test_of_totalsegmentator_are_in_the_order_of_version_2(self) -> None:
        classes = recipe_of("totalsegmentator_v2")["params"]["masks"][0]["classes"]
        assert len(classes) == len(set(classes)) == 117
        assert [classes[index - 1] for index in (1, 5, 15, 25, 51, 79, 90, 116, 117)] == [
            "spleen",
            "liver",
            "esophagus",
            "sacrum",
            "heart",
            "spinal_cord",
            "brain",
            "sternum",
            "costal_cartilages",
        ]


class TestMissingMasks:
    """A mask that must be there is asked for by name."""

    @pytest.mark.parametrize(
        ("name", "lost"),
        [
            ("busi", "benign/benign (10)_mask.png"),
            ("e_ophtha_ma", "Annotation_MA/E0000404/DS000DGS.png"),
            ("drive", "training/1st_manual/22_manual1.gif"),
            ("brats2020", "BraTS20_Training_355/W39_1998.09.19_Segm.nii"),
            ("kits23", "dataset/case_00400/segmentation.nii.gz"),
            ("chaos_ct", "Train_Sets/CT/10/Ground/liver_GT_002.png"),
        ],
    )
    def test_is_an_error(self, name: str, lost: str, tmp_path: Path) -> None:
        TREES[name][0](tmp_path)
        (tmp_path / lost).unlink()
        try:
            dataset = read(name, tmp_path)
        except DataError as error:
            found = [str(error)]
        else:
            found = [str(fault) for fault in check_dataset(dataset) if fault.severity == "error"]
        assert any(str(Path(lost).parent) in fault for fault in found), found

    def test_is_no_error_where_it_means_something(self, tmp_path: Path) -> None:
        tree = TREES["pddca"][0](tmp_path)
        for name in PDDCA.values():
            (tmp_path / f"PDDCA-1.4.1_part1/0522c0001/structures/{name}.nrrd").unlink()
        dataset = read("pddca", tmp_path)
        assert {case.id for case in dataset.cases} <= set(tree.cases)
        assert "0522c0328" in {case.id for case in dataset.cases}


class TestCVCSequences:
    def test_cover_every_frame_once(self) -> None:
        ranges = [tuple(map(int, entry.split("-"))) for entry in recipe_of("cvc_clinicdb")["params"]["group"]["frame"]]
        assert len(ranges) == 29
        assert [frame for first, last in ranges for frame in range(first, last + 1)] == list(range(1, 613))


class TestChoice:
    def test_of_classes(self, made: Any) -> None:
        tree, _ = made("btcv", TREES["btcv"][0])
        dataset = read("btcv", tree.root, classes=["liver", "spleen"])
        assert set(dataset.labels.classes) == {"spleen", "liver"}
        values, _ = dataset.cases[0].read_label()
        expected = tree.cases[dataset.cases[0].id].masks
        assert expected is not None
        for name, mask in zip(dataset.labels.classes, dataset.labels.masks(dataset.labels.encode(values)), strict=True):
            np.testing.assert_array_equal(mask, expected[name])

    def test_of_channels(self, made: Any) -> None:
        tree, _ = made("brats2023", TREES["brats2023"][0])
        dataset = read("brats2023", tree.root, channels=["T1c", "T2f"])
        image, _ = dataset.cases[0].read_image()
        expected = tree.cases[dataset.cases[0].id].image
        assert expected is not None
        assert dataset.channels == ("T1c", "T2f")
        np.testing.assert_array_equal(image, expected[[2, 0]])


class TestFiles:
    def test_every_recipe_has_a_tree(self) -> None:
        assert sorted(TREES) == SHIPPED

    @pytest.mark.parametrize("name", SHIPPED)
    def test_has_all_keys(self, name: str) -> None:
        recipe = recipe_of(name)
        assert list(recipe) == KEYS
        for key in ("title", "home", "licence", "cite", "notes"):
            assert isinstance(recipe[key], str), key
            assert recipe[key].strip(), key
        assert recipe["home"].startswith(("http://", "https://"))
        assert recipe["notes"].startswith("Root: ")
        assert "\n" not in recipe["title"]
        assert recipe["layout"] in FORMATS

    @pytest.mark.parametrize("name", SHIPPED)
    def test_names_no_path_outside_the_root(self, name: str) -> None:
        params = recipe_of(name)["params"]
        images = params.get("images", [])
        templates = [entry["file"] for entry in params.get("masks", [])]
        for entry in images.values() if isinstance(images, dict) else [images]:
            templates += [entry] if isinstance(entry, str) else entry
        for template in templates:
            literal = re.sub(r"\{[^}]*\}", "x", template)
            assert not literal.startswith(("/", "~")), template
            assert ".." not in literal.split("/"), template

    @pytest.mark.parametrize("name", SHIPPED)
    def test_lines_are_short(self, name: str) -> None:
        assert max(map(len, (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines())) <= 140


class TestRoot:
    @pytest.mark.parametrize("name", ["busi", "wmh2017", "kits23", "chaos_mr_t2", "brats2020", "decathlon_spleen", "pddca"])
    def test_may_be_the_folder_above(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "unpacked").mkdir()
        tree = TREES[name][0](tmp_path / "unpacked")
        (tmp_path / "unpacked.zip.txt").write_text("md5")
        assert {case.id for case in read(name, tmp_path).cases} == set(tree.cases)


class TestGuide:
    """data/README.md."""

    README = (RECIPES.parents[1] / "data" / "README.md").read_text(encoding="utf-8")
    EXAMPLES = tuple(yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))

    def test_lists_the_recipes_that_are_shipped(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \|(?=.*\|.*\|.*\|.*\|.*\|)", self.README.split("## Recipes")[1], re.MULTILINE)
        assert sorted(rows) == SHIPPED
        assert len(rows) == len(set(rows))

    @pytest.mark.parametrize("name", SHIPPED)
    def test_says_where_a_set_is_had_and_on_what_terms(self, name: str) -> None:
        row = next(line for line in self.README.splitlines() if line.startswith(f"| `{name}` |"))
        cells = [cell.strip() for cell in row.strip("| ").split("|")]
        assert len(cells) == 9
        assert cells[6:8] == [recipe_of(name)["home"], recipe_of(name)["licence"]]

    @pytest.mark.parametrize("layout", ["folders", "decathlon", "nnunet", "cases", "table", "phantom"])
    def test_names_every_key_of_a_layout(self, layout: str) -> None:
        section = re.split(r"^##", self.README.split(f"### `{layout}`")[1], flags=re.MULTILINE)[0]
        keys = [key for key in inspect.signature(FORMATS[layout]).parameters if f"`{key}`" not in section]
        assert keys == []

    def test_has_an_example_of_every_layout_that_can_be_used(self, tmp_path: Path) -> None:
        formats = [example["data"]["format"] for example in self.EXAMPLES if "data" in example]
        assert {entry["name"] for entry in formats} == {"folders", "decathlon", "nnunet", "cases", "table"}
        for entry in formats:
            FORMATS[entry["name"]](**entry.get("params", {}))

    def test_has_a_phantom_with_all_options_that_can_be_made(self) -> None:
        block = next(block for block in re.findall(r"```sh\n(.*?)```", self.README, re.DOTALL) if "realistic" in block)
        _, _, config, *overrides = shlex.split(block.replace("\\\n", " "))
        data = load_config(config, overrides).data
        assert set(OPTIONS) <= data.format.params.keys()
        assert len(Phantom(**data.format.params).scanners) == data.folds == 3

    def test_has_commands_whose_configs_load(self) -> None:
        commands = [line.split() for line in self.README.splitlines() if line.startswith("medseg ") and "data.root=" in line]
        assert {command[1] for command in commands} == {"check", "train"}
        for _, _, config, *overrides in commands:
            chosen = load_config(config, overrides).data.format
            assert (chosen.name, chosen.params["name"] in SHIPPED) == ("recipe", True)

    def test_has_a_recipe_that_reads_data(self, tmp_path: Path) -> None:
        (example,) = (example for example in self.EXAMPLES if "layout" in example)
        (tmp_path / "my_set.yaml").write_text(yaml.safe_dump(example), encoding="utf-8")
        tree = Tree(tmp_path / "set", ["FLAIR"], ["lesion"])
        for patient in ("0001", "0002"):
            image = tree.volume(f"{patient}/flair.nii.gz")
            tree.cases[patient] = Expected(patient, {"lesion": tree.drawing(f"{patient}/lesions.nii.gz")}, image)
        dataset = read(str(tmp_path / "my_set.yaml"), tree.root)
        assert [case.id for case in dataset.cases] == list(tree.cases)
        for case in dataset.cases:
            require_label(case, tree.cases[case.id], dataset)
