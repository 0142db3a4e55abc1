"""The boundary loss and the Hausdorff loss by distance transforms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import LossInputError, build_loss
from tests.losses import reference_shape as reference
from tests.losses.problems import ACTIVATIONS, certain, golden, problem, single, value_and_gradient

NAMES = ("boundary", "hausdorff_dt")
each_name = pytest.mark.parametrize("name", NAMES)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
PARAMS: list[tuple[str, dict[str, Any]]] = [
    ("boundary", {}),
    ("hausdorff_dt", {}),
    ("hausdorff_dt", {"exponent": 1.0}),
    ("hausdorff_dt", {"exponent": 0.5, "prediction_distance": False}),
]
SPACING = torch.tensor([[1.0, 1.0], [0.5, 2.0], [3.0, 1.3]], dtype=torch.float64)


def square() -> tuple[Tensor, Tensor]:
    """A square of 3 x 3 in 9 x 9, predicted two voxels too far right, with p = 0.9 and 0.1."""
    target, logits = torch.zeros(1, 1, 9, 9), torch.full((1, 1, 9, 9), 0.1, dtype=torch.float64).logit()
    target[..., 3:6, 2:5] = 1
    logits[..., 3:6, 4:7] = torch.tensor(0.9, dtype=torch.float64).logit()
    return logits, target.byte()


class TestValues:
    @each_activation
    def test_boundary_by_hand(self, activation: str) -> None:
        logits, target = golden(activation)
        loss = single("boundary", activation, logits.shape[1])
        assert loss(logits, target).item() == pytest.approx((-0.9 + 0.2 + 2 * 0.1) / 4)  # phi = -1 0 1 2
        assert loss(logits, target, spacing=torch.tensor([2.5])).item() == pytest.approx(2.5 * -0.125)

    @each_activation
    def test_hausdorff_by_hand(self, activation: str) -> None:
        logits, target = golden(activation)  # d_G = 2 1 1 2, d_P = 1 1 2 3, the diagonal 3
        loss = single("hausdorff_dt", activation, logits.shape[1])
        expected = (0.01 * (4 + 1) + 0.36 * (1 + 1) + 0.04 * (1 + 4) + 0.01 * (4 + 9)) / 4 / 9
        assert loss(logits, target).item() == pytest.approx(expected)
        one_sided = single("hausdorff_dt", activation, logits.shape[1], {"prediction_distance": False})
        assert one_sided(logits, target).item() == pytest.approx((0.04 + 0.36 + 0.04 + 0.04) / 4 / 9)

    @each_activation
    @pytest.mark.parametrize(("name", "params"), PARAMS)
    def test_against_the_reference(self, name: str, params: dict[str, Any], activation: str) -> None:
        logits, target = problem(activation, (3, 3, 6, 5))
        generator = torch.Generator().manual_seed(1)
        target[torch.rand(target.shape, generator=generator) < 0.2] = 255
        weight_map = 2 * torch.rand(3, 6, 5, generator=generator, dtype=torch.float64)
        weight_map[:, 0] = 0
        loss = single(name, activation, 3, params, ignore_index=255)
        for spacing in (None, SPACING):
            options = {"ignore_index": 255, "weight_map": weight_map.numpy(), "spacing": None if spacing is None else spacing.numpy()}
            expected = reference.TERMS[name](logits.numpy(), target.numpy(), activation=activation, **options, **params)
            assert loss(logits, target, weight_map, spacing=spacing).item() == pytest.approx(expected, rel=1e-6)

    @each_name
    def test_volumes(self, name: str) -> None:
        logits, target = problem("sigmoid", (2, 1, 4, 5, 3))
        spacing = torch.tensor([3.0, 0.7, 0.7])
        expected = reference.TERMS[name](logits.numpy(), target.numpy(), activation="sigmoid", spacing=spacing.tolist())
        assert single(name, "sigmoid", 1)(logits, target, spacing=spacing).item() == pytest.approx(expected, rel=1e-6)

    @each_name
    def test_soft_labels_are_masks_where_above_a_half(self, name: str) -> None:
        logits, target = problem("sigmoid", (2, 2, 6, 5))
        soft = torch.rand(target.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        expected = reference.TERMS[name](logits.numpy(), soft.numpy(), activation="sigmoid")
        assert single(name, "sigmoid", 2)(logits, soft).item() == pytest.approx(expected, rel=1e-6)

    @each_name
    def test_include_background_changes_nothing(self, name: str) -> None:
        logits, target = problem("softmax")
        assert single(name, "softmax", 3)(logits, target) == single(name, "softmax", 3, include_background=True)(logits, target)

    def test_hausdorff_does_not_depend_on_the_unit(self) -> None:
        logits, target = square()
        loss = single("hausdorff_dt", "sigmoid", 1)
        values = [loss(logits, target, spacing=torch.tensor([size, size])).item() for size in (1.0, 0.25)]
        assert values[0] == pytest.approx(values[1], rel=1e-6)


class TestBounds:
    def test_boundary_is_lowest_at_the_perfect_prediction(self) -> None:
        _, target = square()
        loss = single("boundary", "sigmoid", 1)
        perfect = loss(certain(target, "sigmoid", 1, 50), target).item()
        assert perfect == pytest.approx(-1 / 81)  # the innermost voxel of the square; the rim is at 0
        for seed in range(5):
            assert loss(problem("sigmoid", (1, 1, 9, 9), seed, 5.0)[0], target).item() > perfect

    def test_hausdorff_is_zero_when_perfect_and_never_above_two(self) -> None:
        _, target = square()
        loss = single("hausdorff_dt", "sigmoid", 1)
        assert loss(certain(target, "sigmoid", 1, 1e4), target).item() == 0
        assert 0 < loss(certain(target, "sigmoid", 1, -1e4), target).item() <= 2

    @each_activation
    @each_name
    def test_without_a_boundary_there_is_no_loss(self, name: str, activation: str) -> None:
        """MONAI's are silent too, SegLoss' measures the distance to a voxel that does not exist; ours says so in its docs."""
        logits = torch.zeros(1, 2, 5, 5)
        for value in (0, 1):
            target = torch.full((1, 5, 5) if activation == "softmax" else (1, 2, 5, 5), value)
            for strength in (-1e4, -1.0, 1e4):
                if activation == "softmax":
                    logits = torch.stack([torch.zeros(1, 5, 5), torch.full((1, 5, 5), strength)], 1)
                else:
                    logits = torch.full((1, 2, 5, 5), strength)
                found, gradient = value_and_gradient(single(name, activation, 2), logits, target)
                assert found.item() == 0
                assert gradient.abs().max() == 0

    def test_a_false_positive_on_an_empty_image_counts_by_the_distance_from_its_own_surface(self) -> None:
        logits = torch.full((1, 1, 5), -1e4)
        logits[..., 2] = 1e4
        target = torch.zeros(1, 1, 5, dtype=torch.uint8)
        assert single("hausdorff_dt", "sigmoid", 1)(logits, target).item() == pytest.approx(1 / 16 / 5)
        assert single("hausdorff_dt", "sigmoid", 1, {"prediction_distance": False})(logits, target).item() == 0

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    @each_name
    def test_precision_of_the_logits(self, name: str, dtype: torch.dtype) -> None:
        logits, target = square()
        exact = single(name, "sigmoid", 1)(logits.to(dtype).double(), target)
        value, gradient = value_and_gradient(single(name, "sigmoid", 1), logits.to(dtype), target)
        assert value.item() == pytest.approx(exact.item(), rel=1e-5)
        assert gradient.isfinite().all()


class TestGradient:
    @each_activation
    @pytest.mark.parametrize(("name", "params"), PARAMS)
    def test_gradcheck(self, name: str, params: dict[str, Any], activation: str) -> None:
        logits, target = problem(activation, (2, 3, 4, 3))
        target[0, ..., 0] = 255
        loss = single(name, activation, 3, params, ignore_index=255)
        assert torch.autograd.gradcheck(lambda z: loss(z, target, spacing=SPACING[:2]), logits.requires_grad_())

    def test_the_boundary_loss_pulls_by_distance(self) -> None:
        _, target = square()
        _, gradient = value_and_gradient(single("boundary", "sigmoid", 1), torch.zeros(1, 1, 9, 9), target)
        assert gradient[0, 0, 4].tolist() == pytest.approx([phi / 4 / 81 for phi in (2, 1, 0, -1, 0, 1, 2, 3, 4)])

    def test_spacing_makes_a_far_slice_far(self) -> None:
        _, target = square()
        loss = single("boundary", "sigmoid", 1)
        logits = torch.zeros(1, 1, 9, 9, requires_grad=True)
        loss(logits, target, spacing=torch.tensor([5.0, 1.0])).backward()
        assert logits.grad is not None
        assert logits.grad[0, 0, 2, 3].item() == pytest.approx(5 / 4 / 81)
        assert logits.grad[0, 0, 4, 5].item() == pytest.approx(1 / 4 / 81)


class TestMaps:
    @each_activation
    @each_name
    def test_maps_of_the_pipeline_give_the_same(self, name: str, activation: str) -> None:
        logits, target = problem(activation, (3, 3, 8, 6))
        loss = single(name, activation, 3)
        derived = loss.derive(target if activation == "sigmoid" else target.unsqueeze(1), [0.5, 2.0])
        assert list(derived) == list(loss.maps)
        spacing = torch.tensor([[0.5, 2.0]] * 3)
        levels = [logits, logits[..., ::2, ::2]]
        assert loss(levels, target, spacing=spacing, maps=derived) == loss(levels, target, spacing=spacing)

    def test_a_map_is_used_as_it_is_given(self) -> None:
        logits, target = golden("sigmoid")
        field = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
        value = single("boundary", "sigmoid", 1)(logits, target, maps={"signed_distance": field})
        assert value.item() == pytest.approx((0.9 + 0.8 + 0.6 + 0.4) / 4)

    def test_distances_of_a_coarser_level_stay_in_mm(self) -> None:
        logits, target = square()
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "boundary"}]}, 1)
        fine, coarse = logits, torch.zeros(1, 1, 3, 3, dtype=torch.float64)
        field = loss.derive(target)["signed_distance"][..., 1::3, 1::3]
        expected = 2 / 3 * loss(fine, target) + 1 / 3 * (0.5 * field).mean()
        assert loss([fine, coarse], target).item() == pytest.approx(expected.item())

    def test_the_predictions_distances_are_in_mm_at_a_coarser_level_too(self) -> None:
        """One predicted voxel of three by three, on an empty image: its distance to the others is 3 mm, the diagonal 6 sqrt(2)."""
        target = torch.zeros(1, 1, 9, 9, dtype=torch.uint8)
        fine, coarse = torch.full((1, 1, 9, 9), -1e4), torch.full((1, 1, 3, 3), -1e4)
        coarse[..., 1, 1] = 1e4
        value = single("hausdorff_dt", "sigmoid", 1, {"exponent": 1.0})([fine, coarse], target)
        assert value.item() == pytest.approx(1 / 3 * 3 / (6 * 2**0.5) / 9)

    def test_a_level_of_one_voxel_is_finite(self) -> None:
        logits, target = square()
        value = single("hausdorff_dt", "sigmoid", 1)([logits, torch.zeros(1, 1, 1, 1, dtype=torch.float64)], target)
        assert 0 <= value.item() <= 2

    @pytest.mark.parametrize("shape", [(1,), (1, 3), (2, 2)])
    def test_a_spacing_of_another_shape_is_refused(self, shape: tuple[int, ...]) -> None:
        logits, target = square()
        with pytest.raises(LossInputError, match="spacing must have the shape"):
            single("boundary", "sigmoid", 1)(logits, target, spacing=torch.ones(shape))

    def test_a_spacing_must_be_positive(self) -> None:
        logits, target = square()
        with pytest.raises(LossInputError, match="spacing must be above 0"):
            single("boundary", "sigmoid", 1)(logits, target, spacing=torch.tensor([1.0, 0.0]))

    def test_a_map_of_another_size_is_refused(self) -> None:
        logits, target = square()
        with pytest.raises(LossInputError, match="map 'signed_distance' has the shape"):
            single("boundary", "sigmoid", 1)(logits, target, maps={"signed_distance": torch.zeros(1, 1, 8, 9)})


def test_optimising_hausdorff_segments() -> None:
    _, target = square()
    logits = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = single("hausdorff_dt", "sigmoid", 1)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()
    assert torch.equal((logits > 0).byte(), target)


@pytest.mark.parametrize("exponent", [0.0, -1.0, float("inf")])
def test_the_exponent_is_positive(exponent: float) -> None:
    with pytest.raises(ValueError, match="exponent must be above 0"):
        single("hausdorff_dt", "sigmoid", 1, {"exponent": exponent})
