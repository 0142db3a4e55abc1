from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.errors import RunError
from medseg.inference import Postprocessing, load_checkpoint, load_predictor, read_run
from medseg.inference.export import export_run
from tests.inference.runs import LABELS, checkpoint, config, save_run


class Executes:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.marker),)


class TestLoadPredictor:
    def test_a_run_comes_back_as_it_was_saved(self, tmp_path: Path) -> None:
        predictor = load_predictor(save_run(tmp_path), device="cpu")
        assert predictor.labels == LABELS
        assert (predictor.window, predictor.overlap, predictor.precision) == ((8, 8, 8), 0.5, None)
        assert not predictor.network.training
        saved = checkpoint(config())["state_dict"]
        loaded = predictor.network.state_dict()
        assert {f"network.{key}" for key in loaded} == set(saved)
        assert all(torch.equal(loaded[key.removeprefix("network.")], value) for key, value in saved.items())

    def test_options_override_the_config(self, tmp_path: Path) -> None:
        predictor = load_predictor(
            save_run(tmp_path), "cpu", window=[16, 8, 8], overlap=0.0, blending="constant", batch_size=1, precision="bf16-mixed"
        )
        assert (predictor.window, predictor.overlap, predictor.blending) == ((16, 8, 8), 0.0, "constant")
        assert (predictor.batch_size, predictor.precision) == (1, torch.bfloat16)

    def test_the_best_checkpoint_goes_before_the_last(self, tmp_path: Path) -> None:
        save_run(tmp_path, "last.ckpt")
        assert read_run(tmp_path).path.name == "last.ckpt"
        save_run(tmp_path, "best.ckpt")
        assert read_run(tmp_path).path.name == "best.ckpt"

    def test_a_checkpoint_file_is_a_run_too(self, tmp_path: Path) -> None:
        run = save_run(tmp_path, "last.ckpt")
        assert read_run(run / "checkpoints" / "last.ckpt").channels == ("c0",)

    def test_encoder_weights_are_not_fetched_again(self, tmp_path: Path) -> None:
        values = config(2)
        values["network"] = {"name": "smp_unet", "params": {"encoder": "resnet18", "encoder_weights": None}}
        run = save_run(tmp_path, config=values)
        path = run / "checkpoints" / "best.ckpt"
        content = torch.load(path, weights_only=True)
        content["medseg"]["config"]["network"]["params"]["encoder_weights"] = str(tmp_path / "gone.pth")
        torch.save(content, path)
        assert load_predictor(run, "cpu").spatial_dims == 2


