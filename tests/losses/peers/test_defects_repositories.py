"""What the papers' own repositories and widely copied blogs get wrong, and ours must not.

The first words of a docstring name the repository or the blog's number. A box regression's NaN and negative sides (003) are in test_boxes.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.losses import LossConfigError, WeightedLoss
from tests.losses.problems import certain, masks_of, problem, single, value_and_gradient


def lesion(shape: tuple[int, ...] = (1, 1, 32, 32), side: int = 4) -> Tensor:
    """A target with one cube in the corner."""
    target = torch.zeros(shape, dtype=torch.uint8)
    target[(slice(None), slice(None), *[slice(side)] * (len(shape) - 2))] = 1
    return target


def hard_dice(logits: Tensor, target: Tensor, activation: str) -> list[float]:
    """Of each channel that the target has."""
    classes = logits.shape[1]
    predicted = masks_of(logits.argmax(1), "softmax", classes) if activation == "softmax" else logits > 0
    masks = masks_of(target, activation, classes)
    pairs = [(predicted[:, c], masks[:, c]) for c in range(classes) if masks[:, c].any()]
    return [(2 * (p & y).sum() / (p.sum() + y.sum())).item() for p, y in pairs]


def optimise(loss: WeightedLoss, target: Tensor, activation: str, classes: int, steps: int = 60) -> Tensor:
    """The logits that Adam finds by descending the loss itself."""
    ids = target if activation == "sigmoid" else target.unsqueeze(1)
    logits = (0.1 * torch.randn(len(ids), classes, *ids.shape[2:], generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(logits, target).backward()
        optimiser.step()
    return logits.detach()


class TestCombo:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_it_punishes_false_positives(self, activation: str) -> None:
        """asgsaeid/ComboLoss: rewards them, by the wrong sign of the background term."""
        channels = 2 if activation == "softmax" else 1
        ids = torch.zeros(1, 8, 8, dtype=torch.long)
        ids[:, :2, :2] = 1
        target = ids if activation == "softmax" else ids.unsqueeze(1)
        loss = single("combo", activation, channels, {"ce_share": 1.0})
        right = certain(target, activation, channels, 3.0)
        everywhere = certain(torch.ones_like(target), activation, channels, 3.0)
        assert loss(everywhere, target) > loss(torch.zeros_like(right), target) > loss(right, target)

    @pytest.mark.parametrize("shift", [True, False])
    def test_descent_ends_at_the_lesion(self, shift: bool) -> None:
        """asgsaeid/ComboLoss: at all foreground (Dice 0.031 of 16 voxels in 1024); blog 002, which maximises: at the background (0.000)."""
        loss = single("combo", "sigmoid", 1, {"shift": shift})
        assert hard_dice(optimise(loss, lesion(), "sigmoid", 1), lesion(), "sigmoid") == [1.0]

    def test_the_background_has_the_rest_of_the_weight(self) -> None:
        """Blog 002: a misplaced bracket makes it alpha (1 - alpha)."""
        target = torch.tensor([[[1, 0]]])
        loss = single("combo", "sigmoid", 1, {"ce_share": 1.0, "fn_weight": 0.7})
        _, gradient = value_and_gradient(loss, torch.zeros(1, 1, 2, dtype=torch.float64), target)
        assert gradient.flatten().tolist() == pytest.approx([-0.7 / 4, 0.3 / 4])

    def test_a_confident_right_voxel(self) -> None:
        """Blog 002: NaN, from log(1 - 1) * 0."""
        target = lesion((1, 1, 8, 8))
        value, gradient = value_and_gradient(single("combo", "sigmoid", 1), certain(target, "sigmoid", 1, 1e3), target)
        assert value == 0
        assert not gradient.any()


class TestUnifiedFocal:
    @pytest.mark.parametrize("variant", ["asymmetric", "symmetric"])
    @pytest.mark.parametrize(("activation", "channels"), [("softmax", 2), ("sigmoid", 1)])
    def test_the_rare_class_is_a_channel_in_volumes_too(self, activation: str, channels: int, variant: str) -> None:
        """mlyg/unified-focal-loss: a slice takes the planes 0 and 1 across the width (and the file has a SyntaxError)."""
        loss = single("unified_focal", activation, channels, {"variant": variant, "gamma": 0.3})
        logits, target = problem(activation, (2, channels, 3, 4, 5))
        value = loss(logits, target)
        torch.testing.assert_close(loss(logits.movedim(-1, 2), target.movedim(-1, target.ndim - 3)), value)
        logits, target = problem(activation, (2, channels, 6, 5))
        torch.testing.assert_close(loss(logits.unsqueeze(-1), target.unsqueeze(-1)), loss(logits, target))


class TestSegLoss:
    """JunMa11/SegLossOdyssey."""

    @pytest.mark.parametrize("name", ["generalized_dice", "tversky"])
    def test_from_perfect_to_opposite_is_from_0_to_1(self, name: str) -> None:
        """SegLoss: GDiceLoss -1.7239 and -1.4477, TverskyLoss from -1 to 0."""
        target = lesion((1, 1, 16, 16, 16), 8)
        loss = single(name, "sigmoid", 1)
        assert loss(certain(target, "sigmoid", 1, 1e3), target) == 0
        assert loss(certain(target, "sigmoid", 1, -1e3), target).item() == pytest.approx(1)

    def test_an_absent_class_does_not_drown_the_others(self) -> None:
        """SegLoss, LIVIAETS/boundary-loss: weights of 1e5 to 1e20 for absent classes take nine orders from the gradient of the others."""
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

    def test_descent_with_absent_classes_finds_the_present_ones(self) -> None:
        """SegLoss: GDiceLossV2 ends at a Dice of 0.196, 0.087, 0.004 when 6 of 9 classes are missing: the published collapse."""
        target = torch.zeros(1, 12, 12, 12, dtype=torch.long)
        target[:, :8, :8, :8] = 1
        target[:, 9:11, 9:11, 9:11] = 2
        loss = single("generalized_dice", "softmax", 9, include_background=True)
        assert hard_dice(optimise(loss, target, "softmax", 9, 100), target, "softmax") == [1.0, 1.0, 1.0]

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    @pytest.mark.parametrize("name", ["exp_log", "focal_tversky"])
    def test_a_perfect_prediction_has_a_gradient(self, name: str, activation: str) -> None:
        """SegLoss, nabsabraham/focal-tversky-unet #29: NaN."""
        _, target = problem(activation)
        for strength in (30.0, 1e4):
            value, gradient = value_and_gradient(single(name, activation, 3), certain(target, activation, 3, strength), target)
            assert value.item() == pytest.approx(0, abs=1e-3)
            assert gradient.isfinite().all()

    def test_weights_of_voxels_act(self) -> None:
        """SegLoss: DisPenalizedCE returns the unweighted mean."""
        logits, target = problem("softmax")
        weight_map = torch.zeros(target.shape, dtype=torch.float64)
        weight_map[:, 2] = 3.0
        loss = single("cross_entropy", "softmax", 3)
        torch.testing.assert_close(loss(logits, target, weight_map), loss(logits[:, :, 2], target[:, 2]))

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_the_hardest_tenth_of_nine_voxels_is_one(self, activation: str) -> None:
        """SegLoss, nnU-Net: int(0.9) voxels, whose mean is NaN."""
        logits, target = problem(activation, (1, 2 if activation == "softmax" else 1, 3, 3))
        if activation == "softmax":
            losses = nn.functional.cross_entropy(logits, target, reduction="none")
        else:
            losses = nn.functional.binary_cross_entropy_with_logits(logits, target.double(), reduction="none")
        torch.testing.assert_close(single("topk", activation, logits.shape[1], {"percent": 10.0})(logits, target), losses.max())

    @pytest.mark.parametrize("name", ["boundary", "hausdorff_dt"])
    @pytest.mark.parametrize("reference_is", [0, 1])
    def test_no_distance_to_nowhere(self, name: str, reference_is: int) -> None:
        """SegLoss: SciPy's distances of an all-ones array, to a voxel that does not exist, and a penalty of 0/0."""
        target = torch.full((1, 1, 5, 5, 5), reference_is)
        value, gradient = value_and_gradient(single(name, "sigmoid", 1), torch.full(target.shape, -1.0), target)
        assert value == 0
        assert not gradient.any()


