from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from medseg.config import Config
from medseg.errors import RunError
from medseg.evaluation import read_rows
from medseg.training.closing import print_closing
from medseg.training.rescore import postprocess_and_rescore, rescore
from medseg.training.run import train
from medseg.training.run_folder import RunFolder

Tiny = Callable[..., Config]


@pytest.fixture
def run(tiny: Tiny) -> RunFolder:
    return train(tiny("trainer.max_epochs=1", "data.patches_per_epoch=2"))


class TestRescore:
    def test_by_the_same_rules_the_numbers_are_the_same(self, run: RunFolder) -> None:
        before = (run.evaluation / "cases.csv").read_text()
        labels = {path.name: path.read_bytes() for path in run.predictions.iterdir()}
        rescore(run.path)
        assert (run.evaluation / "cases.csv").read_text() == before
        assert {path.name: path.read_bytes() for path in run.predictions.iterdir()} == labels
        assert not (run.path / "report.html").exists()

    def test_other_rules_and_the_report_may_be_asked_for(self, run: RunFolder) -> None:
        rescore(run.path, ["evaluation.metrics=[dice,hd95]", "evaluation.penalty=7", "evaluation.report=true"])
        assert {row.metric for row in read_rows(run.evaluation / "cases.csv")} == {"dice", "hd95"}
        assert json.loads((run.evaluation / "summary.json").read_text())["options"]["penalty"] == 7
        assert (run.path / "report.html").stat().st_size > 10_000

    def test_post_processing_chosen_since_then_is_used(self, run: RunFolder) -> None:
        chosen = {"thresholds": {}, "minimum_size": {"lesion": 1e9}, "largest_component": [], "fill_holes": []}
        (run.path / "postprocessing.json").write_text(json.dumps(chosen))
        rescore(run.path)
        assert all(row.pred_empty for row in read_rows(run.evaluation / "cases.csv"))
        assert json.loads((run.evaluation / "summary.json").read_text())["postprocessing"]["minimum_size"] == {"lesion": 1e9}

    @pytest.mark.parametrize("override", ["evaluation.primary=iou", "evaluation.margin=0.5", "trainer.precision=32-true"])
    def test_what_was_declared_before_training_stays(self, run: RunFolder, override: str) -> None:
        with pytest.raises(RunError, match=override.partition("=")[0]):
            rescore(run.path, [override])

    def test_another_data_set_is_noticed(self, run: RunFolder) -> None:
        splits = json.loads(run.splits.read_text())
        splits["test"] = ["somebody"]
        run.splits.write_text(json.dumps(splits))
        with pytest.raises(RunError, match="other splits"):
            rescore(run.path)

    def test_it_must_be_a_run(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no such run folder"):
            rescore(tmp_path / "nowhere")


def primary(run: RunFolder) -> float:
    return json.loads((run.evaluation / "summary.json").read_text())["metrics"]["dice"]["mean"]


class TestPostprocessAndRescore:
    def test_scores_label_maps_and_report_are_those_of_the_new_model(self, tiny: Tiny) -> None:
        run, text = train(tiny("trainer.max_epochs=1", "data.patches_per_epoch=2", "evaluation.report=true")), io.StringIO()
        before, page = primary(run), (run.path / "report.html").read_bytes()
        postprocess_and_rescore(run.path, Console(file=text, width=200))
        chosen, summary = (json.loads((run.path / name).read_text()) for name in ("postprocessing.json", "evaluation/summary.json"))
        assert any(trial["kept"] for trial in chosen["tried"]), "an untrained network leaves something to improve"
        assert summary["postprocessing"].items() <= chosen.items()
        assert summary["postprocessing_chosen_on_scored_cases"] is False
        assert f"dice, mean over classes of 2 test cases: {before:.4f} -> {primary(run):.4f}\n" in text.getvalue()
        assert "these cases took no part in choosing" in text.getvalue()
        assert (run.path / "report.html").read_bytes() != page

    def test_where_the_scored_cases_chose_it_that_is_said(self, tiny: Tiny) -> None:
        size = "data.format.params={kind: lesions_2d, cases: 6, test_cases: 0, size: [48, 48]}"
        run, text = train(tiny("trainer.max_epochs=1", "data.patches_per_epoch=2", size)), io.StringIO()
        assert json.loads((run.evaluation / "summary.json").read_text())["postprocessing_chosen_on_scored_cases"] is False
        postprocess_and_rescore(run.path, Console(file=text, width=200))
        assert json.loads((run.evaluation / "summary.json").read_text())["postprocessing_chosen_on_scored_cases"] is True
        assert "2 validation cases: " in text.getvalue()
        assert "these cases chose the post-processing too, so that the new numbers are too good" in text.getvalue()
        shown = io.StringIO()
        print_closing(run, Console(file=shown, width=200))
        assert "which also chose the checkpoint and the post-processing" in shown.getvalue()

    def test_scores_by_other_rules_are_not_compared(self, run: RunFolder) -> None:
        rescore(run.path, ["evaluation.penalty=7"])
        text = io.StringIO()
        postprocess_and_rescore(run.path, Console(file=text, width=200))
        assert "2 test cases were scored anew by the run's own rules" in text.getvalue()
        assert "->" not in text.getvalue().splitlines()[-2]

    def test_a_run_that_is_not_finished_stays_so(self, run: RunFolder) -> None:
        (run.evaluation / "summary.json").unlink()
        with pytest.raises(RunError, match="not finished; let it finish"):
            postprocess_and_rescore(run.path)
        assert not (run.path / "postprocessing.json").exists()
        assert not run.finished
