"""Lovász hinge and Lovász-Softmax."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from segmentation_models_pytorch import losses as smp
from torch import Tensor

import medseg.losses.blocks
from medseg.losses import LossConfigError, LossInputError, WeightedLoss
from tests.losses import reference_shape as reference
from tests.losses.problems import certain, golden, problem, single, value_and_gradient
from tests.losses.terms.agreement import check_agreement

BOTH = [("lovasz_hinge", "sigmoid"), ("lovasz_softmax", "softmax")]
each_term = pytest.mark.parametrize(("name", "activation"), BOTH)
EMPTY = ("smooth", "skip", "volume", "batch")


def same(ours: WeightedLoss, theirs: Any, logits: Tensor, target: Tensor) -> None:
    """Equal values and gradients; they know float32 only."""
    z = logits.float().requires_grad_()
    value = theirs(z, target)
    expected = value.detach(), torch.autograd.grad(value, z)[0]
    torch.testing.assert_close(value_and_gradient(ours, z, target), expected, rtol=1e-5, atol=1e-7, check_dtype=False)


class TestValues:
    @pytest.mark.parametrize(("name", "activation", "classes", "value"), [(*BOTH[0], 1, 0.702733), (*BOTH[1], 2, 0.366667)])
    def test_golden(self, name: str, activation: str, classes: int, value: float) -> None:
        assert single(name, activation, classes)(*golden(activation)).item() == pytest.approx(value, abs=6e-7)

    @each_term
    def test_the_reference_agrees_in_every_setting(self, name: str, activation: str) -> None:
        check_agreement(getattr(reference, name), name, activation)

    @pytest.mark.parametrize("shape", [(2, 3, 17), (2, 3, 6, 5), (2, 3, 4, 3, 5)])
    @each_term
    def test_any_number_of_axes(self, name: str, activation: str, shape: tuple[int, ...]) -> None:
        logits, target = problem(activation, shape)
        expected = getattr(reference, name)(logits.numpy(), target.numpy(), reduce_over="sample")
        assert single(name, activation, 3, reduce_over="sample")(logits, target).item() == pytest.approx(expected, rel=1e-9)

    def test_on_hard_predictions_it_is_one_minus_the_iou(self) -> None:
        _, target = problem("softmax", (1, 3, 50))
        predicted = problem("softmax", (1, 3, 50), seed=1)[1]
        ious = [((predicted == c) & (target == c)).sum() / ((predicted == c) | (target == c)).sum() for c in (1, 2)]
        value = single("lovasz_softmax", "softmax", 3)(certain(predicted, "softmax", 3, 1e3), target)
        assert value.item() == pytest.approx(1 - sum(ious).item() / 2, rel=1e-6)

    @each_term
    def test_rows_are_sorted_apart_however_many_at_once(self, name: str, activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
        logits, target = problem(activation, (4, 3, 40))
        loss = single(name, activation, 3, reduce_over="sample")
        expected = value_and_gradient(loss, logits, target)
        for rows in (1, 2, 4):
            monkeypatch.setattr(medseg.losses.blocks, "CPU_BLOCK", rows * 40 // torch.get_num_threads())
            torch.testing.assert_close(value_and_gradient(loss, logits, target), expected, rtol=0, atol=0)


class TestGradient:
    @pytest.mark.parametrize("empty", EMPTY)
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_term
    def test_gradcheck(self, name: str, activation: str, reduce_over: str, empty: str) -> None:
        logits, target = problem(activation, (2, 3, 4, 2))
        target[0] = 0
        target[1, ..., 0] = 255
        weights = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        loss = single(name, activation, 3, reduce_over=reduce_over, empty=empty, ignore_index=255)
        for weight_map in (None, weights):
            assert torch.autograd.gradcheck(lambda z, w=weight_map: loss(z, target, w), logits.requires_grad_())

    @each_term
    def test_equal_errors_repeat_bit_by_bit_and_count_once(self, name: str, activation: str) -> None:
        """Of a plateau the order in memory decides; the value does not depend on it."""
        _, target = problem(activation, (2, 3, 64))
        loss = single(name, activation, 3)
        value, gradient = value_and_gradient(loss, torch.zeros(2, 3, 64), target)
        again = value_and_gradient(loss, torch.zeros(2, 3, 64), target)
        assert torch.equal(value, again[0])
        assert torch.equal(gradient, again[1])
        order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(loss(torch.zeros(2, 3, 64), target[..., order]), value)

    def test_a_voxel_beyond_the_margin_has_none(self) -> None:
        _, gradient = value_and_gradient(
            single("lovasz_hinge", "sigmoid", 1), torch.tensor([[[1.5, 0.5, -0.5, -1.5]]]), torch.tensor([[[1, 1, 0, 0]]])
        )
        assert (gradient != 0).tolist() == [[[False, True, True, False]]]

    @each_term
    def test_only_the_sorted_slopes_are_kept(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (1, 4, 1000))
        logits = logits.float().requires_grad_()
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            single(name, activation, 4)(logits, target)
        maps = {"lovasz_hinge": 1, "lovasz_softmax": 2}[name]  # the slopes, and the softmax its own output
        assert sum(kept.values()) <= maps * logits.nbytes + 1000

    def test_a_second_backward_is_refused(self) -> None:
        logits, target = problem("sigmoid", (1, 1, 8))
        loss = single("lovasz_hinge", "sigmoid", 1)(logits.requires_grad_(), target)
        (gradient,) = torch.autograd.grad(loss**2, logits, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()


class TestRemoval:
    @each_term
    def test_ignored_voxels_have_no_influence_whatever_their_logits(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (2, 3, 30))
        target[..., 20:] = 255
        loss = single(name, activation, 3, ignore_index=255)
        expected = value_and_gradient(loss, logits, target)
        wild = logits.clone()
        wild[..., 20:] *= 1e4
        torch.testing.assert_close(value_and_gradient(loss, wild, target), expected, rtol=0, atol=0)
        cut = single(name, activation, 3)(logits[..., :20], target[..., :20])
        torch.testing.assert_close(expected[0], cut, rtol=1e-12, atol=0)

    @each_term
    def test_leading_weights_of_zero_do_not_count_as_the_first_error(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (1, 2, 12))
        target[:] = 0
        weights = torch.ones(1, 12, dtype=torch.float64)
        worst = logits[:, -1].argmax()
        weights[0, worst] = 0
        rest = [voxel for voxel in range(12) if voxel != worst]
        loss = single(name, activation, 2)
        torch.testing.assert_close(loss(logits, target, weights), loss(logits[..., rest], target[..., rest]), rtol=1e-12, atol=0)

    def test_sums_beyond_float32_are_exact(self) -> None:
        """A missed voxel as good as 2^24, then an invented one while 8 lesion voxels still hold: float32 would see none of those left."""
        target = torch.tensor([[[1, 0] + [1] * 8]])
        weights = torch.tensor([[2.0**24] + [1.0] * 9])
        logits = torch.tensor([[[-1.0, 0.5] + [0.0] * 8]])
        _, gradient = value_and_gradient(single("lovasz_hinge", "sigmoid", 1), logits, target, weights)
        volume = 2**24 + 8
        assert gradient[0, 0, 1].item() == pytest.approx(8 / volume / (volume + 1), rel=1e-6)


class TestEmptyReferences:
    """Two samples, the second empty, with probabilities 1/2 in one voxel and 1/4 elsewhere."""

    target = torch.cat([torch.tensor([[[1, 1, 0, 0]]]), torch.zeros(1, 1, 4, dtype=torch.long)])
    p = torch.tensor([[[0.9, 0.4, 0.2, 0.1]], [[0.25, 0.5, 0.25, 0.25]]], dtype=torch.float64)

    def value(self, empty: str) -> tuple[float, Tensor]:
        logits = torch.cat([1 - self.p, self.p], 1).log()
        loss = single("lovasz_softmax", "softmax", 2, reduce_over="sample", empty=empty)
        value, gradient = value_and_gradient(loss, logits, self.target[:, 0])
        return value.item(), gradient[1, 1]

    def test_smooth_is_the_worst_voxel(self) -> None:
        value, gradient = self.value("smooth")
        assert value == pytest.approx((11 / 30 + 0.5) / 2)
        assert gradient.tolist() == pytest.approx([0, 0.25 / 2, 0, 0])

    def test_skip_leaves_the_sample_out(self) -> None:
        value, gradient = self.value("skip")
        assert value == pytest.approx(11 / 30)
        assert not gradient.any()

    def test_volume_is_the_fraction_predicted(self) -> None:
        value, gradient = self.value("volume")
        assert value == pytest.approx((11 / 30 + 1.25 / 4) / 2)
        assert (gradient > 0).all()

    def test_batch_is_that_of_all_voxels(self) -> None:
        value, _ = self.value("batch")
        # errors .6 and .1 of the lesion, .5 .25 .25 .25 .2 .1 of the rest
        order = [(0.6, 1), (0.5, 0), (0.25, 0), (0.25, 0), (0.25, 0), (0.2, 0), (0.1, 1), (0.1, 0)]
        jaccards = [1 - (2 - hits) / (2 + wrong) for hits, wrong in zip(*self.sums(order), strict=True)]
        whole = sum(e * (now - before) for (e, _), now, before in zip(order, jaccards, [0.0, *jaccards], strict=False))
        assert value == pytest.approx((11 / 30 + whole) / 2)

    @staticmethod
    def sums(order: list[tuple[float, int]]) -> tuple[list[int], list[int]]:
        return list(itertools.accumulate(y for _, y in order)), list(itertools.accumulate(1 - y for _, y in order))


class TestPeers:
    """Of smp's LovaszLoss, with which ours agrees where it works: one class as kornia's, which has the same formula image by image."""

    @pytest.mark.parametrize("ignored", [False, True])
    def test_smp_softmax(self, ignored: bool) -> None:
        logits, target = problem("softmax")
        if ignored:
            target[:, 0] = 255
        ours = single("lovasz_softmax", "softmax", 3, include_background=True, empty="skip", ignore_index=255 if ignored else None)
        same(ours, smp.LovaszLoss("multiclass", ignore_index=255 if ignored else None), logits, target)

    def test_smp_leaves_absent_classes_out_as_skip_does(self) -> None:
        logits, target = problem("softmax")
        target[target == 2] = 0
        ours = single("lovasz_softmax", "softmax", 3, include_background=True, empty="skip")
        same(ours, smp.LovaszLoss("multiclass"), logits, target)

    @pytest.mark.parametrize("per_image", [True, False])
    def test_smp_hinge(self, per_image: bool) -> None:
        logits, target = problem("sigmoid", (3, 1, 5, 4))
        ours = single("lovasz_hinge", "sigmoid", 1, reduce_over="sample" if per_image else "batch")
        same(ours, smp.LovaszLoss("binary", per_image=per_image), logits, target)

    @each_term
    def test_all_ignored_is_a_scalar_zero_with_a_graph(self, name: str, activation: str) -> None:
        """[S8] smp: a tensor of shape (0, 3)."""
        logits, target = problem(activation)
        value, gradient = value_and_gradient(single(name, activation, 3, ignore_index=255), logits, torch.full_like(target, 255))
        assert value.shape == ()
        assert value.item() == 0
        assert not gradient.any()

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @each_term
    def test_half_precision_works(self, name: str, activation: str, dtype: torch.dtype) -> None:
        """[S9] smp: RuntimeError."""
        logits, target = problem(activation)
        loss = single(name, activation, 3)
        value, gradient = value_and_gradient(loss, logits.to(dtype), target)
        assert gradient.dtype == dtype
        assert value.item() == pytest.approx(loss(logits.to(dtype).double(), target).item(), rel=1e-5)


class TestRefusals:
    def test_soft_labels(self) -> None:
        logits, target = problem("sigmoid")
        with pytest.raises(LossInputError, match="lovasz_hinge takes no soft labels"):
            single("lovasz_hinge", "sigmoid", 3)(logits, target * 0.5)
        hard = single("lovasz_hinge", "sigmoid", 3)(logits, target.float())
        torch.testing.assert_close(hard, single("lovasz_hinge", "sigmoid", 3)(logits, target), rtol=0, atol=0)

    @pytest.mark.parametrize(("name", "activation", "other"), [(*BOTH[0], BOTH[1]), (*BOTH[1], BOTH[0])])
    def test_the_other_activation(self, name: str, activation: str, other: tuple[str, str]) -> None:
        with pytest.raises(LossConfigError, match=f"with {other[1]} take {other[0]}"):
            single(name, other[1], 2)
