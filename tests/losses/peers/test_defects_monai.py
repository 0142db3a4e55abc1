"""What MONAI gets wrong, and ours must not. Tags are those of the list in the docstrings' first words (there is no M12)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from medseg.losses import LossConfigError, build_loss
from tests.losses.problems import certain, golden, problem, single, value_and_gradient


def lesion_free(shape: tuple[int, ...] = (1, 1, 32, 32)) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8)


def vessel() -> Tensor:
    """A diagonal line of 53 voxels in an image of 64 x 64, beside which the background has a skeleton too."""
    line = torch.arange(2, 55)
    target = torch.zeros(1, 64, 64, dtype=torch.long)
    target[:, line, line] = 1
    return target


class TestFocal:
    def test_two_classes_without_background(self) -> None:
        """M1: identically 0, since the softmax runs after the background was cut off."""
        logits, target = problem("softmax", (2, 2, 6, 5))
        for background in (True, False):
            value, gradient = value_and_gradient(single("focal", "softmax", 2, include_background=background), logits, target)
            assert value > 0
            assert gradient.abs().max() > 0

    def test_focal_plus_dice_under_softmax_has_no_sigmoid(self) -> None:
        """M2: DiceFocalLoss(softmax=True) goes from 0.35 to 3.29 when all logits are shifted by 5."""
        logits, target = problem("softmax")
        loss = build_loss({"activation": "softmax", "terms": [{"name": "focal"}, {"name": "dice"}]}, 3)
        torch.testing.assert_close(loss(logits + 5, target), loss(logits, target))

    def test_without_focus_it_is_cross_entropy_with_and_without_an_ignore_index(self) -> None:
        """M3, also kornia's K4: divided by the number of classes, unless there is an ignore index: 0.4570 for 1.3711."""
        logits, target = problem("softmax")
        expected = nn.functional.cross_entropy(logits, target)
        for ignore_index in (None, 255):
            loss = single("focal", "softmax", 3, {"gamma": 0.0}, ignore_index=ignore_index)
            torch.testing.assert_close(loss(logits, target), expected)

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_fractional_focus_on_a_saturated_right_answer(self, activation: str) -> None:
        """M4: NaN gradient."""
        _, target = problem(activation)
        value, gradient = value_and_gradient(single("focal", activation, 3, {"gamma": 0.5}), certain(target, activation, 3, 1e4), target)
        assert value == 0
        assert gradient.abs().max() == 0


class TestUnifiedFocal:
    @pytest.mark.parametrize(("activation", "channels"), [("softmax", 2), ("sigmoid", 1)])
    @pytest.mark.parametrize("level", [-5.0, 0.0, 5.0])
    def test_logits_of_any_sign_train(self, level: float, activation: str, channels: int) -> None:
        """M5: the docstring asks for logits, which are clamped as probabilities: 1.9355, gradient 0 where they are not above 0."""
        logits, target = problem(activation, (2, channels, 6, 5), scale=0.1)
        _, gradient = value_and_gradient(single("unified_focal", activation, channels), logits + level, target)
        positive = target.unsqueeze(1) == torch.arange(2).view(2, 1, 1) if activation == "softmax" else target == 1
        assert (gradient[positive] < 0).all()
        assert (gradient[~positive] > 0).all()

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_the_default_price_is_the_authors(self, activation: str) -> None:
        """Last row: delta .7 by default, .6 in the authors' code: the golden value is theirs."""
        logits, target = golden(activation)
        loss = single("unified_focal", activation, 2 if activation == "softmax" else 1, {"smooth": 0.0})
        assert loss(logits, target).item() == pytest.approx(0.271954, abs=5e-7)

    def test_the_price_is_that_of_missed_foreground(self) -> None:
        """Last row: 'delta: weight of the background', which is the foreground's."""
        target = torch.zeros(1, 1, 100, dtype=torch.uint8)
        target[..., :10] = 1
        missed, invented = (certain(mask, "sigmoid", 1, 5.0) for mask in (torch.zeros_like(target), torch.ones_like(target)))
        missed[..., 10:], invented[..., :10] = -5.0, 5.0
        cheap, dear = (single("unified_focal", "sigmoid", 1, {"fn_weight": price}) for price in (0.2, 0.8))
        assert dear(missed, target) > cheap(missed, target)
        assert dear(invented, target) < cheap(invented, target)


