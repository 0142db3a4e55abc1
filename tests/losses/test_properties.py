"""What holds for every term: bounds, finiteness, signs, symmetries, removal of voxels, and that optimising it segments."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import TERMS, build_loss
from tests.losses.problems import CASES, REGIONAL, SHAPES, cases_but, certain, effective, masks_of, problem, single, value_and_gradient

each_case = pytest.mark.parametrize(("name", "activation"), CASES)
SHAPE = (2, 3, 6, 5)
PARTLY_FLAT = ("topk", "hinge", "lovasz_hinge", "lovasz_softmax", "boundary", "blob", "component", "cl_dice")
"""Terms that leave some voxels alone: those already right, on the rim, or far from any lesion."""
NEED_A_PARTNER = ("boundary", "hausdorff_dt", "cl_dice", "blob", "component")
"""Terms that say nothing about some voxels or classes, by their papers a complement to a region or distribution term."""
SMOOTHED = [(name, activation) for name, activation in REGIONAL if {"smooth", "epsilon"} & set(inspect.signature(TERMS[name]).parameters)]
FRACTIONAL = {"focal": {"gamma": 0.5}, "focal_tversky": {"exponent": 0.3}, "exp_log": {"epsilon": 0.0}, "dice": {"smooth": 0.0}}


def situations(activation: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Every extreme of prediction and reference; 255 is ignored."""
    _, target = problem(activation, SHAPE)
    empty, full = torch.zeros_like(target), torch.ones_like(target)
    one = empty.clone()
    one[(0, 3, 2) if activation == "softmax" else (0, 1, 3, 2)] = 1
    positive = torch.full(SHAPE, 10.0)
    if activation == "softmax":
        positive[:, 0] = -10.0

    def sure(reference: Tensor, strength: float) -> Tensor:
        return certain(reference, activation, 3, strength)

    return {
        "perfect": (sure(target, 30), target),
        "inverse": (sure(target, -30), target),
        "saturated right": (sure(target, 1e4), target),
        "saturated wrong": (sure(target, -1e4), target),
        "empty, nothing predicted": (sure(empty, 30), empty),
        "empty, saturated": (sure(empty, 1e4), empty),
        "empty, all predicted": (positive, empty),
        "empty, undecided": (torch.zeros(SHAPE), empty),
        "full": (sure(full, 30), full),
        "full, missed": (sure(empty, 30), full),
        "one voxel": (sure(one, 5), one),
        "one voxel, missed": (sure(empty, 20), one),
        "all ignored": (torch.zeros(SHAPE), torch.full_like(target, 255)),
        "one sample ignored": (torch.zeros(SHAPE), torch.cat([target[:1], torch.full_like(target[:1], 255)])),
    }


class TestBounds:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("empty", ["smooth", "skip", "volume", "batch"])
    @each_case
    def test_value_and_gradient_are_finite_and_the_value_not_negative(
        self, name: str, activation: str, empty: str, dtype: torch.dtype
    ) -> None:
        for reduce_over in ("batch", "sample"):
            for params in ({}, FRACTIONAL[name]) if name in FRACTIONAL else ({},):
                loss = single(name, activation, 3, params, reduce_over=reduce_over, empty=empty, ignore_index=255)
                for situation, (logits, target) in situations(activation).items():
                    value, gradient = value_and_gradient(loss, logits.to(dtype), target)
                    assert math.isfinite(value.item()), situation
                    assert value.item() >= 0 or name == "boundary", situation  # signed by definition
                    assert gradient.isfinite().all(), situation

    @pytest.mark.parametrize(("name", "activation"), cases_but("boundary"))
    def test_perfect_is_zero(self, name: str, activation: str) -> None:
        for situation in ("saturated right", "empty, saturated"):
            if (name, situation) == ("mcc", "empty, saturated"):  # no correlation with a constant: 1
                continue
            logits, target = situations(activation)[situation]
            for background in (False, True):
                value, gradient = value_and_gradient(single(name, activation, 3, include_background=background), logits, target)
                assert value.item() == 0
                assert gradient.abs().max() == 0

    @pytest.mark.parametrize(("name", "activation"), cases_but("boundary"))
    def test_nearly_perfect_is_nearly_zero(self, name: str, activation: str) -> None:
        logits, target = situations(activation)["perfect"]
        assert single(name, activation, 3)(logits, target).item() < 1e-6

    @each_case
    def test_all_ignored_is_a_zero_with_a_graph(self, name: str, activation: str) -> None:
        logits, target = situations(activation)["all ignored"]
        for reduce_over in ("batch", "sample"):
            for empty in ("smooth", "skip", "volume", "batch"):
                loss = single(name, activation, 3, ignore_index=255, reduce_over=reduce_over, empty=empty)
                value, gradient = value_and_gradient(loss, logits, target)
                assert value.item() == 0
                assert gradient.abs().max() == 0

    @pytest.mark.parametrize(
        ("name", "activation"), [case for case in REGIONAL if case[0] not in ("combo", "exp_log", "mcc", "unified_focal", "lovasz_hinge")]
    )
    def test_region_terms_stay_below_one(self, name: str, activation: str) -> None:
        for situation, (logits, target) in situations(activation).items():
            assert single(name, activation, 3, ignore_index=255)(logits, target).item() <= 1, situation

    def test_combo_without_shift_is_lower_by_the_share_of_dice(self) -> None:
        logits, target = situations("sigmoid")["saturated right"]
        assert single("combo", "sigmoid", 3, {"shift": False, "ce_share": 0.3})(logits, target).item() == pytest.approx(-0.7)


