"""Measurements on the ranks of a process group, for `test_shares.py`: importable by the processes that it starts."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from medseg.losses import WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS
from tests.losses.two_ranks import data

REDUCE_OVER = ("batch", "sample")
CASES = [(activation, reduce_over) for activation in ACTIVATIONS for reduce_over in REDUCE_OVER]


def make_loss(activation: str, reduce_over: str) -> WeightedLoss:
    first = "bce" if activation == "sigmoid" else "cross_entropy"
    terms = [{"name": first, "weight": 3.0}, {"name": "dice"}, {"name": "focal_tversky", "weight": 0.5}]
    config = {"activation": activation, "terms": terms, "reduce_over": reduce_over, "ignore_index": 255, "balance": "gradient"}
    return build_loss(config, 3)


def measure(loss: WeightedLoss, share: slice, activation: str) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """The shares of two steps with deep supervision, and the state after them."""
    logits, target = data(activation)
    steps = []
    for scale in (1.0, 0.5):
        z = (scale * logits[share]).requires_grad_()
        steps.append(loss.with_shares([z, z[:, :, ::2]], target[share])[2])
    return steps, loss.state_dict()


def measure_rank(rank: int, folder: str) -> None:
    """What each of the two processes does: three samples on the first, one on the second."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    share = slice(0, 3) if rank == 0 else slice(3, 4)
    torch.save([measure(make_loss(*case), share, case[0]) for case in CASES], f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
