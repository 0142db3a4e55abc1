"""The pass over the voxels: its derivative, precision, layouts, blocks and memory, whatever the term."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import medseg.losses.blocks
from medseg.losses import TERMS, WeightedLoss, build_loss
from medseg.losses.statistics import collect
from medseg.losses.voxelwise import LogLoss
from tests.losses.problems import ACTIVATIONS, CASES, ONE_PASS, problem, single, value_and_gradient

ALL_TERMS = {
    activation: [name for name, other in ONE_PASS if other == activation] + [{"name": "focal", "params": {"gamma": 0.5}}]
    for activation in ACTIVATIONS
}
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def everything(activation: str, num_classes: int, **settings: Any) -> WeightedLoss:
    """A sum of every term on the one pass that the activation allows."""
    terms = [{"name": term} if isinstance(term, str) else term for term in ALL_TERMS[activation]]
    return build_loss({"activation": activation, "terms": terms, **settings}, num_classes)


def weights_for(logits: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(len(logits), *logits.shape[2:], generator=generator, dtype=torch.float64)


class TestDerivative:
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @pytest.mark.parametrize(("name", "activation"), CASES)
    def test_gradcheck(self, name: str, activation: str, reduce_over: str) -> None:
        logits, target = problem(activation, (2, 3, 4, 2))
        target[0, ..., 0] = 255
        loss = single(name, activation, 3, reduce_over=reduce_over, ignore_index=255)
        assert torch.autograd.gradcheck(lambda z: loss(z, target, weights_for(z)), logits.requires_grad_())

    @pytest.mark.parametrize("empty", ["smooth", "skip", "volume", "batch"])
    @pytest.mark.parametrize("name", ["dice", "focal_tversky", "generalized_dice", "exp_log"])
    @each_activation
    def test_gradcheck_of_every_treatment_of_empty_references(self, name: str, activation: str, empty: str) -> None:
        logits, target = problem(activation, (2, 3, 5))
        target[0] = 0
        for reduce_over in ("batch", "sample"):
            loss = single(name, activation, 3, reduce_over=reduce_over, empty=empty)
            assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, target), logits.requires_grad_())

    def test_gradcheck_of_soft_targets(self) -> None:
        logits, target = problem("sigmoid", (2, 2, 5))
        soft = torch.rand(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        names = [name for name, activation in ONE_PASS if activation == "sigmoid" and TERMS[name].soft_targets]
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": name} for name in names]}, 2)
        assert torch.autograd.gradcheck(lambda z: loss(z, soft), logits.requires_grad_())

    def test_gradcheck_of_deep_supervision(self) -> None:
        logits, target = problem("softmax", (2, 3, 8, 6))
        coarse = problem("softmax", (2, 3, 4, 3), seed=1)[0].requires_grad_()
        loss = everything("softmax", 3)
        assert torch.autograd.gradcheck(lambda fine, coarse: loss([fine, coarse], target), (logits.requires_grad_(), coarse))

    @each_activation
    def test_a_second_derivative_is_refused(self, activation: str) -> None:
        logits, target = problem(activation)
        logits.requires_grad_()
        (gradient,) = torch.autograd.grad(everything(activation, 3)(logits, target), logits, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()

    @pytest.mark.parametrize(("name", "activation"), ONE_PASS)
    def test_a_gradient_penalty_is_refused(self, name: str, activation: str) -> None:
        """Also where the incoming gradient is a constant, as for a cross entropy."""
        logits, target = problem(activation)
        logits.requires_grad_()
        (gradient,) = torch.autograd.grad(single(name, activation, 3)(logits, target), logits, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.square().sum().backward()

    @each_activation
    def test_gradients_through_one_term_leave_the_others_out(self, activation: str) -> None:
        logits, target = problem(activation)
        loss = build_loss({"activation": activation, "terms": [{"name": "dice"}, {"name": "focal", "weight": 0.0}]}, 3)
        torch.testing.assert_close(
            value_and_gradient(loss, logits, target), value_and_gradient(single("dice", activation, 3), logits, target), rtol=1e-12, atol=0
        )


class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @each_activation
    def test_the_sums_of_rounded_logits_are_exact(self, activation: str, dtype: torch.dtype) -> None:
        """Half precision costs the rounding of the logits and of the gradient, nothing else."""
        logits, target = problem(activation, (2, 3, 40, 30))
        rounded = logits.to(dtype)
        loss = everything(activation, 3)
        value, gradient = value_and_gradient(loss, rounded, target)
        exact, exact_gradient = value_and_gradient(loss, rounded.double(), target)
        assert value.dtype == torch.float32
        assert gradient.dtype == dtype
        assert value.item() == pytest.approx(exact.item(), rel=2e-6)
        rounding = torch.finfo(dtype).eps * exact_gradient.abs() + (6e-8 if dtype == torch.float16 else 0)
        assert ((gradient.double() - exact_gradient).abs() <= rounding + 1e-5 * exact_gradient.abs().max()).all()

    @pytest.mark.parametrize("classes", [2, 3])
    def test_an_offset_of_all_logits_costs_no_digits(self, classes: int) -> None:
        logits = 3 * torch.randn(1, classes, 500, generator=torch.Generator().manual_seed(0))
        logits = (logits + 1000).detach()  # rounded once, here
        target = torch.randint(0, classes, (1, 500), generator=torch.Generator().manual_seed(1))
        loss = everything("softmax", classes)
        gradient, exact = (value_and_gradient(loss, z, target)[1].double() for z in (logits, logits.double()))
        torch.testing.assert_close(gradient, exact, rtol=1e-5, atol=1e-6 * exact.abs().max().item())

    def test_float_masks_keep_the_gradient_of_certain_voxels(self) -> None:
        logits = torch.full((1, 1, 4), 18.0)
        target = torch.tensor([[[1, 0, 0, 0]]])
        loss = single("dice", "sigmoid", 1)
        hard, soft = (value_and_gradient(loss, logits, labels)[1] for labels in (target, target.float()))
        torch.testing.assert_close(soft, hard, rtol=1e-5, atol=0)
        assert (soft[..., 1:] > 0).all()

    @pytest.mark.parametrize(("name", "activation"), CASES)
    def test_autocast_changes_nothing(self, name: str, activation: str) -> None:
        logits, target = problem(activation)
        logits = logits.float()
        loss = single(name, activation, 3)
        plain = value_and_gradient(loss, logits, target)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(value_and_gradient(loss, logits, target), plain, rtol=0, atol=0)

    @pytest.mark.parametrize("classes", [2, 3])
    def test_a_large_constant_background_is_counted_exactly(self, classes: int) -> None:
        """Where float32 sums over all voxels drift."""
        logits = torch.zeros(1, classes, 128, 128, 64)
        logits[:, 1] = -3.0
        target = torch.zeros(1, 128, 128, 64, dtype=torch.uint8)
        target[:, :4, :4, :4] = 1
        values = [value_and_gradient(everything("softmax", classes), z, target) for z in (logits, logits.double())]
        torch.testing.assert_close(values[0][0].double(), values[1][0], rtol=1e-6, atol=0)
        torch.testing.assert_close(values[0][1].double(), values[1][1], rtol=1e-5, atol=1e-12)

    def test_false_positives_are_not_lost_beside_many_true_ones(self) -> None:
        logits = torch.full((1, 2, 100_000), 20.0)
        logits[:, 0] = 0.0
        target = torch.ones(1, 100_000, dtype=torch.uint8)
        target[0, 0] = 0
        logits[0, :, 0] = torch.tensor([0.0, -12.0])
        counts = collect(logits, target, None, activation="softmax", functions=(), ignore_index=None, distributed=False).counts
        assert counts.fp[0, 1].item() == pytest.approx(torch.tensor(-12.0, dtype=torch.float64).sigmoid().item(), rel=1e-6)


class TestLayout:
    @each_activation
    def test_any_memory_layout(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 4, 6, 5))
        loss = everything(activation, 3)
        plain = value_and_gradient(loss, logits, target)
        last = value_and_gradient(loss, logits.contiguous(memory_format=torch.channels_last_3d), target)
        torch.testing.assert_close(last, plain, rtol=1e-12, atol=1e-16)
        strided = torch.stack([logits, logits], -1)[..., 0]
        assert not strided.is_contiguous()
        torch.testing.assert_close(value_and_gradient(loss, strided, target), plain, rtol=1e-12, atol=1e-16)
        flipped = value_and_gradient(loss, logits.transpose(2, 4), target.transpose(-1, -3))
        torch.testing.assert_close(flipped[1].transpose(2, 4), plain[1], rtol=1e-9, atol=1e-16)

    @each_activation
    def test_the_gradient_keeps_channels_last(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 6, 5))
        _, gradient = value_and_gradient(everything(activation, 3), logits.contiguous(memory_format=torch.channels_last), target)
        assert gradient.is_contiguous(memory_format=torch.channels_last)

    @each_activation
    def test_one_two_and_three_dimensions_are_the_same(self, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 24))
        loss = everything(activation, 3)
        value, gradient = value_and_gradient(loss, logits, target)
        for spatial in ((4, 6), (1, 4, 6), (2, 3, 4)):
            shaped = value_and_gradient(loss, logits.reshape(2, 3, *spatial), target.reshape(*target.shape[:-1], *spatial))
            torch.testing.assert_close((shaped[0], shaped[1].reshape(2, 3, 24)), (value, gradient), rtol=1e-12, atol=0)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
    @each_activation
    def test_any_integer_target(self, activation: str, dtype: torch.dtype) -> None:
        logits, target = problem(activation)
        loss = everything(activation, 3)
        assert loss(logits, target.to(dtype)) == loss(logits, target)

    def test_boolean_targets(self) -> None:
        logits, target = problem("sigmoid")
        assert everything("sigmoid", 3)(logits, target.bool()) == everything("sigmoid", 3)(logits, target)

    def test_a_softmax_target_with_and_without_a_channel(self) -> None:
        logits, target = problem("softmax")
        assert everything("softmax", 3)(logits, target.unsqueeze(1)) == everything("softmax", 3)(logits, target)


class TestBlocks:
    @pytest.mark.parametrize("size", [1, 1000, 4000])
    @each_activation
    def test_the_cut_does_not_matter(self, activation: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        logits, target = problem(activation, (5, 3, 30, 27))
        loss = everything(activation, 3)
        whole = value_and_gradient(loss, logits, target, weights_for(logits))
        monkeypatch.setattr(medseg.losses.blocks, "CPU_BLOCK", size)
        torch.testing.assert_close(value_and_gradient(loss, logits, target, weights_for(logits)), whole, rtol=1e-11, atol=1e-15)

    @each_activation
    def test_blocks_cover_every_voxel_once(self, activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(medseg.losses.blocks, "CPU_BLOCK", 2000)
        for shape in ((5, 3, 7), (2, 3, 1000), (3, 1, 257), (1, 200, 1)):
            seen = torch.zeros(shape[0], shape[2])
            for samples, span in medseg.losses.blocks.blocks(torch.empty(shape)):
                seen[samples, span] += 1
            assert (seen == 1).all()


class TestMemory:
    @each_activation
    def test_only_inputs_and_two_numbers_a_voxel_are_kept(self, activation: str) -> None:
        logits, target = problem(activation, (2, 8, 50))
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            everything(activation, 8)(logits.requires_grad_(), target)
        inputs = {logits.data_ptr(), target.data_ptr()}
        large = [tuple(tensor.shape) for tensor in kept if tensor.numel() >= 50 and tensor.data_ptr() not in inputs]
        assert large == ([(2, 2, 50)] if activation == "softmax" else [])


class TestCollect:
    def test_counts_by_hand(self) -> None:
        p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]], dtype=torch.float64)
        target = torch.tensor([[0, 2]])
        function = LogLoss()
        found = collect(
            p.T.log().unsqueeze(0), target, None, activation="softmax", functions=(function,), ignore_index=None, distributed=False
        )
        counts = {name: count[0].tolist() for name, count in vars(found.counts).items() if name != "more"}
        assert counts["tp"] == pytest.approx([0.7, 0, 0.6])
        assert counts["fp"] == pytest.approx([0.1, 0.5, 0.1])
        assert counts["fn"] == pytest.approx([0.3, 0, 0.4])
        assert counts["volume"] == [1, 0, 1]
        assert counts["size"] == [2, 2, 2]
        assert found.inside[function][0].tolist() == pytest.approx([-torch.tensor(0.7).log().item(), 0, -torch.tensor(0.6).log().item()])
