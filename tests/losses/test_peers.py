"""Agreement with MONAI and smp where the definitions agree, and their defects, which must not be ours.

Tags in brackets are those of the list of defects that the tests stand for: what a peer does on the same input is said beside each.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss, FocalLoss, GeneralizedDiceLoss, TverskyLoss
from segmentation_models_pytorch import losses as smp
from torch import Tensor, nn

from medseg.losses import build_loss
from tests.losses.problems import certain, problem, single, value_and_gradient


def same(ours: nn.Module, theirs: nn.Module, logits: Tensor, target: Tensor, their_target: Tensor, factor: float = 1.0) -> None:
    """Equal values and gradients, theirs times a factor."""
    z = logits.detach().requires_grad_()
    value = factor * theirs(z, their_target)
    (gradient,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(
        value_and_gradient(ours, logits, target), (value.detach(), gradient), rtol=1e-5, atol=1e-8, check_dtype=False
    )


class TestMonai:
    @pytest.mark.parametrize("background", [True, False])
    @pytest.mark.parametrize("batch", [True, False])
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_dice(self, activation: str, batch: bool, background: bool) -> None:
        if activation == "sigmoid" and not background:
            pytest.skip("there is no background among sigmoid channels")
        logits, target = problem(activation)
        settings = {"reduce_over": "batch" if batch else "sample", "include_background": background}
        theirs = DiceLoss(
            include_background=background,
            to_onehot_y=activation == "softmax",
            softmax=activation == "softmax",
            sigmoid=activation == "sigmoid",
            smooth_nr=0.5,
            smooth_dr=0.5,
            batch=batch,
        )
        their_target = target.unsqueeze(1) if activation == "softmax" else target
        same(single("dice", activation, 3, {"smooth": 0.5}, **settings), theirs, logits, target, their_target)

    def test_tversky(self) -> None:
        logits, target = problem("softmax")
        theirs = TverskyLoss(
            to_onehot_y=True, softmax=True, include_background=False, alpha=0.3, beta=0.7, smooth_nr=1.0, smooth_dr=1.0, batch=True
        )
        same(single("tversky", "softmax", 3, {"smooth": 1.0}), theirs, logits, target, target.unsqueeze(1))

    def test_cross_entropy_plus_dice(self) -> None:
        logits, target = problem("softmax", (2, 3, 4, 5, 6))
        theirs = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)
        ours = build_loss({"activation": "softmax", "terms": [{"name": "cross_entropy"}, {"name": "dice"}]}, 3)
        same(ours, theirs, logits, target, target.unsqueeze(1))

    @pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
    def test_generalized_dice(self, weighting: str) -> None:
        logits, target = problem("softmax")
        theirs = GeneralizedDiceLoss(to_onehot_y=True, softmax=True, w_type=weighting, smooth_nr=0.0, smooth_dr=0.0, batch=True)
        ours = single("generalized_dice", "softmax", 3, {"weighting": weighting, "smooth": 0.0}, include_background=True)
        same(ours, theirs, logits, target, target.unsqueeze(1))

    def test_sigmoid_focal(self) -> None:
        logits, target = problem("sigmoid")
        ours = single("focal", "sigmoid", 3, {"gamma": 1.5, "alpha": 0.25})
        same(ours, FocalLoss(gamma=1.5, alpha=0.25), logits, target, target.double())

    def test_softmax_focal_is_theirs_without_the_division_by_the_classes(self) -> None:
        logits, target = problem("softmax")
        theirs = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0)
        same(single("focal", "softmax", 3), theirs, logits, target, target.unsqueeze(1), factor=3.0)


class TestSmp:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_dice(self, channels: int) -> None:
        logits, target = problem("sigmoid", (2, channels, 6, 5))
        theirs = smp.DiceLoss("binary" if channels == 1 else "multilabel", smooth=1.0)
        same(single("dice", "sigmoid", channels, {"smooth": 2.0}), theirs, logits, target, target)  # theirs is a Tversky of halves

    def test_tversky(self) -> None:
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        theirs = smp.TverskyLoss("binary", alpha=0.3, beta=0.7, smooth=1.0)
        same(single("tversky", "sigmoid", 1, {"smooth": 1.0}), theirs, logits, target, target)

    def test_focal(self) -> None:
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        same(single("focal", "sigmoid", 1, {"alpha": 0.25}), smp.FocalLoss("binary", alpha=0.25, gamma=2.0), logits, target, target)


class TestTorch:
    def test_cross_entropy(self) -> None:
        logits, target = problem("softmax")
        target[:, 0] = 255
        weights = [0.5, 1.0, 4.0]
        theirs = nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float64), ignore_index=255)
        same(single("cross_entropy", "softmax", 3, {"class_weights": weights}, ignore_index=255), theirs, logits, target, target)

    def test_binary_cross_entropy(self) -> None:
        logits, target = problem("sigmoid")
        theirs = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0, dtype=torch.float64))
        same(single("bce", "sigmoid", 3, {"pos_weight": 3.0}), theirs, logits, target, target.double())


def lesion_free(shape: tuple[int, ...] = (1, 1, 32, 32)) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


class TestDefectsOfSmp:
    @pytest.mark.parametrize("logit", [0.0, 30.0, -1e4])
    def test_focal_tversky_has_a_gradient_at_zero_loss(self, logit: float) -> None:
        """[S1, S1b, also SegLoss and MONAI-style powers] NaN there: an all-empty batch, a perfect prediction."""
        loss = single("focal_tversky", "sigmoid", 1)
        for target in (lesion_free(), torch.ones(1, 1, 32, 32, dtype=torch.uint8)):
            value, gradient = value_and_gradient(loss, torch.full((1, 1, 32, 32), logit), target)
            assert value.isfinite()
            assert gradient.isfinite().all()

    @pytest.mark.parametrize("name", ["dice", "tversky", "focal_tversky", "generalized_dice"])
    def test_false_positives_on_a_lesion_free_image_cost_something(self, name: str) -> None:
        """[S2, M6b] 0 with gradient 0 there."""
        for empty in ("smooth", "volume"):
            value, gradient = value_and_gradient(single(name, "sigmoid", 1, empty=empty), torch.full((1, 1, 32, 32), 2.0), lesion_free())
            assert value > 0.8
            assert (gradient > 0).all()

    def test_multiclass_focal_is_a_softmax_focal(self) -> None:
        """[S3b, M2] sigmoids there: a shift of all logits by 5 turns 0.33 into 3.31."""
        logits, target = problem("softmax")
        loss = single("focal", "softmax", 3)
        torch.testing.assert_close(loss(logits + 5, target), loss(logits, target))

    def test_nothing_but_ignored_voxels(self) -> None:
        """[S4, S8] NaN, or a tensor of shape (0, 3), there."""
        loss = build_loss({"activation": "softmax", "ignore_index": 255, "terms": [{"name": "focal"}, {"name": "exp_log"}]}, 3)
        value = loss(torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 255))
        assert value.shape == ()
        assert value == 0

    def test_dice_of_large_volumes_in_single_precision(self) -> None:
        """[S5] 1.020277 and a background gradient of the wrong sign there, from differences of float32 sums."""
        logits = torch.full((1, 1, 128, 128, 128), -1.0)
        target = torch.zeros(1, 1, 128, 128, 128, dtype=torch.uint8)
        target[..., :8, :8, :8] = 1
        loss = single("dice", "sigmoid", 1)
        value, gradient = value_and_gradient(loss, logits, target)
        p, count, lesion = 1 / (1 + math.e), 128**3, 512
        assert value.item() == pytest.approx(1 - 2 * p * lesion / (p * count + lesion), rel=1e-6)
        assert gradient[0, 0, -1, -1, -1].item() == pytest.approx(2 * p * lesion / (p * count + lesion) ** 2 * p * (1 - p), rel=1e-5)

    def test_a_missed_structure_still_pulls_at_p_of_1e11(self) -> None:
        """[S10] log-Dice is clamped, and its gradient 0, there."""
        logits = torch.full((1, 1, 10), math.log(1e-11), dtype=torch.float32)
        loss = single("exp_log", "sigmoid", 1, {"epsilon": 0.0, "ce_weight": 0.0, "dice_weight": 1.0})
        value, gradient = value_and_gradient(loss, logits, torch.ones(1, 1, 10, dtype=torch.uint8))
        log_dice = -math.log(2e-11)
        assert value.item() == pytest.approx(log_dice**0.3, rel=1e-4)
        assert gradient.sum().item() == pytest.approx(-0.3 * log_dice**-0.7, rel=1e-4)

    def test_bce_is_a_mean_over_the_voxels_that_count(self) -> None:
        """[S11] 0.3466 there when half are ignored."""
        target = torch.tensor([[[1, 0, 1, 255, 255, 255]]])
        assert single("bce", "sigmoid", 1, ignore_index=255)(torch.zeros(1, 1, 6), target).item() == pytest.approx(math.log(2))

    def test_the_power_is_taken_of_each_class(self) -> None:
        """[S14] after the mean over classes there."""
        target = torch.zeros(1, 2, 100, dtype=torch.uint8)
        target[:, 0, :50] = 1
        logits = certain(target, "sigmoid", 2, 30)
        target[:, 1, :50] = 1  # the second class is missed whole
        loss = single("focal_tversky", "sigmoid", 2, {"exponent": 0.5, "smooth": 0.0})
        assert loss(logits, target).item() == pytest.approx(0.5, rel=1e-5)  # not sqrt(0.5)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize("name", ["dice", "tversky", "focal", "bce", "combo"])
    def test_large_images_in_half_precision(self, name: str, dtype: torch.dtype) -> None:
        """[S15, M11] NaN or 1.0 there: sums overflow at 65504."""
        target = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
        target[..., :60, :60] = 1
        logits = torch.zeros(1, 1, 512, 512)
        loss = single(name, "sigmoid", 1)
        assert loss(logits.to(dtype), target).item() == pytest.approx(loss(logits.double(), target).item(), rel=1e-6)


class TestDefectsOfMonai:
    def test_focal_of_two_classes_without_background(self) -> None:
        """[M1] identically 0 there: the softmax runs after the background was cut off."""
        logits, target = problem("softmax", (2, 2, 6, 5))
        for background in (True, False):
            value, gradient = value_and_gradient(single("focal", "softmax", 2, include_background=background), logits, target)
            assert value > 0
            assert gradient.abs().max() > 0

    def test_focal_without_focus_is_cross_entropy_with_and_without_an_ignore_index(self) -> None:
        """[M3, K4] divided by the number of classes there, unless there is an ignore index."""
        logits, target = problem("softmax")
        expected = nn.functional.cross_entropy(logits, target)
        for ignore_index in (None, 255):
            loss = single("focal", "softmax", 3, {"gamma": 0.0}, ignore_index=ignore_index)
            torch.testing.assert_close(loss(logits, target), expected)

    def test_fractional_focus_on_a_saturated_right_answer(self) -> None:
        """[M4] NaN there."""
        _, target = problem("softmax")
        value, gradient = value_and_gradient(single("focal", "softmax", 3, {"gamma": 0.5}), certain(target, "softmax", 3, 1e4), target)
        assert value == 0
        assert gradient.abs().max() == 0

    def test_generalized_dice_of_an_exact_complement(self) -> None:
        """[M6] 0.089 there for an organ of two million voxels: the smoothing swamps the weights; SegLoss has -1.4."""
        target = torch.zeros(1, 1, 128, 128, 160, dtype=torch.uint8)
        target[..., :125] = 1
        loss = single("generalized_dice", "sigmoid", 1)
        assert loss(certain(target, "sigmoid", 1, -30), target).item() == pytest.approx(1)
        assert loss(certain(target, "sigmoid", 1, 30), target).item() == pytest.approx(0, abs=1e-6)

    def test_overlapping_regions_get_a_binary_cross_entropy(self) -> None:
        """[M7] a softmax there: 1.39 for a perfect prediction, 0 for false positives everywhere."""
        target = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}, {"name": "dice", "weight": 0.0}]}, 3)
        assert loss(torch.full((1, 3, 8, 8), 5.0), target).item() == pytest.approx(math.log1p(math.exp(5)))
        target[:, :, :4] = 1
        assert loss(certain(target, "sigmoid", 3, 1e3), target) == 0

    def test_dice_on_an_empty_image_has_a_usable_gradient_if_asked(self) -> None:
        """[M9] 6e-13 there; `smooth` with as small a smoothing is as bad, `volume` gives 1/4 of 1/N."""
        logits, target = torch.zeros(1, 1, 128, 128), lesion_free((1, 1, 128, 128))
        _, gradient = value_and_gradient(single("dice", "sigmoid", 1, empty="volume"), logits, target)
        assert gradient.min().item() == pytest.approx(1 / 128**2 / 4)


class TestDefectsOfOthers:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_combo_punishes_false_positives(self, activation: str) -> None:
        """asgsaeid/ComboLoss rewards them: the wrong sign at the background term."""
        channels = 2 if activation == "softmax" else 1
        ids = torch.zeros(1, 8, 8, dtype=torch.long)
        ids[:, :2, :2] = 1
        target = ids if activation == "softmax" else ids.unsqueeze(1)
        loss = single("combo", activation, channels, {"ce_share": 1.0})
        right = certain(target, activation, channels, 3.0)
        everywhere = certain(torch.ones_like(target), activation, channels, 3.0)
        assert loss(everywhere, target) > loss(torch.zeros_like(right), target) > loss(right, target)

    def test_an_absent_class_does_not_drown_the_others(self) -> None:
        """SegLoss' generalised Dice: the gradient of present organs falls by nine orders when most are absent."""
        target = torch.zeros(1, 40, 40, 40, dtype=torch.long)
        target[:, :20, :20, :20] = 1
        target[:, 30:34, 30:34, 30:34] = 2
        gradients = []
        for classes in (3, 9):
            logits = torch.zeros(1, classes, 40, 40, 40)
            logits[:, 3:] = -5.0  # the absent ones hardly predicted
            _, gradient = value_and_gradient(single("generalized_dice", "softmax", classes), logits, target)
            gradients.append(gradient[0, 2, 30, 30, 30].item())
        assert gradients[0] < 0
        assert 0.1 < gradients[1] / gradients[0] < 1

    def test_an_absent_class_is_not_forgotten(self) -> None:
        """[K1] kornia leaves it out of the mean, so that its false positives count only through the background."""
        target = torch.zeros(1, 64, dtype=torch.long)
        target[:, :8] = 1
        logits = certain(target, "softmax", 3, 5.0)
        wrong = logits.clone()
        wrong[:, 2, 20:] = 10.0
        loss = single("dice", "softmax", 3, {"smooth": 1.0})
        assert loss(wrong, target) > loss(logits, target) + 0.3

    @pytest.mark.parametrize(("name", "params"), [("dice", {}), ("bce", {}), ("combo", {}), ("exp_log", {})])
    def test_masking_leaves_a_perfect_prediction_perfect(self, name: str, params: dict[str, Any]) -> None:
        """blob_loss and pytorch-3dunet mask the logits, not the probabilities: Dice 0.556, BCE 0.347 there."""
        _, target = problem("sigmoid", (1, 1, 8, 8))
        logits = certain(target, "sigmoid", 1, 1e3)
        target[..., :4] = 255
        assert single(name, "sigmoid", 1, params, ignore_index=255)(logits, target) == 0

    def test_saturated_bce_keeps_value_and_gradient(self) -> None:
        """A sigmoid followed by a binary cross entropy: 100 instead of 30, and no gradient."""
        value, gradient = value_and_gradient(single("bce", "sigmoid", 1), torch.tensor([[[30.0]]]), torch.tensor([[[0]]]))
        assert value.item() == pytest.approx(30)
        assert gradient.item() == pytest.approx(1)

    def test_focal_is_taken_of_each_voxel(self) -> None:
        """Of the mean cross entropy in a widely copied version, which makes it a multiple of that."""
        logits = torch.full((1, 1, 100), -4.0, dtype=torch.float64)
        target = torch.zeros(1, 1, 100, dtype=torch.long)
        target[..., 0] = 1
        ratios = []
        for name in ("bce", "focal"):
            _, gradient = value_and_gradient(single(name, "sigmoid", 1), logits, target)
            ratios.append((gradient[0, 0, 0] / gradient[0, 0, 1]).abs().item())
        assert ratios[1] > 1000 * ratios[0]

    def test_nothing_on_nothing_is_no_loss(self) -> None:
        """1.0 where the smoothing stands in the denominator alone."""
        logits = torch.full((1, 1, 32, 32), -1e4)
        for name in ("dice", "tversky", "focal_tversky", "generalized_dice", "combo", "exp_log"):
            assert single(name, "sigmoid", 1)(logits, lesion_free()) == 0