class TestMasking:
    @pytest.mark.parametrize(("name", "params"), [("dice", {}), ("bce", {}), ("combo", {}), ("exp_log", {}), ("blob", {})])
    def test_what_is_ignored_leaves_a_perfect_prediction_perfect(self, name: str, params: dict[str, Any]) -> None:
        """wolny/pytorch-3dunet: MaskingLossWrapper sets logits to 0, which is a probability of a half: Dice 0.5556, BCE 0.3466."""
        _, target = problem("sigmoid", (1, 1, 8, 8))
        logits = certain(target, "sigmoid", 1, 1e3)
        target[..., :4] = 255
        assert single(name, "sigmoid", 1, params, ignore_index=255)(logits, target) == 0

    @pytest.mark.parametrize(("activation", "channels"), [("softmax", 2), ("sigmoid", 1)])
    @pytest.mark.parametrize("inner", ["dice", "dice_ce"])
    def test_other_lesions_leave_a_perfect_prediction_perfect(self, inner: str, activation: str, channels: int) -> None:
        """neuronflow/blob_loss: the documented config masks logits: 0.4906 with Dice, 0.1707 with BCE."""
        mask = torch.zeros(1, 16, 16, dtype=torch.long)
        mask[:, 1:3, 1:3] = mask[:, 6:9, 6:9] = mask[:, 12, 12] = 1
        target = mask if activation == "softmax" else mask.unsqueeze(1)
        for name in ("blob", "component"):
            logits = certain(target, activation, channels, 1e3)
            assert single(name, activation, channels, {"inner": inner})(logits, target) == 0

    @pytest.mark.parametrize("name", ["blob", "component"])
    def test_without_lesions_there_is_still_a_tensor_with_a_graph(self, name: str) -> None:
        """neuronflow/blob_loss: a Python 0.0."""
        value, gradient = value_and_gradient(
            single(name, "sigmoid", 1), torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
        )
        assert value.shape == ()
        assert value == 0
        assert not gradient.any()


