from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import RunError
from medseg.inference.export.card import model_card, read_evaluation
from medseg.inference.load import read_run
from medseg.inference.postprocessing import Postprocessing
from tests.inference.runs import config, save_run


def aggregate(metric: str, class_name: str | None, mean: float | None, **more: Any) -> dict[str, Any]:
    numbers = {"low": 0.5, "high": 0.9, "n_valid": 12, "n_both_empty": 3, "n_failed": 0, "t_low": None, "t_high": None}
    return {"metric": metric, "class_name": class_name, "mean": mean} | numbers | more


def summary(**changes: Any) -> dict[str, Any]:
    metrics = [aggregate("dice", None, 0.75), aggregate("dice", "low", 0.7123), aggregate("hd95", "low", 4.0), aggregate("iou", "low", 0.3)]
    return {
        "cases": 15,
        "groups": 9,
        "split": "test",
        "primary": "dice",
        "metrics": {f"{one['metric']}/{one['class_name']}": one for one in metrics},
        "definitions": {"dice": "2 TP / (2 TP + FP + FN)", "iou": "not shown"},
    } | changes


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    return read_run(save_run(tmp_path / "run", config=config(spacing=[1.0, 1.5, 3.0])))


class TestModelCard:
    def test_it_has_all_sections(self, saved: Any) -> None:
        card = model_card(saved, summary(), "MIT")
        titles = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
        assert titles == ["Intended use", "Data", "Classes", "Network and training", "Performance", "Limits", "Licence"]
        assert card.rstrip().endswith("MIT")

    def test_metrics_stand_with_n_and_interval(self, saved: Any) -> None:
        card = model_card(saved, summary(), None)
        assert "| low | dice | 0.7123 | 0.5 to 0.9 | 12 | 3 |" in card
        assert "| all classes | dice | 0.75 |" in card
        assert "15 cases of 9 patients" in card
        assert "- dice: 2 TP" in card
        assert "iou" not in card

    def test_the_primary_metric_is_shown_whatever_it_is(self, saved: Any) -> None:
        assert "| low | iou | 0.3 |" in model_card(saved, summary(primary="iou"), None)

    def test_the_interval_is_the_one_of_the_summarys_table_and_named_so(self, saved: Any) -> None:
        one = aggregate("hd95", "low", 9.0, low=2.0, high=20.0, t_low=-9.493, t_high=27.5)
        card = model_card(saved, summary(metrics={"hd95/low": one}), None)
        assert "| low | hd95 | 9 | 2 to 20 |" in card
        assert "-9.493" not in card
        assert "- interval: percentile bootstrap of the mean, patients (groups) resampled; of fewer than 30 it is too narrow" in card
        assert "too narrow" not in model_card(saved, summary(groups=30), None)

    def test_scores_of_another_post_processing_are_not_printed(self, saved: Any) -> None:
        chosen = Postprocessing(saved.labels, "softmax", minimum_size={"low": 5.0})
        stale, fresh = summary(split="val", postprocessing=None), summary(postprocessing=chosen.to_dict())
        card = model_card(replace(saved, postprocessing=chosen), stale, None)
        assert "Not scored with this post-processing; run `medseg evaluate RUN`" in card
        assert "0.7123" not in card
        assert "no independent test set" not in card
        assert "0.7123" in model_card(replace(saved, postprocessing=chosen), fresh, None)
        assert "0.7123" not in model_card(saved, fresh, None)

    def test_folds_count_from_0_as_everywhere(self, saved: Any) -> None:
        assert "Fold that validated: fold 0 of 0 to 4" in model_card(saved, None, None)
        given = replace(saved, config=replace(saved.config, data=replace(saved.config.data, split_file="s.json", fold=2)))
        assert "Fold that validated: fold 2 of the split file" in model_card(given, None, None)

    def test_an_undefined_mean_is_said_to_be_so(self, saved: Any) -> None:
        one = aggregate("dice", "low", None, low=None, high=None)
        assert "| low | dice | undefined | not stated |" in model_card(saved, summary(metrics={"dice/low": one}), None)

    def test_data_and_classes_are_the_runs(self, saved: Any) -> None:
        card = model_card(saved, None, None)
        assert "1 x 1.5 x 3 mm" in card
        assert "| high | 7 | 7 |" in card
        assert "c0" in card

    def test_what_is_not_known_is_said(self, saved: Any) -> None:
        card = model_card(saved, None, None)
        assert "Not evaluated." in card
        assert card.rstrip().endswith("not stated")

    def test_validation_cases_are_called_optimistic(self, saved: Any) -> None:
        card = model_card(saved, summary(split="val"), None)
        assert "optimistic" in card
        assert "no independent test set" in card

    def test_failures_are_limits(self, saved: Any) -> None:
        one = aggregate("dice", "low", 0.5, n_failed=4)
        assert "in 4 pairs" in model_card(saved, summary(metrics={"dice/low": one}), None)


class TestReadEvaluation:
    def test_a_run_without_one_gives_none(self, tmp_path: Path) -> None:
        assert read_evaluation(tmp_path) is None

    @pytest.mark.parametrize("text", ["", "[]", '{"cases": 1}'])
    def test_a_damaged_one_is_named(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "evaluation").mkdir()
        (tmp_path / "evaluation" / "summary.json").write_text(text)
        with pytest.raises(RunError, match=r"summary\.json"):
            read_evaluation(tmp_path)

    def test_it_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "evaluation").mkdir()
        (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary()))
        assert read_evaluation(tmp_path) == summary()
