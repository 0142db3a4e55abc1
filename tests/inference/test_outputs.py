"""Label maps in every format, in the grid of their images."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

import medseg
from medseg.data.geometry import Geometry
from medseg.data.images import read_geometry, read_image, read_label, suffix_of, write_label
from medseg.errors import DataError
from medseg.inference import predict_run, read_probabilities
from tests.data.images.test_series import NAMES, write_series
from tests.inference.runs import LAS, config, save_run

OBLIQUE = np.array([[0.69, -0.45, 0.3, -12.5], [0.55, 0.52, -0.45, 31.25], [0.1, 0.6, 2.4, -7.125], [0, 0, 0, 1]])
OBLIQUE[:3, :3], _ = np.linalg.qr(OBLIQUE[:3, :3])
OBLIQUE[:3, :3] *= [0.7, 0.9, 2.5]
VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that resamples, trained on Decathlon."""
    return save_run(tmp_path_factory.mktemp("run"), config=config(3, "decathlon", spacing=[1.5, 1.5, 2.0]))


def write(path: Path, affine: np.ndarray = OBLIQUE) -> Path:
    write_label(path, np.random.default_rng(0).integers(0, 200, (10, 9, 7)).astype(np.uint8), Geometry((10, 9, 7), affine))
    return path


def world_of(path: Path, index: tuple[int, int, int]) -> np.ndarray:
    """Place of a voxel in RAS+ mm, as other tools see it."""
    if suffix_of(path) in (".nii.gz", ".nii"):
        return np.asarray(nibabel.load(path).affine @ [*index, 1])[:3]
    return np.array(SimpleITK.ReadImage(str(path)).TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]


class TestVolumes:
    @pytest.mark.parametrize("source", VOLUMES)
    @pytest.mark.parametrize("target", VOLUMES)
    @pytest.mark.parametrize("affine", [OBLIQUE, LAS @ np.diag([1, 1, -1, 1])], ids=["oblique", "flipped"])
    def test_lie_where_their_images_lie(self, tmp_path: Path, run: Path, source: str, target: str, affine: np.ndarray) -> None:
        image = write(tmp_path / "in" / f"a{source}", affine)
        result = predict_run(run, image, tmp_path / "out", device="cpu", overlap=0.0, format=target)
        assert result.failed == {}
        assert [path.name for path in result.written] == [f"a{target}"]
        label, geometry = read_label(result.written[0])
        assert geometry.mismatch(read_geometry(image), tolerance=1e-4) is None
        assert set(np.unique(label)) <= {0, 3, 7}
        for index in [(0, 0, 0), (9, 0, 0), (0, 8, 0), (0, 0, 6), (9, 8, 6)]:
            np.testing.assert_allclose(world_of(result.written[0], index), world_of(image, index), atol=1e-4)

    def test_a_picture_of_a_volume_is_refused_at_once(self, tmp_path: Path, run: Path) -> None:
        with pytest.raises(DataError, match="a picture holds no volume"):
            predict_run(run, write(tmp_path / "in" / "a.nii.gz"), tmp_path / "out", device="cpu", format="png")
        assert not (tmp_path / "out").exists()


class TestSeries:
    def test_become_nifti_in_their_own_grid(self, tmp_path: Path, run: Path) -> None:
        write_series(tmp_path / "in" / "one", NAMES)
        result = predict_run(run, tmp_path / "in" / "one", tmp_path / "out", device="cpu", overlap=0.0)
        assert [path.name for path in result.written] == ["one.nii.gz"], result.failed
        series = read_geometry(tmp_path / "in" / "one")
        found = nibabel.load(result.written[0])
        assert found.shape == series.shape
        np.testing.assert_allclose(found.affine, series.affine, atol=1e-5)

    def test_a_broken_slice_fails_alone(self, tmp_path: Path, run: Path) -> None:
        for name in ("one", "two"):
            write_series(tmp_path / "in" / name, NAMES)
        broken = tmp_path / "in" / "one" / NAMES[1]
        broken.write_bytes(broken.read_bytes()[:200])
        result = predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu", overlap=0.0)
        assert ([path.name for path in result.written], list(result.failed)) == (["two.nii.gz"], ["one"])
        assert NAMES[1] in result.failed["one"]

    def test_a_tilted_gantry_keeps_its_shear(self, tmp_path: Path, run: Path) -> None:
        write_series(tmp_path / "in", NAMES, step=(0, 0.8, 2.5))
        result = predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu", overlap=0.0)
        assert result.failed == {}
        np.testing.assert_allclose(nibabel.load(result.written[0]).affine, read_geometry(tmp_path / "in").affine, atol=1e-5)


