from __future__ import annotations

import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from rich.console import Console

from medseg.config import find_config, load_config
from medseg.config.schema import Config
from medseg.data.modules import read_dataset, split_cases
from medseg.data.planning import fingerprint as measuring
from medseg.data.planning import prepare as module
from medseg.data.planning.prepare import prepare, train_command
from medseg.data.preparation import Preparer
from medseg.data.store import PreparedStore
from medseg.errors import DataError


class Prepared:
    """`medseg prepare` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "phantoms"

    def overrides(self, *more: str) -> list[str]:
        return [
            f"data.root={self.root}",
            f"data.store={self.folder / 'store'}",
            "data.folds=2",
            "data.format.params.cases=4",
            "data.format.params.test_cases=1",
            *more,
        ]

    def config(self) -> Config:
        return load_config("organs", self.overrides())

    def run(self, *more: str, source: str = "organs", memory: float | None = 2.0, replan: bool = False) -> tuple[Path, str]:
        text = io.StringIO()
        console = Console(file=text, width=500)
        taken = source.endswith(".plan.yaml")
        overrides = list(more) if taken else self.overrides(*more)
        out = None if taken else self.folder / "organs.plan.yaml"
        config = load_config(source, overrides)
        return prepare(config, source, out, memory, console, overrides=overrides, replan=replan), text.getvalue()

    def image(self, number: int) -> Path:
        """An image of the training cases."""
        return sorted(self.root.glob("*/imagesTr/*.nii.gz"))[number]

    def dim(self, number: int) -> None:
        """Makes the intensities of a case three times larger."""
        image = nibabel.load(self.image(number))
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) * 3, image.affine), self.image(number))


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path)


class TestPrepare:
    def test_it_leaves_a_plan_a_report_and_stored_cases(self, prepared: Prepared) -> None:
        path, text = prepared.run()
        assert text.splitlines()[-1] == f"train with  medseg train {path}"
        assert path.with_suffix(".html").is_file()
        config = load_config(str(path))
        dataset = read_dataset(config.data)
        store = PreparedStore(Path(config.data.store), dataset, Preparer(config.data.normalisation, config.data.spacing))
        assert store.missing(dataset.cases) == []
        assert len(dataset.cases) == 4

    def test_nothing_is_learnt_of_cases_that_are_held_out(self, prepared: Prepared) -> None:
        config = replace(prepared.config(), data=replace(prepared.config().data, test_fraction=0.25))
        prepare(config, "organs", prepared.folder / "a.plan.yaml", 2.0, Console(file=io.StringIO()), overrides=prepared.overrides())
        dataset = read_dataset(config.data)
        known = json.loads(module.fingerprint_path(config, dataset).read_text())["cases"]
        (test,) = split_cases(config.data, dataset.cases).test
        assert {case["id"] for case in known} == {case.id for case in dataset.cases} - {test}

    def test_the_home_folder_may_be_written_as_a_tilde(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(prepared.folder))
        config = replace(prepared.config(), data=replace(prepared.config().data, store="~/kept"))
        assert module.fingerprint_path(config, read_dataset(config.data)).parent == prepared.folder / "kept"

    def test_a_second_time_it_only_says_so(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        prepared.run()
        monkeypatch.setattr(measuring, "look_at", None)
        _, text = prepared.run()
        assert "is kept as it is" in text
        assert "nothing to do" in text

    def test_a_plan_given_as_the_config_is_taken_as_it_is(self, prepared: Prepared) -> None:
        path, _ = prepared.run()
        before = path.read_text()
        assert prepared.run(source=str(path))[0] == path
        with pytest.raises(DataError, match="is a plan itself"):
            prepared.run(source=str(path), replan=True)
        with pytest.raises(DataError, match="--out with the config"):
            prepare(load_config(str(path)), str(path), path, None, Console())
        assert path.read_text() == before

    def test_settings_given_with_a_plan_train_it_too(self, prepared: Prepared) -> None:
        path, _ = prepared.run()
        _, text = prepared.run("data.spacing=[7, 7, 7]", source=str(path))
        assert "5 cases prepared" in text
        assert text.splitlines()[-1].endswith(f"medseg train {path} 'data.spacing=[7, 7, 7]'")

    def test_edits_survive_and_are_prepared(self, prepared: Prepared) -> None:
        path, _ = prepared.run()
        edited = re.sub(r"  spacing: \S.*", "  spacing: [5.0, 5.0, 5.0]", path.read_text(), count=1)
        assert edited != path.read_text()
        path.write_text(edited)
        _, text = prepared.run()
        assert path.read_text() == edited
        assert load_config(str(path)).network.params["spacing"] == [5.0, 5.0, 5.0]
        assert "5 cases prepared" in text

    def test_replan_writes_it_anew(self, prepared: Prepared) -> None:
        path, _ = prepared.run()
        planned = path.read_text()
        path.write_text(planned + "# mine\n")
        prepared.run(replan=True)
        assert path.read_text() == planned

    def test_by_default_the_plan_lies_in_the_working_directory(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(prepared.folder)
        config = prepared.config()
        path = prepare(config, "organs", None, 2.0, Console(file=io.StringIO()), overrides=prepared.overrides())
        assert path == Path("organs.plan.yaml")
        assert train_command(path) == "medseg train organs.plan.yaml"

    def test_a_path_with_blanks_is_quoted(self) -> None:
        assert train_command(Path("my plans/a.yaml")) == "medseg train 'my plans/a.yaml'"


class TestExistingPlan:
    def refused(self, prepared: Prepared, *more: str, **options: Any) -> str:
        before = (prepared.folder / "organs.plan.yaml").read_text()
        with pytest.raises(DataError, match=r"is not what is asked for now(.|\n)*--out OTHER.yaml(.|\n)*--replan") as error:
            prepared.run(*more, **options)
        assert (prepared.folder / "organs.plan.yaml").read_text() == before
        return str(error.value)

    def test_a_plan_of_other_data_is_not_taken(self, prepared: Prepared) -> None:
        prepared.run()
        other = prepared.folder / "other"
        text = self.refused(prepared, f"data.root={other}")
        assert f"data.root: {prepared.root} in the plan, {other} on the command line" in text
        assert not other.exists()
        path, _ = prepared.run(f"data.root={other}", replan=True)
        assert load_config(str(path)).data.root == str(other)

    def test_every_difference_is_named(self, prepared: Prepared) -> None:
        prepared.run()
        text = self.refused(prepared, "data.spacing=[3,3,6]", "seed=4", "loss.terms[0].weight=0.5", memory=3.0)
        lines = [line.strip() for line in text.splitlines()[1:5]]
        assert lines[0].startswith("data.spacing: [")
        assert lines[0].endswith("in the plan, [3.0, 3.0, 6.0] on the command line")
        assert lines[1] == "loss.terms[0].weight: 1.0 in the plan, 0.5 on the command line"
        assert lines[2] == "seed: 0 in the plan, 4 on the command line"
        assert lines[3] == "--memory: 2 GiB in the plan, 3 on the command line"

    def test_another_format_is_a_difference(self, prepared: Prepared) -> None:
        prepared.run()
        assert "cases: 4 in the plan, 6 on the command line" in self.refused(prepared, "data.format.params.cases=6")

    def test_a_plan_of_another_config_is_not_taken(self, prepared: Prepared) -> None:
        prepared.run()
        own = prepared.folder / "other.yaml"  # of the same name in it
        shutil.copy(find_config("organs"), own)
        assert f"extends: organs.yaml in the plan, {own} on the command line" in self.refused(prepared, source=str(own))

    def test_data_that_the_config_itself_names_are_compared_too(self, prepared: Prepared) -> None:
        own = prepared.folder / "own.yaml"
        own.write_text("extends: organs.yaml\ndata:\n  root: /somewhere\n")
        prepared.run(source=str(own))
        config = load_config(str(own), prepared.overrides()[1:])
        with pytest.raises(DataError, match=f"data.root: {prepared.root} in the plan, /somewhere in "):
            prepare(config, str(own), prepared.folder / "organs.plan.yaml", None, Console(), overrides=prepared.overrides()[1:])

    def test_what_the_plan_says_need_not_be_said_again(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        path, _ = prepared.run()
        monkeypatch.chdir(prepared.folder)
        text = io.StringIO()
        overrides = ["data.root=./phantoms", *prepared.overrides()[1:]]
        prepare(load_config("organs", overrides), "organs", path, None, Console(file=text), overrides=overrides)
        assert "is kept as it is" in text.getvalue()

    def test_an_edit_may_be_said_on_the_command_line(self, prepared: Prepared) -> None:
        path, _ = prepared.run()
        path.write_text(re.sub(r"  spacing: \S.*", "  spacing: [5.0, 5.0, 5.0]", path.read_text(), count=1))
        assert "is kept as it is" in prepared.run("data.spacing=[5,5,5]")[1]

    def test_what_the_command_line_has_said_at_first_is_in_the_plan(self, prepared: Prepared) -> None:
        path, text = prepared.run("data.spacing=[3,3,6]", "data.patch_size=[16,16,8]")
        config = load_config(str(path))
        assert (config.data.spacing, config.data.patch_size) == ([3.0, 3.0, 6.0], [16, 16, 8])
        assert "  spacing: [3.0, 3.0, 6.0]  # as given on the command line" in path.read_text()
        assert "data.spacing: [3.0, 3.0, 6.0]" in text

    def test_a_config_that_is_no_plan_is_not_written_over(self, prepared: Prepared) -> None:
        (prepared.folder / "organs.plan.yaml").write_text("extends: organs.yaml\n")
        with pytest.raises(DataError, match="is no plan"):
            prepared.run(replan=True)


class TestChangedData:
    def test_cases_that_changed_and_those_that_are_gone_are_named(self, prepared: Prepared) -> None:
        assert "have changed" not in prepared.run()[1]
        prepared.dim(1)
        _, text = prepared.run()
        name = prepared.image(1).name.removesuffix(".nii.gz").removesuffix("_0000")
        assert f"the data have changed since the plan was made: 1 case changed ('{name}'); --replan" in text
        assert "1 case was damaged or changed and is prepared again" in text
        assert "1 case changed" in prepared.run()[1]  # not only the first time
        assert "have changed" not in prepared.run(replan=True)[1]
        assert "have changed" not in prepared.run()[1]

    def test_files_that_were_only_touched_are_not_changed(self, prepared: Prepared) -> None:
        prepared.run()
        prepared.image(0).touch()
        assert "have changed" not in prepared.run()[1]

    def test_a_plan_that_says_nothing_is_compared_with_nothing(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        path, _ = prepared.run()
        path.write_text(re.sub("# fingerprint.*\n", "", path.read_text()))
        monkeypatch.setattr(module, "take_fingerprint", None)
        prepared.run()


class TestStore:
    def test_damaged_files_of_the_same_size_are_made_again(self, prepared: Prepared) -> None:
        prepared.run()
        files = sorted((prepared.folder / "store").rglob("image.b2nd"))
        for file in files[:2]:
            data = bytearray(file.read_bytes())
            data[-1] ^= 255
            file.write_bytes(data)
        _, text = prepared.run()
        assert "2 cases were damaged or changed and are prepared again" in text
        assert "2 cases prepared, 3 were there already" in text
        assert "nothing to do" in prepared.run()[1]

    def test_new_cases_are_not_called_damaged(self, prepared: Prepared) -> None:
        assert "damaged" not in prepared.run()[1]

    def test_lesions_that_resampling_loses_are_told_and_reported(self, prepared: Prepared) -> None:
        path, text = prepared.run("data.spacing=[60,60,60]")
        (warning,) = {line for line in text.splitlines() if "'gallbladder', the others" in line}
        assert re.search(r"resampling to \[60, 60, 60\] mm leaves \d of \d lesions", warning)
        assert warning.removeprefix("warning ").replace("'", "&#x27;") in path.with_suffix(".html").read_text()
        assert warning in prepared.run("data.spacing=[60,60,60]")[1]


class TestArguments:
    @pytest.mark.parametrize("memory", [0.0, -1.0, math.inf, math.nan])
    def test_memory_is_a_positive_number(self, prepared: Prepared, memory: float) -> None:
        with pytest.raises(DataError, match="--memory"):
            prepared.run(memory=memory)

    @pytest.mark.parametrize(
        ("out", "text"), [("plan.txt", "end in .yaml"), ("nowhere/plan.yaml", "no folder .*nowhere"), ("folder.yml", "is a folder")]
    )
    def test_the_plan_has_a_place(self, prepared: Prepared, out: str, text: str) -> None:
        (prepared.folder / "folder.yml").mkdir()
        with pytest.raises(DataError, match=text):
            prepare(prepared.config(), "organs", prepared.folder / out, None, Console(), overrides=prepared.overrides())

    def test_values_are_shown_as_the_plan_has_them(self, prepared: Prepared) -> None:
        _, text = prepared.run("data.spacing=null")
        assert "data.spacing: null" in text
        assert "None" not in text

    def test_a_store_that_cannot_be_written_is_named(self, prepared: Prepared) -> None:
        (prepared.folder / "file").write_text("")
        with pytest.raises(DataError, match=r"file.*cannot be written.*data\.store"):
            prepared.run(f"data.store={prepared.folder / 'file'}")
