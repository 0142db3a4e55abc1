"""What a sum makes of its target, and which maps it takes from others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medseg.losses import LossInputError, WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS, problem, single

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def boxed() -> tuple[WeightedLoss, dict[str, Tensor], Tensor]:
    """A loss that needs the joint map of lesions, beside two foreground classes."""
    config = {"activation": "sigmoid", "terms": [{"name": "boundary"}, {"name": "giou", "head": "box"}]}
    logits, target = problem("sigmoid", (2, 2, 6, 5))
    loss = build_loss(config, 2, {"box": {"name": "boxes"}})
    return loss, {"segmentation": logits, "box": torch.zeros(2, 4, 6, 5)}, target


class TestGivenMaps:
    @each_activation
    def test_a_map_of_one_channel_is_not_spread_over_the_classes(self, activation: str) -> None:
        logits, target = problem(activation)
        loss = single("boundary", activation, 3)
        derived = loss.derive(target if activation == "sigmoid" else target.unsqueeze(1))["signed_distance"]
        assert loss(logits, target, maps={"signed_distance": derived}) == loss(logits, target)
        channels = 2 if activation == "softmax" else 3
        for wrong in (derived[:, :1], derived[:, 0], torch.cat([derived, derived], 1), derived[:1], derived[..., 1:]):
            message = rf"map 'signed_distance' has the shape .*, must have \(3, {channels}, 5, 4\)"
            with pytest.raises(LossInputError, match=message):
                loss(logits, target, maps={"signed_distance": wrong})

    def test_the_joint_map_has_one_channel(self) -> None:
        loss, outputs, target = boxed()
        maps = loss.derive(target)
        assert {name: values.shape[1] for name, values in maps.items()} == {"signed_distance": 2, "lesions": 1}
        assert loss(outputs, target, maps=maps) == loss(outputs, target)
        with pytest.raises(LossInputError, match=r"map 'lesions' has the shape \(2, 2, 6, 5\), must have \(2, 1, 6, 5\)"):
            loss(outputs, target, maps={**maps, "lesions": maps["lesions"].expand(-1, 2, -1, -1)})

    def test_a_name_that_is_none_is_told(self) -> None:
        logits, target = problem("softmax")
        loss = single("boundary", "softmax", 3)
        with pytest.raises(LossInputError, match=r"there is no map 'signed_distanec'; did you mean signed_distance\?"):
            loss(logits, target, maps={"signed_distanec": torch.zeros(3, 2, 5, 4)})
        with pytest.raises(LossInputError, match="there is no map 'x'; there are components, cells"):
            loss(logits, target, maps={"x": torch.zeros(3, 2, 5, 4)})

    def test_a_map_that_only_another_sum_needs_is_passed_over(self) -> None:
        logits, target = problem("softmax")
        maps = single("component", "softmax", 3).derive(target.unsqueeze(1))
        loss = single("boundary", "softmax", 3)
        assert loss(logits, target, maps=maps) == loss(logits, target)