class TestOtherRepositories:
    def test_the_iterations_of_a_skeleton_are_heeded(self) -> None:
        """jocpae/clDice: 10 whatever `iter_` says."""
        logits, target = problem("sigmoid", (1, 1, 12, 10))
        values = [single("cl_dice", "sigmoid", 1, {"iterations": number})(logits, target).item() for number in (0, 1, 2)]
        assert len(set(values)) == 3

    @pytest.mark.parametrize("prediction_distance", [True, False])
    def test_distances_count_on_both_sides_of_a_surface(self, prediction_distance: bool) -> None:
        """LIVIAETS/boundary-loss: one_hot2hd_dist has the distances inside only, so that a false positive is as good anywhere."""
        target = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
        target[..., 5:10, 5:10] = 1
        loss = single("hausdorff_dt", "sigmoid", 1, {"prediction_distance": prediction_distance})
        costs = []
        for row in (5, 6, 7, 10, 12, 14):  # inside from the surface to the centre, then outside and away
            logits = certain(target, "sigmoid", 1, 50.0)
            logits[..., row, 7] = 0.0 if row > 9 else 1e-3
            costs.append(loss(logits, target).item())
        assert 0 < costs[0] < costs[1] < costs[2]
        assert 0 < costs[3] < costs[4] < costs[5]

    def test_an_exponent_below_1_can_be_had(self) -> None:
        """zifuwanggg/JDTLosses: gamma >= 1 is asserted."""
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        plain = single("tversky", "sigmoid", 1, {"smooth": 1.0})(logits, target)
        torch.testing.assert_close(single("focal_tversky", "sigmoid", 1, {"exponent": 0.75})(logits, target), plain**0.75)

    @pytest.mark.parametrize("name", ["dice_semimetric", "jaccard_metric", "dice", "jaccard"])
    def test_hits_are_no_differences_of_norms(self, name: str) -> None:
        """zifuwanggg/JDTLosses, as smp (S5): the hit as half of |p| + |y| - |p - y|, which single precision loses in a large volume."""
        target = lesion((1, 1, 96, 96, 96), 6)
        loss = single(name, "sigmoid", 1, {"smooth": 0.0})
        value, gradient = value_and_gradient(loss, torch.full(target.shape, -2.0), target)
        p, size, volume = 1 / (1 + math.exp(2)), 96**3, 6**3
        hit, twice = p * volume, 2 if "dice" in name else 1
        whole = p * size + volume - (2 - twice) * hit  # |p| + |y|, or their union
        assert value.item() == pytest.approx(1 - twice * hit / whole, rel=1e-6)
        assert gradient[0, 0, -1, -1, -1].item() == pytest.approx(twice * hit / whole**2 * p * (1 - p), rel=1e-5)


