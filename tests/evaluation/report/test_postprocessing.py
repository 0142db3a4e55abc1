from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from medseg.config import load_config, to_yaml
from medseg.errors import DataError
from medseg.evaluation.report.header import header, warnings
from medseg.evaluation.report.postprocessing import in_words, included, outdated
from medseg.evaluation.report.sentences import sentences
from medseg.evaluation.report.source import Source

NONE: dict[str, Any] = {"thresholds": {}, "minimum_size": {}, "largest_component": [], "fill_holes": []}
SOME = {**NONE, "thresholds": {"lesion": 0.9}, "minimum_size": {"lesion": 50.0}}


@pytest.fixture
def run(volumes: Path, tmp_path: Path) -> Path:
    """The tables of an evaluation as a run's."""
    (tmp_path / "config.yaml").write_text(to_yaml(load_config("ce_dice")))
    shutil.copytree(volumes, tmp_path / "evaluation")
    return tmp_path


def opened(run: Path, scored: dict[str, Any] | None, chosen: dict[str, Any] | None = None, **more: Any) -> Source:
    if chosen is not None:
        (run / "postprocessing.json").write_text(json.dumps({**chosen, "chosen_by": {}, "tried": []}))
    source = Source.open(run)
    return dataclasses.replace(source, summary={**source.summary, "postprocessing": scored, **more})


class TestIncluded:
    def test_every_step_is_named(self, volumes: Path) -> None:
        steps = {**SOME, "largest_component": ["liver", "kidney"], "fill_holes": ["liver"]}
        assert in_words(Source.open(volumes), steps) == (
            "probability from 0.9 on (lesion); components below 50 mm³ removed (lesion); largest component only (liver, kidney); "
            "holes filled (liver)"
        )
        assert in_words(Source.open(volumes), NONE) == in_words(Source.open(volumes), None) == "none"

    def test_a_folder_that_does_not_know_says_nothing(self, volumes: Path) -> None:
        assert included(Source.open(volumes)) == ""

    def test_the_header_and_the_sentences_say_it(self, run: Path) -> None:
        source = opened(run, SOME)
        assert "the scores include probability from 0.9 on (lesion)" in " ".join(header(source))
        assert "Post-processing: probability from 0.9 on (lesion)" in sentences(source)
        assert "Post-processing" not in sentences(opened(run, NONE))
        assert "<dt>post-processing</dt><dd>none</dd>" in " ".join(header(opened(run, None)))

    def test_what_was_chosen_is_told_from_what_was_stated(self, run: Path) -> None:
        assert "chosen" not in included(opened(run, SOME))
        assert included(opened(run, SOME, SOME)).endswith("; chosen on the validation cases")


class TestOutdated:
    def test_scores_of_before_the_choice_are_a_warning(self, run: Path) -> None:
        source = opened(run, None, SOME)
        assert "they include no post-processing, while the run now predicts with probability from 0.9 on (lesion)" in outdated(source)
        assert f"`medseg evaluate {run}`" in outdated(source)
        assert outdated(source) in warnings(source)

    def test_scores_with_it_are_not(self, run: Path) -> None:
        assert outdated(opened(run, None)) == outdated(opened(run, SOME, SOME)) == outdated(opened(run, None, NONE)) == ""

    def test_a_choice_on_the_scored_cases_is_a_warning(self, run: Path) -> None:
        said = "chosen on cases that are scored here"
        assert any(said in text for text in warnings(opened(run, SOME, SOME, postprocessing_chosen_on_scored_cases=True)))
        assert not any(said in text for text in warnings(opened(run, SOME, SOME, postprocessing_chosen_on_scored_cases=False)))

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_a_damaged_choice_is_an_error_with_a_remedy(self, run: Path, text: str) -> None:
        (run / "postprocessing.json").write_text(text)
        with pytest.raises(DataError, match=r"postprocessing\.json: .*medseg postprocess"):
            Source.open(run)
