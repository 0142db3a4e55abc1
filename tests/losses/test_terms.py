"""Every term against the golden values, the independent references, and the identities between losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.losses import reference
from tests.losses.problems import CASES, VOXELWISE, P, golden, problem, single, value_and_gradient

REFERENCED = [case for case in CASES if case[0] in reference.TERMS]
each_case = pytest.mark.parametrize(("name", "activation"), REFERENCED)
PARAMS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("bce", "sigmoid"): [{"pos_weight": 3.0}, {"pos_weight": [1.0, 2.0, 5.0]}],
    ("cross_entropy", "softmax"): [{"class_weights": [0.2, 1.0, 3.0]}],
    ("focal", "softmax"): [{"gamma": 0.5}, {"gamma": 1.5, "alpha": [0.2, 1.0, 3.0]}],
    ("focal", "sigmoid"): [{"gamma": 0.5}, {"gamma": 2.0, "alpha": 0.25}, {"gamma": 1.0, "alpha": [0.1, 0.5, 0.9]}],
    **{("dice", a): [{"smooth": 0.0}, {"smooth": 10.0}] for a in ("softmax", "sigmoid")},
    **{("tversky", a): [{"fn_weight": 0.9, "fp_weight": 0.1, "smooth": 1.0}] for a in ("softmax", "sigmoid")},
    **{("focal_tversky", a): [{"exponent": 1.5}, {"exponent": 0.5, "fn_weight": 0.4, "smooth": 0.0}] for a in ("softmax", "sigmoid")},
    **{("combo", a): [{"ce_share": 0.2, "fn_weight": 0.7, "smooth": 0.1}, {"shift": False}] for a in ("softmax", "sigmoid")},
    ("exp_log", "softmax"): [{"dice_exponent": 1.0, "ce_exponent": 2.0, "epsilon": 0.1}, {"class_weights": [1.0, 2.0, 4.0]}],
    ("exp_log", "sigmoid"): [{"dice_exponent": 2.0, "ce_exponent": 1.0, "dice_weight": 0.3, "ce_weight": 0.9}],
    **{("generalized_dice", a): [{"weighting": "simple"}, {"weighting": "uniform", "smooth": 1.0}] for a in ("softmax", "sigmoid")},
}
VARIANTS = [(name, activation, params) for name, activation in REFERENCED for params in [{}, *PARAMS[name, activation]]]


def expected(
    name: str, logits: Tensor, target: Tensor, weight_map: Tensor | None = None, reduce_over: str = "batch", **options: Any
) -> float:
    """The reference with our decisions: voxelwise parts are means over the batch, and Combo under softmax is categorical."""
    if name in VOXELWISE:
        reduce_over = "batch"
    if name in ("combo", "exp_log"):
        options["ce_reduce_over"] = "batch"
    if name == "combo" and options["activation"] == "softmax":
        options["ce_form"] = "categorical"
    weights = None if weight_map is None else weight_map.numpy()
    return reference.TERMS[name](logits.numpy(), target.numpy(), weight_map=weights, reduce_over=reduce_over, **options)


class TestGoldenValues:
    @pytest.mark.parametrize(
        ("name", "params", "value"),
        [
            ("bce", {}, 0.337539),
            ("bce", {"pos_weight": 3.0}, 0.848364),
            ("focal", {}, 0.085224),
            ("focal", {"alpha": 0.25}, 0.022554),
            ("dice", {"smooth": 0.0}, 0.277778),
            ("tversky", {"smooth": 0.0}, 0.308511),
            ("tversky", {"fn_weight": 1.0, "fp_weight": 1.0, "smooth": 0.0}, 0.434783),
            ("focal_tversky", {"smooth": 0.0}, 0.413955),
            ("focal_tversky", {"smooth": 0.0, "exponent": 4 / 3}, 0.208462),
            ("combo", {"smooth": 0.0}, 0.223274),
            ("combo", {"smooth": 0.0, "shift": False}, -0.276726),
        ],
    )
    def test_sigmoid(self, name: str, params: dict[str, Any], value: float) -> None:
        assert single(name, "sigmoid", 1, params)(*golden("sigmoid")).item() == pytest.approx(value, abs=6e-7)

    @pytest.mark.parametrize(
        ("name", "params", "background", "value"),
        [
            ("cross_entropy", {}, True, 0.337539),
            ("focal", {}, True, 0.085224),
            ("dice", {"smooth": 0.0}, False, 0.277778),
            ("focal_tversky", {"smooth": 0.0}, False, 0.413955),
            ("combo", {"smooth": 0.0}, False, 0.223274),
            ("generalized_dice", {"smooth": 0.0}, True, 0.25),
            ("exp_log", {"epsilon": 0.0}, True, 0.737944),
        ],
    )
    def test_softmax(self, name: str, params: dict[str, Any], background: bool, value: float) -> None:
        loss = single(name, "softmax", 2, params, include_background=background)
        assert loss(*golden("softmax")).item() == pytest.approx(value, abs=6e-7)

    def test_bce_plus_dice(self) -> None:
        bce, dice = (single(name, "sigmoid", 1, params)(*golden("sigmoid")) for name, params in (("bce", {}), ("dice", {"smooth": 0})))
        assert (bce + dice).item() == pytest.approx(0.615317, abs=6e-7)


class TestReference:
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @pytest.mark.parametrize(("name", "activation", "params"), VARIANTS)
    def test_every_parameter(self, name: str, activation: str, params: dict[str, Any], reduce_over: str) -> None:
        logits, target = problem(activation)
        loss = single(name, activation, 3, params, reduce_over=reduce_over)
        value = expected(name, logits, target, activation=activation, reduce_over=reduce_over, **params)
        assert loss(logits, target).item() == pytest.approx(value, rel=1e-9)

    @pytest.mark.parametrize("background", [True, False])
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_case
    def test_ignored_voxels_weights_and_background(self, name: str, activation: str, reduce_over: str, background: bool) -> None:
        logits, target = problem(activation)
        generator = torch.Generator().manual_seed(1)
        target[torch.rand(target.shape, generator=generator) < 0.3] = 255
        weight_map = 3 * torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
        loss = single(name, activation, 3, reduce_over=reduce_over, ignore_index=255, include_background=background)
        options = {"activation": activation, "reduce_over": reduce_over, "ignore_index": 255, "include_background": background}
        value = expected(name, logits, target, weight_map, **options)
        assert loss(logits, target, weight_map).item() == pytest.approx(value, rel=1e-9)

    @each_case
    def test_an_absent_class(self, name: str, activation: str) -> None:
        logits, target = problem(activation)
        if activation == "softmax":
            target[target == 2] = 0
        else:
            target[:, 2] = 0
        for reduce_over in ("batch", "sample"):
            value = expected(name, logits, target, activation=activation, reduce_over=reduce_over)
            assert single(name, activation, 3, reduce_over=reduce_over)(logits, target).item() == pytest.approx(value, rel=1e-9)

    @pytest.mark.parametrize("name", [name for name, activation in REFERENCED if activation == "sigmoid" and name != "exp_log"])
    def test_soft_targets(self, name: str) -> None:
        logits, target = problem("sigmoid")
        soft = torch.rand(target.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        value = expected(name, logits, soft, activation="sigmoid")
        assert single(name, "sigmoid", 3)(logits, soft).item() == pytest.approx(value, rel=1e-9)

    @pytest.mark.parametrize("name", [name for name, activation in CASES if activation == "sigmoid"])
    def test_hard_masks_as_floats_are_the_same(self, name: str) -> None:
        logits, target = problem("sigmoid")
        loss = single(name, "sigmoid", 3)
        hard, soft = value_and_gradient(loss, logits, target), value_and_gradient(loss, logits, target.double())
        torch.testing.assert_close(hard, soft, rtol=1e-9, atol=1e-12)


class TestIdentities:
    def equal(self, one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], activation: str, **settings: Any) -> None:
        logits, target = problem(activation)
        values = [value_and_gradient(single(name, activation, 3, params, **settings), logits, target) for name, params in (one, other)]
        torch.testing.assert_close(*values, rtol=1e-9, atol=1e-14)

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_tversky_of_halves_is_dice(self, activation: str) -> None:
        halves = {"fn_weight": 0.5, "fp_weight": 0.5, "smooth": 0.5}
        self.equal(("tversky", halves), ("dice", {"smooth": 1.0}), activation)

    def test_focal_tversky_to_the_first_is_tversky(self) -> None:
        self.equal(("focal_tversky", {"exponent": 1.0, "smooth": 1e-5}), ("tversky", {}), "softmax")

    def test_paper_gamma_is_one_over_the_exponent(self) -> None:
        self.equal(("focal_tversky", {"paper_gamma": 4 / 3}), ("focal_tversky", {}), "softmax")

    def test_focal_without_focus_is_cross_entropy(self) -> None:
        self.equal(("focal", {"gamma": 0.0}), ("cross_entropy", {}), "softmax")
        self.equal(("focal", {"gamma": 0.0}), ("bce", {}), "sigmoid")

    def test_equal_class_weights_are_none(self) -> None:
        self.equal(("cross_entropy", {"class_weights": [2.0, 2.0, 2.0]}), ("cross_entropy", {}), "softmax")

    def test_generalized_dice_of_one_class_is_dice(self) -> None:
        logits, target = problem("sigmoid", (2, 1, 6))
        generalized, dice = (single(name, "sigmoid", 1)(logits, target) for name in ("generalized_dice", "dice"))
        torch.testing.assert_close(generalized, dice, rtol=1e-9, atol=0)

    def test_neutral_combo_is_half_a_cross_entropy_plus_dice(self) -> None:
        logits, target = problem("sigmoid")
        combo = single("combo", "sigmoid", 3)(logits, target)
        parts = single("bce", "sigmoid", 3)(logits, target) / 4 + single("dice", "sigmoid", 3, {"smooth": 1.0})(logits, target) / 2
        torch.testing.assert_close(combo, parts, rtol=1e-9, atol=0)

    @pytest.mark.parametrize("name", ["focal", "dice", "focal_tversky", "combo", "generalized_dice"])
    def test_two_classes_are_the_sigmoid_of_their_difference(self, name: str) -> None:
        logits, target = problem("softmax", (2, 2, 7, 3))
        softmax = single(name, "softmax", 2)(logits, target)
        sigmoid = single(name, "sigmoid", 1)(logits[:, 1:] - logits[:, :1], target.unsqueeze(1))
        torch.testing.assert_close(softmax, sigmoid, rtol=1e-9, atol=0)

    @pytest.mark.parametrize("name", [name for name, activation in CASES if activation == "softmax"])
    def test_a_shift_of_all_logits_changes_nothing(self, name: str) -> None:
        logits, target = problem("softmax")
        loss = single(name, "softmax", 3)
        one, other = value_and_gradient(loss, logits, target), value_and_gradient(loss, logits + 5, target)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)

    def test_the_power_acts_on_each_class(self) -> None:
        logits, target = problem("sigmoid", (1, 2, 50))
        each = [single("tversky", "sigmoid", 1, {"smooth": 1.0})(logits[:, c : c + 1], target[:, c : c + 1]) ** 0.75 for c in range(2)]
        torch.testing.assert_close(single("focal_tversky", "sigmoid", 2)(logits, target), sum(each) / 2, rtol=1e-9, atol=0)

    def test_dice_by_hand(self) -> None:
        p = torch.stack([1 - P, P]).unsqueeze(0)
        loss = single("dice", "softmax", 2, {"smooth": 1.0}, include_background=True)
        by_hand = 1 - ((2 * 1.3 + 1) / (1.6 + 2 + 1) + (2 * 1.7 + 1) / (2.4 + 2 + 1)) / 2
        assert loss(p.log(), golden("softmax")[1]).item() == pytest.approx(by_hand, rel=1e-9)
