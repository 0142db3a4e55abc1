from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config import Config
from medseg.errors import RunError
from medseg.evaluation import read_rows
from medseg.training.rescore import rescore
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
