"""Losses of each lesion by itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import LossInputError, build_loss
from tests.losses import reference_instance as reference
from tests.losses.problems import ACTIVATIONS, certain, golden, problem, single, value_and_gradient
from tests.losses.reference_shape import fields_of

NAMES = ("blob", "component")
each_name = pytest.mark.parametrize("name", NAMES)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
each_inner = pytest.mark.parametrize("inner", ["dice", "dice_ce"])
SPACING = torch.tensor([1.0, 1.3], dtype=torch.float64)


def lesions(activation: str, shape: tuple[int, ...] = (3, 3, 9, 8), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random logits, and a sparse target of some lesions in each sample and channel but one."""
    logits, _ = problem(activation, shape, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    batch, channels, *spatial = shape
    if activation == "softmax":
        target = torch.randint(0, channels, (batch, *spatial), generator=generator)
        target[torch.rand(target.shape, generator=generator) < 0.8] = 0
        target[1][target[1] == 2] = 0
    else:
        target = (torch.rand(shape, generator=generator) < 0.12).byte()
        target[1, 0] = 0
    return logits, target


def cells_by_hand(logits: Tensor, target: Tensor, spacing: Tensor, **options: Any) -> dict[str, Tensor]:
    """The map that `component` takes, from the definition, with the rule of the reference for voxels as near to two lesions."""
    cells = []
    for x in fields_of(logits.numpy(), target.numpy(), **options):
        cells.append(torch.from_numpy(reference.cells_of(*reference.components_of(x.y > 0.5), spacing.numpy())))
    return {"cells": torch.stack(cells).view(len(logits), -1, *logits.shape[2:])}


def rows(*lines: str) -> Tensor:
    """A target (1, 1, *spatial) of # and anything else."""
    return torch.tensor([[[[mark == "#" for mark in line] for line in lines]]]).byte()


def predicted(*lines: str) -> Tensor:
    """Logits that are sure of # and of anything else."""
    return certain(rows(*lines), "sigmoid", 1, 1e4)


class TestReference:
    @each_activation
    @each_inner
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_name
    def test_ignored_voxels_weights_and_smoothing(self, name: str, reduce_over: str, inner: str, activation: str) -> None:
        logits, target = lesions(activation)
        generator = torch.Generator().manual_seed(2)
        target[torch.rand(target.shape, generator=generator) < 0.1] = 255
        weight_map = 2 * torch.rand(3, 9, 8, generator=generator, dtype=torch.float64)
        weight_map[:, 4] = 0
        spacing = {"spacing": SPACING.numpy()} if name == "component" else {}
        for smooth in (1e-5, 0.7):
            params: dict[str, Any] = {"inner": inner, "smooth": smooth}
            loss = single(name, activation, 3, params, reduce_over=reduce_over, ignore_index=255)
            options = {"activation": activation, "reduce_over": reduce_over, "ignore_index": 255, "weight_map": weight_map.numpy()}
            expected = reference.TERMS[name](logits.numpy(), target.numpy(), **options, **params, **spacing)
            maps = cells_by_hand(logits, target, SPACING, **{key: options[key] for key in ("activation", "ignore_index", "weight_map")})
            assert loss(logits, target, weight_map, maps=maps).item() == pytest.approx(expected, rel=1e-9)

    @each_inner
    @each_name
    def test_volumes(self, name: str, inner: str) -> None:
        logits, target = lesions("sigmoid", (2, 1, 4, 5, 4))
        spacing = torch.tensor([3.1, math.sqrt(2), math.sqrt(3)], dtype=torch.float64)
        options = {"spacing": spacing.numpy()} if name == "component" else {}
        expected = reference.TERMS[name](logits.numpy(), target.numpy(), activation="sigmoid", inner=inner, **options)
        maps = cells_by_hand(logits, target, spacing, activation="sigmoid")
        value = single(name, "sigmoid", 1, {"inner": inner})(logits, target, maps=maps).item()
        assert value == pytest.approx(expected, rel=1e-9)

    @each_name
    def test_include_background_changes_nothing(self, name: str) -> None:
        logits, target = lesions("softmax")
        assert single(name, "softmax", 3)(logits, target) == single(name, "softmax", 3, include_background=True)(logits, target)


class TestIdentities:
    @each_activation
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_name
    def test_of_one_lesion_a_channel_it_is_dice(self, name: str, reduce_over: str, activation: str) -> None:
        logits, _ = problem(activation, (1, 3, 6, 7))
        target = torch.zeros((1, 6, 7) if activation == "softmax" else logits.shape, dtype=torch.uint8)
        if activation == "softmax":
            target[:, 1:3, 1:4], target[:, 4, 5] = 1, 2
        else:
            target[:, 0, 1:3, 1:4] = target[:, 1, 2:5, 2] = target[:, 2, 4, 5] = 1
        one, dice = (single(term, activation, 3, reduce_over=reduce_over) for term in (name, "dice"))
        torch.testing.assert_close(value_and_gradient(one, logits, target), value_and_gradient(dice, logits, target), rtol=1e-9, atol=1e-15)

    @each_name
    def test_golden_value(self, name: str) -> None:
        for activation in ACTIVATIONS:
            logits, target = golden(activation)
            assert single(name, activation, logits.shape[1], {"smooth": 0.0})(logits, target).item() == pytest.approx(0.277778, abs=5e-7)

    @each_name
    def test_dice_and_cross_entropy_of_one_lesion_is_their_sum(self, name: str) -> None:
        logits, target = golden("sigmoid")
        value = single(name, "sigmoid", 1, {"inner": "dice_ce", "smooth": 0.0})(logits, target).item()
        assert value == pytest.approx(0.615317, abs=6e-7)  # BCE + Dice

    @each_inner
    @each_name
    def test_two_classes_are_the_sigmoid_of_their_difference(self, name: str, inner: str) -> None:
        logits, target = lesions("softmax", (2, 2, 9, 8))
        softmax = single(name, "softmax", 2, {"inner": inner})(logits, target)
        sigmoid = single(name, "sigmoid", 1, {"inner": inner})(logits[:, 1:] - logits[:, :1], target.unsqueeze(1))
        torch.testing.assert_close(softmax, sigmoid, rtol=1e-9, atol=0)

    @each_name
    def test_a_shift_of_all_logits_changes_nothing(self, name: str) -> None:
        logits, target = lesions("softmax")
        loss = single(name, "softmax", 3, {"inner": "dice_ce"})
        one, other = value_and_gradient(loss, logits, target), value_and_gradient(loss, logits + 5, target)
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-14)


