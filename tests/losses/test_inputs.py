"""What a loss refuses, and with which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medseg.errors import DataError
from medseg.losses import LossInputError, WeightedLoss, build_loss
from medseg.losses.inputs import shrink


def softmax(**settings: int) -> WeightedLoss:
    return build_loss({"activation": "softmax", "terms": [{"name": "dice"}], **settings}, 3)


def sigmoid(**settings: int) -> WeightedLoss:
    return build_loss({"activation": "sigmoid", "terms": [{"name": "dice"}], **settings}, 2)


LOGITS3, LOGITS2 = torch.zeros(2, 3, 4, 5), torch.zeros(2, 2, 4, 5)
IDS, MASKS = torch.zeros(2, 4, 5, dtype=torch.long), torch.zeros(2, 2, 4, 5, dtype=torch.long)


def with_value(target: torch.Tensor, value: float) -> torch.Tensor:
    changed = target.clone()
    changed[0, ..., 0, :2] = value
    return changed


class TestLogits:
    def test_another_number_of_channels(self) -> None:
        with pytest.raises(LossInputError, match=r"logits must have the shape \(B, 3, \*spatial\), got \(2, 2, 4, 5\)"):
            softmax()(LOGITS2, IDS)

    def test_integers(self) -> None:
        with pytest.raises(LossInputError, match=r"logits must be floating point, got torch.int64"):
            softmax()(LOGITS3.long(), IDS)

    def test_no_levels(self) -> None:
        with pytest.raises(LossInputError, match="the list of logits is empty"):
            softmax()([], IDS)

    def test_a_level_finer_than_the_first(self) -> None:
        with pytest.raises(LossInputError, match="not a coarser level"):
            softmax()([LOGITS3, torch.zeros(2, 3, 8, 5)], IDS)

    def test_the_error_is_a_data_error_and_a_value_error(self) -> None:
        assert issubclass(LossInputError, DataError)
        assert issubclass(LossInputError, ValueError)


class TestTarget:
    def test_softmax_another_shape(self) -> None:
        with pytest.raises(LossInputError, match=r"class ids of shape \(2, 4, 5\) or \(2, 1, 4, 5\), got \(2, 5, 4\)"):
            softmax()(LOGITS3, IDS.transpose(1, 2))

    def test_softmax_one_hot(self) -> None:
        with pytest.raises(LossInputError, match=r"target.argmax\(1\)"):
            softmax()(LOGITS3, torch.zeros(2, 3, 4, 5, dtype=torch.long))

    def test_softmax_floats(self) -> None:
        with pytest.raises(LossInputError, match=r"got torch.float32; convert them with target.long\(\)"):
            softmax()(LOGITS3, IDS.float())

    @pytest.mark.parametrize("value", [3, 255, -1])
    def test_softmax_a_label_that_is_no_class(self, value: int) -> None:
        with pytest.raises(
            LossInputError, match=rf"with 3 classes a label must lie in \[0, 2\]; the target also holds {value} \(2 voxels\)"
        ):
            softmax()(LOGITS3, with_value(IDS, value))

    def test_softmax_a_label_that_is_neither_a_class_nor_ignored(self) -> None:
        with pytest.raises(LossInputError, match=r"or be the ignored 255; the target also holds 7 \(2 voxels\)"):
            softmax(ignore_index=255)(LOGITS3, with_value(with_value(IDS.flip(1), 255).flip(1), 7))

    @pytest.mark.parametrize("ignored", [255, -100, 1])
    def test_an_ignored_label_is_allowed(self, ignored: int) -> None:
        assert softmax(ignore_index=ignored)(LOGITS3, with_value(IDS, ignored)).isfinite()

    def test_sigmoid_another_shape(self) -> None:
        with pytest.raises(LossInputError, match=r"the logits' shape \(2, 2, 4, 5\), one mask a channel, got \(2, 4, 5\)"):
            sigmoid()(LOGITS2, IDS)

    def test_sigmoid_one_channel_needs_no_axis(self) -> None:
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "dice"}]}, 1)
        assert loss(LOGITS2[:, :1], IDS) == loss(LOGITS2[:, :1], IDS.unsqueeze(1))

    @pytest.mark.parametrize("value", [2, -1, 0.5])
    def test_sigmoid_a_value_outside_the_unit_interval(self, value: float) -> None:
        target = with_value(MASKS.float(), 3 * value)
        with pytest.raises(LossInputError, match=rf"must lie in \[0, 1\]; the target also holds {3 * value:g} \(4 voxels\)"):
            sigmoid()(LOGITS2, target)

    def test_sigmoid_not_a_number(self) -> None:
        with pytest.raises(LossInputError, match="also holds nan"):
            sigmoid()(LOGITS2, with_value(MASKS.float(), float("nan")))


class TestWeightMap:
    @pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
    def test_a_weight_that_is_none(self, value: float) -> None:
        with pytest.raises(LossInputError, match="finite and not negative"):
            softmax()(LOGITS3, IDS, with_value(torch.ones(2, 4, 5), value))

    def test_another_shape(self) -> None:
        with pytest.raises(LossInputError, match=r"must have the shape \(2, 4, 5\) or \(2, 1, 4, 5\), got \(2, 3, 4, 5\)"):
            softmax()(LOGITS3, IDS, torch.ones(2, 3, 4, 5))

    def test_with_and_without_a_channel(self) -> None:
        weights = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0))
        for loss, logits, target in ((softmax(), LOGITS3, IDS), (sigmoid(), LOGITS2, MASKS)):
            assert loss(logits, target, weights) == loss(logits, target, weights.unsqueeze(1))

    def test_whole_numbers(self) -> None:
        weights = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
        assert softmax()(LOGITS3, IDS, weights) == softmax()(LOGITS3, IDS, weights.double())


class TestSoftLabels:
    @pytest.mark.parametrize("ignored", [0, 1])
    def test_cannot_ignore_a_labels_value(self, ignored: int) -> None:
        with pytest.raises(LossInputError, match=f"soft labels cannot ignore {ignored}, which is a label's value"):
            softmax(ignore_index=ignored)(LOGITS3, torch.full((2, 3, 4, 5), 1 / 3))

    def test_can_ignore_another(self) -> None:
        target = with_value(torch.full((2, 3, 4, 5), 1 / 3), 255.0)
        assert softmax(ignore_index=255)(LOGITS3, target).isfinite()


class TestSpacing:
    TARGET = (IDS == 0).long()
    TARGET[..., 0, :] = 0

    def value(self, spacing: Any) -> torch.Tensor:
        loss = build_loss({"activation": "softmax", "terms": [{"name": "boundary"}]}, 3)
        return loss(LOGITS3, self.TARGET, spacing=spacing)

    @pytest.mark.parametrize(
        "spacing",
        [[3.0, 1.0], (3, 1), [[3, 1], [3, 1]], np.array([3.0, 1.0]), torch.tensor([3, 1]), [torch.tensor(3.0), torch.tensor(1.0)]],
    )
    def test_numbers_in_any_sequence(self, spacing: Any) -> None:
        assert self.value(spacing) == self.value(torch.tensor([[3.0, 1.0]] * 2))
        assert self.value(spacing) != self.value([1.0, 1.0])

    @pytest.mark.parametrize(
        ("spacing", "says"),
        [
            ("mm", "must be a tensor or a list of numbers, got 'mm'"),
            ({"x": 1.0}, "must be a tensor or a list of numbers, got {'x'"),
            ([[1.0], [1.0, 1.0]], "must be a tensor or a list of numbers"),
            ([True, True], "must hold real numbers, got torch.bool"),
            ([1.0, 1.0, 1.0], r"must have the shape \(2, 2\), one number an axis of each sample, got \(3,\)"),
            (1.0, r"must have the shape \(2, 2\)"),
            ([0, 1], "must be above 0"),
            ([float("nan"), 1], "must be above 0"),
        ],
    )
    def test_anything_else_is_told(self, spacing: Any, says: str) -> None:
        with pytest.raises(LossInputError, match=f"the spacing {says}"):
            self.value(spacing)

    def test_whole_numbers_at_a_level_of_another_ratio(self) -> None:
        loss = build_loss({"activation": "softmax", "terms": [{"name": "hausdorff_dt"}]}, 3)
        levels = [LOGITS3, LOGITS3[..., :3]]
        assert loss(levels, self.TARGET, spacing=torch.tensor([3, 1])) == loss(levels, self.TARGET, spacing=torch.tensor([3.0, 1.0]))


class TestShrink:
    @pytest.mark.parametrize(("full", "size"), [(8, 4), (8, 2), (7, 3), (5, 4), (6, 6), (9, 1)])
    def test_it_takes_the_nearest_centre(self, full: int, size: int) -> None:
        volume = torch.arange(full * 3).reshape(1, 1, full, 3)
        expected = torch.nn.functional.interpolate(volume.double(), (size, 3), mode="nearest-exact").long()
        assert torch.equal(shrink(volume, (size, 3)), expected)

    def test_leading_axes_stay(self) -> None:
        assert shrink(torch.zeros(2, 3, 8, 6, 4), (4, 3, 2)).shape == (2, 3, 4, 3, 2)
