"""Rules of the loss section that concern several keys, in the words of `build_loss`."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any, get_args, get_type_hints

import pytest

from medseg.config import ConfigError, from_dict, load_config
from medseg.config.losses import SETTINGS, check_loss
from medseg.config.schema import LossConfig
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


EFFECTS = [
    ({"activation": "sigmoid", "ignore_index": 0}, ["dice"],
     "ignore_index: 0 leaves out every voxel outside the masks, with loss.activation: sigmoid; set it to another value, such as 255"),
    ({"activation": "sigmoid", "ignore_index": 1}, ["dice"],
     "ignore_index: 1 leaves out every voxel inside the masks, with loss.activation: sigmoid; set it to another value, such as 255"),
    ({"activation": "sigmoid", "include_background": True}, ["dice"],
     "include_background: true has no effect with loss.activation: sigmoid, which has no background; set it to false"),
    ({"activation": "softmax", "include_background": True}, ["cross_entropy", "unified_focal"],
     "include_background: true has no effect: no term of the sum looks at it; set it to false, or add a region term"),
    ({"activation": "softmax", "reduce_over": "sample"}, ["cross_entropy", "focal"],
     "reduce_over: sample has no effect: no term of the sum looks at it; set it to batch, or add a region term"),
    ({"activation": "softmax", "empty": "volume"}, ["blob", "topk"],
     "empty: volume has no effect: no term of the sum looks at it; set it to smooth, or add a region term"),
    ({"activation": "softmax", "empty": "batch"}, ["dice"],
     "empty: batch has no effect with loss.reduce_over: batch; set it to smooth, or loss.reduce_over to sample"),
]  # fmt: skip
FINE = [
    ({"activation": "softmax", "ignore_index": 1}, ["dice"]),
    ({"activation": "sigmoid", "ignore_index": 255}, ["dice"]),
    ({"activation": "sigmoid", "include_background": False, "reduce_over": "batch", "empty": "smooth", "ignore_index": None}, ["bce"]),
    ({"activation": "softmax", "include_background": True}, ["cross_entropy", "dice"]),
    ({"activation": "softmax", "include_background": True}, ["exp_log"]),
    ({"activation": "softmax", "include_background": True, "empty": "skip", "reduce_over": "sample"}, ["lovasz_softmax"]),
    ({"activation": "softmax", "reduce_over": "sample"}, ["blob"]),
    ({"activation": "softmax", "reduce_over": "sample", "empty": "batch"}, ["cl_dice"]),
    ({"activation": "sigmoid", "empty": "volume"}, ["unified_focal"]),
]


class TestEffect:
    @pytest.mark.parametrize(("settings", "names", "message"), EFFECTS)
    def test_a_setting_without_effect_is_told(self, settings: dict[str, Any], names: list[str], message: str) -> None:
        assert problems_of(**settings, terms=[{"name": name} for name in names]) == [f"x.yaml: loss.{message}"]

    @pytest.mark.parametrize(("settings", "names", "message"), EFFECTS)
    def test_build_loss_has_the_same_words(self, settings: dict[str, Any], names: list[str], message: str) -> None:
        from medseg.losses import LossConfigError, build_loss

        with pytest.raises(LossConfigError) as caught:
            build_loss({**settings, "terms": [{"name": name} for name in names]}, 2)
        assert str(caught.value) == f"build_loss: loss.{message}"

    @pytest.mark.parametrize(("settings", "names"), FINE)
    def test_one_with_effect_is_fine(self, settings: dict[str, Any], names: list[str]) -> None:
        from medseg.losses import build_loss

        assert problems_of(**settings, terms=[{"name": name} for name in names]) == []
        build_loss({**settings, "terms": [{"name": name} for name in names]}, 2)

    @pytest.mark.parametrize("terms", [{}, {"terms": []}, {"terms": [{"name": "dise"}, {"name": "bce"}]}, {"terms": [3]}, {"terms": [{}]}])
    def test_nothing_is_said_of_a_part_or_of_unknown_terms(self, terms: dict[str, Any]) -> None:
        assert problems_of(reduce_over="sample", empty="batch", include_background=True, **terms) == []

    def test_another_value_is_left_to_other_checks(self) -> None:
        assert problems_of(reduce_over=["sample"], empty="none", include_background=1, terms=[{"name": "focal"}]) == []

    def test_the_settings_are_those_of_the_schema(self) -> None:
        hints = get_type_hints(LossConfig)
        for key, (default, others) in SETTINGS.items():
            choices = (False, True) if hints[key] is bool else get_args(hints[key])
            assert getattr(LossConfig("softmax", []), key) == default
            assert {default, *others} == set(choices)

    def test_every_term_says_truly_what_it_looks_at(self) -> None:
        """A setting that a term looks at can change its value, and no other does."""
        import torch

        from medseg.losses import TERMS, build_loss
        from medseg.losses.setting import Setting
        from tests.losses.problems import CASES

        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 3, 12, 10, generator=generator)
        ids = (torch.rand(3, 12, 10, generator=generator) < 0.1).long()
        ids[0] = 0  # without class 1, and all are without class 2
        for name, activation in CASES:
            target = ids if activation == "softmax" else torch.stack([1 - ids, ids, torch.zeros_like(ids)], 1)
            plain = build_loss({"activation": activation, "terms": [{"name": name}]}, 3)
            expected, looked_at = plain(logits, target), set()
            for key, (_, others) in SETTINGS.items():
                base = {"reduce_over": "sample"} if key == "empty" else {}
                reference = _with(plain, Setting(3, activation, **base))(logits, target) if base else expected
                if any(_with(plain, Setting(3, activation, **base, **{key: one}))(logits, target) != reference for one in others):
                    looked_at.add(key)
            own = set(TERMS[name].looks_at)
            assert looked_at == (own - {"include_background"} if activation == "sigmoid" else own), (name, activation)


def _with(loss: Any, setting: Any) -> Any:
    """The loss under another setting, which its builder might refuse."""
    changed = copy.deepcopy(loss)
    changed.setting = setting
    for term in changed.terms.values():
        term.setting = setting
    return changed


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


class TestIdleSum:
    def test_weights_that_are_all_zero(self) -> None:
        terms = [{"name": "dice", "weight": 0.0}, {"name": "cross_entropy", "weight": 0}]
        message = "x.yaml: loss.terms: all weights are 0, so that nothing is trained; give a term a weight above 0"
        assert problems_of(activation="softmax", terms=terms) == [message]

    def test_terms_that_all_act_on_heads(self) -> None:
        terms = [{"name": "huber", "head": "distance"}, {"name": "dice", "weight": 0}]
        (said,) = problems_of(activation="softmax", terms=terms)
        assert said.startswith("x.yaml: loss.terms: every term acts on a head, so that the segmentation is not trained")

    def test_one_term_or_a_schedule_is_enough(self) -> None:
        schedule = {"schedule": "linear", "start": 0.0, "end": 1.0, "epochs": 2}
        for terms in ([{"name": "dice", "weight": 0}, {"name": "cross_entropy"}], [{"name": "dice", "weight": schedule}]):
            assert problems_of(activation="softmax", terms=terms) == []