class TestDice:
    def test_generalized_dice_of_an_exact_complement(self) -> None:
        """M6: 0.089 for an organ of two million voxels, whose weight the smoothing swamps; SegLoss has -1.4."""
        target = torch.zeros(1, 1, 128, 128, 160, dtype=torch.uint8)
        target[..., :125] = 1
        loss = single("generalized_dice", "sigmoid", 1)
        assert loss(certain(target, "sigmoid", 1, -30), target).item() == pytest.approx(1)
        assert loss(certain(target, "sigmoid", 1, 30), target).item() == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
    def test_generalized_dice_of_false_positives_on_a_lesion_free_image(self, weighting: str) -> None:
        """M6b: loss and gradient are 0."""
        for empty in ("smooth", "volume"):
            loss = single("generalized_dice", "sigmoid", 1, {"weighting": weighting}, empty=empty)
            value, gradient = value_and_gradient(loss, torch.full((1, 1, 32, 32), 2.0), lesion_free())
            assert value > 0.8
            assert (gradient > 0).all()

    def test_overlapping_regions_get_a_binary_cross_entropy(self) -> None:
        """M7: DiceCELoss(sigmoid=True) has a softmax: 1.3906 for a perfect prediction, 0 for false positives everywhere."""
        target = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}, {"name": "dice"}]}, 3)
        _, parts = loss.with_terms(torch.full((1, 3, 8, 8), 5.0), target)
        assert parts["bce"].item() == pytest.approx(5.0067, abs=5e-5)
        target[:, :, :4] = 1
        assert loss(certain(target, "sigmoid", 3, 1e3), target) == 0

    def test_a_softmax_cross_entropy_beside_sigmoids_is_refused(self) -> None:
        """M2, M7: the sum of two activations."""
        terms = [{"name": "dice"}, {"name": "cross_entropy"}]
        with pytest.raises(LossConfigError, match="cross_entropy"):
            build_loss({"activation": "sigmoid", "terms": terms}, 3)

    def test_an_empty_image_has_a_usable_gradient_if_asked(self) -> None:
        """M9: 6e-13; `smooth` with as small a smoothing is as bad, `volume` gives 1/4 of 1/N."""
        logits, target = torch.zeros(1, 1, 128, 128), lesion_free((1, 1, 128, 128))
        _, gradient = value_and_gradient(single("dice", "sigmoid", 1, empty="volume"), logits, target)
        assert gradient.min().item() == pytest.approx(1 / 128**2 / 4)

    @pytest.mark.parametrize("background", [30.0, 0.0])
    @pytest.mark.parametrize("name", ["dice", "tversky"])
    def test_half_precision_of_a_full_image(self, name: str, background: float) -> None:
        """M11: 1.0 in float16, where a Dice beside a background at even odds is 0.9472 (see also TestHalfPrecision of smp's)."""
        target = torch.zeros(1, 1, 512, 512, dtype=torch.uint8)
        target[..., :60, :60] = 1
        logits = torch.where(target > 0, 30.0, background).half()
        p, fp, tp = 1 / (1 + math.exp(-background)), 512**2 - 3600, 3600
        cost = 0.3 if name == "tversky" else 0.5
        assert single(name, "sigmoid", 1)(logits, target).item() == pytest.approx(cost * p * fp / (tp + cost * p * fp), rel=1e-5)


class TestMatthewsCorrelation:
    def test_an_empty_image_has_a_gradient_if_asked(self) -> None:
        """M8: gradient 0 (and NaN in float16: TestHalfPrecision of smp's)."""
        logits = torch.full((1, 1, 32, 32), 2.0)
        value, gradient = value_and_gradient(single("mcc", "sigmoid", 1, empty="volume"), logits, lesion_free())
        assert value.item() == pytest.approx(1 / (1 + math.exp(-2)))
        assert (gradient > 0).all()


