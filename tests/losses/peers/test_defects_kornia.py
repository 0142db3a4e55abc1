"""What kornia gets wrong, or has not, and ours must. Tags are those of the list in the docstrings' first words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.losses.problems import certain, problem, single, value_and_gradient


@pytest.mark.parametrize(("name", "params"), [("dice", {"smooth": 1.0}), ("tversky", {"smooth": 1.0}), ("jaccard", {"smooth": 1.0})])
def test_an_absent_class_is_not_forgotten(name: str, params: dict[str, Any]) -> None:
    """K1: left out of the mean, so that its false positives count only through the background."""
    target = torch.zeros(1, 64, dtype=torch.long)
    target[:, :8] = 1
    logits = certain(target, "softmax", 3, 5.0)
    wrong = logits.clone()
    wrong[:, 2, 20:] = 10.0
    loss = single(name, "softmax", 3, params)
    assert loss(wrong, target) > loss(logits, target) + 0.3


@pytest.mark.parametrize(
    ("name", "activation"), [("dice", "softmax"), ("tversky", "softmax"), ("lovasz_softmax", "softmax"), ("lovasz_hinge", "sigmoid")]
)
def test_volumes_are_taken(name: str, activation: str) -> None:
    """K2: ValueError or ShapeError. A volume of one slice is that slice."""
    loss = single(name, activation, 3)
    logits, target = problem(activation, (2, 3, 4, 5, 6))
    value, gradient = value_and_gradient(loss, logits, target)
    assert value > 0
    assert gradient.abs().max() > 0
    logits, target = problem(activation)
    deep = target.unsqueeze(-3)
    torch.testing.assert_close(loss(logits.unsqueeze(2), deep), loss(logits, target))


@pytest.mark.parametrize("name", ["dice", "tversky", "jaccard", "generalized_dice", "lovasz_softmax"])
def test_a_missed_small_lesion_is_seen(name: str) -> None:
    """K3: 0.01799 hit, 0.01808 missed, of 25 voxels in 512 x 512, with the default average='micro'; 0 and 0.0001 if certain as here."""
    target = torch.zeros(1, 512, 512, dtype=torch.long)
    target[:, :5, :5] = 1
    loss = single(name, "softmax", 2)
    assert loss(certain(target, "softmax", 2, 20.0), target) < 1e-3
    assert loss(certain(torch.zeros_like(target), "softmax", 2, 20.0), target) > 0.999


def test_focal_is_not_divided_by_the_classes() -> None:
    """K4: 0.4715 for a cross entropy of 1.4144 at gamma 0, of three classes."""
    logits, target = problem("softmax")
    torch.testing.assert_close(
        single("focal", "softmax", 3, {"gamma": 0.0})(logits, target), single("cross_entropy", "softmax", 3)(logits, target)
    )


@pytest.mark.parametrize(
    "name", ["focal_tversky", "generalized_dice", "combo", "exp_log", "unified_focal", "boundary", "hausdorff_dt", "cl_dice", "blob"]
)
def test_what_kornia_has_not(name: str) -> None:
    """K5: none of these, and they take images and volumes."""
    for shape in ((2, 3, 6, 5), (2, 3, 4, 5, 6)):
        logits, target = problem("softmax", shape)
        value, gradient = value_and_gradient(single(name, "softmax", 3), logits, target)
        assert value.isfinite()
        assert gradient.abs().max() > 0
