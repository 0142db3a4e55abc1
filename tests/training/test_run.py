from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from PIL import Image

from medseg.config import Config, ConfigError, load_config, to_dict, to_yaml
from medseg.data import DATA_MODULES
from medseg.errors import DataError, RunError
from medseg.training import run as running
from medseg.training.checkpoints import Checkpoints
from medseg.training.epoch_table import EpochTable
from medseg.training.run import InterruptedRunError, resume, train
from medseg.training.run_folder import RunFolder
from tests.training.conftest import TINY

Tiny = Callable[..., Config]


def weights(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("network.")}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


def stop_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    """Break off in the middle of an epoch."""

    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            if trainer.current_epoch == epoch:
                raise error

    made = running.make_trainer

    def make(*arguments: object) -> Trainer:
        trainer = made(*arguments)
        trainer.callbacks.append(Stop())
        return trainer

    monkeypatch.setattr(running, "make_trainer", make)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantom_root: Path) -> RunFolder:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY.replace("ROOT", str(phantom_root)).replace("RUNS", str(folder / "runs")))
    return train(load_config(str(folder / "tiny.yaml")))


class TestTrain:
    def test_the_run_folder_holds_all_that_the_design_names(self, finished: RunFolder) -> None:
        names = {str(p.relative_to(finished.path)) for p in finished.path.rglob("*") if p.is_file()}
        assert {
            "config.yaml",
            "environment.txt",
            "splits.json",
            "checkpoints/best.ckpt",
            "checkpoints/last.ckpt",
            "metrics.csv",
            "evaluation/cases.csv",
            "evaluation/lesions.csv",
            "evaluation/summary.json",
        } <= names
        assert any("tfevents" in name for name in names)
        assert sum(name.startswith("predictions/") for name in names) == 2
        assert not any(Path(name).name.startswith(".") for name in names)

    def test_the_saved_config_is_the_resolved_one(self, finished: RunFolder) -> None:
        assert to_dict(load_config(str(finished.config))) == yaml.safe_load(finished.config.read_text())

    def test_metrics_csv_has_a_row_an_epoch_with_every_term_and_the_whole_case_scores(self, finished: RunFolder) -> None:
        rows = read_csv(finished.metrics)
        assert [row["epoch"] for row in rows] == ["0", "1"]
        wanted = ["train/loss", "train/cross_entropy", "train/dice", "val/dice", "val/dice/lesion", "val/lesion_f1"]
        assert all(float(row[column]) >= 0 for row in rows for column in wanted if row[column] != "nan")

    def test_the_checkpoint_holds_plain_types_only(self, finished: RunFolder) -> None:
        saved = torch.load(finished.best, weights_only=True)["medseg"]
        assert saved["config"] == yaml.safe_load(finished.config.read_text())
        json.dumps(saved)

    def test_test_cases_close_the_run_and_took_no_part_in_it(self, finished: RunFolder) -> None:
        summary = json.loads((finished.evaluation / "summary.json").read_text())
        splits = json.loads(finished.splits.read_text())
        scored = {row["case_id"] for row in read_csv(finished.evaluation / "cases.csv")}
        assert summary["split"] == "test"
        assert not scored & {case for fold in splits["folds"] for case in (*fold["train"], *fold["val"])}

    def test_the_same_seed_gives_the_same_weights_and_another_seed_others(self, tiny: Tiny) -> None:
        first, again, other = (train(tiny("trainer.max_epochs=1", f"seed={seed}")) for seed in (3, 3, 4))
        assert first.path != again.path
        assert_same_weights(first.last, again.last)
        assert any(not torch.equal(a, b) for a, b in zip(weights(first.last).values(), weights(other.last).values(), strict=True))

    def test_broken_data_stops_before_a_run_folder_is_made(self, tiny: Tiny, tmp_path: Path) -> None:
        config = tiny("data.format={name: nnunet, params: {}}", f"data.root={tmp_path / 'nowhere'}")
        with pytest.raises(DataError, match="nowhere"):
            train(config)
        assert not (tmp_path / "runs").exists()


