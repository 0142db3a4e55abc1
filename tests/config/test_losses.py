"""Rules of the loss section that concern several keys, in the words of `build_loss`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from medseg.config import ConfigError, from_dict, load_config
from medseg.config.losses import check_loss
from medseg.config.tree import wrap


def problems_of(**loss: Any) -> list[str]:
    return [str(problem) for problem in check_loss(wrap({"loss": loss}, "x.yaml"))]


class TestActivation:
    @pytest.mark.parametrize(
        ("activation", "name", "message"),
        [
            ("softmax", "bce", "bce needs loss.activation: sigmoid, got softmax; with softmax take cross_entropy"),
            ("sigmoid", "cross_entropy", "cross_entropy needs loss.activation: softmax, got sigmoid; with sigmoid take bce"),
        ],
    )
    def test_a_term_of_the_other_activation_is_named_with_its_sibling(self, activation: str, name: str, message: str) -> None:
        terms = [{"name": "dice"}, {"name": name}]
        assert problems_of(activation=activation, terms=terms) == [f"x.yaml: loss.terms[1].name: {message}"]

    def test_the_words_are_those_of_build_loss(self) -> None:
        from medseg.losses import TERMS, LossConfigError, build_loss

        limited = [(name, term) for name, term in TERMS.items() if term.activation]
        assert len(limited) >= 2
        for name, term in limited:
            other = "softmax" if term.activation == "sigmoid" else "sigmoid"
            section: dict[str, Any] = {"activation": other, "terms": [{"name": name}]}
            (said,) = problems_of(**section)
            with pytest.raises(LossConfigError) as caught:
                build_loss(section, 2)
            assert said.removeprefix("x.yaml") in str(caught.value).removeprefix("build_loss")

    @pytest.mark.parametrize("name", ["bce", "dice"])
    def test_what_fits_is_fine(self, name: str) -> None:
        assert problems_of(activation="sigmoid", terms=[{"name": name}]) == []

    @pytest.mark.parametrize(
        "section",
        [
            {"terms": [{"name": "bce"}]},
            {"activation": "softmax"},
            {"activation": "relu", "terms": [{"name": "bce"}]},
            {"activation": "softmax", "terms": [{"name": "bcee"}, {"weight": 1}, 3, {"name": ["bce"]}, {"name": {"a": 1}}]},
            {"activation": ["softmax"], "terms": {"name": "bce"}},
        ],
    )
    def test_what_other_checks_report_is_passed_over(self, section: dict[str, Any]) -> None:
        assert problems_of(**section) == []


class TestBalance:
    TERMS = ({"name": "dice"}, {"name": "focal"})

    def test_it_needs_measurements(self) -> None:
        assert problems_of(balance="gradient", share_every=0, terms=list(self.TERMS)) == [
            "x.yaml: loss.balance: gradient needs loss.share_every above 0, since it lives on those measurements; set it to 10"
        ]

    def test_it_needs_two_terms(self) -> None:
        assert problems_of(balance="gradient", terms=list(self.TERMS[:1])) == [
            "x.yaml: loss.balance: gradient has no effect on a single term; set it to none, or add a term"
        ]

    @pytest.mark.parametrize("section", [{"balance": "gradient"}, {"balance": "none", "share_every": 0}, {"share_every": 0}])
    def test_everything_else_is_fine(self, section: dict[str, Any]) -> None:
        assert problems_of(**section, terms=list(self.TERMS)) == []


class TestConfigs:
    def test_a_runs_config_is_refused_with_the_line_that_names_the_term(self) -> None:
        with pytest.raises(ConfigError, match=r"bce_dice.yaml:\d+: loss.terms\[0\].name: bce needs loss.activation: sigmoid, got softmax"):
            load_config("bce_dice", ["loss.activation=softmax"])

    def test_a_config_from_before_these_keys_takes_their_defaults(self) -> None:
        from medseg.config import to_dict

        values = to_dict(load_config("bce_dice"))
        del values["loss"]["balance"], values["loss"]["share_every"]
        assert from_dict(values) == load_config("bce_dice")

    def test_without_torch(self) -> None:
        script = "import sys; from medseg.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
        command = [sys.executable, "-c", script, "config", "bce_dice", "loss.activation=softmax"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "False"
        assert "with softmax take cross_entropy" in result.stderr
