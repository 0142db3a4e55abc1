"""Two processes with unequal shares of a batch return the loss, and after averaging the gradient, of one process with all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from tests.losses.problems import ACTIVATIONS
from tests.losses.two_ranks import EXTRAS, SETTINGS, Setting, data, inputs, make_loss, network_for, step, train_rank


@pytest.fixture(scope="module")
def ranks(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[dict[tuple[str, Setting], tuple[Tensor, dict[str, Tensor], Tensor, Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.start_processes(train_rank, args=(str(folder),), nprocs=2, start_method="spawn")
    keys = [(activation, setting) for activation in ACTIVATIONS for setting in SETTINGS]
    return [dict(zip(keys, torch.load(folder / f"rank{rank}.pt", weights_only=True), strict=True)) for rank in range(2)]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
class TestTwoProcesses:
    def test_the_values_are_those_of_one_process(self, activation: str, setting: Setting, ranks: list) -> None:
        total, terms = step(make_loss(activation, *setting), network_for(), *data(activation), setting[-1])
        for rank in ranks:
            torch.testing.assert_close(rank[activation, setting][:2], (total, terms), rtol=1e-9, atol=0)

    def test_the_gradient_is_that_of_one_process(self, activation: str, setting: Setting, ranks: list) -> None:
        network = network_for()
        step(make_loss(activation, *setting), network, *data(activation), setting[-1])
        for rank in ranks:
            torch.testing.assert_close(rank[activation, setting][2], network.weight.grad, rtol=1e-9, atol=1e-14)

    def test_in_evaluation_mode_each_rank_speaks_for_itself(self, activation: str, setting: Setting, ranks: list) -> None:
        images, target = data(activation)
        loss = make_loss(activation, *setting)
        for rank, share in zip(ranks, (slice(0, 3), slice(3, 4)), strict=True):
            alone = loss(network_for()(images[share]), target[share], **inputs(loss, target, setting[-1], share)).detach()
            torch.testing.assert_close(rank[activation, setting][3], alone)


@pytest.mark.parametrize("setting", EXTRAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_what_comes_with_the_batch_counts(activation: str, setting: Setting) -> None:
    """Or the processes would agree on ignoring it."""
    values = [
        step(make_loss(activation, *parts), network_for(), *data(activation), parts[-1])[0] for parts in (setting, (*setting[:2], ""))
    ]
    assert values[0] != values[1]
