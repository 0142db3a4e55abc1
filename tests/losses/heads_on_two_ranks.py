"""Steps with terms of auxiliary heads on the ranks of a process group, for `test_heads_distributed.py`."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from medseg.losses import WeightedLoss, build_loss
from tests.losses.test_heads import blobs

HEADS = {"d": {"name": "signed_distance", "params": {"limit": 3.0}}, "b": {"name": "boxes"}, "e": {"name": "embedding"}}
TERMS = [
    {"name": "mae", "head": "d"},
    {"name": "huber", "head": "b"},
    {"name": "giou", "head": "b"},
    {"name": "center", "head": "e", "params": {"margin": 2.0}},
]


def make_loss() -> WeightedLoss:
    return build_loss({"activation": "sigmoid", "terms": TERMS, "ignore_index": 255}, 1, HEADS).double()


def data() -> tuple[dict[str, Tensor], Tensor]:
    """Four samples; the first is partly ignored, the last, which one rank has for itself, holds no lesion."""
    generator = torch.Generator().manual_seed(5)
    shapes = {"segmentation": 1, "d": 1, "b": 4, "e": 8}
    outputs = {name: torch.randn(4, n, 9, 8, generator=generator, dtype=torch.float64) for name, n in shapes.items()}
    target = blobs(4, 1, 9, 8, share=0.2)
    target[0, ..., :3] = 255
    target[3] = 0
    return outputs, target


def steps(loss: WeightedLoss, outputs: dict[str, Tensor], target: Tensor) -> tuple[list[Tensor], dict[str, Tensor], Tensor]:
    """Values of three steps, the gradient of the last with respect to the heads, the centres."""
    leaves = {name: output.clone().requires_grad_() for name, output in outputs.items()}
    totals = [loss(leaves, target) for _ in range(3)]
    gradients = torch.autograd.grad(totals[-1], [leaves[name] for name in HEADS])
    centres = loss.state_dict()["terms.center.centres"].clone()
    return [total.detach() for total in totals], dict(zip(HEADS, gradients, strict=True)), centres


def train_rank(rank: int, folder: str) -> None:
    """What each of the two processes does: three samples on the first, one on the second."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    outputs, target = data()
    share = slice(0, 3) if rank == 0 else slice(3, 4)
    torch.save(steps(make_loss(), {name: output[share] for name, output in outputs.items()}, target[share]), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
