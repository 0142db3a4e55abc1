"""What segmentation_models_pytorch gets wrong, and ours must not. Tags are those of the list in the docstrings' first words."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from medseg.losses import build_loss
from tests.losses.problems import certain, problem, single, value_and_gradient


def lesion_free(shape: tuple[int, ...] = (1, 1, 32, 32)) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


def logarithms(target: Tensor, classes: int) -> Tensor:
    """The logarithm of perfect probabilities, clamped as smp clamps them: as good a logit of softmax as any."""
    return nn.functional.one_hot(target, classes).movedim(-1, 1).double().clamp(1e-7, 1 - 1e-7).log()


class TestFocalTversky:
    @pytest.mark.parametrize("logit", [0.0, 30.0, -1e4])
    def test_it_has_a_gradient_at_zero_loss(self, logit: float) -> None:
        """S1, S1b: NaN gradients of TverskyLoss(gamma=.75) on an all-empty batch and at a perfect prediction; also SegLoss."""
        loss = single("focal_tversky", "sigmoid", 1)
        for target in (lesion_free(), torch.ones(1, 1, 32, 32, dtype=torch.uint8)):
            value, gradient = value_and_gradient(loss, torch.full((1, 1, 32, 32), logit), target)
            assert value.isfinite()
            assert gradient.isfinite().all()

    def test_a_perfect_prediction_rests(self) -> None:
        """S1b: NaN gradients there."""
        target = lesion_free()
        target[..., :8, :8] = 1
        value, gradient = value_and_gradient(single("focal_tversky", "sigmoid", 1), certain(target, "sigmoid", 1, 1e3), target)
        assert value == 0
        assert not gradient.any()

    def test_the_power_is_taken_of_each_class(self) -> None:
        """S14: after the mean over classes, the absent one counted as solved: 0.5221."""
        target = torch.zeros(1, 16, dtype=torch.long)
        target[:, 9:] = 1
        params = {"fn_weight": 0.7, "fp_weight": 0.3, "exponent": 0.75, "smooth": 0.0}
        loss = single("focal_tversky", "softmax", 3, params, include_background=True, empty="skip")
        assert loss(torch.zeros(1, 3, 16), target).item() == pytest.approx(0.7077, abs=5e-5)

    def test_a_missed_class_beside_a_solved_one(self) -> None:
        """S14: the root of the mean, not the mean of the roots."""
        target = torch.zeros(1, 2, 100, dtype=torch.uint8)
        target[:, 0, :50] = 1
        logits = certain(target, "sigmoid", 2, 30)
        target[:, 1, :50] = 1  # the second class is missed whole
        loss = single("focal_tversky", "sigmoid", 2, {"exponent": 0.5, "smooth": 0.0})
        assert loss(logits, target).item() == pytest.approx(0.5, rel=1e-5)  # not sqrt(0.5)


class TestRegion:
    @pytest.mark.parametrize("name", ["dice", "squared_dice", "jaccard", "tversky", "focal_tversky"])
    def test_false_positives_on_a_lesion_free_image_cost_something(self, name: str) -> None:
        """S2: loss and gradient are 0."""
        for empty in ("smooth", "volume"):
            value, gradient = value_and_gradient(single(name, "sigmoid", 1, empty=empty), torch.full((1, 1, 32, 32), 2.0), lesion_free())
            assert value > 0.8
            assert (gradient > 0).all()

    def test_dice_of_large_volumes_in_single_precision(self) -> None:
        """S5: 1.020277 and a background gradient of the wrong sign, -4.3e-9, from differences of float32 sums."""
        target = torch.zeros(2, 1, 128, 128, 128, dtype=torch.uint8)
        target[..., :6, :6, :6] = 1
        value, gradient = value_and_gradient(single("dice", "sigmoid", 1), torch.full(target.shape, -2.0), target)
        assert value.item() == pytest.approx(0.999794, abs=5e-7)
        assert gradient[0, 0, -1, -1, -1].item() == pytest.approx(4.3e-11, rel=0.01)

    @pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
    def test_random_logits_in_single_precision(self, name: str) -> None:
        """S5': off in the third digit, with a background gradient 24 times too large (at 256^3)."""
        logits = torch.randn(1, 1, 96, 96, 96, generator=torch.Generator().manual_seed(0)) - 2
        target = torch.zeros(logits.shape, dtype=torch.uint8)
        target[..., :6, :6, :6] = 1
        loss = single(name, "sigmoid", 1)
        found, exact = value_and_gradient(loss, logits, target), value_and_gradient(loss, logits.double(), target)
        torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-6, atol=0)
        torch.testing.assert_close(found[1].double(), exact[1], rtol=1e-5, atol=0)

    def test_a_missed_voxel_still_pulls_at_p_of_1e11(self) -> None:
        """S10: DiceLoss(log_loss=True) is clamped to 16.118, and its gradient 0."""
        params = {"epsilon": 0.0, "ce_weight": 0.0, "dice_weight": 1.0, "dice_exponent": 1.0}
        loss = single("exp_log", "sigmoid", 1, params)
        value, gradient = value_and_gradient(loss, torch.full((1, 1, 1), -25.0), torch.ones(1, 1, 1, dtype=torch.uint8))
        assert value.item() == pytest.approx(24.3, abs=0.05)
        assert gradient.item() == pytest.approx(-1.0, rel=1e-6)

    def test_a_missed_structure_still_pulls_with_the_papers_exponent(self) -> None:
        """S10."""
        logits = torch.full((1, 1, 10), math.log(1e-11), dtype=torch.float32)
        loss = single("exp_log", "sigmoid", 1, {"epsilon": 0.0, "ce_weight": 0.0, "dice_weight": 1.0})
        value, gradient = value_and_gradient(loss, logits, torch.ones(1, 1, 10, dtype=torch.uint8))
        log_dice = -math.log(2e-11)
        assert value.item() == pytest.approx(log_dice**0.3, rel=1e-4)
        assert gradient.sum().item() == pytest.approx(-0.3 * log_dice**-0.7, rel=1e-4)

    @pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
    def test_images_can_count_one_by_one(self, name: str) -> None:
        """S16: the batch is one image, without an option."""
        logits, target = problem("softmax")
        alone = [single(name, "softmax", 3)(logits[[i]], target[[i]]) for i in range(len(target))]
        by_sample = single(name, "softmax", 3, reduce_over="sample")(logits, target)
        torch.testing.assert_close(by_sample, torch.stack(alone).mean())
        assert by_sample != single(name, "softmax", 3)(logits, target)