class TestRegions:
    TARGET = ("##......", "##......", "........", ".......#")

    def test_a_small_lesion_counts_as_much_as_a_large_one(self) -> None:
        target = rows(*self.TARGET)
        for name in NAMES:
            loss = single(name, "sigmoid", 1)
            missed_small = loss(predicted("##......", "##......", "........", "........"), target).item()
            missed_large = loss(predicted("........", "........", "........", ".......#"), target).item()
            assert missed_small == pytest.approx(0.5, abs=1e-4)
            assert missed_large == pytest.approx(0.5, abs=1e-4)

    def test_a_false_alarm_costs_the_nearest_lesion_alone_or_all(self) -> None:
        target = rows(*self.TARGET)
        logits = predicted("##......", "##......", "........", ".....#.#")  # beside the small one: Dice loss 1 / 3 there
        assert single("component", "sigmoid", 1)(logits, target).item() == pytest.approx((0 + 1 / 3) / 2, abs=1e-4)
        assert single("blob", "sigmoid", 1)(logits, target).item() == pytest.approx((1 / 9 + 1 / 3) / 2, abs=1e-4)

    @pytest.mark.parametrize(("size", "expected"), [([1.0, 2.0], 1 / 3), ([3.0, 1.0], 1 / 5)])
    def test_the_voxel_size_decides_whose_false_alarm_it_is(self, size: list[float], expected: float) -> None:
        """Two voxels below a lesion of one voxel, two beside a lesion of two."""
        target = rows("#....", ".....", "...##")
        logits = predicted("#....", ".....", "#..##")
        value = single("component", "sigmoid", 1)(logits, target, spacing=torch.tensor(size)).item()
        assert value == pytest.approx(expected / 2, abs=1e-4)

    def test_other_lesions_are_invisible_to_a_blob(self) -> None:
        """What is predicted inside one lesion says nothing about another, neither as a hit nor as a false alarm."""
        target = rows(*self.TARGET)
        loss = single("blob", "sigmoid", 1)
        alone = loss(predicted("........", "........", "........", ".......#"), target).item()
        both = loss(predicted("##......", "##......", "........", ".......#"), target).item()
        assert alone == pytest.approx(0.5, abs=1e-4)
        assert both == 0

    def test_batch_means_every_lesion_and_sample_every_sample_and_channel(self) -> None:
        target = torch.cat([rows("#...", "..#.", "....", "#..#"), rows("....", ".#..", "....", "....")])
        logits = torch.cat([predicted("....", "....", "....", "...."), predicted("....", ".#..", "....", "....")])
        assert single("blob", "sigmoid", 1)(logits, target).item() == pytest.approx(4 / 5, abs=1e-4)
        assert single("blob", "sigmoid", 1, reduce_over="sample")(logits, target).item() == pytest.approx(1 / 2, abs=1e-4)

    @each_name
    def test_lesions_of_a_class_are_its_own(self, name: str) -> None:
        """Two touching lesions of two classes are two lesions, one in each channel."""
        target = torch.tensor([[[0, 1, 2, 0]]])
        logits = certain(torch.tensor([[[0, 1, 1, 0]]]), "softmax", 3, 1e4)
        value = single(name, "softmax", 3)(logits, target).item()
        assert value == pytest.approx((1 / 3 + 1) / 2, abs=1e-4)