class TestClosing:
    def test_post_processing_is_chosen_before_the_scoring_and_the_report_closes_the_run(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1", "inference.postprocessing.choose=true", "evaluation.report=true"))
        chosen = json.loads((run.path / "postprocessing.json").read_text(encoding="utf-8"))
        assert chosen["chosen_by"]["metric"] == "dice"
        assert set(chosen["chosen_by"]["cases"]) == set(json.loads(run.splits.read_text())["folds"][0]["val"])
        assert (run.path / "report.html").stat().st_size > 10_000

    def test_without_probabilities_there_are_no_curves(self, tiny: Tiny) -> None:
        few = ("trainer.max_epochs=1", "data.patches_per_epoch=2")
        with_them, without = train(tiny(*few)), train(tiny(*few, "evaluation.probabilities=false"))
        names = [{path.name for path in run.evaluation.iterdir()} for run in (with_them, without)]
        assert names[0] - names[1] == {"candidates.csv", "calibration.csv"}
        assert (with_them.evaluation / "cases.csv").read_text() == (without.evaluation / "cases.csv").read_text()

    def test_the_primary_metric_chooses_the_best_checkpoint_unless_another_is_monitored(self, tiny: Tiny) -> None:
        few = ("trainer.max_epochs=1", "data.patches_per_epoch=2", "evaluation.primary=hd95")
        for overrides, monitor, sign in (((), "val/hd95", -1.0), (("validation.monitor=iou",), "val/iou", 1.0)):
            run = train(tiny(*few, *overrides))
            score = torch.load(run.last, weights_only=True)["callbacks"]["Checkpoints"]["best_score"]
            assert score == pytest.approx(sign * float(read_csv(run.metrics)[0][monitor]), rel=1e-5)


class TestRefusals:
    """What cannot work is found before a run folder is made."""

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["data.patch_size=[31,32]"], "data.patch_size"),
            (["network={name: unet, params: {channels: [4,8,16,32,64,128]}}"], "data.patch_size"),
            (["optimizer.params.lr=-1"], "optimizer.params"),
            (["optimizer.params.betas=[0.9]"], "optimizer.params"),
            (["schedule.params.warmup=5"], "schedule.params"),
            (["schedule={name: polynomial, params: {exponent: -1}}"], "schedule.params"),
            (["loss.ignore_index=1"], "loss.ignore_index"),
            (["loss.terms=[{name: focal, params: {alpha: 0.25}}]"], "loss.terms[0].params"),
            (["trainer.accelerator=mps"], "trainer.accelerator"),
            (["inference.window=[31,32]"], "inference.window"),
            (["inference.postprocessing.fill_holes=[lesoin]"], "inference.postprocessing.fill_holes"),
            (["inference.postprocessing.minimum_size={organ: 2}"], "inference.postprocessing.minimum_size"),
            (["evaluation.tolerances={lesions: [2]}"], "evaluation.tolerances"),
            (["evaluation.primary=volume_difference_ml"], "evaluation.primary"),
            (["validation.monitor=fp_volume_ml"], "validation.monitor"),
        ],
    )
    def test_names_the_key(self, tiny: Tiny, overrides: list[str], message: str) -> None:
        config = tiny(*overrides)
        with pytest.raises(ConfigError, match=re.escape(message)):
            train(config)
        assert not Path(config.runs_dir).exists()

    def test_another_number_of_processes_than_was_started(self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "4")
        with pytest.raises(ConfigError, match="4 processes were started"):
            train(tiny())

    def test_overlapping_regions_need_sigmoid(self, tmp_path: Path) -> None:
        labels = {"background": 0, "whole": [1, 2], "core": 2}
        content = {"channel_names": {"0": "x"}, "labels": labels, "regions_class_order": [1, 2], "file_ending": ".png", "numTraining": 6}
        for folder in ("imagesTr", "labelsTr"):
            (tmp_path / "set" / folder).mkdir(parents=True)
        (tmp_path / "set" / "dataset.json").write_text(json.dumps(content))
        for case in range(6):
            label = np.zeros((32, 32), np.uint8)
            label[4:20, 4:20], label[8:14, 8:14] = 1, 2
            Image.fromarray(label * 60 + case).save(tmp_path / "set" / "imagesTr" / f"c{case}_0000.png")
            Image.fromarray(label).save(tmp_path / "set" / "labelsTr" / f"c{case}.png")
        (tmp_path / "tiny.yaml").write_text(TINY.replace("ROOT", str(tmp_path / "set")).replace("RUNS", str(tmp_path / "runs")))
        overrides = ["data.format={name: nnunet, params: {}}", f"data.root={tmp_path / 'set'}"]
        with pytest.raises(ConfigError, match=r"loss\.activation"):
            train(load_config(str(tmp_path / "tiny.yaml"), overrides))
        sigmoid = ["loss.activation=sigmoid", "loss.terms=[{name: bce}, {name: dice}]", "trainer.max_epochs=1"]
        run = train(load_config(str(tmp_path / "tiny.yaml"), [*overrides, *sigmoid]))
        assert {row["class_name"] for row in read_csv(run.evaluation / "cases.csv")} == {"whole", "core"}


