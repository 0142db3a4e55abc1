"""Centre-line Dice and its soft skeleton."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from monai.losses import SoftclDiceLoss
from torch import Tensor

from medseg.losses import LossConfigError, build_loss
from medseg.losses.terms.topology import soft_skeleton
from tests.losses import reference_shape as reference
from tests.losses.problems import ACTIVATIONS, certain, problem, single, value_and_gradient

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def cross(size: int = 9) -> Tensor:
    """A horizontal and a vertical vessel of three voxels' width, (1, size, size)."""
    mask = torch.zeros(1, size, size, dtype=torch.uint8)
    middle = slice(size // 2 - 1, size // 2 + 2)
    mask[:, middle] = 1
    mask[..., middle] = 1
    return mask


class TestSkeleton:
    @pytest.mark.parametrize("iterations", [0, 1, 4])
    @pytest.mark.parametrize("size", [(9,), (7, 6), (5, 4, 6), (1, 7, 6)])
    def test_the_reference_agrees(self, size: tuple[int, ...], iterations: int) -> None:
        images = np.random.default_rng(0).random((2, 2, *size))
        expected = [[reference.soft_skeleton(image, iterations) for image in sample] for sample in images]
        torch.testing.assert_close(soft_skeleton(torch.tensor(images), iterations), torch.tensor(np.array(expected)))

    @pytest.mark.parametrize("size", [(9,), (5, 4), (3, 4, 3)])
    def test_gradcheck(self, size: tuple[int, ...]) -> None:
        image = torch.rand(1, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(lambda x: soft_skeleton(x, 3), image.requires_grad_())

    @pytest.mark.parametrize("size", [(8, 7), (5, 6, 4)])
    def test_the_gradient_is_that_of_pooling(self, size: tuple[int, ...]) -> None:
        pool = F.max_pool2d if len(size) == 2 else F.max_pool3d
        axes = range(len(size))
        image = torch.rand(1, 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()

        def erode(x: Tensor) -> Tensor:
            kernels = [tuple(3 if axis == other else 1 for other in axes) for axis in axes]
            return torch.stack([-pool(-x, kernel, 1, tuple(k // 2 for k in kernel)) for kernel in kernels]).amin(0)

        x, expected = image, F.relu(image - pool(erode(image), 3, 1, 1))
        for _ in range(3):
            x = erode(x)
            delta = F.relu(x - pool(erode(x), 3, 1, 1))
            expected = expected + F.relu(delta - expected * delta)
        pairs = [torch.autograd.grad(skeleton.square().sum(), image)[0] for skeleton in (soft_skeleton(image, 3), expected)]
        torch.testing.assert_close(*pairs)

    def test_too_few_iterations_miss_a_thick_structure(self) -> None:
        bar = torch.zeros(1, 1, 11, 20)
        bar[..., 1:10, 2:18] = 1
        assert not soft_skeleton(bar, 2).any()
        assert soft_skeleton(bar, 4)[0, 0, 5].sum() > 5
        torch.testing.assert_close(soft_skeleton(bar, 30), soft_skeleton(bar, 4), rtol=0, atol=0)


class TestReference:
    @pytest.mark.parametrize("params", [{}, {"iterations": 2, "smooth": 0.1}, {"iterations": 0, "smooth": 0.0}])
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_activation
    def test_values(self, activation: str, reduce_over: str, params: dict[str, Any]) -> None:
        logits, target = problem(activation)
        generator = torch.Generator().manual_seed(1)
        weights = 3 * torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
        weights[:, 0, 0] = 0
        target[torch.rand(target.shape, generator=generator) < 0.2] = 255
        options: dict[str, Any] = {"reduce_over": reduce_over, "ignore_index": 255}
        value = single("cl_dice", activation, 3, params, **options)(logits, target, weights)
        expected = reference.cl_dice(logits.numpy(), target.numpy(), activation=activation, weight_map=weights.numpy(), **options, **params)
        assert value.item() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("shape", [(2, 3, 20), (1, 3, 3, 5, 4)])
    @each_activation
    def test_any_number_of_axes(self, activation: str, shape: tuple[int, ...]) -> None:
        logits, target = problem(activation, shape)
        expected = reference.cl_dice(logits.numpy(), target.numpy(), activation=activation)
        assert single("cl_dice", activation, 3)(logits, target).item() == pytest.approx(expected, rel=1e-9)

    def test_a_slice_is_a_volume_of_depth_one(self) -> None:
        logits, target = problem("sigmoid")
        loss = single("cl_dice", "sigmoid", 3)
        flat, deep = value_and_gradient(loss, logits, target), value_and_gradient(loss, logits.unsqueeze(2), target.unsqueeze(2))
        torch.testing.assert_close((deep[0], deep[1].squeeze(2)), flat, rtol=1e-12, atol=0)

    @each_activation
    def test_gradcheck(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 3, 4))
        target[0] = 0
        for empty in ("smooth", "skip", "volume", "batch"):
            loss = single("cl_dice", activation, 3, {"iterations": 2}, reduce_over="sample", empty=empty)
            assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, target), logits.requires_grad_())


class TestMeaning:
    def test_a_cut_vessel_costs_more_than_a_thinner_one(self) -> None:
        target = cross().unsqueeze(0)
        cut, thin = target.clone(), torch.zeros_like(target)
        cut[..., 1, 3:6] = 0
        thin[..., 4, :] = thin[..., :, 4] = 1
        values = {
            name: [single(name, "sigmoid", 1, {"smooth": 1.0})(certain(mask, "sigmoid", 1, 50), target).item() for mask in (cut, thin)]
            for name in ("cl_dice", "dice")
        }
        assert values["cl_dice"][0] > values["cl_dice"][1] + 0.01
        assert values["dice"][0] < values["dice"][1]

    def test_nothing_in_common_is_one_without_smoothing(self) -> None:
        target = cross().unsqueeze(0)
        value, gradient = value_and_gradient(single("cl_dice", "sigmoid", 1, {"smooth": 0.0}), certain(target, "sigmoid", 1, -1e4), target)
        assert value.item() == 1
        assert gradient.isfinite().all()

    @each_activation
    def test_with_dice_it_segments(self, activation: str) -> None:
        target = cross(15) if activation == "softmax" else cross(15).unsqueeze(0)
        channels = 2 if activation == "softmax" else 1
        logits = torch.randn(1, channels, 15, 15, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = build_loss({"activation": activation, "terms": [{"name": "cl_dice"}, {"name": "dice"}]}, channels)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(150):
            optimizer.zero_grad()
            loss(logits, target).backward()
            optimizer.step()
        assert ((logits.argmax(1) if activation == "softmax" else logits > 0) == target).all()


class TestRemoval:
    @each_activation
    def test_what_is_predicted_at_ignored_voxels_does_not_matter(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 8, 8))
        target[..., 3:6] = 255
        loss = single("cl_dice", activation, 3, ignore_index=255)
        expected = value_and_gradient(loss, logits, target)
        wild = logits.clone()
        wild[..., 3:6] = problem(activation, (2, 3, 8, 3), seed=4)[0]
        torch.testing.assert_close(value_and_gradient(loss, wild, target), expected, rtol=0, atol=0)
        assert not expected[1][..., 3:6].any()

    def test_weight_zero_is_as_good_as_ignored(self) -> None:
        logits, target = problem("softmax", (2, 3, 8, 8))
        weights = torch.ones(2, 8, 8)
        weights[..., 3:6] = 0
        ignored = target.clone()
        ignored[..., 3:6] = 255
        weighted = value_and_gradient(single("cl_dice", "softmax", 3), logits, target, weights)
        torch.testing.assert_close(value_and_gradient(single("cl_dice", "softmax", 3, ignore_index=255), logits, ignored), weighted)


class TestEmptyReferences:
    """One sample with a line that is found, one empty with a false line of 5 voxels among 25."""

    target = torch.zeros(2, 1, 5, 5, dtype=torch.uint8)
    target[0, 0, 2] = 1
    logits = certain(torch.stack([target[0], target[0]]), "sigmoid", 1, 50)

    @pytest.mark.parametrize(
        ("empty", "expected"),
        [
            ("smooth", (0 + 5 / (5 + 2)) / 2),
            ("skip", 0.0),
            ("volume", (0 + 5 / 25) / 2),
            ("batch", (0 + (5 / 11) / (1 + 6 / 11)) / 2),  # P = (5 + 1) / (10 + 1), R = 1
        ],
    )
    def test_value(self, empty: str, expected: float) -> None:
        value = single("cl_dice", "sigmoid", 1, reduce_over="sample", empty=empty)(self.logits, self.target)
        assert value.item() == pytest.approx(expected, abs=1e-6)

    def test_the_false_line_is_pushed_down(self) -> None:
        _, gradient = value_and_gradient(single("cl_dice", "sigmoid", 1, reduce_over="sample"), self.logits / 25, self.target)
        assert (gradient[1, 0, 2] > 1e-3).all()


class TestPeers:
    def test_monai_agrees_on_one_channel_of_one_image(self) -> None:
        logits, target = problem("sigmoid", (1, 1, 12, 10))
        theirs = SoftclDiceLoss(iter_=4, smooth=1e-9, sigmoid=True)(logits, target)
        assert single("cl_dice", "sigmoid", 1, {"iterations": 4})(logits, target).item() == pytest.approx(theirs.item(), rel=1e-6)

    def test_a_missed_vessel_is_not_hidden_by_another_channel(self) -> None:
        """[M13] MONAI merges the channels, so that a channel wholly missed costs less beside one that is found."""
        target = torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
        target[..., 15, 4:28] = 1
        found = target * torch.tensor([1, 0]).view(1, 2, 1, 1)
        logits = certain(found, "sigmoid", 2, 50)
        missed = 1 - 2 * (1 / 25) / (1 + 1 / 25)  # nothing predicted: P = 1, R = s / (24 + s)
        assert single("cl_dice", "sigmoid", 2)(logits, target).item() == pytest.approx(missed / 2)
        assert SoftclDiceLoss(iter_=10, sigmoid=True)(logits, target.float()).item() < 0.75 * missed / 2

    def test_the_background_has_no_centre_line(self) -> None:
        logits, target = problem("softmax", (1, 3, 12, 10))
        without, with_it = (single("cl_dice", "softmax", 3, include_background=background)(logits, target) for background in (False, True))
        assert with_it == without
        assert SoftclDiceLoss(softmax=True)(logits, F.one_hot(target, 3).movedim(-1, 1)).item() != pytest.approx(without.item(), rel=1e-2)

    def test_iterations_are_heeded(self) -> None:
        """The authors' code takes 10 whatever it is told."""
        logits, target = problem("sigmoid", (1, 1, 12, 10))
        values = [single("cl_dice", "sigmoid", 1, {"iterations": number})(logits, target).item() for number in (0, 1, 2)]
        assert len(set(values)) == 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"iterations": -1}, "iterations must be an integer, at least 0"),
            ({"iterations": 2.5}, "iterations must be an integer"),
            ({"smooth": -1.0}, "smooth must be at least 0"),
        ],
    )
    def test_parameters(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(LossConfigError, match=message):
            single("cl_dice", "sigmoid", 1, params)
