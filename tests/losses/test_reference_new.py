"""The references of the further terms: values worked out elsewhere, hand calculations, torch, and the identities between terms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.losses import reference as old
from tests.losses import reference_distribution as distribution
from tests.losses import reference_instance as instance
from tests.losses import reference_region as region
from tests.losses import reference_shape as shape
from tests.losses.test_reference import SIGMOID, SOFTMAX, problem

TERMS = {**distribution.TERMS, **region.TERMS, **shape.TERMS, **instance.TERMS}
ONE_ACTIVATION = {
    **dict.fromkeys(("balanced_bce", "hinge", "lovasz_hinge"), "sigmoid"),
    **dict.fromkeys(("cross_entropy", "lovasz_softmax"), "softmax"),
}
CASES = [(name, a) for name in TERMS for a in ("softmax", "sigmoid") if ONE_ACTIVATION.get(name, a) == a]
both = pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
each_term = pytest.mark.parametrize(("name", "activation"), CASES)
VOXELWISE = (*distribution.TERMS, "mse", "mae", "huber", "log_cosh", "boundary", "hausdorff_dt")
"""Those that are a mean over all voxels, whatever `reduce_over`."""
SPATIAL = ("boundary", "hausdorff_dt", "cl_dice", "blob", "component")
"""Those that know where a voxel lies."""


def certain(target: np.ndarray, activation: str, classes: int = 3) -> np.ndarray:
    """Logits that predict the target."""
    return 1e4 * (2.0 * (np.moveaxis(np.eye(classes)[target], -1, 1) if activation == "softmax" else target) - 1)


def sigmoid_problem(p: Any, y: Any) -> dict[str, Any]:
    """One sample, one channel."""
    p = np.asarray(p, dtype=np.float64)
    return {"logits": np.log(p / (1 - p))[None, None], "target": np.asarray(y)[None, None], "activation": "sigmoid"}


def soft_problem(activation: str, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    data = problem(activation)
    y = rng.random(data["logits"].shape)
    return {**data, "target": y / y.sum(axis=1, keepdims=True) if activation == "softmax" else y}


class TestGoldenValues:
    @pytest.mark.parametrize("data", [SIGMOID, SOFTMAX], ids=["sigmoid", "softmax"])
    @pytest.mark.parametrize(
        ("name", "params", "expected"),
        [
            ("squared_dice", {"smooth": 0}, 0.139073),
            ("dice_plus_plus", {"smooth": 0}, 0.139073),
            ("log_cosh_dice", {"smooth": 0}, 0.038094),
            ("jaccard", {"smooth": 0}, 0.434783),
            ("jaccard_metric", {"smooth": 0}, 0.434783),
            ("dice_semimetric", {"smooth": 0}, 0.277778),
            ("sensitivity_specificity", {}, 0.033),
            ("mcc", {}, 0.489690),
            ("unified_focal", {}, 0.271954),
            ("unified_focal", {"variant": "symmetric"}, 0.313190),
            ("lovasz_softmax", {}, 0.366667),
            ("lovasz_hinge", {}, 0.702733),
            ("poly", {}, 0.587539),
            ("topk", {"percent": 50}, 0.569717),
            ("cross_entropy", {}, 0.337539),
        ],
    )
    def test_four_voxels(self, data: dict[str, Any], name: str, params: dict[str, Any], expected: float) -> None:
        if ONE_ACTIVATION.get(name, data["activation"]) == data["activation"]:
            assert TERMS[name](**data, **params) == pytest.approx(expected, abs=5.1e-7)


class TestDistributionByHand:
    # p = .9 .4 .2 .1, y = 1 1 0 0
    def test_balanced_bce_weighs_by_the_other_label(self) -> None:
        three_of_four = {**SIGMOID, "target": np.array([[[1, 0, 0, 0]]])}
        expected = (0.75 * -math.log(0.9) + 0.25 * -(math.log(0.6) + math.log(0.8) + math.log(0.9))) / 4
        assert TERMS["balanced_bce"](**three_of_four) == pytest.approx(expected)

    def test_balanced_bce_keeps_a_share_for_an_empty_image(self) -> None:
        empty = {**SIGMOID, "target": np.zeros((1, 1, 4), dtype=int)}
        assert TERMS["balanced_bce"](**empty, minimum=0.1) == pytest.approx(0.1 * old.bce(**empty))

    def test_hinge(self) -> None:
        logit = math.log(0.4 / 0.6)
        assert TERMS["hinge"](**SIGMOID) == pytest.approx((1 - logit) / 4)
        assert TERMS["hinge"](**SIGMOID, margin=2) == pytest.approx((2 - logit + 2 - math.log(4)) / 4)

    def test_poly_focal(self) -> None:
        focal = old.focal(**SIGMOID, gamma=2)
        assert TERMS["poly"](**SIGMOID, gamma=2, epsilon=3) == pytest.approx(focal + 3 * (0.001 + 0.216 + 0.008 + 0.001) / 4)

    @pytest.mark.parametrize(("percent", "hardest"), [(1, [0.4]), (25, [0.4]), (26, [0.4, 0.8]), (75, [0.4, 0.8, 0.9])])
    def test_topk_rounds_up(self, percent: float, hardest: list[float]) -> None:
        assert TERMS["topk"](**SIGMOID, percent=percent) == pytest.approx(-np.mean(np.log(hardest)))

    def test_topk_counts_a_voxel_of_weight_two_twice(self) -> None:
        weights = np.array([[1, 2, 0, 1]])
        assert TERMS["topk"](**SIGMOID, weight_map=weights, percent=50) == pytest.approx(-math.log(0.4))

    def test_logit_adjustment(self) -> None:
        value = TERMS["cross_entropy"](**SOFTMAX, class_priors=[0.8, 0.2], adjustment=2)
        shifted = np.array([0.9, 0.4, 0.8, 0.9]) * np.array([1, 1, 16, 16])
        other = np.array([0.1, 0.6, 0.2, 0.1]) * np.array([16, 16, 1, 1])
        assert value == pytest.approx(-np.mean(np.log(shifted / (shifted + other))))

    def test_kl_of_soft_labels(self) -> None:
        p, y = np.array([0.9, 0.4, 0.2, 0.1]), np.array([0.7, 1, 0, 0.1])
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = np.mean(np.nan_to_num(y * np.log(y / p)) + np.nan_to_num((1 - y) * np.log((1 - y) / (1 - p))))
        assert TERMS["kl_divergence"](**sigmoid_problem(p, y)) == pytest.approx(expected)
        soft = {**SOFTMAX, "target": np.stack([1 - y, y])[None]}
        assert TERMS["kl_divergence"](**soft) == pytest.approx(expected)


class TestIdentities:
    @both
    def test_poly_of_nothing_and_topk_of_everything_are_cross_entropy(self, activation: str) -> None:
        data = problem(activation)
        expected = old.cross_entropy(**data)
        assert distribution.poly(**data, epsilon=0) == pytest.approx(expected)
        assert distribution.topk(**data, percent=100) == pytest.approx(expected)
        assert distribution.kl_divergence(**data) == pytest.approx(expected)

    @both
    def test_poly_of_nothing_is_focal(self, activation: str) -> None:
        data = problem(activation)
        assert distribution.poly(**data, epsilon=0, gamma=1.5) == pytest.approx(old.focal(**data, gamma=1.5))

    @both
    def test_kl_is_zero_at_the_target_of_the_same_temperature(self, activation: str) -> None:
        data = problem(activation)
        z = torch.tensor(data["logits"]) / 3
        target = z.softmax(1) if activation == "softmax" else z.sigmoid()
        assert distribution.kl_divergence(**{**data, "target": target.numpy()}, temperature=3) == pytest.approx(0, abs=1e-12)

    def test_kl_against_torch(self) -> None:
        data = soft_problem("softmax")
        log_p = torch.tensor(data["logits"] / 2).log_softmax(1)
        expected = 4 * F.kl_div(log_p, torch.tensor(data["target"]), reduction="none").sum(1).mean()
        assert distribution.kl_divergence(**data, temperature=2) == pytest.approx(expected.item())

    @pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
    def test_label_smoothing_against_torch(self, weights: list[float] | None) -> None:
        data = problem("softmax")
        data["target"][0, :2] = 255
        a = None if weights is None else torch.tensor(weights, dtype=torch.float64)
        z, y = torch.tensor(data["logits"]), torch.tensor(data["target"])
        expected = F.cross_entropy(z, y, a, ignore_index=255, label_smoothing=0.2).item()
        assert distribution.cross_entropy(**data, class_weights=weights, label_smoothing=0.2, ignore_index=255) == pytest.approx(expected)

    def test_equal_priors_change_nothing(self) -> None:
        data = problem("softmax")
        assert distribution.cross_entropy(**data, class_priors=[1 / 3] * 3) == pytest.approx(old.cross_entropy(**data))

    def test_balanced_bce_of_halves_is_half_bce(self) -> None:
        assert distribution.balanced_bce(**SIGMOID) == pytest.approx(old.bce(**SIGMOID) / 2)

    @both
    def test_hard_labels(self, activation: str) -> None:
        """The same counts behind several names."""
        data = problem(activation)
        dice, s = old.dice(**data, smooth=0.5), {"smooth": 0.5}
        assert region.dice_plus_plus(**data, **s, exponent=1) == pytest.approx(dice)
        assert region.dice_semimetric(**data, **s) == pytest.approx(dice)
        assert region.f_beta(**data, beta=1, smooth=0.25) == pytest.approx(dice)
        assert region.dice_plus_plus(**data, **s) == pytest.approx(region.squared_dice(**data, **s))
        assert region.jaccard_metric(**data, **s) == pytest.approx(region.jaccard(**data, **s))
        assert region.jaccard(**data, **s) == pytest.approx(old.tversky(**data, **s, fn_weight=1, fp_weight=1))
        assert region.f_beta(**data, **s, beta=2) == pytest.approx(old.tversky(**data, **s, fn_weight=0.8, fp_weight=0.2))

    def test_jaccard_and_log_cosh_of_one_class_follow_from_its_dice(self) -> None:
        data = problem("sigmoid", classes=1)
        dice = old.dice(**data, smooth=0)
        assert region.jaccard(**data, smooth=0) == pytest.approx(2 * dice / (1 + dice))
        assert region.log_cosh_dice(**data, smooth=0) == pytest.approx(math.log(math.cosh(dice)))

    @both
    @pytest.mark.parametrize("name", ["squared_dice", "jaccard_metric", "dice_semimetric", "mse", "mae", "huber", "log_cosh"])
    def test_the_target_itself_is_the_best_answer_to_soft_labels(self, name: str, activation: str) -> None:
        data = soft_problem(activation)
        y = data["target"]
        exact = np.log(y) if activation == "softmax" else np.log(y / (1 - y))
        assert TERMS[name](**{**data, "logits": exact}) == pytest.approx(0, abs=1e-9)
        assert TERMS[name](**data) > 0.01

    @both
    def test_unified_focal_without_gamma(self, activation: str) -> None:
        """Equal weights: half the cross entropy, and the dice of all classes and the background."""
        data = problem(activation)
        if activation == "sigmoid":
            flipped = {**data, "logits": -data["logits"], "target": 1 - data["target"]}
            dice = (old.dice(**data, smooth=2) + old.dice(**flipped, smooth=2)) / 2
        else:
            dice = old.dice(**data, smooth=2, include_background=True)
        for variant in ("symmetric", "asymmetric"):
            value = region.unified_focal(**data, variant=variant, gamma=0, fn_weight=0.5, focal_share=0.3, smooth=1)
            assert value == pytest.approx(0.3 * 0.5 * old.cross_entropy(**data) + 0.7 * dice)

    @both
    def test_the_focal_end_of_unified_focal_is_focal(self, activation: str) -> None:
        data = problem(activation)
        alpha = [0.4, 0.6, 0.6] if activation == "softmax" else 0.6
        value = region.unified_focal(**data, variant="symmetric", focal_share=1)
        assert value == pytest.approx(old.focal(**data, gamma=0.5, alpha=alpha))

    def test_lovasz_of_hard_predictions_is_jaccard(self) -> None:
        for activation in ("softmax", "sigmoid"):
            data, other = problem(activation), problem(activation, seed=1)["target"]
            expected = region.jaccard(**{**data, "logits": certain(other, activation)}, smooth=0, reduce_over="sample")
            if activation == "softmax":
                value = shape.lovasz_softmax(**{**data, "logits": certain(other, activation)}, reduce_over="sample")
            else:  # errors are 2 or 0
                value = shape.lovasz_hinge(**{**data, "logits": 2.0 * other - 1}, reduce_over="sample") / 2
            assert value == pytest.approx(expected)

    @pytest.mark.parametrize("name", ["blob", "component"])
    def test_one_lesion_is_dice(self, name: str) -> None:
        target = np.zeros((1, 1, 4, 5), dtype=int)
        target[0, 0, 1:3, 2:4] = 1
        data = {**problem("sigmoid", batch=1, classes=1), "target": target}
        assert TERMS[name](**data) == pytest.approx(old.dice(**data))
        assert TERMS[name](**data, inner="dice_ce") == pytest.approx(old.dice(**data) + old.bce(**data))

    @pytest.mark.parametrize("name", [name for name in TERMS if name not in ONE_ACTIVATION])
    def test_two_softmax_classes_equal_one_sigmoid_channel(self, name: str) -> None:
        soft = problem("softmax", classes=2)
        binary = {"logits": soft["logits"][:, 1:] - soft["logits"][:, :1], "target": soft["target"][:, None], "activation": "sigmoid"}
        assert TERMS[name](**soft) == pytest.approx(TERMS[name](**binary))


@each_term
class TestEveryTerm:
    def test_perfect_is_zero_and_the_opposite_is_not(self, name: str, activation: str) -> None:
        data = problem(activation)
        logits = certain(data["target"], activation)
        perfect, opposite = (TERMS[name](**{**data, "logits": z}) for z in (logits, -logits))
        if name == "boundary":  # signed
            assert perfect < opposite < math.inf
        else:
            assert perfect == pytest.approx(0, abs=1e-12)
            assert 0.01 < opposite < math.inf

    def test_ignored_voxels_have_no_say(self, name: str, activation: str) -> None:
        data = problem(activation)
        cut = {**data, "logits": data["logits"][..., :3], "target": data["target"][..., :3]}
        weights = np.ones((3, 4, 5))
        weights[..., 3:] = 0
        by_weight = TERMS[name](**data, weight_map=weights)
        data["target"][..., 3:] = 255
        value = TERMS[name](**data, ignore_index=255)
        assert value == pytest.approx(by_weight)
        data["logits"][..., 3:] += 3
        assert TERMS[name](**data, ignore_index=255) == pytest.approx(value)
        if name not in SPATIAL:
            assert value == pytest.approx(TERMS[name](**cut))
        data["target"][:] = 255
        assert TERMS[name](**data, ignore_index=255) == 0

    def test_weight_two_is_the_same_as_two_voxels(self, name: str, activation: str) -> None:
        data = problem(activation)
        weights = np.ones((3, 4, 5))
        weights[..., 3:] = 2
        twice = [0, 1, 2, 3, 3, 4, 4]
        repeated = {**data, "logits": data["logits"][..., twice], "target": data["target"][..., twice]}
        if name not in SPATIAL:
            for reduce_over in ("batch", "sample"):
                value = TERMS[name](**data, weight_map=weights, reduce_over=reduce_over)
                assert value == pytest.approx(TERMS[name](**repeated, reduce_over=reduce_over))
        assert TERMS[name](**data, weight_map=weights) != TERMS[name](**data)

    def test_samples_or_the_batch(self, name: str, activation: str) -> None:
        data = {**problem(activation), "reduce_over": "sample"}
        single = [TERMS[name](**{**data, "logits": data["logits"][[b]], "target": data["target"][[b]]}) for b in range(3)]
        if name == "topk":  # the hardest of all samples
            assert TERMS[name](**data) > np.mean(single)
        else:
            assert TERMS[name](**data) == pytest.approx(np.mean(single))
        over_batch = TERMS[name](**{**data, "reduce_over": "batch"})
        assert (over_batch == TERMS[name](**data)) == (name in VOXELWISE)

    def test_depth_one_changes_nothing(self, name: str, activation: str) -> None:
        data = problem(activation, batch=1)
        deep = {**data, "logits": data["logits"][..., None], "target": data["target"][..., None]}
        assert TERMS[name](**deep) == pytest.approx(TERMS[name](**data))