class TestSettings:
    """Every key of the trainer and validation sections changes something."""

    @pytest.mark.parametrize(
        ("override", "attribute", "value"),
        [
            ("trainer.max_epochs=7", "max_epochs", 7),
            ("trainer.gradient_clip=0.5", "gradient_clip_val", 0.5),
            ("trainer.gradient_clip=0", "gradient_clip_val", None),
            ("trainer.accumulate=3", "accumulate_grad_batches", 3),
            ("validation.every_epochs=4", "check_val_every_n_epoch", 4),
            ("trainer.precision=bf16-mixed", "precision", "bf16-mixed"),
            ("trainer.precision=32-true", "precision", "32-true"),
            ("trainer.devices=2", "num_devices", 2),
            ("trainer.nodes=2", "num_nodes", 2),
        ],
    )
    def test_reaches_the_trainer(self, tiny: Tiny, tmp_path: Path, override: str, attribute: str, value: object) -> None:
        run = RunFolder(tmp_path)
        assert getattr(running.make_trainer(tiny(override), run, EpochTable(run.metrics)), attribute) == value

    def test_the_last_epoch_is_scored_whatever_the_interval(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=3", "validation.every_epochs=2"))
        rows = read_csv(run.metrics)
        assert [row["val/dice"] != "" for row in rows] == [False, True, True]

    def test_monitor_chooses_the_best_checkpoint(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=3", "validation.monitor=lesion_f1", "optimizer.params.lr=0.01"))
        rows = [float(row["val/lesion_f1"]) for row in read_csv(run.metrics)]
        state = torch.load(run.last, weights_only=True)["callbacks"]["Checkpoints"]
        assert state["best_score"] == pytest.approx(max(rows), rel=1e-5)
        assert state["best_epoch"] == rows.index(max(rows))
        assert torch.load(run.best, weights_only=True)["epoch"] == state["best_epoch"]

    @pytest.mark.parametrize("channels_last", [True, False])
    def test_channels_last_lays_the_weights_out(self, tiny: Tiny, channels_last: bool) -> None:
        config = tiny(f"trainer.channels_last={channels_last}".lower())
        _, task = running.prepare(config)
        task.trainer = running.make_trainer(config, RunFolder(Path("unused")), EpochTable(Path("unused.csv")))
        task.setup("fit")
        kernels = [p for p in task.network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels) == channels_last


class TestResume:
    @pytest.mark.parametrize("epoch", [0, 1])
    def test_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(
        self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, epoch: int
    ) -> None:
        whole = train(tiny())
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, epoch)
            with pytest.raises(InterruptedRunError, match="medseg resume") as caught:
                train(tiny())
        broken = Path(str(caught.value).split("medseg resume ")[1])
        run = resume(broken)
        assert run.path == broken
        assert run.finished
        assert_same_weights(whole.last, run.last)
        assert_same_weights(whole.best, run.best)
        assert run.metrics.read_text() == whole.metrics.read_text()

    def test_a_finished_run_is_left_as_it_is(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1"))
        before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()}
        resume(run.path)
        assert before == {p: p.stat().st_mtime_ns for p in run.path.rglob("*") if p.is_file()}

    def test_a_run_that_trained_but_was_not_scored_is_scored(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1"))
        summary = (run.evaluation / "summary.json").read_text()
        (run.evaluation / "summary.json").unlink()
        assert (resume(run.path).evaluation / "summary.json").read_text() == summary

    def test_other_splits_than_the_runs_are_refused(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1"))
        (run.evaluation / "summary.json").unlink()
        splits = json.loads(run.splits.read_text())
        splits["folds"][0]["train"] = splits["folds"][0]["train"][1:]
        run.splits.write_text(json.dumps(splits))
        with pytest.raises(RunError, match="other splits"):
            resume(run.path)

    def test_what_decides_the_weights_cannot_change(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1"))
        with pytest.raises(RunError, match="finished"):
            resume(run.path, ["trainer.max_epochs=2"])
        (run.evaluation / "summary.json").unlink()
        with pytest.raises(RunError, match=r"cannot change data\.fold, network\.params\.channels"):
            resume(run.path, ["data.fold=1", "network.params.channels=[8,16]"])

    def test_overrides_become_part_of_the_run(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1"))
        (run.evaluation / "summary.json").unlink()
        elsewhere = str(run.path / "store")
        resume(run.path, ["trainer.max_epochs=2", f"data.store={elsewhere}", "data.augment_on=device"])
        assert load_config(str(run.config)).trainer.max_epochs == 2
        assert load_config(str(run.config)).data.store == elsewhere
        assert len(read_csv(run.metrics)) == 2

    def test_a_finetune_without_saved_weights_does_not_start_from_random_ones(self, tiny: Tiny) -> None:
        run = RunFolder.create(Path(tiny().runs_dir), "tuned", to_yaml(tiny()))
        run.transfer.write_text("tensor\n")
        with pytest.raises(RunError, match="finetune` again"):
            resume(run.path)

    def test_one_folder_is_trained_by_one_process_at_a_time(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1"))
        (run.evaluation / "summary.json").unlink()
        with run.locked(), pytest.raises(RunError, match="another process"):
            resume(run.path)

    def test_a_folder_that_is_no_run_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"no config\.yaml"):
            resume(tmp_path)
        with pytest.raises(RunError, match="no such run folder"):
            resume(tmp_path / "typo")


SLOW_SCORING = """
import runpy, sys, time
from medseg.training import run, scoring
score = scoring.score_run
run.score_run = lambda *arguments: (time.sleep(12), score(*arguments))[1]
sys.argv[0] = "medseg"
runpy.run_module("medseg", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
class TestProcesses:
    def test_a_killed_process_leaves_a_run_that_resumes(self, tiny: Tiny, tmp_path: Path) -> None:
        tiny()
        command = [sys.executable, "-m", "medseg", "train", str(tmp_path / "tiny.yaml"), "trainer.max_epochs=400"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        last = None
        try:
            while last is None:
                assert process.poll() is None, process.stdout.read() if process.stdout else ""
                last = next((tmp_path / "runs").glob("tiny/*/metrics.csv"), None)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        run = RunFolder.open(last.parent)
        done = running.finished_epochs(run.last)
        resumed = resume(run.path, [f"trainer.max_epochs={done + 1}"])
        assert resumed.finished
        assert [int(row["epoch"]) for row in read_csv(run.metrics)] == list(range(done + 1))

    def test_ctrl_c_says_how_to_go_on(self, tiny: Tiny, tmp_path: Path) -> None:
        tiny()
        command = [sys.executable, "-m", "medseg", "train", str(tmp_path / "tiny.yaml"), "trainer.max_epochs=400"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while next((tmp_path / "runs").glob("tiny/*/metrics.csv"), None) is None:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "go on with: medseg resume" in errors
        assert "Traceback" not in errors

    def test_two_processes_train_like_one(self, tiny: Tiny, tmp_path: Path) -> None:
        tiny()
        options = [
            "optimizer={name: sgd, params: {lr: 0.01}}",
            "trainer.max_epochs=2",
            "data.batch_size=4",
            "data.patches_per_epoch=8",
            "network.params.dropout=0",
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for devices in (1, 2):
            command = [sys.executable, "-m", "medseg", "train", str(tmp_path / "tiny.yaml"), *options]
            command += [f"trainer.devices={devices}", f"name=devices{devices}"]
            if devices == 2:  # long enough for Lightning's watch over its children to notice one that failed
                command[1:3] = ["-c", SLOW_SCORING]
            subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)
        folders = {devices: list((tmp_path / "runs" / f"devices{devices}").iterdir()) for devices in (1, 2)}
        assert [len(found) for found in folders.values()] == [1, 1]
        one, two = (RunFolder.open(found[0]) for found in folders.values())
        assert one.finished
        assert two.finished
        for row, other in zip(read_csv(one.metrics), read_csv(two.metrics), strict=True):
            assert float(row["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=1e-4)
            assert float(row["val/dice"]) == pytest.approx(float(other["val/dice"]), abs=1e-3)
            assert row["train/share/dice"] == other["train/share/dice"] == "" or float(row["train/share/dice"]) == pytest.approx(
                float(other["train/share/dice"]), abs=1e-3
            )
        for a, b in zip(weights(one.last).values(), weights(two.last).values(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


class Trained:
    """As much of a trainer and its module as `Checkpoints` looks at."""

    is_global_zero = True

    def __init__(self) -> None:
        self.current_epoch = self.validated_epoch = -1
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.strategy = self

    def barrier(self) -> None:
        pass

    def save_checkpoint(self, path: Path, weights_only: bool) -> None:
        path.write_text(str(self.current_epoch))


def best_epoch(folder: Path, scores: list[float], losses: list[float], lower_is_better: bool = False) -> int:
    """The epoch that is kept as the best."""
    callback, trainer = Checkpoints(folder / "last.ckpt", folder / "best.ckpt", "val/x", lower_is_better), Trained()
    for epoch, (score, loss) in enumerate(zip(scores, losses, strict=True)):
        trainer.current_epoch = trainer.validated_epoch = epoch
        trainer.callback_metrics = {"val/x": torch.tensor(score), "train/loss": torch.tensor(loss)}
        callback.on_train_epoch_end(trainer, trainer)  # type: ignore[arg-type]
        again = Checkpoints(folder / "last.ckpt", folder / "best.ckpt", "val/x", lower_is_better)
        again.load_state_dict(callback.state_dict())
        callback = again
    assert (folder / "last.ckpt").read_text() == str(len(scores) - 1)
    assert {path.name for path in folder.iterdir()} == {"best.ckpt", "last.ckpt"}
    return int((folder / "best.ckpt").read_text())


class TestCheckpoints:
    @pytest.mark.parametrize(("lower", "wanted"), [(False, 1), (True, 2)])
    def test_the_best_end_of_the_metric_is_kept(self, tmp_path: Path, lower: bool, wanted: int) -> None:
        assert best_epoch(tmp_path, [0.5, 0.9, 0.1, 0.9], [1.0] * 4, lower) == wanted

    def test_without_any_value_the_training_loss_chooses_and_says_so_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        nan = float("nan")
        assert best_epoch(tmp_path, [nan] * 4, [3.0, 1.0, 2.0, nan]) == 1
        assert capsys.readouterr().out.count("the training loss chooses best.ckpt until it has one") == 1

    def test_the_first_value_takes_over_and_infinity_is_none(self, tmp_path: Path) -> None:
        nan = float("nan")
        assert best_epoch(tmp_path, [nan, 0.1, nan, float("inf")], [0.1, 3.0, 0.01, 0.0]) == 1

    def test_nothing_but_nan_still_leaves_a_best_checkpoint(self, tmp_path: Path) -> None:
        assert best_epoch(tmp_path, [float("nan")], [float("nan")]) == 0


class TestGeometry:
    def test_predictions_of_a_3d_run_lie_in_the_files_own_grid(self, tmp_path: Path) -> None:
        overrides = [
            "data.format.params.kind=lesions_3d",
            "data.format.params.size=[32,36,40]",
            "data.patch_size=[16,16,16]",
            f"data.root={tmp_path / 'set'}",
            "trainer.max_epochs=1",
            f"runs_dir={tmp_path / 'runs'}",
        ]
        (tmp_path / "tiny.yaml").write_text(TINY.replace("ROOT", str(tmp_path / "set")))
        run = train(load_config(str(tmp_path / "tiny.yaml"), overrides))
        for path in run.predictions.iterdir():
            image = nib.load(next((tmp_path / "set").glob(f"*/imagesTs/{path.name.replace('.nii.gz', '_0000.nii.gz')}")))
            predicted = nib.load(path)
            assert predicted.shape == image.shape
            np.testing.assert_allclose(predicted.affine, image.affine, atol=1e-4)


class TestPreparing:
    def test_it_says_how_many_cases_it_prepares_and_nothing_when_none(self, tiny: Tiny, tmp_path: Path, capsys) -> None:
        config = tiny(f"data.store={tmp_path / 'prepared'}")
        data = DATA_MODULES[config.data.module](config.data, config.seed)
        running.prepare_cases(data)
        assert capsys.readouterr().out.splitlines()[0] == "preparing 8 of 8 cases"
        next((tmp_path / "prepared").glob("*/cases/*/label.b2nd")).unlink()
        running.prepare_cases(data)
        assert capsys.readouterr().out.splitlines()[0] == "preparing 1 of 8 cases"
        running.prepare_cases(data)
        assert capsys.readouterr().out.strip() == ""

    def test_lesions_that_resampling_loses_are_told_before_training(self, tiny: Tiny, capsys) -> None:
        few = ("trainer.max_epochs=1", "data.patches_per_epoch=2")
        train(tiny("data.spacing=[3,3]", "data.patch_size=[16,16]", *few))
        told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
        assert re.fullmatch(r"warning: resampling to \[3, 3\] mm leaves \d+ of \d+ lesions of 'lesion', .*", told[0])
        train(tiny(*few))
        assert "warning: resampling" not in capsys.readouterr().out
