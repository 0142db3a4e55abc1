"""The commands of the README: all are parsed and resolved; the slow test runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.cli import build_parser, main
from medseg.config import load_config, load_sweep
from tests.inference.runs import LAS, save_run
from tests.test_cli import write_folders

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.partition(" #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]
MEDSEG = [shlex.split(line)[1:] for line in COMMANDS if line.startswith("medseg ")]


class TestCommands:
    def test_there_are_some(self) -> None:
        assert {command[0] for command in MEDSEG} == {
            "train",
            "config",
            "check",
            "prepare",
            "show",
            "resume",
            "predict",
            "evaluate",
            "postprocess",
            "report",
            "compare",
            "export",
            "finetune",
            "sweep",
            "losses",
        }

    @pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make ")])
    def test_make_targets_exist(self, line: str) -> None:
        target = line.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        for setting in line.split()[2:]:
            if setting.startswith("CONFIG="):
                load_config(setting.removeprefix("CONFIG="))

    @pytest.mark.parametrize("command", MEDSEG, ids=" ".join)
    def test_arguments_and_configs_are_valid(self, command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(ROOT)
        options = build_parser().parse_args(command)
        if command[0] == "sweep":
            load_sweep(options.config, options.overrides)
        elif hasattr(options, "config"):
            load_config(options.config.removesuffix(".plan.yaml"), options.overrides)  # `prepare` writes the plan

    def test_the_yaml_example_is_a_config(self, tmp_path: Path) -> None:
        examples = {re.match(r"# (\S+)", text)[1]: text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)}  # type: ignore[index]
        for name, text in examples.items():
            (tmp_path / name).write_text(text)
        assert len(load_config(str(tmp_path / "my_loss.yaml")).loss.terms) == 3
        assert [item.name for item in load_config(str(tmp_path / "my_data.yaml")).data.sampling or []] == ["lesion", "hard_case", "random"]

    def test_the_rules_that_it_shows_are_a_config(self, tmp_path: Path) -> None:
        (tmp_path / "my_rules.yaml").write_text(
            next(text for text in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) if "my_rules" in text)
        )
        config = load_config(str(tmp_path / "my_rules.yaml"))
        assert (config.evaluation.primary, config.evaluation.tolerances) == ("lesion_f1", [1, 2.5])

    def test_the_configs_it_names_are_those_that_are_shipped(self) -> None:
        row = next(line for line in README.splitlines() if line.startswith("| ready to run"))
        assert set(re.findall(r"`(\w+)`", row)) == {path.stem for path in (ROOT / "configs").glob("*.yaml")}

    def test_the_names_in_the_table_are_those_of_the_registries(self) -> None:
        from medseg.data import AUGMENTATIONS, FORMATS, SAMPLERS
        from medseg.losses import HEADS, TERMS
        from medseg.metrics import METRICS
        from medseg.networks import NETWORKS

        rows = {line.split("|")[1].strip(): set(re.findall(r"`(\w+)`", line)) for line in README.splitlines() if line.startswith("| ")}
        assert rows["terms"] == set(TERMS)
        assert rows["networks"] == set(NETWORKS)
        assert rows["metrics"] == set(METRICS)
        assert rows["auxiliary heads"] == set(HEADS)
        assert rows["data formats"] == set(FORMATS)
        assert rows["samplers"] == set(SAMPLERS)
        assert rows["augmentations"] == set(AUGMENTATIONS)

    def test_it_counts_the_recipes(self) -> None:
        assert f"{len(list((ROOT / 'configs/recipes').glob('*.yaml')))} recipes" in README


@pytest.mark.slow
class TestRun:
    def test_every_command_runs_on_small_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_folders(tmp_path / "set", [f"case{i}" for i in range(6)])
        phantom = "data.format.params={kind: lesions_3d, cases: 5, test_cases: 1, size: [32,32,32]}"
        folders = ["data.format={name: folders, params: {}}", f"data.root={tmp_path / 'set'}"]
        small = ["trainer.max_epochs=1", "data.batch_size=2", "data.patches_per_epoch=2", "trainer.precision=32-true"]
        extra = {
            "train": [phantom, *small],
            "check": ["small_lesion_2d", *folders],
            "prepare": ["small_lesion_2d", *folders, "--out", "hippocampus.plan.yaml"],
            "show": ["--patches", "4"],
            "finetune": [phantom, *small],
            "sweep": [f"overrides=[{', '.join(repr(s) for s in [phantom, *small])}]", "seeds=[0]", "losses=[bce_dice,focal_dice]"],
        }
        runs: dict[str, Path] = {}
        done = []
        places: dict[str, Path] = {}
        for command in MEDSEG:
            verb = command[0]
            if verb in done and verb in extra:
                continue
            arguments = [str(runs.get(word, places.get(word, word))) for word in command]
            if verb == "train":
                arguments = ["train", "focal_tversky", *command[2:3], *extra[verb]]
            elif verb in ("check", "prepare"):
                arguments = [verb, *extra[verb]]
            elif verb == "show":
                arguments += extra[verb]
            elif verb == "finetune":
                arguments = [*arguments[:3], "focal_tversky", *extra[verb]]
            elif verb == "sweep":
                arguments = ["sweep", str(ROOT / command[1]), *extra[verb]]
            assert main(arguments) == 0, arguments
            done.append(verb)
            if verb == "train":
                (runs["RUN"],) = (tmp_path / "runs" / "focal_tversky").iterdir()
                assert main(["train", "focal_tversky", "loss.terms=[{name: dice}]", "name=other", *extra[verb]]) == 0
                (runs["RUN2"],) = (tmp_path / "runs" / "other").iterdir()
                sets = next(tmp_path.glob("data/phantoms/*"))
                places = {"/data/images": sets / "imagesTs", "/data/labels": sets / "labelsTs"}
                made = ("/data/predicted", "/data/predicted2", "/data/scores", "/data/lesions.medseg")
                places |= {name: tmp_path / name.removeprefix("/data/") for name in made}
        assert (tmp_path / "patches.png").stat().st_size > 10_000
        assert (runs["RUN"] / "report.html").stat().st_size > 10_000
        assert (tmp_path / "comparison" / "comparison.html").is_file()
        assert list((tmp_path / "predicted2").glob("*.nii.gz"))

    def test_the_python_example_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        monkeypatch.chdir(tmp_path)
        nibabel.save(
            nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(12, 10, 8)).astype(np.float32), LAS), tmp_path / "scan.nii.gz"
        )
        code = re.sub(r'"runs/[^"]*"', repr(str(save_run(tmp_path / "run"))), code)
        exec(compile(code, "README.md", "exec"), {})
        assert (tmp_path / "lesions.nii.gz").is_file()

    def test_the_package_installs_and_works_outside_the_clone(self, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "env"], check=True)
        python = tmp_path / "env" / "bin" / "python"
        wheel = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", str(ROOT)]
        subprocess.run(wheel, check=True, capture_output=True)
        site = Path(subprocess.check_output([sys.executable, "-c", "import torch; print(torch.__path__[0])"], text=True).strip()).parent
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(site)}
        shown = subprocess.run(
            [tmp_path / "env" / "bin" / "medseg", "config", "focal_tversky"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "name: focal_tversky" in shown.stdout
        where = subprocess.check_output([python, "-c", "import medseg; print(medseg.__file__)"], cwd=tmp_path, text=True)
        assert str(tmp_path) in where
