"""A training step on the ranks of a process group, for `test_distributed.py`: importable by the processes that it starts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from medseg.losses import WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS, CASES, problem

Setting = tuple[str, str, str]
"""`reduce_over`, `empty`, and what else comes with the batch or is made of it."""
EXTRAS: list[Setting] = [("batch", "smooth", "weight_map"), ("sample", "batch", "inverse_component"), ("batch", "smooth", "maps")]
SETTINGS: list[Setting] = [
    *[(reduce_over, empty, "") for reduce_over in ("batch", "sample") for empty in ("smooth", "skip", "volume")],
    ("sample", "batch", ""),
    *EXTRAS,
]


def make_loss(activation: str, reduce_over: str, empty: str, extra: str) -> WeightedLoss:
    sorts_the_batch = ("topk", *(("lovasz_hinge", "lovasz_softmax") if "batch" in (reduce_over, empty) else ()))
    names = [name for name, other in CASES if other == activation and name not in sorts_the_batch]  # each rank sorts its own voxels
    terms = [{"name": name, "weight": 1.0 + index} for index, name in enumerate(names)]
    config = {"activation": activation, "terms": terms, "reduce_over": reduce_over, "empty": empty, "ignore_index": 255}
    if extra == "inverse_component":
        config["weight_map"] = {"name": extra}
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


def inputs(loss: WeightedLoss, target: Tensor, extra: str, share: slice) -> dict[str, Any]:
    """Some samples' weights, or maps that are not those that the loss would make itself."""
    if extra == "weight_map":
        return {"weight_map": torch.rand(len(target), *target.shape[-2:], generator=torch.Generator().manual_seed(5))[share]}
    if extra == "maps":
        maps = loss.derive(target if target.ndim == 4 else target.unsqueeze(1), [1.0, 3.0])
        return {"maps": {name: values[share] for name, values in maps.items()}}
    return {}


def step(
    loss: WeightedLoss, network: nn.Module, image: Tensor, target: Tensor, extra: str, share: slice = slice(None)
) -> tuple[Tensor, dict[str, Tensor]]:
    """A deep-supervised step with a share of the samples: the second level sees every other row."""
    fine = network(image[share])
    total, terms = loss.with_terms([fine, fine[:, :, ::2]], target[share], **inputs(loss, target, extra, share))
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
            total, terms = step(loss, network, images, target, setting[-1], share)
            with torch.no_grad():
                alone = loss.eval()(network.module(images[share]), target[share], **inputs(loss, target, setting[-1], share))
            results[activation, setting] = (total, terms, network.module.weight.grad, alone)
    torch.save(list(results.values()), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
