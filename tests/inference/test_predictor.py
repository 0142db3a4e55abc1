from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.data.labels import LabelSchema
from medseg.data.preparation import PreparedCase, Preparer
from medseg.errors import DataError
from medseg.inference import Predictor
from medseg.inference.postprocessing import Postprocessing
from tests.inference.runs import LABELS, LAS, Oracle
from tests.inference.sliding_window.networks import Forgetful, peak_bytes


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


class Blurred(torch.nn.Module):
    """Logits without plateaus, of any image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([image[:, :1] * scale + shift for scale, shift in ((1.0, 0.0), (-1.0, 2.0), (0.3, 0.9))], dim=1)


def case_of(tmp_path: Path, shape: tuple[int, ...] = (11, 23, 17)) -> Case:
    values = np.random.default_rng(0).random(shape).astype(np.float32) * 3
    nibabel.save(nibabel.Nifti1Image(values, LAS), tmp_path / "a.nii.gz")
    return Case("a", (tmp_path / "a.nii.gz",), None, "")


class TestSlabs:
    @pytest.mark.parametrize("spacing", [None, [3.0, 1.0, 2.0]])
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_they_are_the_restored_probabilities(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spacing: list[float] | None, activation: str
    ) -> None:
        monkeypatch.setattr("medseg.inference.sliding_window.layout.SLAB_VOXELS", 500)
        labels = LABELS if activation == "softmax" else LabelSchema.exclusive({"x": 1, "y": 2, "z": 3})
        net = Predictor(Blurred().eval(), Preparer("none", spacing, None), labels, activation, window=(8, 8, 8))  # type: ignore[arg-type]
        prepared = net.preparer.prepare(case_of(tmp_path), labels)
        expected = net.preparer.restore(net.probabilities(prepared), prepared)
        slabs = list(net.slabs(prepared))
        assert len(slabs) > 5
        found = torch.full_like(expected, torch.nan)
        for rows, part in slabs:
            found[:, :, rows] = part  # 23 voxels are the longest axis
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(net.predict_probabilities(prepared), expected)
        np.testing.assert_array_equal(net.predict(prepared), labels.ids_from_probabilities(expected, activation))  # type: ignore[arg-type]

    def test_logits_become_the_same_probabilities(self, tmp_path: Path) -> None:
        net = Predictor(Blurred().eval(), Preparer("none"), LABELS, "softmax", window=(8, 8, 8))
        prepared = net.preparer.prepare(case_of(tmp_path), LABELS)
        for (rows, logits), (same, probable) in zip(net.slabs(prepared, logits=True), net.slabs(prepared), strict=True):
            assert rows == same
            torch.testing.assert_close(logits.softmax(0), probable)


class TestOptions:
    def test_mirror_axes_reach_the_network(self, tmp_path: Path) -> None:
        prepared = Preparer("none").prepare(case_of(tmp_path), LABELS)
        torch.manual_seed(0)
        network = torch.nn.Conv3d(1, 3, 3, padding=1).eval()
        found = [
            Predictor(network, Preparer("none"), LABELS, "softmax", window=(8, 8, 8), mirror_axes=axes).probabilities(prepared)
            for axes in ((), (0,), (0, 1))
        ]
        assert not torch.allclose(found[0], found[1])
        assert not torch.allclose(found[1], found[2])

    def test_precision_reaches_the_network(self, tmp_path: Path) -> None:
        prepared = Preparer("none").prepare(case_of(tmp_path), LABELS)
        network = torch.nn.Conv3d(1, 3, 3, padding=1).eval()
        full, half = (
            Predictor(network, Preparer("none"), LABELS, "softmax", window=(8, 8, 8), precision=kind).probabilities(prepared)
            for kind in (None, torch.bfloat16)
        )
        assert not torch.equal(full, half)
        torch.testing.assert_close(full, half, rtol=0.05, atol=0.02)

    def test_the_device_takes_the_network(self) -> None:
        network = torch.nn.Conv3d(1, 3, 3)
        assert Predictor(network, Preparer("none"), LABELS, "softmax", window=(8, 8, 8), device="meta").device == torch.device("meta")

    @pytest.mark.parametrize("spacing", [None, [3.0, 1.0, 2.0]])
    def test_postprocessing_decides_and_cleans_up(self, tmp_path: Path, spacing: list[float] | None) -> None:
        settings = {"thresholds": {"high": 0.2}, "minimum_size": {"low": 60.0}}
        postprocessing = Postprocessing(LABELS, "softmax", **settings)  # type: ignore[arg-type]
        preparer = Preparer("none", spacing)
        net = Predictor(Blurred().eval(), preparer, LABELS, "softmax", window=(8, 8, 8), postprocessing=postprocessing)
        prepared = preparer.prepare(case_of(tmp_path), LABELS)
        decided = postprocessing.decide(net.predict_probabilities(prepared)).numpy()
        expected = postprocessing.clean(decided, prepared.original.spacing)
        found = net.predict(prepared)
        np.testing.assert_array_equal(found, expected)
        assert not np.array_equal(found, decided)
        net.postprocessing = None
        assert not np.array_equal(net.predict(prepared), decided)

    def test_a_lack_of_memory_is_told_once_for_all_cases(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        net = Predictor(Forgetful(1).eval(), Preparer("none"), LabelSchema.exclusive({"x": 1}), "softmax", window=(8, 8, 8), batch_size=2)
        prepared = net.preparer.prepare(case_of(tmp_path), LABELS)
        for _ in range(2):
            net.predict(prepared)
        assert [record.message for record in caplog.records] == ["out of memory: windows are predicted 1 at a time"]


class TestMemory:
    def test_labels_alone_take_a_third_of_what_monai_takes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("medseg.inference.sliding_window.layout.SLAB_VOXELS", 2**13)  # small as the image
        grid = Geometry((128, 64, 48), np.eye(4))
        image = np.random.default_rng(0).random((1, *grid.shape), np.float32)
        prepared = PreparedCase(Case("a", (), None, ""), image, None, grid, grid, None)
        labels = LabelSchema.exclusive({name: value for value, name in enumerate("abcde")} | {"background": 9})
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Conv3d(1, 6, 4, stride=4), torch.nn.Upsample(scale_factor=4)).eval()
        net = Predictor(network, Preparer("none"), labels, "softmax", window=(24, 24, 24), batch_size=1)
        found: list[np.ndarray] = []

        def monai() -> None:
            with torch.no_grad():
                logits = sliding_window_inference(torch.from_numpy(image)[None], (24, 24, 24), 1, network, overlap=0.5, mode="gaussian")
            assert isinstance(logits, torch.Tensor)
            found.append(logits.argmax(1)[0].numpy())

        ours, theirs = peak_bytes(lambda: found.append(net.predict(prepared))), peak_bytes(monai)
        assert ours < theirs / 3
        np.testing.assert_array_equal(found[0], found[1])