class TestDirection:
    @pytest.mark.parametrize(("name", "activation"), cases_but("cl_dice"))  # a skeleton may need its surroundings lower
    def test_descent_raises_what_is_reference_and_lowers_the_rest(self, name: str, activation: str) -> None:
        logits, target = problem(activation, SHAPE)
        _, gradient = value_and_gradient(single(name, activation, 3, include_background=True), logits, target)
        wanted = masks_of(target, activation, 3)
        strictly = name not in PARTLY_FLAT
        assert (gradient[wanted] < 0).all() if strictly else (gradient[wanted] <= 0).all()
        if activation == "sigmoid" or name in ("cross_entropy", "focal", "poly", "topk"):  # a softmax may trade one wrong class for another
            assert (gradient[~wanted] > 0).all() if strictly else (gradient[~wanted] >= 0).all()

    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @pytest.mark.parametrize("empty", ["smooth", "volume", "batch"])
    @pytest.mark.parametrize(("name", "activation"), SMOOTHED)
    def test_false_positives_on_an_empty_image_are_pushed_down(self, name: str, activation: str, empty: str, reduce_over: str) -> None:
        """With a smoothing of one voxel, as the docs of `empty: smooth` advise, or with `volume` whatever the smoothing."""
        logits = torch.zeros(1, 2, 8, 8)
        target = torch.zeros(1, 8, 8, dtype=torch.uint8) if activation == "softmax" else torch.zeros(1, 2, 8, 8, dtype=torch.uint8)
        smoothing = {} if empty == "volume" else {"epsilon" if name == "exp_log" else "smooth": 1.0}
        loss = single(name, activation, 2, smoothing, empty=empty, reduce_over=reduce_over)
        _, gradient = value_and_gradient(loss, logits, target)
        assert (gradient[:, -1] > 1e-6).all()

    @pytest.mark.parametrize("background", [False, True])
    @each_case
    def test_optimising_the_logits_segments(self, name: str, activation: str, background: bool) -> None:
        """From noise, with a large, a small and an absent class: every class ends at Dice 1, the absent one at no voxel."""
        ids = torch.zeros(1, 16, 16, dtype=torch.long)
        ids[:, 2:10, 2:12] = 1
        ids[:, 13:15, 13:15] = 2
        target = ids if activation == "softmax" else torch.stack([ids == 1, ids == 2, ids == 3], 1).byte()
        channels = 4 if activation == "softmax" else 3
        logits = torch.randn(1, channels, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        terms = [{"name": name}, *([{"name": "jaccard", "weight": 2.0}] if name in NEED_A_PARTNER else [])]
        settings = effective([str(term["name"]) for term in terms], activation, {"include_background": background, "empty": "volume"})
        loss = build_loss({"activation": activation, "terms": terms, **settings}, channels)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(200):
            optimizer.zero_grad()
            loss(logits, target).backward()
            optimizer.step()
        predicted = logits.argmax(1) if activation == "softmax" else (logits > 0).byte()
        assert torch.equal(predicted, target)


class TestSymmetries:
    @pytest.mark.parametrize(("name", "activation"), cases_but(*SHAPES))
    def test_the_order_of_voxels_and_samples_does_not_matter(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (3, 3, 40))
        loss = single(name, activation, 3, reduce_over="sample")
        voxels, samples = torch.randperm(40, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])
        value, gradient = value_and_gradient(loss, logits, target)
        shuffled, of_shuffled = value_and_gradient(loss, logits[samples][..., voxels], target[samples][..., voxels])
        torch.testing.assert_close((shuffled, of_shuffled), (value, gradient[samples][..., voxels]), rtol=1e-9, atol=1e-14)

    @pytest.mark.parametrize(
        ("name", "activation"), [case for case in CASES if case[1] == "sigmoid" or case[0] not in ("combo", "unified_focal", *SHAPES)]
    )
    def test_the_order_of_the_classes_does_not_matter(self, name: str, activation: str) -> None:
        logits, target = problem(activation, SHAPE)
        order = torch.tensor([1, 2, 0])
        moved = torch.argsort(order)[target] if activation == "softmax" else target[:, order]
        loss = single(name, activation, 3, include_background=True)
        torch.testing.assert_close(loss(logits[:, order], moved), loss(logits, target), rtol=1e-9, atol=0)

    @pytest.mark.parametrize(("name", "activation"), cases_but("component"))  # which breaks ties between cells by order
    def test_a_flip_does_not_matter(self, name: str, activation: str) -> None:
        logits, target = problem(activation, SHAPE)
        loss = single(name, activation, 3)
        torch.testing.assert_close(loss(logits.flip(-1), target.flip(-1)), loss(logits, target), rtol=1e-9, atol=0)


