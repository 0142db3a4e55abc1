from __future__ import annotations

from medseg.config.errors import ConfigError, Problem, closest, did_you_mean
from medseg.errors import MedsegError


class TestProblem:
    def test_reads_source_key_message_and_suggestion(self) -> None:
        problem = Problem("configs/x.yaml:12", "loss.terms[0].params.alhpa", "unknown parameter of dice", "did you mean alpha?")
        assert str(problem) == "configs/x.yaml:12: loss.terms[0].params.alhpa: unknown parameter of dice; did you mean alpha?"

    def test_without_key_and_suggestion_leaves_no_stray_colons(self) -> None:
        assert str(Problem("x.yaml", "", "cannot be read")) == "x.yaml: cannot be read"


class TestConfigError:
    def test_has_one_line_a_problem_and_exit_code_2(self) -> None:
        error = ConfigError([Problem("a", "b", "c"), Problem("d", "e", "f")])
        assert str(error) == "a: b: c\nd: e: f"
        assert error.exit_code == 2
        assert isinstance(error, MedsegError)


class TestClosest:
    def test_ignores_case(self) -> None:
        assert closest("AdamW", ["sgd", "adamw"]) == "adamw"

    def test_completes_a_beginning_that_has_one_end(self) -> None:
        assert closest("bf16", ["auto", "bf16-mixed", "16-mixed"]) == "bf16-mixed"
        assert closest("gen", ["generalized_dice", "generalized_tversky"]) is None

    def test_nothing_near_suggests_nothing(self) -> None:
        assert did_you_mean("zzz", ["dice", "focal"]) is None
