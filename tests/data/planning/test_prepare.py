from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from medseg.config import load_config
from medseg.config.schema import Config
from medseg.data.modules import read_dataset, split_cases
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

    def config(self) -> Config:
        return load_config(
            "organs",
            [
                f"data.root={self.root}",
                f"data.store={self.folder / 'store'}",
                "data.folds=2",
                "data.format.params.cases=4",
                "data.format.params.test_cases=1",
            ],
        )

    def run(self, source: str = "organs", replan: bool = False) -> tuple[Path, str]:
        text = io.StringIO()
        config = self.config() if source == "organs" else load_config(source)
        console = Console(file=text, width=500)
        out = self.folder / "organs.plan.yaml"
        return prepare(config, source, out, 2.0, console, replan=replan), text.getvalue()


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
        prepare(config, "organs", prepared.folder / "a.plan.yaml", 2.0, Console(file=io.StringIO()))
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
        monkeypatch.setattr(module, "take_fingerprint", None)
        _, text = prepared.run()
        assert "is kept as it is" in text
        assert "nothing to do" in text

    def test_a_plan_given_as_the_config_is_taken_as_it_is(self, prepared: Prepared) -> None:
        path, _ = prepared.run()
        before = path.read_text()
        assert prepared.run(source=str(path))[0] == path
        with pytest.raises(DataError, match="is a plan itself"):
            prepared.run(source=str(path), replan=True)
        assert path.read_text() == before

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
        path = prepare(config, "organs", None, 2.0, Console(file=io.StringIO()))
        assert path == Path("organs.plan.yaml")
        assert train_command(path) == "medseg train organs.plan.yaml"

    def test_a_path_with_blanks_is_quoted(self) -> None:
        assert train_command(Path("my plans/a.yaml")) == "medseg train 'my plans/a.yaml'"