class TestRemoval:
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @pytest.mark.parametrize(("name", "activation"), cases_but(*SHAPES))
    def test_ignored_voxels_are_as_good_as_cut_off(self, name: str, activation: str, reduce_over: str) -> None:
        logits, target = problem(activation, (2, 3, 30))
        ignored = torch.cat([target[..., :20], torch.full_like(target[..., 20:], -1)], -1)
        with_ignored = value_and_gradient(single(name, activation, 3, reduce_over=reduce_over, ignore_index=-1), logits, ignored)
        value, gradient = value_and_gradient(single(name, activation, 3, reduce_over=reduce_over), logits[..., :20], target[..., :20])
        torch.testing.assert_close(with_ignored[0], value, rtol=1e-12, atol=0)
        torch.testing.assert_close(with_ignored[1][..., :20], gradient, rtol=1e-12, atol=0)
        assert with_ignored[1][..., 20:].abs().max() == 0

    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @pytest.mark.parametrize(("name", "activation"), cases_but(*SHAPES))
    def test_a_weight_of_zero_ignores_and_of_two_doubles_the_voxel(self, name: str, activation: str, reduce_over: str) -> None:
        logits, target = problem(activation, (2, 3, 30))
        weights = torch.cat([torch.ones(2, 10), 2 * torch.ones(2, 10), torch.zeros(2, 10)], 1)
        index = [*range(20), *range(10, 20)]
        loss = single(name, activation, 3, reduce_over=reduce_over)
        torch.testing.assert_close(loss(logits, target, weights), loss(logits[..., index], target[..., index]), rtol=1e-12, atol=0)

    @pytest.mark.parametrize("name", [name for name, activation in CASES if activation == "sigmoid"])
    def test_sigmoid_ignores_single_elements(self, name: str) -> None:
        logits, target = problem("sigmoid", (2, 2, 12))
        target[:, 1, 6:] = 255
        _, gradient = value_and_gradient(single(name, "sigmoid", 2, ignore_index=255), logits, target)
        assert gradient[:, 1, 6:].abs().max() == 0
        assert (gradient[:, 0, 6:] != 0).all() or name in PARTLY_FLAT

    @pytest.mark.parametrize("empty", ["smooth", "skip", "volume", "batch"])
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_case
    def test_a_sample_that_is_ignored_altogether_is_none(self, name: str, activation: str, reduce_over: str, empty: str) -> None:
        logits, target = problem(activation, (3, 3, 6, 5))
        target[2] = 255
        loss = single(name, activation, 3, reduce_over=reduce_over, empty=empty, ignore_index=255)
        torch.testing.assert_close(loss(logits, target), loss(logits[:2], target[:2]), rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @pytest.mark.parametrize("name", [name for name, activation in CASES if activation == "sigmoid"])
    def test_a_channel_that_is_ignored_altogether_is_none(self, name: str, reduce_over: str) -> None:
        """As in partly labelled data sets."""
        logits, target = problem("sigmoid", (2, 3, 6, 5))
        target[:, 2] = 255
        without = single(name, "sigmoid", 2, reduce_over=reduce_over)(logits[:, :2], target[:, :2])
        value = single(name, "sigmoid", 3, reduce_over=reduce_over, ignore_index=255)(logits, target)
        torch.testing.assert_close(value, without, rtol=1e-9, atol=1e-12)

    def test_sigmoid_takes_weights_of_each_channel(self) -> None:
        logits, target = problem("sigmoid", (2, 2, 12))
        weights = torch.ones(2, 2, 12)
        weights[:, 1, 6:] = 0
        ignored = target.clone()
        ignored[:, 1, 6:] = 255
        for name in ("bce", "dice", "exp_log"):
            weighted = single(name, "sigmoid", 2)(logits, target, weights)
            torch.testing.assert_close(weighted, single(name, "sigmoid", 2, ignore_index=255)(logits, ignored), rtol=1e-12, atol=0)


class TestEmptyReferences:
    """Dice at p = 1/2 over 16 voxels, two samples: one with 4 lesion voxels (2 TP, 6 FP, 2 FN), one empty (8 FP)."""

    logits = torch.zeros(2, 1, 16, dtype=torch.float64)
    target = torch.cat([torch.tensor([[[1] * 4 + [0] * 12]]), torch.zeros(1, 1, 16, dtype=torch.long)])
    present = 8 / 12

    def values(self, empty: str, reduce_over: str = "sample", **params: Any) -> tuple[float, Tensor]:
        loss = single("dice", "sigmoid", 1, {"smooth": 0.0, **params}, empty=empty, reduce_over=reduce_over)
        value, gradient = value_and_gradient(loss, self.logits, self.target)
        return value.item(), gradient[1, 0]

    def test_smooth_is_the_ratio_as_it_is(self) -> None:
        value, gradient = self.values("smooth", smooth=1.0)
        assert value == pytest.approx((8 / 13 + 8 / 9) / 2)
        assert gradient.tolist() == pytest.approx([1 / 81 / 2 / 4] * 16)  # s / (S + s)^2, two samples, dp/dz = 1/4

    def test_skip_leaves_it_out_of_the_mean(self) -> None:
        value, gradient = self.values("skip")
        assert value == pytest.approx(self.present)
        assert gradient.abs().max() == 0

    def test_volume_is_the_fraction_predicted(self) -> None:
        value, gradient = self.values("volume")
        assert value == pytest.approx((self.present + 8 / 16) / 2)
        assert gradient.tolist() == pytest.approx([1 / 16 / 2 / 4] * 16)

    def test_batch_takes_the_counts_of_the_batch(self) -> None:
        value, gradient = self.values("batch")
        whole = (14 + 2) / (4 + 14 + 2)
        assert value == pytest.approx((self.present + whole) / 2)
        assert (gradient > 0).all()

    @pytest.mark.parametrize("empty", ["smooth", "skip", "volume", "batch"])
    def test_over_the_batch_no_reference_is_empty_here(self, empty: str) -> None:
        assert self.values(empty, reduce_over="batch")[0] == pytest.approx(16 / 20)

    @pytest.mark.parametrize(("empty", "expected"), [("skip", 4 / 12), ("volume", (2 * 4 / 12 + 8 / 16) / 3)])
    def test_generalized_dice_counts_an_absent_class_as_one_of_three(self, empty: str, expected: float) -> None:
        target = torch.tensor([[[1] * 8 + [0] * 8, [1] * 8 + [0] * 8, [0] * 16]])
        logits = torch.where(target > 0, 0.0, -1e4)
        logits[:, 2] = 0.0
        value = single("generalized_dice", "sigmoid", 3, {"smooth": 0.0}, empty=empty)(logits, target)
        assert value.item() == pytest.approx(expected)
