"""Python numbers beside a tensor."""

from __future__ import annotations

import pytest
import torch

from medseg.losses import build_loss
from medseg.losses.constants import Numbers, beside
from tests.losses.problems import problem, value_and_gradient


class TestNumbers:
    def test_are_exact_in_every_type(self) -> None:
        numbers = Numbers([0.1, 1 / 3])
        for dtype in (torch.float32, torch.float64):
            assert torch.equal(numbers.like(torch.zeros(1, dtype=dtype)), torch.tensor([0.1, 1 / 3], dtype=dtype))

    def test_are_copied_once_to_a_device(self) -> None:
        numbers = Numbers([0.1, 0.2])
        here, there = torch.zeros(1), torch.zeros(1, device="meta")
        assert numbers.like(here) is numbers.like(here + 1)
        assert numbers.like(there) is numbers.like(there)
        assert numbers.like(there).device.type == "meta"

    @pytest.mark.parametrize(
        ("activation", "name", "params"),
        [
            ("softmax", "cross_entropy", {"class_weights": [1, 2, 3]}),
            ("softmax", "cross_entropy", {"class_priors": [1, 2, 3], "class_weights": [1, 2, 3]}),
            ("softmax", "focal", {"alpha": [1, 2, 3]}),
            ("sigmoid", "focal", {"alpha": [0.1, 0.2, 0.3]}),
            ("sigmoid", "bce", {"pos_weight": [1, 2, 3]}),
            ("softmax", "exp_log", {"class_weights": [1, 2, 3]}),
        ],
    )
    def test_a_validation_step_does_not_spoil_the_training_step_after_it(
        self, activation: str, name: str, params: dict[str, list[float]]
    ) -> None:
        config = {"activation": activation, "terms": [{"name": name, "params": params}]}
        loss, (logits, target) = build_loss(config, 3), problem(activation)
        with torch.inference_mode():
            loss(logits, target)
        torch.testing.assert_close(value_and_gradient(loss, logits, target), value_and_gradient(build_loss(config, 3), logits, target))
        assert loss.state_dict() == {}


class TestBeside:
    def test_has_the_tensors_type(self) -> None:
        assert torch.equal(beside(torch.zeros(2, dtype=torch.float64), [1, 1 / 3]), torch.tensor([1, 1 / 3], dtype=torch.float64))
