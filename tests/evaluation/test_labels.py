from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.errors import DataError
from medseg.evaluation import find_labels, named_labels


def write(path: Path, *values: int) -> Path:
    array = np.zeros((2, 4), np.uint16)
    array[0, : len(values)] = values
    write_label(path, array, Geometry(array.shape, np.eye(4)))
    return path


class TestFindLabels:
    @pytest.mark.parametrize("labels", [{"background": 0, "core": 2, "edema": 1}, {"0": "background", "2": "core", "1": "edema"}])
    @pytest.mark.parametrize("beside", [True, False])
    def test_a_dataset_json_names_the_classes(self, tmp_path: Path, labels: dict[str, object], beside: bool) -> None:
        reference = tmp_path / "labelsTr"
        file = write(reference / "a.png", 1)
        ((reference if not beside else tmp_path) / "dataset.json").write_text(json.dumps({"labels": labels}))
        schema, source = find_labels((reference, reference.parent), [file], [])
        assert schema.classes == ("core", "edema")
        assert schema.members == ((2,), (1,))
        assert source.endswith("dataset.json")

    def test_regions_and_ignore_label_are_understood(self, tmp_path: Path) -> None:
        content = {"labels": {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}, "regions_class_order": [1, 2]}
        (tmp_path / "dataset.json").write_text(json.dumps(content))
        schema, _ = find_labels((tmp_path,), [], [])
        assert schema.overlapping
        assert schema.ignore_value == 3

    def test_without_it_the_integers_are_the_classes(self, tmp_path: Path) -> None:
        files = [write(tmp_path / "r" / "a.png", 4), write(tmp_path / "r" / "b.png", 255, 2)]
        assert find_labels((tmp_path / "r",), files, [])[0].members == ((2,), (4,), (255,))

    def test_maps_without_any_foreground_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="anything but 0"):
            find_labels((tmp_path / "r",), [write(tmp_path / "r" / "a.png")], [])

    def test_two_binary_sides_are_one_class_whatever_their_values(self, tmp_path: Path) -> None:
        reference, prediction = write(tmp_path / "r" / "a.png", 255), write(tmp_path / "p" / "a.png", 1)
        schema, source = find_labels((tmp_path / "r",), [reference], [prediction])
        assert (schema.classes, schema.members) == (("foreground",), ((1, 255),))
        assert "255 in references, 1 in predictions" in source

    def test_the_only_value_of_the_predictions_cannot_be_ignored(self, tmp_path: Path) -> None:
        true, predicted = write(tmp_path / "r" / "a.png", 1, 255), write(tmp_path / "p" / "a.png", 255)
        with pytest.raises(DataError, match=r"class 'foreground' and the ignore label share the value 255; add a dataset\.json"):
            find_labels((tmp_path / "r", tmp_path / "p"), [true], [predicted], ignore=255)

    def test_an_ignored_value_is_no_class(self, tmp_path: Path) -> None:
        file = write(tmp_path / "r" / "a.png", 1, 3, 9)
        schema, _ = find_labels((tmp_path / "r",), [file], [], ignore=9)
        assert (schema.classes, schema.ignore_value) == (("1", "3"), 9)
        binary = write(tmp_path / "s" / "a.png", 1, 9)
        assert find_labels((tmp_path / "s",), [binary], [write(tmp_path / "t" / "a.png", 1)], ignore=9)[0].ignore_value == 9

    def test_it_is_laid_over_a_dataset_json_that_has_none(self, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "core": 1}}))
        assert find_labels((tmp_path,), [], [], ignore=2)[0].ignore_value == 2
        with pytest.raises(DataError, match="give another --ignore value"):
            find_labels((tmp_path,), [], [], ignore=1)
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "core": 1, "ignore": 5}}))
        with pytest.raises(DataError, match="ignores the value 5, not 2"):
            find_labels((tmp_path,), [], [], ignore=2)

    def test_images_are_no_label_maps(self, tmp_path: Path) -> None:
        (tmp_path / "r").mkdir()
        array = np.arange(100, dtype=np.uint8).reshape(10, 10)
        write_label(tmp_path / "r" / "a.png", array, Geometry(array.shape, np.eye(4)))
        with pytest.raises(DataError, match="these are images"):
            find_labels((tmp_path / "r",), [tmp_path / "r" / "a.png"], [])


class TestNamedLabels:
    def test_classes_have_names_and_values(self) -> None:
        schema = named_labels(["lesion=1", "edema=2"])
        assert (schema.classes, schema.members, schema.background) == (("lesion", "edema"), ((1,), (2,)), (0,))

    def test_classes_may_own_several_values_and_overlap(self) -> None:
        schema = named_labels(["background=0,7", "whole=1,2", "core=2"])
        assert (schema.classes, schema.members, schema.background) == (("whole", "core"), ((1, 2), (2,)), (0, 7))

    @pytest.mark.parametrize(
        ("pairs", "said"),
        [
            (["lesion"], "--labels lesion: is no class and its label value; write it as lesion=1"),
            (["=1"], "--labels =1: is no class"),
            (["lesion=one"], "--labels lesion=one: is no class"),
            (["lesion=1", "lesion=2"], "--labels lesion=2: the class is named twice"),
            (["lesion=1", "edema=1"], "--labels edema=1: the class is the same as lesion"),
            (["lesion=0"], "--labels: class 'lesion' and the background share the value 0; correct"),
            (["background=0"], "--labels: there is no foreground class"),
        ],
    )
    def test_what_makes_no_sense_is_named(self, pairs: list[str], said: str) -> None:
        with pytest.raises(DataError, match=re.escape(said)):
            named_labels(pairs)