class TestDistances:
    @pytest.mark.parametrize("name", ["boundary", "hausdorff_dt"])
    def test_an_empty_image_is_left_to_the_region_term(self, name: str) -> None:
        """M10: 0 with gradient 0, undocumented. Ours is as well and says so; with the region term of its docstring it trains."""
        logits = torch.full((1, 1, 16, 16), 2.0)
        value, gradient = value_and_gradient(single(name, "sigmoid", 1), logits, lesion_free((1, 1, 16, 16)))
        assert value == 0
        assert not gradient.any()
        both = {"activation": "sigmoid", "empty": "volume", "terms": [{"name": name}, {"name": "dice"}]}
        _, gradient = value_and_gradient(build_loss(both, 1), logits, lesion_free((1, 1, 16, 16)))
        assert (gradient > 0).all()

    def test_a_false_lesion_on_an_empty_image_has_a_surface(self) -> None:
        """M10: not so a prediction that has a boundary of its own."""
        logits = torch.full((1, 1, 16, 16), -2.0)
        logits[..., 4:9, 4:9] = 2.0
        value, gradient = value_and_gradient(single("hausdorff_dt", "sigmoid", 1), logits, lesion_free((1, 1, 16, 16)))
        assert value > 0
        assert (gradient > 0).all()

    @pytest.mark.parametrize(("name", "times"), [("boundary", 5.0), ("hausdorff_dt", 25.0)])
    def test_voxels_have_a_size(self, name: str, times: float) -> None:
        """Last row: no spacing. An error two slices away is five times as far as one two columns away where slices are that thick."""
        target = lesion_free((1, 1, 9, 9))
        target[..., 4, 4] = 1
        loss = single(name, "sigmoid", 1)
        costs = []
        for row, column in ((6, 4), (4, 6)):
            logits = certain(target, "sigmoid", 1, 50.0)
            logits[0, 0, row, column] = 0.0  # not above a half, so that the prediction's own distances stay
            costs.append(loss(logits, target, spacing=torch.tensor([[5.0, 1.0]])).item())
        assert costs[0] == pytest.approx(times * costs[1], rel=1e-5)
        assert costs[1] > 0

    def test_integer_labels_have_the_distances_of_floating_ones(self) -> None:
        """Not in the list: HausdorffDTLoss rounds the distances of integer labels down, 1.41 to 1."""
        logits, target = problem("sigmoid")
        loss = single("hausdorff_dt", "sigmoid", 3, {"exponent": 1.0})
        torch.testing.assert_close(loss(logits, target), loss(logits, target.double()), rtol=0, atol=0)
        mask = lesion_free((1, 1, 3, 3))
        mask[..., 0, 0] = 1
        logits = certain(mask, "sigmoid", 1, 1e3)
        logits[..., 1, 1] = 0.0  # not above a half: sqrt 2 from both surfaces, in an image of diagonal 2 sqrt 2
        found = single("hausdorff_dt", "sigmoid", 1, {"exponent": 1.0})(logits, mask).item()
        assert found == pytest.approx(0.25 * (0.5 + 0.5) / 9, rel=1e-6)


class TestCenterlineDice:
    def test_a_missed_vessel_is_not_hidden_by_the_background(self) -> None:
        """M13: channels, the background's among them, are merged by default: 0.9298."""
        target = vessel()
        logits = certain(torch.zeros_like(target), "softmax", 2, 50)
        for background in (False, True):
            value = single("cl_dice", "softmax", 2, include_background=background)(logits, target)
            assert value.item() == pytest.approx(0.9636, abs=5e-5)

    def test_each_channel_counts(self) -> None:
        """M13: a missed vessel beside a found one costs half of what it costs alone."""
        target = vessel().unsqueeze(1)
        found, missed = (certain(mask, "sigmoid", 1, 50) for mask in (target, torch.zeros_like(target)))
        value = single("cl_dice", "sigmoid", 2)(torch.cat([found, missed], 1), torch.cat([target, target], 1))
        torch.testing.assert_close(value, single("cl_dice", "sigmoid", 1)(missed, target) / 2)


@pytest.mark.parametrize("name", ["focal_tversky", "lovasz_softmax", "combo", "exp_log", "blob", "component"])
def test_what_monai_has_not(name: str) -> None:
    """Last row: no focal Tversky, Lovasz, Combo, exponential logarithmic, blob or component loss."""
    logits, target = problem("softmax")
    value, gradient = value_and_gradient(single(name, "softmax", 3), logits, target)
    assert value > 0
    assert gradient.abs().max() > 0
