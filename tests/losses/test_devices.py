"""What devices other than the CPU ask of the losses, as far as it can be seen without one."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from medseg import losses
from medseg.losses import build_loss
from tests.losses.problems import cases_but, single

HOME = Path(losses.__file__).parent
ON_THE_CPU = ("boundary", "hausdorff_dt", "blob", "component")
"""Terms that wait for their device: for maps that nobody gave them, or for the number of lesions."""


def attributes(path: Path) -> Iterator[tuple[str, int]]:
    """Every `.name` in the code of a file, and its line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno


class TestSource:
    def test_no_numbers_are_copied_from_the_host(self) -> None:
        """`new_tensor` waits for a GPU: `new_full`, or `medseg.losses.constants`."""
        found = [f"{path}:{line}" for path in HOME.rglob("*.py") for name, line in attributes(path) if name == "new_tensor"]
        assert found == []

    def test_float64_only_where_the_device_has_it(self) -> None:
        """MPS has none: `counting_dtype`. The kernels run on CUDA only."""
        found = [
            f"{path}:{line}"
            for path in HOME.rglob("*.py")
            if path.parent.name != "kernels" and path.name != "blocks.py"
            for name, line in attributes(path)
            if name in ("float64", "double")
        ]
        assert found == []


class TestWithoutValues:
    """On a device that has shapes only, whatever reads a value fails: it would wait for a GPU."""

    @pytest.fixture(autouse=True)
    def _no_autocast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # which such a device lacks

    @pytest.mark.parametrize(("name", "activation"), cases_but(*ON_THE_CPU))
    def test_no_value_is_read(self, name: str, activation: str) -> None:
        logits = torch.zeros(2, 3, 4, 5, device="meta", requires_grad=True)
        shape = (2, 4, 5) if activation == "softmax" else (2, 3, 4, 5)
        target, weight_map = torch.zeros(shape, dtype=torch.uint8, device="meta"), torch.ones(2, 4, 5, device="meta")
        loss = single(name, activation, 3, ignore_index=255, reduce_over="sample", empty="volume")
        loss([logits, logits[..., ::2, :]], target, weight_map, spacing=torch.ones(2, device="meta")).backward()
        assert logits.grad is not None

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_nor_to_see_whether_a_floating_target_is_hard(self, activation: str) -> None:
        logits = torch.zeros(2, 3, 4, 5, device="meta", requires_grad=True)
        loss = build_loss({"activation": activation, "terms": [{"name": "dice_plus_plus"}], "ignore_index": 255}, 3)
        assert loss(logits, torch.zeros(2, 3, 4, 5, device="meta")).requires_grad
