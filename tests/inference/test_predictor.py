from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.data.labels import LabelSchema
from medseg.data.preparation import PreparedCase, Preparer
from medseg.errors import DataError
from medseg.inference import Predictor
from tests.inference.runs import LABELS, LAS, Oracle


def image_file(path: Path, shape: tuple[int, ...] = (11, 9, 6), affine: np.ndarray = LAS) -> tuple[Case, np.ndarray]:
    """An image of the values 0 to 3, and the ids that the oracle finds in it."""
    values = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint8)
    write_label(path, values, Geometry(shape, affine))
    return Case(path.name, (path,), None, ""), np.array([0, 0, 1, 2], np.uint8)[values]


def predictor(spacing: list[float] | None = None, labels: LabelSchema = LABELS, **options: object) -> Predictor:
    options = {"window": (8, 8, 8), "overlap": 0.25, "batch_size": 2} | options
    return Predictor(Oracle().eval(), Preparer("none", spacing, None), labels, "softmax", **options)  # type: ignore[arg-type]


class TestPredictor:
    def test_an_oracle_is_exact_in_the_grid_of_the_file(self, tmp_path: Path) -> None:
        case, expected = image_file(tmp_path / "a.nii.gz")
        oracle = predictor()
        prepared = oracle.preparer.prepare(case, LABELS)
        assert prepared.geometry.orientation == "RAS" != prepared.original.orientation == "LAS"
        ids = oracle.predict(prepared)
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, expected)

    def test_probabilities_lie_in_the_prepared_grid_and_sum_to_one(self, tmp_path: Path) -> None:
        case, _ = image_file(tmp_path / "a.nii.gz")
        oracle = predictor(spacing=[3.0, 3.0, 3.0])
        prepared = oracle.preparer.prepare(case, LABELS)
        probabilities = oracle.probabilities(prepared)
        assert probabilities.shape == (3, *prepared.geometry.shape)
        torch.testing.assert_close(probabilities.sum(0), torch.ones(prepared.geometry.shape))

    def test_resampling_comes_back_to_the_grid_of_the_file(self, tmp_path: Path) -> None:
        block = np.zeros((24, 20, 12), np.uint8)
        block[4:16, 4:16, 2:10] = 3
        write_label(tmp_path / "a.nii.gz", block, Geometry(block.shape, LAS))
        oracle = predictor(spacing=[1.0, 1.0, 1.0])
        ids = oracle.predict(oracle.preparer.prepare(Case("a", (tmp_path / "a.nii.gz",), None, ""), LABELS))
        assert ids.shape == block.shape
        np.testing.assert_array_equal(ids[6:14, 6:14, 3:9], 2)
        assert not ids[[0, 1, -1]].any()
        dice = 2 * np.sum((ids > 0) & (block > 0)) / (np.sum(ids > 0) + np.sum(block > 0))
        assert dice > 0.9

    def test_sigmoid_paints_overlapping_regions(self) -> None:
        labels = LabelSchema(("whole", "core"), ((1, 2), (2,)), paint=(1, 2))

        class Nested(torch.nn.Module):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return torch.cat([image - 0.5, image - 1.5], dim=1)

        grid = Geometry((2, 3), np.eye(4))
        image = np.array([[[0, 1, 2], [2, 0, 1]]], np.float32)
        prepared = PreparedCase(Case("a", (), None, ""), image, None, grid, grid, None)
        nested = Predictor(Nested().eval(), Preparer("none", None, None), labels, "sigmoid", window=(4, 4))
        np.testing.assert_array_equal(nested.predict(prepared), image[0])

    def test_other_axes_are_refused_with_the_file(self, tmp_path: Path) -> None:
        case, _ = image_file(tmp_path / "flat.png", (6, 7), np.eye(4))
        oracle = predictor()
        with pytest.raises(DataError, match=r"flat\.png.*2-D, the network 3-D"):
            oracle.predict(oracle.preparer.prepare(case, LABELS))

    def test_other_channels_are_refused_with_the_file(self, tmp_path: Path) -> None:
        case, _ = image_file(tmp_path / "one.nii.gz")
        oracle = predictor()
        oracle.network.in_channels = 4  # type: ignore[assignment]
        with pytest.raises(DataError, match=r"one\.nii\.gz.*1 channels.*trained on 4"):
            oracle.predict(oracle.preparer.prepare(case, LABELS))
