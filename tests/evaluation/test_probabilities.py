from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.case import Case
from medseg.data.labels import LabelSchema
from medseg.errors import DataError
from medseg.evaluation.probabilities import find_probabilities, score_probabilities
from medseg.metrics import MetricOptions

LABELS = LabelSchema.exclusive({"one": 1, "two": 2})
SHAPE = (4, 5, 6)


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).dirichlet([1, 1, 1], SHAPE).transpose(3, 0, 1, 2).astype(np.float32)


class TestFindProbabilities:
    def test_ours_have_the_axes_of_the_label_map_and_name_their_classes(self, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.probabilities.npz", probabilities=maps.astype(np.float16), classes=np.array(["one", "two"]))
        found = find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE)
        np.testing.assert_allclose(found, maps[1:], atol=1e-3)
        np.testing.assert_allclose(find_probabilities(tmp_path / "a.nii.gz", LABELS.select(["two"]), SHAPE), maps[2:], atol=1e-3)

    def test_those_of_a_sigmoid_have_no_background(self, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.probabilities.npz", probabilities=maps[1:], classes=np.array(["one", "two"]))
        np.testing.assert_array_equal(find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE), maps[1:])

    def test_nnunets_have_them_turned_round(self, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.npz", probabilities=maps.transpose(0, 3, 2, 1))
        np.testing.assert_array_equal(find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE), maps[1:])

    def test_nnunets_of_pictures_have_one_slice(self, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.npz", softmax=maps[:, None, 0])
        np.testing.assert_array_equal(find_probabilities(tmp_path / "a.png", LABELS, SHAPE[1:]), maps[1:, 0])

    def test_nnunets_channels_follow_the_values_not_the_names(self, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.npz", probabilities=maps.transpose(0, 3, 2, 1))
        labels = LabelSchema.exclusive({"two": 2, "one": 1})
        np.testing.assert_array_equal(find_probabilities(tmp_path / "a.nii.gz", labels, SHAPE), maps[[2, 1]])

    def test_nnunets_regions_have_no_background_and_the_order_of_the_data_set(self, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.npz", probabilities=maps[:2].transpose(0, 3, 2, 1))
        regions = LabelSchema(("core", "whole"), ((2,), (1, 2)), paint=(2, 1))
        np.testing.assert_array_equal(find_probabilities(tmp_path / "a.nii.gz", regions, SHAPE), maps[:2])

    @pytest.mark.parametrize("name", ["core", "whole"])
    def test_which_of_nnunets_channels_is_which_of_some_classes_is_not_guessed(self, name: str, tmp_path: Path, maps: np.ndarray) -> None:
        np.savez_compressed(tmp_path / "a.npz", probabilities=maps[:2].transpose(0, 3, 2, 1))
        regions = LabelSchema(("core", "whole"), ((2,), (1, 2)), paint=(2, 1))
        assert find_probabilities(tmp_path / "a.nii.gz", regions.select([name]), SHAPE) is None

    def test_none_are_none(self, tmp_path: Path, maps: np.ndarray) -> None:
        assert find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE) is None
        np.savez_compressed(tmp_path / "a.npz", probabilities=np.zeros((7, *SHAPE[::-1])))
        assert find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE) is None

    def test_a_damaged_file_and_another_shape_are_named(self, tmp_path: Path, maps: np.ndarray) -> None:
        path = tmp_path / "a.probabilities.npz"
        path.write_bytes(b"PK\x03\x04 not much")
        with pytest.raises(DataError, match=r"a\.probabilities\.npz: cannot be read as probabilities"):
            find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE)
        np.savez_compressed(path, probabilities=maps[:, 1:], classes=np.array(["one", "two"]))
        with pytest.raises(DataError, match=r"has the shape \(3, 5, 6\)"):
            find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE)

    def test_no_pickle_is_read(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", probabilities=np.array([{}], dtype=object))
        with pytest.raises(DataError, match="cannot be read"):
            find_probabilities(tmp_path / "a.nii.gz", LABELS, SHAPE)


class TestScoreProbabilities:
    def test_each_class_is_looked_at_by_itself_and_ignored_voxels_by_none(self) -> None:
        reference = np.zeros((20, 20), np.uint8)
        reference[2:5, 2:5], reference[10:13, 10:13], reference[16:, 16:] = 1, 2, 255
        maps = np.zeros((2, 20, 20), np.float32)
        maps[0, 2:5, 2:5], maps[1, 10:12, 10:12], maps[1, 17:, 17:] = 0.9, 0.6, 0.8
        candidates, calibration = score_probabilities(Case("c", (), None, "p"), maps, reference, LABELS, (1.0, 1.0), MetricOptions())
        assert [(row.class_name, row.group, row.hits) for row in candidates] == [("one", "p", (0,)), ("two", "p", (0,))]
        assert {row.class_name for row in calibration} == {"one", "two"}
        assert sum(row.positives for row in calibration if row.class_name == "two") == 9
