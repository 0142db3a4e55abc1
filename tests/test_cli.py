"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import medseg
from medseg.cli import VERBS, build_parser, main, parse, split_overrides

COMMANDS = (
    *("train", "resume", "finetune", "sweep", "predict", "evaluate", "postprocess", "report", "compare", "export"),
    *("config", "check", "prepare", "show", "losses"),
)


class TestHelp:
    def test_lists_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main(["--help"])
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert all(command in text for command in COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_explains_itself(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        assert "usage: medseg" in capsys.readouterr().out

    def test_every_command_of_the_parser_has_a_function(self) -> None:
        assert set(VERBS) == set(COMMANDS)

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out.strip() == f"medseg {medseg.__version__}"

    def test_options_are_not_guessed_from_prefixes(self) -> None:
        with pytest.raises(SystemExit) as caught:
            build_parser().parse_args(["predict", "run", "--in", "a", "--output", "b"])
        assert caught.value.code == 2


class TestParse:
    def test_settings_may_stand_behind_options(self) -> None:
        options = parse(["finetune", "focal_tversky", "--from", "runs/x", "trainer.max_epochs=3", "--debug"])
        assert options.overrides == ["trainer.max_epochs=3"]
        assert options.debug

    @pytest.mark.parametrize("arguments", [["train", "x", "--typo"], ["predict", "r", "--input", "a", "--output", "b", "c=1"]])
    def test_what_is_neither_is_refused(self, arguments: list[str]) -> None:
        with pytest.raises(SystemExit) as caught:
            parse(arguments)
        assert caught.value.code == 2


class TestConfigErrors:
    OVERRIDES = (
        "trainer.max_epoch=3",
        "loss.terms[0].params.exponnent=2",
        "network.name=unett",
        "data.batch_size=two",
        "loss.terms[4].weight=1",
    )

    def test_all_at_once_with_paths_and_suggestions_in_under_a_second_without_torch(self) -> None:
        script = "import sys; from medseg.cli import main; code = main(sys.argv[1:]); print('torch' in sys.modules); sys.exit(code)"
        command = [sys.executable, "-c", script, "train", "focal_tversky", *self.OVERRIDES]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            times.append(time.perf_counter() - start)
        assert result.returncode == 2
        assert result.stdout.strip() == "False"
        for wanted in (
            "trainer.max_epoch",
            "max_epochs",
            "loss.terms[0].params.exponnent",
            "exponent",
            "network.name",
            "unet",
            "data.batch_size",
            "loss.terms[4]",
        ):
            assert wanted in result.stderr
        assert "Traceback" not in result.stderr
        assert min(times) < 1.0

    def test_a_misspelt_file_name_is_answered_with_the_right_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["config", "focal_tverksy.yaml"]) == 2
        assert "focal_tversky" in capsys.readouterr().err

    def test_debug_shows_the_traceback(self) -> None:
        with pytest.raises(medseg.errors.MedsegError):
            main(["--debug", "config", "typo"])

    def test_what_only_the_constructor_knows_is_still_a_config_error(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        overrides = [
            "loss.terms=[{name: focal, params: {alpha: 0.25}}]",
            "data.format.params={kind: lesions_2d, cases: 4, test_cases: 1, size: [48,48]}",
            "data.patch_size=[32,32]",
            f"data.root={tmp_path}",
            f"data.store={tmp_path}/prepared",
            "data.folds=2",
        ]
        assert main(["train", "focal_tversky", f"runs_dir={tmp_path}/runs", *overrides]) == 2
        assert "loss.terms[0].params: alpha must be a list" in capsys.readouterr().err
        assert not (tmp_path / "runs").exists()


class TestConfig:
    def test_prints_yaml_that_loads_to_the_same(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert main(["config", "focal_tversky", "trainer.max_epochs=3"]) == 0
        text = capsys.readouterr().out
        assert yaml.safe_load(text)["trainer"]["max_epochs"] == 3
        (tmp_path / "again.yaml").write_text(text)
        assert main(["config", str(tmp_path / "again.yaml")]) == 0
        assert capsys.readouterr().out == text


class TestLosses:
    def test_lists_all_and_explains_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["losses"]) == 0
        assert "focal_tversky" in capsys.readouterr().out
        assert main(["losses", "focal_tversky"]) == 0
        assert "fn_weight: float = 0.7" in capsys.readouterr().out

    def test_a_typo_is_a_wrong_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["losses", "focal_tvrsky"]) == 2
        assert "did you mean focal_tversky?" in capsys.readouterr().err


def write_folders(root: Path, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        mask = np.zeros((40, 40), np.uint8)
        mask[5:12, 6:14] = 1
        image = rng.integers(0, 90, (40, 40)).astype(np.uint8) + 120 * mask
        for folder, array in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"{name}.png")


CHECK = ["check", "small_lesion_2d", "data.format={name: folders, params: {}}"]


class TestCheck:
    def test_a_sound_data_set_passes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a", "b"])
        assert main([*CHECK, f"data.root={tmp_path}"]) == 0
        assert "2 cases, 0 errors" in capsys.readouterr().out

    def test_every_fault_is_listed_at_once(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        write_folders(tmp_path, ["a", "b", "c", "d"])
        (tmp_path / "masks" / "a.png").unlink()
        (tmp_path / "images" / "b.png").write_bytes(b"no image")
        Image.fromarray(np.zeros((7, 9), np.uint8)).save(tmp_path / "masks" / "c.png")
        assert main([*CHECK, f"data.root={tmp_path}"]) == 1
        text = capsys.readouterr().out
        assert all(f"{case}.png" in text for case in "abc")
        assert "d.png" not in text

    def test_json_to_a_file_and_to_the_output_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path / "set", ["a", "b", "c"])
        (tmp_path / "set" / "masks" / "b.png").unlink()
        command = [*CHECK, f"data.root={tmp_path}/set", "data.folds=2"]
        assert main([*command, "--json", str(tmp_path / "report.json"), "--workers", "2"]) == 1
        assert "errors (1)" in capsys.readouterr().out
        written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
        assert (written["errors"], written["faults"][0]["case"]) == (1, "b")
        assert main([*command, "--json", "-"]) == 1
        captured = capsys.readouterr()
        assert json.loads(captured.out) == written
        assert "errors (1)" in captured.err

    def test_warnings_alone_pass_and_classes_are_counted(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a", "b"])
        assert main([*CHECK, f"data.root={tmp_path}", "data.folds=3"]) == 0
        text = capsys.readouterr().out
        assert "too few for data.folds=3" in text
        assert "foreground" in text

    def test_a_split_file_that_parts_a_patient_fails(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a", "b"])
        (tmp_path / "groups.csv").write_text("case,group\na,p\nb,p\n")
        (tmp_path / "folds.json").write_text(json.dumps([{"train": ["a"], "val": ["b"]}]))
        assert main([*CHECK, f"data.root={tmp_path}", f"data.split_file={tmp_path}/folds.json"]) == 1
        assert "group 'p' (a, b) is in train and val of fold 0" in capsys.readouterr().out

    def test_a_missing_root_says_which_key_to_set(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(CHECK) == 1
        assert "data.root" in capsys.readouterr().err


class TestEvaluate:
    def test_scores_and_writes(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a", "b"])
        masks = str(tmp_path / "masks")
        assert main(["evaluate", "--pred", masks, "--ref", masks, "--out", str(tmp_path / "out")]) == 0
        assert "1.000" in capsys.readouterr().out
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"cases.csv", "lesions.csv", "summary.json"}

    def test_classes_chooses_what_is_scored(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a"])
        (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "lesion": 1, "vessel": 2}}')
        command = ["evaluate", "--pred", str(tmp_path / "masks"), "--ref", str(tmp_path / "masks"), "--out", str(tmp_path / "out")]
        assert main([*command, "--classes", "lesion"]) == 0
        assert "vessel" not in capsys.readouterr().out
        assert main([*command, "--classes", "leison"]) == 1
        assert "lesion" in capsys.readouterr().err

    def test_the_references_may_be_a_data_sets(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a", "b"])
        command = ["evaluate", "--pred", str(tmp_path / "masks"), "--out", str(tmp_path / "out")]
        config = ["--config", "small_lesion_2d", "data.format.name=folders", "data.format.params={}", f"data.root={tmp_path}"]
        assert main([*command, *config, "--part", "train"]) == 0
        assert "1.000" in capsys.readouterr().out
        assert main([*command, "--ref", str(tmp_path / "masks"), "--part", "train"]) == 1
        assert "--part belongs to --config" in capsys.readouterr().err
        assert main([*command, *config, "--ignore", "3"]) == 1
        assert "--ignore belongs to --ref" in capsys.readouterr().err

    def test_a_missing_prediction_fails_without_losing_the_rest(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path / "ref", ["a", "b"])
        write_folders(tmp_path / "pred", ["a"])
        command = ["evaluate", "--pred", str(tmp_path / "pred/masks"), "--ref", str(tmp_path / "ref/masks"), "--out", str(tmp_path / "out")]
        assert main(command) == 1
        assert "b" in capsys.readouterr().out
        assert (tmp_path / "out" / "summary.json").is_file()

    def test_rules_may_be_set_for_folders(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a"])
        command = ["evaluate", "--pred", str(tmp_path / "masks"), "--ref", str(tmp_path / "masks"), "--out", str(tmp_path / "out")]
        assert main([*command, "evaluation.metrics=[iou,nsd]", "evaluation.primary=iou", "evaluation.tolerances=[2.5]"]) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert set(summary["metrics"]) == {f"{name}{which}" for name in ("iou", "nsd_2.5mm") for which in ("", "/foreground")}
        assert summary["primary"] == "iou"
        assert main([*command, "evaluation.metric=[iou]"]) == 2
        assert "did you mean evaluation.metrics?" in capsys.readouterr().err

    def test_settings_may_follow_the_classes(self) -> None:
        line = "evaluate --pred p --ref r --out o evaluation.beta=1 --classes a b evaluation.tolerances=[1]"
        options = parse(line.split())
        assert split_overrides(options) == (["evaluation.beta=1", "evaluation.tolerances=[1]"], None)
        assert options.classes == ["a", "b"]

    def test_a_run_is_told_from_a_setting(self) -> None:
        assert split_overrides(parse(["evaluate", "runs/x", "evaluation.beta=1"])) == (["evaluation.beta=1"], Path("runs/x"))

    def test_classes_of_a_folder_can_be_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_folders(tmp_path, ["a"])
        command = ["evaluate", "--pred", str(tmp_path / "masks"), "--ref", str(tmp_path / "masks"), "--out", str(tmp_path / "out")]
        assert main([*command, "--labels", "lesion=1", "vessel=2", "evaluation.metrics=[dice]", "--classes", "lesion"]) == 0
        assert set(json.loads((tmp_path / "out" / "summary.json").read_text())["metrics"]) == {"dice", "dice/lesion"}
        assert main([*command, "--labels", "lesion"]) == 1
        assert "--labels lesion: is no class and its label value" in capsys.readouterr().err
        assert main([*command[:3], *command[5:], "--config", "small_lesion_2d", "--labels", "lesion=1"]) == 1
        assert "--labels belongs to --ref" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "extra",
        [["--out", "o"], ["--classes", "a"], ["--labels", "a=1"], ["--partial"], ["--part", "all"], ["--images", "i"], ["--workers", "2"]],
    )
    def test_what_does_not_go_with_a_run_is_named(self, extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", "runs/x", *extra]) == 1
        assert f"{extra[0]} and a RUN do not go together" in capsys.readouterr().err

    @pytest.mark.parametrize("option", ["--pred", "--ref", "--images"])
    def test_a_mistyped_folder_is_told_at_once(self, option: str, tmp_path: Path) -> None:
        places = {name: str(tmp_path) for name in ("--pred", "--ref", "--images", "--out")} | {option: str(tmp_path / "typo")}
        code = (
            "import sys; from medseg.cli import main; code = main(sys.argv[1:]); "
            "print(code, [name for name in ('torch', 'numpy', 'omegaconf', 'medseg.evaluation') if name in sys.modules])"
        )
        words = [word for pair in places.items() for word in pair]
        done = subprocess.run([sys.executable, "-c", code, "evaluate", *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout.strip() == "1 []"
        assert "typo: the folder of" in done.stderr

    def test_help_tells_the_exit_codes(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["evaluate", "--help"])
        assert "exit code: 0 every case was scored; 1 a prediction is missing" in " ".join(capsys.readouterr().out.split())

    @pytest.mark.parametrize("arguments", [[], ["--pred", "p"], ["--pred", "p", "--ref", "r"], ["run", "--pred", "p", "--out", "o"]])
    def test_what_is_not_enough_or_too_much_is_explained(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", *arguments]) == 1
        assert "--pred" in capsys.readouterr().err


class TestPredict:
    def test_it_wants_a_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", "--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
        assert "which run?" in capsys.readouterr().err

    def test_a_typo_in_the_run_is_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["predict", str(tmp_path / "nowhere"), "--input", str(tmp_path), "--output", str(tmp_path / "out")]) == 1
        assert "nowhere" in capsys.readouterr().err

    @pytest.mark.parametrize("wrong", ["run", "input"])
    def test_a_typo_in_a_path_is_answered_without_torch(self, tmp_path: Path, wrong: str) -> None:
        words = [str(tmp_path / ("typo" if wrong == "run" else "")), "--input", str(tmp_path / ("typo" if wrong == "input" else ""))]
        code = (
            "import sys; from medseg.cli import main; "
            f"code = main(['predict', *{words}, '--output', 'out']); assert 'torch' not in sys.modules; sys.exit(code)"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert answer.returncode == 1
        assert f"{tmp_path / 'typo'}: " in answer.stderr

    def test_help_names_every_format_of_label_maps(self, capsys: pytest.CaptureFixture[str]) -> None:
        from medseg.inference.inputs import LABEL_SUFFIXES

        with pytest.raises(SystemExit):
            main(["predict", "--help"])
        shown = capsys.readouterr().out.partition("--format SUFFIX")[2]
        assert {word.strip(",;.") for word in shown.split()} >= {suffix.strip(".") for suffix in LABEL_SUFFIXES}