class TestBounds:
    @each_activation
    @each_inner
    @each_name
    def test_perfect_is_zero(self, name: str, inner: str, activation: str) -> None:
        """The official blob loss gives 0.49 here: it sets the logits of other lesions to 0, which is p = 1/2."""
        _, target = lesions(activation)
        loss = single(name, activation, 3, {"inner": inner})
        value, gradient = value_and_gradient(loss, certain(target, activation, 3, 1e4), target)
        assert value.item() == 0
        assert gradient.abs().max() == 0
        assert loss(certain(target, activation, 3, 30), target).item() < 1e-6

    @each_activation
    @each_inner
    @each_name
    def test_extremes_are_finite(self, name: str, inner: str, activation: str) -> None:
        _, target = lesions(activation)
        empty = torch.zeros_like(target)
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            for reference_target in (target, empty, torch.ones_like(target), torch.full_like(target, 255)):
                for strength in (-1e4, -30, 0, 30, 1e4):
                    loss = single(name, activation, 3, {"inner": inner, "smooth": 0.0}, ignore_index=255, reduce_over="sample")
                    logits = certain(target, activation, 3, strength).to(dtype)
                    value, gradient = value_and_gradient(loss, logits, reference_target)
                    assert value.isfinite()
                    assert value >= 0
                    assert gradient.isfinite().all()

    @each_inner
    @each_name
    def test_without_lesions_there_is_a_zero_with_a_graph(self, name: str, inner: str) -> None:
        """The official blob loss returns the number 0.0, which cannot be differentiated."""
        value, gradient = value_and_gradient(single(name, "sigmoid", 1, {"inner": inner}), torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
        assert value.item() == 0
        assert gradient.abs().max() == 0

    def test_soft_labels_are_refused_and_hard_ones_taken_as_floats(self) -> None:
        logits, target = lesions("sigmoid")
        loss = single("blob", "sigmoid", 3)
        assert loss(logits, target.double()) == loss(logits, target)
        with pytest.raises(LossInputError, match="blob takes no soft labels"):
            loss(logits, target * 0.7)

    @pytest.mark.parametrize(("activation", "channels"), [("sigmoid", 1), ("softmax", 2), ("softmax", 3)])
    def test_the_one_against_the_rest_is_exact_where_nearly_certain(self, activation: str, channels: int) -> None:
        """-log(1 - p) of p = 1 - 1e-17 is 39.1, which 1 - p in floats has long lost."""
        logits, target = torch.tensor([[[39.1439, 0.0]]]), torch.tensor([[[0, 1]]])  # wrong at the first voxel
        if activation == "softmax":
            logits, target = torch.cat([torch.zeros(1, 1, 2), logits, torch.full((1, channels - 2, 2), -100.0)], 1), target[:, 0]
        value, gradient = value_and_gradient(single("component", activation, channels, {"inner": "dice_ce"}), logits, target)
        assert value.item() == pytest.approx(1.5 / 2.5 + (39.1439 + math.log(2)) / 2, rel=1e-5)
        assert gradient[0, min(1, channels - 1), 0].item() == pytest.approx(0.5, rel=1e-5)

    def test_undecided_logits_of_many_classes_are_finite(self) -> None:
        logits, target = torch.zeros(1, 3, 4), torch.tensor([[0, 1, 1, 2]])
        value, gradient = value_and_gradient(single("blob", "softmax", 3, {"inner": "dice_ce", "smooth": 0.0}), logits, target)
        of_one = (2 / 3 + 4 / 3) / (4 / 3 + 2 / 3 + 4 / 3) + (2 * math.log(3) + 2 * math.log(1.5)) / 4
        of_two = (1 + 2 / 3) / (2 / 3 + 1 + 2 / 3) + (math.log(3) + 3 * math.log(1.5)) / 4
        assert value.item() == pytest.approx((of_one + of_two) / 2)
        assert gradient.isfinite().all()


class TestGradient:
    @each_activation
    @pytest.mark.parametrize("reduce_over", ["batch", "sample"])
    @each_inner
    @each_name
    def test_gradcheck(self, name: str, inner: str, reduce_over: str, activation: str) -> None:
        logits, target = lesions(activation, (2, 3, 5, 4))
        target[0, ..., 0] = 255
        weight_map = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        loss = single(name, activation, 3, {"inner": inner}, reduce_over=reduce_over, ignore_index=255)
        assert torch.autograd.gradcheck(lambda z: loss(z, target, weight_map), logits.requires_grad_())

    @each_activation
    @each_inner
    @each_name
    def test_optimising_the_logits_finds_every_lesion(self, name: str, inner: str, activation: str) -> None:
        ids = torch.zeros(1, 16, 16, dtype=torch.long)
        ids[:, 2:8, 2:8] = ids[:, 12, 13] = 1
        ids[:, 11:14, 3:5] = 2
        target = ids if activation == "softmax" else torch.stack([ids == 1, ids == 2], 1).byte()
        channels = 3 if activation == "softmax" else 2
        logits = torch.randn(1, channels, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = single(name, activation, channels, {"inner": inner})
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(200):
            optimizer.zero_grad()
            loss(logits, target).backward()
            optimizer.step()
        assert torch.equal(logits.argmax(1) if activation == "softmax" else (logits > 0).byte(), target)


class TestMaps:
    @each_activation
    @each_name
    def test_maps_of_the_pipeline_give_the_same(self, name: str, activation: str) -> None:
        logits, target = lesions(activation)
        loss = single(name, activation, 3)
        derived = loss.derive(target if activation == "sigmoid" else target.unsqueeze(1), SPACING.tolist())
        assert list(derived) == list(loss.maps)
        levels = [logits, logits[..., ::2, ::2]]
        assert loss(levels, target, spacing=SPACING, maps=derived) == loss(levels, target, spacing=SPACING)

    @each_inner
    @each_name
    def test_a_coarser_level_judges_the_lesions_that_it_still_has(self, name: str, inner: str) -> None:
        target = rows("#...", "....", "...#", "...#")  # the lesion of one voxel lies between the centres of the coarse voxels
        loss = single(name, "sigmoid", 1, {"inner": inner})
        fine, coarse = certain(target, "sigmoid", 1, 1e4), predicted("..", ".#")
        assert loss([fine, coarse], target).item() == 0
        missed = 1.0 if inner == "dice" else 1 + 1e4 / (4 if name == "blob" else 3)  # one coarse voxel is nearer to the lost lesion
        assert loss([fine, predicted("..", "..")], target).item() == pytest.approx(missed / 3, rel=1e-4)

    def test_a_weight_of_zero_takes_a_voxel_out_of_its_lesion(self) -> None:
        target = rows("#####")
        weight_map = torch.tensor([[[1.0, 1, 0, 1, 1]]])
        logits = predicted("##...")
        assert single("blob", "sigmoid", 1)(logits, target, weight_map).item() == pytest.approx(0.5, abs=1e-4)  # now two lesions
        ignored = torch.where(weight_map.unsqueeze(1) > 0, target, 255)
        assert single("blob", "sigmoid", 1, ignore_index=255)(logits, ignored).item() == pytest.approx(0.5, abs=1e-4)


class TestFaults:
    @each_name
    def test_inner_and_smooth(self, name: str) -> None:
        with pytest.raises(ValueError, match="inner must be dice or dice_ce"):
            single(name, "sigmoid", 1, {"inner": "ce"})
        with pytest.raises(ValueError, match="smooth must be at least 0"):
            single(name, "sigmoid", 1, {"smooth": -1.0})


@each_name
def test_time_does_not_grow_with_the_number_of_lesions(name: str) -> None:
    """No loop over lesions: as many operations for 64 as for one."""
    counts = []
    for number in (1, 64):
        target = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
        target[..., ::4, ::4] = torch.arange(64).view(8, 8).lt(number).byte()
        logits = torch.zeros(1, 1, 32, 32)
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": name, "params": {"inner": "dice_ce"}}]}, 1)
        derived = loss.derive(target)
        with torch.profiler.profile() as profile:
            loss(logits, target, maps=derived)
        counts.append(len([event for event in profile.events() if event.name.startswith("aten::")]))
    assert counts[0] == counts[1]
