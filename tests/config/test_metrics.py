from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from medseg.config import ConfigError, load_config, load_evaluation
from medseg.config.metrics import metric_names


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config("focal_tversky", overrides)
    return [f"{problem.key}: {problem.message}; {problem.suggestion}" for problem in caught.value.problems]


class TestNames:
    def test_they_are_those_of_the_registry_without_importing_it(self) -> None:
        script = "import sys; from medseg.config.metrics import metric_names; print(*metric_names(), 'torch' in sys.modules)"
        printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
        from medseg.metrics import METRICS

        assert printed == [*METRICS, "False"]
        assert metric_names() == tuple(METRICS)

    @pytest.mark.parametrize(
        ("overrides", "wanted"),
        [
            (["evaluation.metrics=[dice,hd59]"], "evaluation.metrics[1]: unknown metric 'hd59'; did you mean hd95?"),
            (["evaluation.primary=dcie"], "evaluation.primary: unknown metric 'dcie'; did you mean dice?"),
            (["validation.monitor=lesionf1"], "validation.monitor: unknown metric 'lesionf1'; did you mean lesion_f1?"),
            (["evaluation.primary=nsd"], "evaluation.primary: 'nsd' is computed at several tolerances; name one: nsd_1mm"),
            (["evaluation.primary=nsd_4mm"], "evaluation.primary: 4 mm is none of evaluation.tolerances; add it there"),
            (["evaluation.metrics=[iou,dice]", "validation.monitor=lesion_f1"], "'lesion_f1' is not among evaluation.metrics"),
            (["evaluation.metrics=[dice,dice]"], "evaluation.metrics: names something twice"),
        ],
    )
    def test_what_is_no_metric_is_a_problem(self, overrides: list[str], wanted: str) -> None:
        assert wanted in "\n".join(problems(*overrides))

    @pytest.mark.parametrize(
        "overrides",
        [
            ["evaluation.primary=nsd_2mm"],
            ["evaluation.primary=nsd_2.5mm", "evaluation.tolerances=[2.5]"],
            ["evaluation.primary=nsd_2mm", "evaluation.tolerances={lesion: [2, 5], other: [2]}"],
            ["evaluation.metrics=[hd95,dice]", "validation.monitor=hd95"],
        ],
    )
    def test_what_is_computed_can_be_primary(self, overrides: list[str]) -> None:
        load_config("focal_tversky", overrides)

    def test_a_tolerance_that_only_one_class_has_cannot_be_primary(self) -> None:
        assert problems("evaluation.primary=nsd_5mm", "evaluation.tolerances={lesion: [2, 5], other: [2]}")


class TestValues:
    @pytest.mark.parametrize(
        "override",
        [
            "evaluation.tolerances=[0]",
            "evaluation.tolerances={lesion: [-1]}",
            "evaluation.penalty=-1",
            "evaluation.penalty=far",
            "evaluation.beta=0",
            "evaluation.lesion_iou=1",
            "evaluation.minimum_lesion=-1",
            "evaluation.margin=0",
            "inference.mirror_axes=[3]",
            "inference.mirror_axes=[-1]",
            "inference.mirror_axes=[0,0]",
            "inference.postprocessing.thresholds={lesion: 1.0}",
            "inference.postprocessing.minimum_size={lesion: -3}",
            "inference.postprocessing.largest_component=[lesion,lesion]",
        ],
    )
    def test_out_of_range_is_a_problem_of_that_key(self, override: str) -> None:
        assert [text for text in problems(override) if text.startswith(override.partition("=")[0])]

    def test_post_processing_is_chosen_or_given_not_both(self) -> None:
        both = ["inference.postprocessing.choose=true", "inference.postprocessing.fill_holes=[lesion]"]
        assert "would choose it" in "\n".join(problems(*both))

    @pytest.mark.parametrize("value", ["374", "diagonal", "inf", "nan"])
    def test_penalties(self, value: str) -> None:
        assert str(load_config("focal_tversky", [f"evaluation.penalty={value}"]).evaluation.penalty) in (value, f"{value}.0")


class TestEvaluationAlone:
    def test_it_is_the_section_with_its_defaults(self) -> None:
        section: Any = load_evaluation(["evaluation.tolerances=[2]", "evaluation.both_empty=best"])
        assert (section.tolerances, section.both_empty, section.primary) == ([2], "best", "dice")

    @pytest.mark.parametrize("override", ["evaluation.tolerance=[2]", "trainer.max_epochs=3", "evaluation.primary=x"])
    def test_what_it_does_not_have_is_told(self, override: str) -> None:
        with pytest.raises(ConfigError):
            load_evaluation([override])
