"""The divergence of the prediction from a distribution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses import LossConfigError
from tests.losses.problems import ACTIVATIONS, certain, problem, single, value_and_gradient
from tests.losses.reference_distribution import kl_divergence

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def probabilities(logits: Tensor, activation: str, temperature: float = 1.0) -> Tensor:
    return (logits / temperature).softmax(1) if activation == "softmax" else (logits / temperature).sigmoid()


class TestKLDivergence:
    @pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
    @each_activation
    def test_the_reference(self, activation: str, temperature: float) -> None:
        logits, ids = problem(activation)
        soft = probabilities(problem(activation, seed=3)[0], activation)
        soft[..., 0] = 255
        ids[..., 0] = 255
        weights = 3 * torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        loss = single("kl_divergence", activation, 3, {"temperature": temperature}, ignore_index=255)
        for target in (soft, ids):
            expected = kl_divergence(
                logits.numpy(),
                target.numpy(),
                activation=activation,
                temperature=temperature,
                ignore_index=255,
                weight_map=weights.numpy(),
            )
            assert loss(logits, target, weights).item() == pytest.approx(expected, rel=1e-9)

    def test_distillation_is_that_of_torch(self) -> None:
        student, _ = problem("softmax")
        teacher = problem("softmax", seed=3)[0]
        target = probabilities(teacher, "softmax", 4.0)
        theirs = 16 * F.kl_div((student / 4).log_softmax(1), target, reduction="none").sum(1).mean()
        value = single("kl_divergence", "softmax", 3, {"temperature": 4.0})(student, target)
        assert value.item() == pytest.approx(theirs.item(), rel=1e-9)

    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    @each_activation
    def test_the_gradient_is_the_difference_times_the_temperature(self, activation: str, temperature: float) -> None:
        logits, _ = problem(activation)
        target = probabilities(problem(activation, seed=3)[0], activation)
        _, gradient = value_and_gradient(single("kl_divergence", activation, 3, {"temperature": temperature}), logits, target)
        number = logits.numel() if activation == "sigmoid" else logits.numel() / 3
        by_hand = temperature * (probabilities(logits, activation, temperature) - target) / number
        torch.testing.assert_close(gradient, by_hand, rtol=1e-9, atol=1e-15)

    @pytest.mark.parametrize("temperature", [1.0, 2.0])
    @each_activation
    def test_nothing_where_student_and_teacher_agree(self, activation: str, temperature: float) -> None:
        logits, _ = problem(activation)
        loss = single("kl_divergence", activation, 3, {"temperature": temperature})
        value, gradient = value_and_gradient(loss, logits, probabilities(logits, activation, temperature))
        assert 0 <= value.item() < 1e-15
        assert gradient.abs().max() < 1e-15

    @each_activation
    def test_small_differences_are_not_lost_to_rounding(self, activation: str) -> None:
        """In float32 the difference of two entropies is off by 1e-8 here, of either sign."""
        teacher, _ = problem(activation, (2, 3, 50, 50))
        student = teacher + 1e-4 * torch.randn(teacher.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        loss = single("kl_divergence", activation, 3)
        target = probabilities(teacher, activation)
        exact = loss(student, target).item()
        assert 0 < exact < 5e-9
        assert loss(student.float(), target.float()).item() == pytest.approx(exact, rel=0.01)

    def test_hard_labels_are_cross_entropy(self) -> None:
        for activation, name in (("softmax", "cross_entropy"), ("sigmoid", "bce")):
            logits, target = problem(activation)
            ours, theirs = (value_and_gradient(single(term, activation, 3), logits, target) for term in ("kl_divergence", name))
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-14)

    @each_activation
    def test_soft_labels_are_cross_entropy_less_their_entropy(self, activation: str) -> None:
        logits, _ = problem(activation)
        soft = probabilities(problem(activation, seed=3)[0], activation)
        entropy = -(torch.xlogy(soft, soft) + (0 if activation == "softmax" else torch.xlogy(1 - soft, 1 - soft))).sum(1).mean()
        entropy = entropy if activation == "softmax" else entropy / 3
        plain = single("cross_entropy" if activation == "softmax" else "bce", activation, 3)(logits, soft)
        value = single("kl_divergence", activation, 3)(logits, soft)
        torch.testing.assert_close(value, plain - entropy, rtol=1e-9, atol=0)

    def test_a_teacher_in_half_precision_makes_no_negative_values(self) -> None:
        """Its probabilities do not quite sum to 1, which the plain sum takes for agreement beyond agreement."""
        student, _ = problem("softmax", (1, 3, 1000))
        target = student.softmax(1).half()
        plain = (torch.xlogy(target.double(), target.double()) - target.double() * student.log_softmax(1)).sum(1)
        assert plain.min() < -1e-5
        for voxel in plain.flatten().argsort()[:5].tolist():
            value = single("kl_divergence", "softmax", 3)(student[..., voxel : voxel + 1], target[..., voxel : voxel + 1])
            assert 0 <= value.item() < 1e-5

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @each_activation
    def test_saturated_logits(self, activation: str, dtype: torch.dtype) -> None:
        _, target = problem(activation)
        soft = probabilities(problem(activation, seed=3)[0], activation).to(dtype)
        loss = single("kl_divergence", activation, 3)
        for labels in (target, certain(target, activation, 3, 1.0).clamp_min(0), soft):
            for strength in (-1e4, 1e4):
                value, gradient = value_and_gradient(loss, certain(target, activation, 3, strength).to(dtype), labels)
                assert value.isfinite()
                assert value >= 0
                assert gradient.isfinite().all()
        assert loss(certain(target, activation, 3, 1e4).to(dtype), target) == 0

    @each_activation
    def test_gradcheck(self, activation: str) -> None:
        """On both sides of the border between the two forms, and with certain labels among the soft ones."""
        logits, _ = problem(activation, (2, 3, 6))
        soft = probabilities(problem(activation, (2, 3, 6), seed=3)[0], activation)
        soft[0, :, 0] = torch.tensor([0.0, 1.0, 0.0])
        loss = single("kl_divergence", activation, 3, {"temperature": 2.0})
        assert torch.autograd.gradcheck(lambda z: loss(z, soft), logits.requires_grad_())

    def test_a_temperature_of_nothing_is_refused(self) -> None:
        with pytest.raises(LossConfigError, match="temperature must be above 0"):
            single("kl_divergence", "softmax", 2, {"temperature": 0})
