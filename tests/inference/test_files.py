from __future__ import annotations

import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from medseg.data.formats.folders import Folders
from medseg.data.formats.nnunet import NnUNet
from medseg.data.geometry import Geometry
from medseg.data.images import read_geometry, read_label, write_label
from medseg.data.preparation import Preparer
from medseg.errors import DataError, RunError
from medseg.inference import Predictor, load_predictor, predict_folder, predict_run
from tests.inference.runs import LABELS, LAS, Oracle, config, save_run

DISK_VALUES = np.array([0, 0, 3, 7], np.uint8)  # of the image's values 0 to 3


def oracle(dims: int = 3) -> Predictor:
    return Predictor(Oracle().eval(), Preparer("none", None, None), LABELS, "softmax", window=(8,) * dims)


def write_image(path: Path, seed: int = 0, shape: tuple[int, ...] = (10, 9, 7), affine: np.ndarray = LAS) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)
    write_label(path, values, Geometry(shape, affine))
    return values


class TestPredictFolder:
    def test_label_maps_lie_in_the_grid_of_their_images(self, tmp_path: Path) -> None:
        images = {name: write_image(tmp_path / "in" / f"{name}_0000.nii.gz", seed) for seed, name in enumerate(["a", "b"])}
        result = predict_folder(oracle(), NnUNet(), tmp_path / "in", tmp_path / "out", channels=1, suffix=".nii.gz")
        assert result.exit_code == 0
        assert [path.name for path in result.written] == ["a.nii.gz", "b.nii.gz"]
        for name, values in images.items():
            label, geometry = read_label(tmp_path / "out" / f"{name}.nii.gz")
            np.testing.assert_array_equal(label, DISK_VALUES[values])
            assert geometry.mismatch(read_geometry(tmp_path / "in" / f"{name}_0000.nii.gz")) is None
            assert geometry.orientation == "LAS"
        stored = nibabel.load(tmp_path / "out" / "a.nii.gz")
        assert stored.get_data_dtype() == np.uint8

    def test_pictures_become_lossless_pictures(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 4, (12, 20)).astype(np.uint8)
        (tmp_path / "in").mkdir()
        Image.fromarray(values).save(tmp_path / "in" / "x.bmp")
        result = predict_folder(oracle(2), Folders(), tmp_path / "in", tmp_path / "out", channels=1, suffix=".jpg")
        assert [path.name for path in result.written] == ["x.png"]
        np.testing.assert_array_equal(read_label(tmp_path / "out" / "x.png")[0], DISK_VALUES[values])

    def test_one_file_is_one_case(self, tmp_path: Path) -> None:
        for name in "ab":
            write_image(tmp_path / "in" / f"{name}.nii.gz")
        result = predict_folder(oracle(), Folders(), tmp_path / "in" / "a.nii.gz", tmp_path / "out", channels=1, suffix=".nii.gz")
        assert [path.name for path in result.written] == ["a.nii.gz"]

    def test_a_failing_case_does_not_stop_the_rest(self, tmp_path: Path) -> None:
        for name in "abc":
            write_image(tmp_path / "in" / f"{name}.nii.gz")
        broken = tmp_path / "in" / "b.nii.gz"
        broken.write_bytes(broken.read_bytes()[:60])
        result = predict_folder(oracle(), Folders(), tmp_path / "in", tmp_path / "out", channels=1, suffix=".nii.gz")
        assert [path.name for path in result.written] == ["a.nii.gz", "c.nii.gz"]
        assert "b.nii.gz" in result.failed["b"]
        assert result.exit_code == 1
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.nii.gz", "c.nii.gz"]

    def test_a_wrong_number_of_channels_names_the_file(self, tmp_path: Path) -> None:
        write_image(tmp_path / "in" / "a.nii.gz")
        result = predict_folder(oracle(), Folders(), tmp_path / "in", tmp_path / "out", channels=4, suffix=".nii.gz")
        assert "a.nii.gz" in result.failed["a"]
        assert "the image has 1 channel, the network was trained on 4; give it these channels" in result.failed["a"]

    def test_finished_cases_are_kept_unless_told_otherwise(self, tmp_path: Path) -> None:
        values = write_image(tmp_path / "in" / "a.nii.gz")
        write_image(tmp_path / "in" / "b.nii.gz")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "a.nii.gz").write_bytes(b"from before")
        result = predict_folder(oracle(), Folders(), tmp_path / "in", tmp_path / "out", channels=1, suffix=".nii.gz")
        assert ([path.name for path in result.kept], [path.name for path in result.written]) == (["a.nii.gz"], ["b.nii.gz"])
        assert (tmp_path / "out" / "a.nii.gz").read_bytes() == b"from before"
        result = predict_folder(oracle(), Folders(), tmp_path / "in", tmp_path / "out", channels=1, suffix=".nii.gz", overwrite=True)
        assert len(result.written) == 2
        np.testing.assert_array_equal(read_label(tmp_path / "out" / "a.nii.gz")[0], DISK_VALUES[values])