class TestRefusals:
    def test_a_missing_run_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no such run folder or checkpoint"):
            load_predictor(tmp_path / "typo")

    def test_a_folder_without_checkpoint_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="finished an epoch"):
            load_predictor(tmp_path)

    def test_a_truncated_checkpoint_is_damaged(self, tmp_path: Path) -> None:
        path = save_run(tmp_path) / "checkpoints" / "best.ckpt"
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(RunError, match=r"best\.ckpt.*(damaged|cannot be read)"):
            load_predictor(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"no checkpoint at all"])
    def test_another_file_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.ckpt").write_bytes(content)
        with pytest.raises(RunError, match=r"x\.ckpt"):
            load_checkpoint(tmp_path / "x.ckpt")

    def test_a_pickle_is_never_executed(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {}, "medseg": Executes(tmp_path / "executed")}, tmp_path / "x.ckpt")
        with pytest.raises(RunError, match="safely"):
            load_checkpoint(tmp_path / "x.ckpt")
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize("name", ["x.onnx", "x.ts", "x.pt", "bundle"])
    def test_exports_are_for_other_tools(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if name == "bundle":
            (path / "configs").mkdir(parents=True)
            (path / "configs" / "metadata.json").touch()
        elif name == "x.pt":  # the usual name of weights too: what is in it tells
            with zipfile.ZipFile(path, "w") as file:
                file.writestr("x/code/__torch__.py", "")
        else:
            path.touch()
        with pytest.raises(RunError, match=f"{name}: is an export for other tools.*give the run folder, a checkpoint or a .medseg package"):
            read_run(path)

    def test_a_foreign_checkpoint_is_told_apart(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "x.ckpt")
        with pytest.raises(RunError, match="no checkpoint of medseg"):
            load_checkpoint(tmp_path / "x.ckpt")

    def test_missing_weights_are_named(self, tmp_path: Path) -> None:
        content = checkpoint(config())
        content["state_dict"].popitem()
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(RunError, match="weights do not fit"):
            load_predictor(tmp_path / "x.ckpt")

    def test_an_incomplete_description_is_refused(self, tmp_path: Path) -> None:
        content = checkpoint(config())
        del content["medseg"]["dataset"]["labels"]
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(RunError, match=r"incomplete.*labels"):
            load_predictor(tmp_path / "x.ckpt")

    def test_a_config_of_another_version_is_refused(self, tmp_path: Path) -> None:
        content = checkpoint(config())
        content["medseg"]["config"]["data"]["patch_sise"] = 3
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(RunError, match="patch_sise"):
            load_predictor(tmp_path / "x.ckpt")


class TestPostprocessing:
    """The run's own where it was chosen, else its config's."""

    def config(self, **steps: Any) -> dict[str, Any]:
        values = config()
        values["inference"]["postprocessing"] |= steps
        return values

    def test_without_any_there_is_none(self, tmp_path: Path) -> None:
        assert read_run(save_run(tmp_path)).postprocessing is None
        assert load_predictor(tmp_path, "cpu").postprocessing is None

    def test_the_configs_is_used(self, tmp_path: Path) -> None:
        run = save_run(tmp_path, config=self.config(minimum_size={"low": 5.0}))
        expected = Postprocessing(LABELS, "softmax", minimum_size={"low": 5.0})
        assert read_run(run).postprocessing is not None
        assert load_predictor(run, "cpu").postprocessing.to_dict() == expected.to_dict()  # type: ignore[union-attr]

    def test_the_chosen_one_goes_first_even_where_it_does_nothing(self, tmp_path: Path) -> None:
        run = save_run(tmp_path, config=self.config(minimum_size={"low": 5.0}))
        chosen = Postprocessing(LABELS, "softmax", fill_holes=["high"])
        chosen.write(run / "postprocessing.json", metric="dice")
        for path in (run, run / "checkpoints" / "best.ckpt"):
            assert read_run(path).postprocessing.to_dict() == chosen.to_dict()  # type: ignore[union-attr]
        Postprocessing(LABELS, "softmax").write(run / "postprocessing.json")
        assert read_run(run).postprocessing is None

    def test_a_checkpoint_elsewhere_has_its_configs(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        Postprocessing(LABELS, "softmax", fill_holes=["high"]).write(tmp_path / "postprocessing.json")
        (tmp_path / "alone").mkdir()
        moved = (run / "checkpoints" / "best.ckpt").rename(tmp_path / "alone" / "best.ckpt")
        assert read_run(moved).postprocessing is None

    def test_a_damaged_one_and_an_unknown_class_are_named(self, tmp_path: Path) -> None:
        run = save_run(tmp_path)
        (run / "postprocessing.json").write_text("{")
        with pytest.raises(RunError, match=r"postprocessing\.json: cannot be read"):
            read_run(run)
        content = checkpoint(self.config(largest_component=["liver"]))
        torch.save(content, tmp_path / "x.ckpt")
        with pytest.raises(RunError, match=r"x\.ckpt: its config's inference\.postprocessing\.largest_component: .*liver"):
            read_run(tmp_path / "x.ckpt")


class TestInferenceSettings:
    def test_mirroring_and_skipping_are_the_configs(self, tmp_path: Path) -> None:
        values = config()
        values["inference"] |= {"mirror_axes": [0, 2], "skip": "nonzero"}
        predictor = load_predictor(save_run(tmp_path, config=values), "cpu")
        assert (predictor.mirror_axes, predictor.skip) == ((0, 2), "nonzero")


class TestPackages:
    def test_are_runs_too(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run")
        package = export_run(run, tmp_path / "tiny.medseg", "package")
        saved, packed = read_run(run), read_run(package)
        assert (packed.path, packed.labels, packed.channels, packed.suffix) == (package, saved.labels, saved.channels, saved.suffix)
        first, second = (load_predictor(one, "cpu").network.state_dict() for one in (run, package))
        assert all(torch.equal(first[key], second[key]) for key in first)