class TestPictures:
    @pytest.fixture
    def flat_run(self, tmp_path: Path) -> Path:
        return save_run(tmp_path / "run", config=config(2, "folders"), suffix=".png")

    @pytest.mark.parametrize("target", [".png", ".tif", ".nii.gz", ".nrrd", ".mha"])
    def test_become_what_is_asked_for(self, tmp_path: Path, flat_run: Path, target: str) -> None:
        values = np.random.default_rng(0).integers(0, 255, (13, 18)).astype(np.uint8)
        (tmp_path / "in").mkdir()
        Image.fromarray(values).save(tmp_path / "in" / "x.png")
        labels = {}
        for suffix in (".png", target):
            result = predict_run(flat_run, tmp_path / "in", tmp_path / suffix[1:].replace(".", "_"), device="cpu", format=suffix)
            assert result.failed == {}
            labels[suffix], geometry = read_label(tmp_path / suffix[1:].replace(".", "_") / f"x{suffix}")
            assert geometry.mismatch(Geometry((13, 18), np.eye(4))) is None
        np.testing.assert_array_equal(labels[target], labels[".png"])

    def test_flat_scans_keep_their_spacing(self, tmp_path: Path, flat_run: Path) -> None:
        geometry = Geometry((6, 5), np.array([[0, 0.5, 0, 3], [0.7, 0, 0, -2], [0, 0, 1, 1], [0, 0, 0, 1]], float))
        write_label(tmp_path / "in" / "a.nii.gz", np.zeros((6, 5), np.uint8), geometry)
        result = predict_run(flat_run, tmp_path / "in", tmp_path / "out", device="cpu")
        assert [path.name for path in result.written] == ["a.nii.gz"], result.failed
        assert read_geometry(result.written[0]).mismatch(read_geometry(tmp_path / "in" / "a.nii.gz")) is None

    @pytest.mark.parametrize(("source", "target"), [(".nii.gz", None), (".nii.gz", ".mha"), (".mha", ".nii.gz"), (".nii.gz", ".png")])
    def test_volumes_of_one_slice_stay_such(self, tmp_path: Path, flat_run: Path, source: str, target: str | None) -> None:
        values = np.random.default_rng(0).integers(0, 255, (13, 18)).astype(np.uint8)  # rows, columns
        geometry = Geometry((18, 13, 1), OBLIQUE)
        scan = tmp_path / "in" / f"x{source}"
        write_label(scan, values.T[..., None], geometry)
        result = predict_run(flat_run, scan, tmp_path / "out", device="cpu", format=target, probabilities=True)
        assert result.failed == {}
        Image.fromarray(values).save(tmp_path / "x.png")
        expected = read_label(predict_run(flat_run, tmp_path / "x.png", tmp_path / "flat", device="cpu").written[0])[0]
        labels, found = read_label(result.written[0])
        maps = read_probabilities(tmp_path / "out" / "x.probabilities.npz")
        assert maps.probabilities.shape == (3, 18, 13, 1)
        np.testing.assert_allclose(maps.affine, read_geometry(scan).affine)
        if target == ".png":
            np.testing.assert_array_equal(labels, expected)
            return
        np.testing.assert_array_equal(labels, expected.T[..., None])
        assert found.mismatch(read_geometry(scan), tolerance=1e-5) is None
        loaded = medseg.load(flat_run, "cpu")(scan)
        np.testing.assert_array_equal(loaded.labels, labels)
        assert loaded.geometry.mismatch(found, tolerance=1e-5) is None
        loaded.save(tmp_path / "y.png")
        np.testing.assert_array_equal(read_label(tmp_path / "y.png")[0], expected)

    def test_volumes_of_several_slices_are_refused(self, tmp_path: Path, flat_run: Path) -> None:
        result = predict_run(flat_run, write(tmp_path / "in" / "a.nii.gz"), tmp_path / "out", device="cpu")
        assert "is 3-D, the network 2-D" in result.failed["a"]


class TestBrokenInput:
    def test_each_case_says_what_is_wrong_and_the_rest_goes_on(self, tmp_path: Path, run: Path) -> None:
        good = write(tmp_path / "in" / "good.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)), tmp_path / "in" / "nan.nii.gz")
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), tmp_path / "in" / "channels.nii.gz")
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "in" / "flat.png")
        (tmp_path / "in" / "truncated.nii.gz").write_bytes(good.read_bytes()[:100])
        (tmp_path / "in" / "empty.mha").write_bytes(b"")
        result = predict_run(run, tmp_path / "in", tmp_path / "out", device="cpu", overlap=0.0)
        assert result.exit_code == 1
        assert [path.name for path in result.written] == ["good.nii.gz"]
        wrong = {"nan": "NaN", "channels": "3 channels", "flat": "2-D", "truncated": "damaged or truncated", "empty": "file is empty"}
        assert result.failed.keys() == wrong.keys()
        for name, words in wrong.items():
            assert words in result.failed[name]
            assert str(tmp_path / "in" / name) in result.failed[name]
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.nii.gz", "predictions.json"}

    def test_image_values_are_read_as_they_are(self, tmp_path: Path) -> None:
        """The fixture's images are label maps on disk: what the network gets is their values."""
        image = write(tmp_path / "a.nrrd")
        assert read_image(image)[0].max() == 199