class TestRefusals:
    def predict(self, source: Path, target: Path) -> None:
        predict_folder(oracle(), Folders(), source, target, channels=1, suffix=".nii.gz")

    def test_a_typo_in_the_input_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="typo: does not exist"):
            self.predict(tmp_path / "typo", tmp_path / "out")

    def test_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        with pytest.raises(DataError, match="no images"):
            self.predict(tmp_path / "in", tmp_path / "out")

    def test_images_are_never_overwritten(self, tmp_path: Path) -> None:
        write_image(tmp_path / "in" / "a.nii.gz")
        before = (tmp_path / "in" / "a.nii.gz").read_bytes()
        for source in (tmp_path / "in", tmp_path / "in" / "a.nii.gz"):
            with pytest.raises(DataError, match="holds the images"):
                self.predict(source, tmp_path / "in" / ".." / "in")
        assert (tmp_path / "in" / "a.nii.gz").read_bytes() == before

    def test_a_file_is_no_output_folder(self, tmp_path: Path) -> None:
        write_image(tmp_path / "in" / "a.nii.gz")
        (tmp_path / "out").write_text("")
        with pytest.raises(DataError, match="is a file"):
            self.predict(tmp_path / "in", tmp_path / "out")

    @pytest.mark.parametrize("name", ["x.png", "x.nii.gz"])
    def test_a_folder_is_not_named_as_an_image(self, tmp_path: Path, name: str) -> None:
        write_image(tmp_path / "in" / "a.nii.gz")
        with pytest.raises(DataError, match=r"give a folder, such as x$"):
            self.predict(tmp_path / "in", tmp_path / name)
        assert not (tmp_path / name).exists()

    def test_two_images_of_one_name_are_refused(self, tmp_path: Path) -> None:
        write_image(tmp_path / "in" / "a.nii.gz")
        write_image(tmp_path / "in" / "a.mha")
        with pytest.raises(DataError, match="two images are called 'a'"):
            self.predict(tmp_path / "in", tmp_path / "out")