class TestBlogs:
    def test_the_class_axis_is_the_second_of_images_too(self) -> None:
        """000: view(-1, size(-1)) makes the width the classes."""
        logits, target = problem("softmax", (2, 3, 4, 6))
        loss = single("focal", "softmax", 3)
        torch.testing.assert_close(loss(logits.mT, target.mT), loss(logits, target))
        torch.testing.assert_close(loss(logits.flatten(2), target.flatten(1)), loss(logits, target))

    def test_a_layer_that_the_network_lacks_is_refused(self) -> None:
        """000: layer 31 of a VGG16 is silently left out."""
        with pytest.raises(LossConfigError, match="layers must be at least one index from 0 to 30, which vgg16 has"):
            single("perceptual", "sigmoid", 1, {"checkpoint": None, "network": "vgg16", "layers": [3, 8, 31]})

    def test_the_perceptual_network_is_frozen(self) -> None:
        """000: neither frozen nor in evaluation mode."""
        loss = single("perceptual", "sigmoid", 1, {"checkpoint": None})
        features = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout())
        loss.terms["perceptual"].features = features
        loss.train()
        assert not features.training
        assert not any(parameter.requires_grad for parameter in (*features.parameters(), *loss.parameters()))

    def test_saturated_bce_keeps_value_and_gradient(self) -> None:
        """000 to 004: a sigmoid followed by a binary cross entropy: 100 instead of 30, and no gradient."""
        value, gradient = value_and_gradient(single("bce", "sigmoid", 1), torch.tensor([[[30.0]]]), torch.tensor([[[0]]]))
        assert value.item() == pytest.approx(30)
        assert gradient.item() == pytest.approx(1)

    def test_focal_is_taken_of_each_voxel(self) -> None:
        """002: of the mean cross entropy, which makes it a multiple of that."""
        logits = torch.full((1, 1, 100), -4.0, dtype=torch.float64)
        target = torch.zeros(1, 1, 100, dtype=torch.long)
        target[..., 0] = 1
        ratios = []
        for name in ("bce", "focal"):
            _, gradient = value_and_gradient(single(name, "sigmoid", 1), logits, target)
            ratios.append((gradient[0, 0, 0] / gradient[0, 0, 1]).abs().item())
        assert ratios[0] == pytest.approx(math.exp(4))
        assert ratios[1] > 1000 * ratios[0]

    def test_the_papers_focal_tversky(self) -> None:
        """002: an exponent of 2 and weights of a half, which is neither the paper's formula nor its default."""
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        tversky = single("tversky", "sigmoid", 1, {"fn_weight": 0.7, "fp_weight": 0.3, "smooth": 1.0})(logits, target)
        torch.testing.assert_close(single("focal_tversky", "sigmoid", 1)(logits, target), tversky**0.75)
        torch.testing.assert_close(single("focal_tversky", "sigmoid", 1, {"paper_gamma": 4 / 3})(logits, target), tversky**0.75)

    def test_nothing_on_nothing_is_no_loss(self) -> None:
        """003: 1.0, since the smoothing stands in the denominator alone."""
        logits = torch.full((1, 1, 32, 32), -1e4)
        for name in ("dice", "squared_dice", "jaccard", "tversky", "focal_tversky", "generalized_dice", "combo", "exp_log"):
            assert single(name, "sigmoid", 1)(logits, torch.zeros(1, 1, 32, 32, dtype=torch.uint8)) == 0

    def test_dice_is_not_jaccard(self) -> None:
        """003: calls them one. J = D / (2 - D) of the scores."""
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        dice, jaccard = (1 - single(name, "sigmoid", 1, {"smooth": 0.0})(logits, target) for name in ("dice", "jaccard"))
        torch.testing.assert_close(jaccard, dice / (2 - dice))

    def test_alpha_balances(self) -> None:
        """004, 000: a scalar that multiplies both sides."""
        target = torch.tensor([[[1, 0]]])
        _, gradient = value_and_gradient(single("focal", "sigmoid", 1, {"alpha": 0.8}), torch.zeros(1, 1, 2), target)
        assert (gradient[0, 0, 0] / gradient[0, 0, 1]).item() == pytest.approx(-0.8 / 0.2)
