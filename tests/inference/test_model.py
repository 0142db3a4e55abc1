"""`medseg.load(run)(image)` says what `medseg predict` says."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medseg
from medseg.data.geometry import Geometry
from medseg.data.images import read_geometry, read_image, read_label, write_label
from medseg.data.labels import LabelSchema
from medseg.errors import DataError, RunError
from medseg.inference import model as module
from medseg.inference import predict_run, read_probabilities
from tests.data.images.test_series import NAMES, write_series
from tests.inference.runs import LAS, config, save_run


def predicted(runs: Any, source: Path, folder: Path, **options: Any) -> tuple[np.ndarray, Geometry]:
    """What the command line writes."""
    result = predict_run(runs, source, folder / "out", device="cpu", **options)
    assert result.failed == {}
    [path] = result.written
    return read_label(path)


def write(path: Path, affine: np.ndarray = LAS, seed: int = 0, shape: tuple[int, ...] = (12, 10, 9)) -> Path:
    write_label(path, np.random.default_rng(seed).integers(0, 200, shape).astype(np.uint8), Geometry(shape, affine))
    return path


class TestPaths:
    def test_a_file(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(spacing=[2.0, 2.0, 3.0], normalisation="zscore"))
        scan = write(tmp_path / "in" / "a.nii.gz")
        labels, geometry = predicted(run, scan, tmp_path)
        found = medseg.load(run, "cpu")(scan)
        np.testing.assert_array_equal(found.labels, labels)
        assert found.labels.dtype == np.uint8
        assert Geometry(found.labels.shape, found.affine).mismatch(geometry) is None
        np.testing.assert_allclose(found.spacing, geometry.spacing, atol=1e-5)
        assert (found.classes, found.values) == (("low", "high"), {"low": (3,), "high": (7,)})
        np.testing.assert_array_equal(medseg.load(str(run), "cpu")(str(scan)).labels, labels)

    def test_a_folder_of_slices(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(3, "folders", normalisation="zscore"))
        write_series(tmp_path / "in", NAMES)
        found = medseg.load(run, "cpu")(tmp_path / "in")
        labels, geometry = predicted(run, tmp_path / "in", tmp_path)
        np.testing.assert_array_equal(found.labels, labels)
        assert found.geometry.mismatch(geometry) is None

    def test_the_files_of_the_channels_of_one_case(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", channels=2)
        for channel in (0, 1):
            write(tmp_path / "in" / f"a_000{channel}.nii.gz", seed=channel)
        labels, _ = predicted(run, tmp_path / "in", tmp_path)
        np.testing.assert_array_equal(medseg.load(run, "cpu")(tmp_path / "in").labels, labels)
        np.testing.assert_array_equal(medseg.load(run, "cpu")(tmp_path / "in" / "a_0000.nii.gz").labels, labels)

    def test_an_ensemble(self, tmp_path: Path) -> None:
        runs = [save_run(tmp_path / str(seed), config=config(normalisation="zscore"), seed=seed) for seed in range(3)]
        scan = write(tmp_path / "in" / "a.nii.gz")
        labels, _ = predicted(runs, scan, tmp_path, average="logits", overlap=0.25)
        found = medseg.load(runs, "cpu", average="logits", overlap=0.25)(scan)
        np.testing.assert_array_equal(found.labels, labels)
        assert (found.labels != medseg.load(runs[0], "cpu")(scan).labels).any()

    def test_of_several_images_none_is_guessed(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        for name in "ab":
            write(tmp_path / "in" / f"{name}.nii.gz")
        with pytest.raises(DataError, match="holds 2 images; give one of them"):
            medseg.load(run, "cpu")(tmp_path / "in")
        with pytest.raises(DataError, match=r"typo\.nii: does not exist"):
            medseg.load(run, "cpu")(tmp_path / "typo.nii")

    def test_a_file_knows_its_grid(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        with pytest.raises(DataError, match="a file knows its grid"):
            medseg.load(run, "cpu")(write(tmp_path / "a.nii.gz"), spacing=(1, 1, 1))


class TestArrays:
    def test_with_the_affine_of_the_file(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(spacing=[2.0, 2.0, 3.0], normalisation="zscore"))
        scan = write(tmp_path / "in" / "a.nii.gz")
        labels, _ = predicted(run, scan, tmp_path)
        image, geometry = read_image(scan)
        model = medseg.load(run, "cpu")
        for array in (image, image[0], image[0].astype(np.int16), image.astype(np.float64)):
            np.testing.assert_array_equal(model(array, affine=geometry.affine).labels, labels)

    def test_with_the_spacing_alone(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(spacing=[2.0, 2.0, 3.0]))
        scan = write(tmp_path / "in" / "a.nii.gz", np.diag([1.5, 2.0, 4.0, 1.0]))
        found = medseg.load(run, "cpu")(read_image(scan)[0], spacing=(1.5, 2.0, 4.0))
        np.testing.assert_array_equal(found.labels, predicted(run, scan, tmp_path)[0])
        assert found.spacing == (1.5, 2.0, 4.0)

    @pytest.mark.parametrize("normalisation", ["unit", "zscore"])
    def test_of_colours(self, tmp_path: Path, normalisation: str) -> None:
        run = save_run(tmp_path / "run", config=config(2, "folders", normalisation=normalisation), channels=3, suffix=".png")
        values = np.random.default_rng(0).integers(20, 90, (13, 18, 3)).astype(np.uint8)
        (tmp_path / "in").mkdir()
        Image.fromarray(values).save(tmp_path / "in" / "x.png")
        model = medseg.load(run, "cpu")
        np.testing.assert_array_equal(model(np.moveaxis(values, -1, 0)).labels, predicted(run, tmp_path / "in", tmp_path)[0])
        with pytest.raises(DataError, match=r"13 channels, the network was trained on 3; np\.moveaxis"):
            model(values)
        grey = model(values[..., 0]).labels
        np.testing.assert_array_equal(grey, model(np.repeat(values[None, ..., 0], 3, axis=0)).labels)

    def test_are_left_as_they_were(self, tmp_path: Path) -> None:
        image = np.random.default_rng(0).normal(size=(9, 8, 8)).astype(np.float32)
        before = image.copy()
        medseg.load(save_run(tmp_path / "run"), "cpu")(image, spacing=(1, 1, 1))
        np.testing.assert_array_equal(image, before)

    @pytest.mark.parametrize(
        ("image", "options", "words"),
        [
            (np.zeros((4, 4)), {}, "takes 3-D images"),
            (np.zeros((1, 1, 4, 4, 4)), {}, "takes 3-D images"),
            (np.zeros((0, 4, 4)), {}, "takes 3-D images"),
            (np.full((4, 4, 4), "x"), {}, "give numbers"),
            (np.zeros((2, 4, 4, 4)), {}, "2 channels, the network was trained on 1"),
            (np.full((4, 4, 4), np.nan), {"spacing": (1, 1, 1)}, "NaN"),
            (np.zeros((4, 4, 4)), {"spacing": (1, 1)}, "give 3 positive numbers"),
            (np.zeros((4, 4, 4)), {"spacing": (1, 1, 0)}, "give 3 positive numbers"),
            (np.zeros((4, 4, 4)), {"affine": np.eye(3)}, r"\(4, 4\) matrix"),
            (np.zeros((4, 4, 4)), {"affine": np.zeros((4, 4))}, r"\(4, 4\) matrix"),
            (np.zeros((4, 4, 4)), {"affine": np.eye(4), "spacing": (1, 1, 1)}, "give one of"),
        ],
    )
    def test_that_cannot_be_used_are_refused(self, tmp_path: Path, image: np.ndarray, options: dict[str, Any], words: str) -> None:
        with pytest.raises(DataError, match=words):
            medseg.load(save_run(tmp_path / "run"), "cpu")(image, **options)

    @pytest.mark.parametrize("data", [{}, {"spacing": [2.0, 2.0, 3.0]}])
    def test_of_volumes_need_a_spacing(self, tmp_path: Path, data: dict[str, Any]) -> None:
        model = medseg.load(save_run(tmp_path / "run", config=config(**data)), "cpu")
        with pytest.raises(DataError, match=r"give spacing=\(x, y, z\) in mm, of axes to right, anterior and superior, or affine"):
            model(np.zeros((4, 4, 4)))

    def test_of_pictures_need_one_where_the_network_knows_one(self, tmp_path: Path) -> None:
        model = medseg.load(save_run(tmp_path / "free", config=config(2)), "cpu")
        assert model(np.zeros((9, 8))).spacing == (1, 1)
        with pytest.raises(DataError, match=r"give spacing=\(row, column\) in mm or affine"):
            medseg.load(save_run(tmp_path / "run", config=config(2, spacing=[0.5, 0.5])), "cpu")(np.zeros((9, 8)))


class TestPrediction:
    def test_probabilities_are_those_on_disk(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(spacing=[2.0, 2.0, 3.0]))
        scan = write(tmp_path / "in" / "a.nii.gz")
        predicted(run, scan, tmp_path, probabilities=True)
        stored = read_probabilities(tmp_path / "out" / "a.probabilities.npz")
        found = medseg.load(run, "cpu")(scan)
        np.testing.assert_array_equal(found.probabilities, stored.probabilities)
        assert found.probabilities is found.probabilities
        np.testing.assert_array_equal(found.affine, stored.affine)
        assert (stored.classes, stored.spacing) == (found.classes, found.spacing)

    def test_masks_of_overlapping_classes(self, tmp_path: Path) -> None:
        labels = LabelSchema(("whole", "core"), ((1, 2), (2,)), paint=(1, 2))
        run = save_run(tmp_path / "run", config=config(activation="sigmoid"), labels=labels)
        found = medseg.load(run, "cpu")(np.random.default_rng(0).normal(size=(9, 8, 8)), spacing=(1, 1, 1))
        np.testing.assert_array_equal(found.mask("whole"), found.labels > 0)
        np.testing.assert_array_equal(found.mask("core"), found.labels == 2)
        with pytest.raises(DataError, match="no class is called 'edge'; the classes are whole, core"):
            found.mask("edge")

    @pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
    def test_is_saved_in_the_grid_of_the_image(self, tmp_path: Path, suffix: str) -> None:
        scan = write(tmp_path / "a.nii.gz")
        found = medseg.load(save_run(tmp_path / "run"), "cpu")(scan)
        found.save(tmp_path / "new" / f"a{suffix}")
        labels, geometry = read_label(tmp_path / "new" / f"a{suffix}")
        np.testing.assert_array_equal(labels, found.labels)
        assert geometry.mismatch(read_geometry(scan)) is None

    def test_is_not_saved_as_what_cannot_hold_it(self, tmp_path: Path) -> None:
        found = medseg.load(save_run(tmp_path / "run"), "cpu")(np.zeros((9, 8, 8)), spacing=(1, 1, 1))
        for name, words in {"a.png": "a picture holds no volume", "a.jpg": "are written as", "a": "are written as"}.items():
            with pytest.raises(DataError, match=words):
                found.save(tmp_path / name)
        assert not list(tmp_path.glob("a*"))


class TestLoad:
    def test_a_missing_run_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no such run"):
            medseg.load(tmp_path / "typo")

    def test_importing_medseg_needs_no_torch(self) -> None:
        code = "import sys, medseg; assert not {'torch', 'numpy'} & sys.modules.keys(); print(medseg.__version__)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == medseg.__version__

    def test_nothing_else_appears_in_the_package(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'lode'"):
            medseg.lode  # noqa: B018

    def test_the_example_in_its_docstring(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        labels = LabelSchema.exclusive({"liver": 1, "tumour": 2})
        save_run(tmp_path / "runs" / "organ" / "20260101-120000-ab12", config=config(3, "folders"), labels=labels)
        write(tmp_path / "scan.nii.gz", np.diag([1, 1, 2.5, 1]), shape=(24, 20, 12))
        monkeypatch.chdir(tmp_path)
        [example] = doctest.DocTestFinder(recurse=False).find(module.load, "load", globs={"np": np})
        assert doctest.DocTestRunner().run(example).failed == 0
        assert read_label(tmp_path / "scan_labels.nii.gz")[0].shape == (24, 20, 12)