class TestVoxelwise:
    def test_focal_of_perfect_probabilities(self) -> None:
        """S3: FocalLoss('multiclass', from_logits=False) puts their logarithm through a sigmoid: 0.0578."""
        _, target = problem("softmax")
        assert single("focal", "softmax", 3)(logarithms(target, 3), target).item() == pytest.approx(0, abs=1e-12)

    def test_multiclass_focal_is_a_softmax_focal(self) -> None:
        """S3b, also MONAI's M2: sigmoids, which a shift of all logits by 5 takes from 0.33 to 3.31."""
        logits, target = problem("softmax")
        loss = single("focal", "softmax", 3)
        torch.testing.assert_close(loss(logits + 5, target), loss(logits, target))

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_focal_of_nothing_but_ignored_voxels(self, activation: str) -> None:
        """S4: NaN."""
        logits, target = problem(activation)
        value, gradient = value_and_gradient(single("focal", activation, 3, ignore_index=255), logits, torch.full_like(target, 255))
        assert value.shape == ()
        assert value == 0
        assert not gradient.any()

    def test_cross_entropy_works_without_parameters(self) -> None:
        """S6: TypeError of SoftCrossEntropyLoss()."""
        logits, target = problem("softmax")
        torch.testing.assert_close(single("cross_entropy", "softmax", 3)(logits, target), nn.functional.cross_entropy(logits, target))

    @pytest.mark.parametrize("name", ["bce", "focal", "poly"])
    def test_a_mean_is_over_the_voxels_that_count(self, name: str) -> None:
        """S11: ignored voxels stay in the denominator: 0.3466 when half are."""
        target = torch.tensor([[[1, 0, 1, 255, 255, 255]]])
        loss = single(name, "sigmoid", 1, ignore_index=255)
        value = loss(torch.zeros(1, 1, 6), target).item()
        assert value == pytest.approx(loss(torch.zeros(1, 1, 3), target[..., :3]).item())
        if name == "bce":
            assert value == pytest.approx(0.6931, abs=5e-5)

    def test_a_mean_does_not_grow_with_the_batch(self) -> None:
        """S12: reduction='batchwise_mean' is the sum: 83.789."""
        logits, target = problem("sigmoid")
        loss = single("focal", "sigmoid", 3)
        torch.testing.assert_close(loss(torch.cat([logits] * 3), torch.cat([target] * 3)), loss(logits, target))