class TestPredictRun:
    def test_a_checkpoint_is_all_it_needs(self, tmp_path: Path) -> None:
        write_image(tmp_path / "in" / "a_0000.nii.gz")
        run = save_run(tmp_path / "run")
        result = predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu", overlap=0.0)
        assert result.failed == {}
        label, geometry = read_label(tmp_path / "out" / "a.nii.gz")
        assert set(np.unique(label)) <= {0, 3, 7}
        assert geometry.mismatch(read_geometry(tmp_path / "in" / "a_0000.nii.gz")) is None

    def test_sigmoid_in_2d_with_several_channels(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 255, (13, 18, 3)).astype(np.uint8)
        (tmp_path / "in").mkdir()
        Image.fromarray(values).save(tmp_path / "in" / "x.png")
        run = save_run(tmp_path / "run", config=config(2, "folders", "sigmoid"), channels=3, suffix=".png")
        assert predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu").failed == {}
        assert read_label(tmp_path / "out" / "x.png")[0].shape == (13, 18)

    def test_a_typo_answers_before_the_network_is_built(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = save_run(tmp_path / "run")
        monkeypatch.setattr("medseg.inference.load.build_network", None)
        with pytest.raises(DataError, match="does not exist"):
            predict_run(run, tmp_path / "typo", tmp_path / "out")

    def test_a_missing_run_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no such run"):
            predict_run(tmp_path / "no_run", tmp_path, tmp_path / "out")

    def test_real_volumes_keep_their_geometry(self, real_data: Path, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(3, patch_size=[32, 32, 16]), channels=4)
        first = sorted((real_data / "Dataset501_OpenMS" / "imagesTr").iterdir())[0].name.rsplit("_", 1)[0]
        (tmp_path / "in").mkdir()
        for path in (real_data / "Dataset501_OpenMS" / "imagesTr").glob(f"{first}_*"):
            image = nibabel.load(path).slicer[40:80, 40:90, 30:50]
            nibabel.save(image, tmp_path / "in" / path.name)
        assert predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu", overlap=0.0).failed == {}
        found, wanted = nibabel.load(tmp_path / "out" / f"{first}.nii.gz"), nibabel.load(tmp_path / "in" / f"{first}_0000.nii.gz")
        np.testing.assert_allclose(found.affine, wanted.affine, atol=1e-5)
        assert found.shape == wanted.shape
        assert nibabel.aff2axcodes(found.affine) == ("L", "A", "S")

    @pytest.mark.parametrize("skip", ["nonzero", "body"])
    def test_windows_can_be_skipped(self, tmp_path: Path, skip: str) -> None:
        write_image(tmp_path / "in" / "a_0000.nii.gz")
        values = config()
        values["inference"]["skip"] = skip
        assert predict_run(save_run(tmp_path / "run", config=values), tmp_path / "in", tmp_path / "out", device="cpu").failed == {}


class TestConsole:
    def predict(self, folder: Path, run: Path) -> list[str]:
        stream = io.StringIO()
        predict_run(run, folder / "in", folder / "out", device="cpu", console=Console(file=stream, width=300))
        return stream.getvalue().replace(str(folder), "").splitlines()

    def test_a_log_tells_of_each_case(self, tmp_path: Path) -> None:
        for name in "ab":
            write_image(tmp_path / "in" / f"{name}_0000.nii.gz")
        run = save_run(tmp_path / "run")
        assert self.predict(tmp_path, run) == ["1 of 2: a", "2 of 2: b"]

    def test_of_many_it_tells_of_each_tenth(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("medseg.inference.files.EACH", 5)
        for index in range(12):
            write_image(tmp_path / "in" / f"c{index:02d}_0000.nii.gz", shape=(8, 8, 8))
        assert self.predict(tmp_path, save_run(tmp_path / "run")) == ["10 of 12: c09", "12 of 12: c11"]

    def test_lost_colours_are_told_once_and_constant_images_each(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        values = np.random.default_rng(0).integers(0, 255, (13, 18, 3)).astype(np.uint8)
        for name in "ab":
            Image.fromarray(values).save(tmp_path / "in" / f"{name}.png")
        Image.fromarray(np.full((13, 18), 7, np.uint8)).save(tmp_path / "in" / "c.png")
        run = save_run(tmp_path / "run", config=config(2, "folders"), suffix=".png")
        assert self.predict(tmp_path, run) == [
            "/in/a.png: colours are turned to grey, since the network was trained on one channel (said once)",
            "1 of 3: a",
            "2 of 3: b",
            "warning: /in/c.png: the image is constant, 7 everywhere",
            "3 of 3: c",
        ]

    def test_a_constant_channel_is_told(self, tmp_path: Path) -> None:
        write_image(tmp_path / "in" / "a_0000.nii.gz")
        write_label(tmp_path / "in" / "a_0001.nii.gz", np.zeros((10, 9, 7), np.uint8), Geometry((10, 9, 7), LAS))
        lines = self.predict(tmp_path, save_run(tmp_path / "run", channels=2))
        assert lines[0] == "warning: /in/a_0000.nii.gz: constant in 1 of 2 channels: c1"


def test_weights_travel_with_the_run(tmp_path: Path) -> None:
    """The same image through the checkpoint's predictor and through the network itself."""
    values = write_image(tmp_path / "in" / "a_0000.nii.gz", shape=(8, 8, 8))
    run = save_run(tmp_path / "run")
    predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu")
    network = load_predictor(run, "cpu").network
    turned = np.ascontiguousarray(values[::-1]).astype(np.float32)  # LAS -> RAS
    with torch.no_grad():
        expected = network(torch.from_numpy(turned)[None, None])[0].argmax(0).numpy()[::-1]
    np.testing.assert_array_equal(read_label(tmp_path / "out" / "a.nii.gz")[0], np.array([0, 3, 7])[expected])
