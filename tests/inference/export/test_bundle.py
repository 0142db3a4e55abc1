from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from medseg.data.labels import LabelSchema
from medseg.errors import RunError
from medseg.inference import predict_run
from medseg.inference.export import export_run
from tests.inference.runs import LAS, config, save_run

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:.*torch\.jit\..* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*monai:FutureWarning"),
]

REGIONS = LabelSchema(("whole", "core"), ((1, 2), (2,)))
STATISTICS = {"low": [-20.0], "high": [20.0], "mean": [1.0], "std": [10.0]}


def texture(seed: int, shape: tuple[int, ...] = (21, 18, 7)) -> np.ndarray:
    return 100 * ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5).astype(np.float32)


def make_run(folder: Path, values: dict[str, Any], inference: dict[str, Any] | None = None, **options: Any) -> Path:
    values["inference"].update(inference or {})
    run = save_run(folder, config=values, **options)
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["medseg"]["statistics"] = STATISTICS
    torch.save(content, path)
    return run


def run_bundle(bundle: Path, images: Path, out: Path) -> None:
    """As `python -m monai.bundle run` does."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        workflow_type="infer",
        bundle_root=str(bundle),
        dataset_dir=str(images),
        output_dir=str(out),
        device="$torch.device('cpu')",
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    workflow.run()
    workflow.finalize()


class TestLabels:
    @pytest.mark.parametrize(
        ("data", "activation", "inference", "options"),
        [
            ({"normalisation": "zscore"}, "softmax", {}, {}),
            ({"normalisation": ["zscore", "unit"]}, "sigmoid", {}, {"channels": 2}),
            ({"normalisation": "ct"}, "softmax", {"mirror_axes": [0, 2], "blending": "constant"}, {}),
            ({"normalisation": "zscore"}, "sigmoid", {"overlap": 0.25}, {"labels": REGIONS}),
        ],
        ids=["plain", "channels", "ct-mirrored", "regions"],
    )
    def test_they_are_those_of_medseg(
        self, tmp_path: Path, data: dict[str, Any], activation: str, inference: dict[str, Any], options: dict[str, Any]
    ) -> None:
        run = make_run(tmp_path / "run", config(activation=activation, **data), inference, **options)
        images = tmp_path / "images"
        images.mkdir()
        for channel in range(options.get("channels", 1)):
            nibabel.save(nibabel.Nifti1Image(texture(channel), LAS), images / f"a_{channel:04d}.nii.gz")
        export_run(run, tmp_path / "bundle", "bundle")
        predict_run(run, images, tmp_path / "ours", device="cpu", precision="32-true")
        run_bundle(tmp_path / "bundle", images, tmp_path / "theirs")
        ours, theirs = (nibabel.load(path) for path in (tmp_path / "ours" / "a.nii.gz", tmp_path / "theirs" / "a_0000.nii.gz"))
        assert np.allclose(ours.affine, theirs.affine)
        assert len(np.unique(np.asarray(ours.dataobj))) > 1
        assert np.mean(np.asarray(ours.dataobj) != np.asarray(theirs.dataobj)) < 0.001  # ties in the rounding of float32

    def test_pictures_too(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run", config(2, normalisation="unit"), channels=3, suffix=".png")
        (tmp_path / "images").mkdir()
        picture = (3 * texture(0, (21, 30, 3)) + 128).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "images" / "a_0000.png")
        export_run(run, tmp_path / "bundle", "bundle")
        predict_run(run, tmp_path / "images", tmp_path / "ours", device="cpu", precision="32-true")
        run_bundle(tmp_path / "bundle", tmp_path / "images", tmp_path / "theirs")
        ours, theirs = (np.array(Image.open(path)) for path in (tmp_path / "ours" / "a.png", tmp_path / "theirs" / "a_0000.png"))
        assert np.array_equal(ours, theirs)

    def test_thresholds_hold_in_the_bundle(self, tmp_path: Path) -> None:
        from monai.bundle import ConfigParser

        run = make_run(tmp_path / "run", config())
        steps = {"thresholds": {"high": 0.2}, "minimum_size": {}, "largest_component": [], "fill_holes": []}
        (run / "postprocessing.json").write_text(json.dumps(steps))
        export_run(run, tmp_path / "bundle", "bundle")
        parser = ConfigParser()
        parser.read_config(str(tmp_path / "bundle" / "configs" / "inference.json"))
        from monai.data import MetaTensor

        prob = torch.tensor([[0.6, 0.6, 0.2], [0.1, 0.3, 0.5], [0.3, 0.1, 0.3]])[..., None, None]
        assert parser.get_parsed_content("decide")(MetaTensor(prob)).flatten().tolist() == [7, 0, 3]

    def test_resampling_differs_by_little_and_says_so(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run", config(normalisation="zscore", spacing=[1.5, 1.5, 3.0]))
        (tmp_path / "images").mkdir()
        nibabel.save(nibabel.Nifti1Image(texture(0), LAS), tmp_path / "images" / "a_0000.nii.gz")
        export_run(run, tmp_path / "bundle", "bundle")
        predict_run(run, tmp_path / "images", tmp_path / "ours", device="cpu", precision="32-true")
        run_bundle(tmp_path / "bundle", tmp_path / "images", tmp_path / "theirs")
        ours, theirs = (
            np.asarray(nibabel.load(path).dataobj) for path in (tmp_path / "ours" / "a.nii.gz", tmp_path / "theirs" / "a_0000.nii.gz")
        )
        assert ours.shape == theirs.shape
        assert np.mean(ours != theirs) < 0.1  # an untrained network: most of its voxels are borders
        assert "resampled linearly" in (tmp_path / "bundle" / "docs" / "README.md").read_text()


class TestFolder:
    def test_it_holds_what_a_bundle_must(self, tmp_path: Path) -> None:
        from monai.bundle.properties import MetaProperties

        bundle = export_run(save_run(tmp_path / "run"), tmp_path / "bundle", "bundle", licence="CC-BY-4.0")
        files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
        assert files == {
            *("configs/metadata.json", "configs/inference.json", "models/model.pt", "models/model.ts"),
            *("docs/README.md", "LICENSE"),
        }
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
        plain = {name for name, about in MetaProperties.items() if about["required"] and "::" not in about["id"].removeprefix("_meta_::")}
        schema = {"schema", "task", "authors", "copyright", "changelog", "network_data_format", "required_packages_version"}
        assert plain | schema <= metadata.keys()
        pred = metadata["network_data_format"]["outputs"]["pred"]
        assert pred["channel_def"] == {"0": "background", "1": "low", "2": "high"}
        assert (bundle / "LICENSE").read_text() == "CC-BY-4.0\n"

    def test_the_weights_are_those_of_the_run(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        bundle = export_run(run, tmp_path / "bundle", "bundle")
        weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
        script = torch.jit.load(bundle / "models" / "model.ts")
        assert weights.keys() == script.state_dict().keys()
        saved = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(tensor, saved[f"network.{name}"]) for name, tensor in weights.items())

    def test_a_folder_that_holds_something_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "mine").touch()
        with pytest.raises(RunError, match="neither an empty folder nor a bundle"):
            export_run(save_run(tmp_path / "run"), tmp_path / "bundle", "bundle", overwrite=True)
        assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["mine"]

    def test_a_bundle_is_replaced_only_where_that_is_asked_for(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        bundle = export_run(run, tmp_path / "bundle", "bundle")
        (bundle / "old").touch()
        with pytest.raises(RunError, match="bundle: exists already; give another name, or --overwrite"):
            export_run(run, bundle, "bundle")
        assert (bundle / "old").is_file()
        export_run(run, bundle, "bundle", overwrite=True)
        assert not (bundle / "old").exists()
        assert (bundle / "models" / "model.ts").is_file()
        assert {path.name for path in tmp_path.iterdir()} == {"run", "bundle"}

    def test_components_that_stay_are_told(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        steps = {"thresholds": {}, "minimum_size": {"low": 5.0}, "largest_component": [], "fill_holes": []}
        (run / "postprocessing.json").write_text(json.dumps(steps))
        text = (export_run(run, tmp_path / "bundle", "bundle") / "docs" / "README.md").read_text()
        assert "Components are not removed" in text

    def test_too_many_overlapping_classes_are_refused(self, tmp_path: Path) -> None:
        names = tuple(f"c{number}" for number in range(13))
        labels = LabelSchema(names, tuple((1, number + 2) for number in range(13)))
        with pytest.raises(RunError, match="at most 12 overlapping classes"):
            export_run(save_run(tmp_path / "run", config=config(activation="sigmoid"), labels=labels), tmp_path / "bundle", "bundle")
        assert not (tmp_path / "bundle").exists()
