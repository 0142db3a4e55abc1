"""A training step on the ranks of a process group, for `test_distributed.py`: importable by the processes that it starts."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medseg.losses import WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS, CASES, problem

SETTINGS = [(reduce_over, empty) for reduce_over in ("batch", "sample") for empty in ("smooth", "skip", "volume", "batch")]


def make_loss(activation: str, reduce_over: str, empty: str) -> WeightedLoss:
    sorts_the_batch = ("topk", *(("lovasz_hinge", "lovasz_softmax") if "batch" in (reduce_over, empty) else ()))
    names = [name for name, other in CASES if other == activation and name not in sorts_the_batch]  # each rank sorts its own voxels
    terms = [{"name": name, "weight": 1.0 + index} for index, name in enumerate(names)]
    config = {"activation": activation, "terms": terms, "reduce_over": reduce_over, "empty": empty, "ignore_index": 255}
    return build_loss(config, 3)


def data(activation: str) -> tuple[Tensor, Tensor]:
    """Four samples with unequal numbers of ignored voxels; the last has an empty class, and one class is nowhere."""
    logits, target = problem(activation, (4, 3, 6, 5))
    target[0, ..., :3] = 255
    if activation == "softmax":
        target[target == 2] = 0
        target[3] = 0
    else:
        target[:, 2] = 0
        target[3] = 0
    return logits, target


def step(loss: WeightedLoss, network: nn.Module, image: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """A deep-supervised step: the second level sees every other row."""
    fine = network(image)
    total, terms = loss.with_terms([fine, fine[:, :, ::2]], target)
    total.backward()
    return total.detach(), terms


def network_for() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 3, 3, padding=1).double()


def train_rank(rank: int, folder: str) -> None:
    """What each of the two processes does: three samples on the first, one on the second."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for activation in ACTIVATIONS:
        images, target = data(activation)
        share = slice(0, 3) if rank == 0 else slice(3, 4)
        for setting in SETTINGS:
            network = nn.parallel.DistributedDataParallel(network_for())
            loss = make_loss(activation, *setting)
            total, terms = step(loss, network, images[share], target[share])
            with torch.no_grad():
                alone = loss.eval()(network.module(images[share]), target[share])
            results[activation, setting] = (total, terms, network.module.weight.grad, alone)
    torch.save(list(results.values()), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