class TestLovasz:
    def test_perfect_probabilities(self) -> None:
        """S7: 'from_logits' is ignored, so that probabilities go through a softmax: 0.4239."""
        _, target = problem("softmax")
        loss = single("lovasz_softmax", "softmax", 3, include_background=True)
        assert loss(logarithms(target, 3), target).item() == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize(("name", "activation"), [("lovasz_softmax", "softmax"), ("lovasz_hinge", "sigmoid")])
    def test_nothing_but_ignored_voxels_is_a_scalar(self, name: str, activation: str) -> None:
        """S8: a tensor of shape (0, 3)."""
        logits, target = problem(activation)
        value, gradient = value_and_gradient(single(name, activation, 3, ignore_index=255), logits, torch.full_like(target, 255))
        assert value.shape == ()
        assert value == 0
        assert not gradient.any()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @pytest.mark.parametrize(("name", "activation"), [("lovasz_softmax", "softmax"), ("lovasz_hinge", "sigmoid")])
    def test_half_precision(self, name: str, activation: str, dtype: torch.dtype) -> None:
        """S9: RuntimeError."""
        logits, target = problem(activation)
        loss = single(name, activation, 3)
        value, gradient = value_and_gradient(loss, logits.to(dtype), target)
        assert gradient.dtype == dtype
        assert value.item() == pytest.approx(loss(logits.to(dtype).double(), target).item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
class TestHalfPrecision:
    @pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "focal", "bce", "combo", "mcc"])
    def test_large_images(self, name: str, dtype: torch.dtype) -> None:
        """S13, S15, also MONAI's M8, M11: sums overflow at 65504, and products of four of them long before: NaN, or 1.0."""
        target = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
        target[..., :60, :60] = 1
        logits = (2.0 * target - 1).to(dtype)
        loss = single(name, "sigmoid", 1)
        value, gradient = value_and_gradient(loss, logits, target)
        assert value.item() == pytest.approx(loss(logits.double(), target).item(), rel=1e-6)
        assert gradient.isfinite().all()

    def test_dice_of_a_megapixel(self, dtype: torch.dtype) -> None:
        """S15: NaN where it should be 0.9999."""
        target = torch.zeros(1, 1, 1024, 1024, dtype=torch.uint8)
        target[..., :8, :8] = 1
        value = single("dice", "sigmoid", 1)(torch.zeros(target.shape, dtype=dtype), target)
        assert value.item() == pytest.approx(1 - 64 / (2**19 + 64), rel=1e-6)


def test_a_sum_of_nothing_but_ignored_voxels() -> None:
    """S4, S8: of several terms, still a scalar 0 with a graph."""
    loss = build_loss({"activation": "softmax", "ignore_index": 255, "terms": [{"name": "focal"}, {"name": "exp_log"}]}, 3)
    value, gradient = value_and_gradient(loss, torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 255))
    assert value.shape == ()
    assert value == 0
    assert not gradient.any()
