"""Time medseg's losses beside those of MONAI, nnU-Net, smp and kornia: forward and backward on logits, side by side in one run.

    python scripts/benchmark_losses.py                              # the table of medseg/losses/GUIDE.md: one thread, float32 and bfloat16
    python scripts/benchmark_losses.py --threads 2 --dtypes float32
    python scripts/benchmark_losses.py --device cuda

Every figure is a ratio to the floor of the same run: reading logits and target once and writing the gradient once. Candidates take turns,
and medians are printed. With one CPU thread CPU seconds count (other work on the machine hardly matters), otherwise wall time. Memory is
the peak above the start, without the gradient itself, in units of the logits. Each gets labels in the type that its own data pipeline hands
over: medseg bytes, the others int64 ids or floating masks. Peers that are not installed are left out (`pip install kornia nnunetv2`; MONAI
and smp come with medseg).
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from medseg.losses import build_loss

Loss = Callable[[Tensor, Tensor], Tensor]

SIZES: dict[str, tuple[str, tuple[int, ...]]] = {
    "14 classes": ("softmax", (2, 14, 64, 96, 96)),
    "105 classes": ("softmax", (1, 105, 64, 64, 64)),
    "2 classes": ("softmax", (2, 2, 96, 96, 96)),
    "binary": ("sigmoid", (16, 1, 256, 256)),
    "3 regions": ("sigmoid", (2, 3, 96, 96, 96)),
}
SUMS = {
    "CE+Dice": ("ce", "dice"),
    "Focal+Dice": ("focal", "dice"),
    "GDL+Focal": ("generalized_dice", "focal"),
    "Focal+Dice+Tversky": ("focal", "dice", "tversky"),
}


def medseg_loss(terms: tuple[str, ...], activation: str, classes: int) -> Loss:
    names = {"ce": "cross_entropy" if activation == "softmax" else "bce"}
    background = activation == "softmax"
    config = {"activation": activation, "include_background": background, "terms": [{"name": names.get(term, term)} for term in terms]}
    return build_loss(config, classes)


def monai_loss(terms: tuple[str, ...], activation: str, classes: int) -> Loss | None:
    from monai import losses

    softmax = activation == "softmax"
    shared: dict[str, Any] = {"softmax": softmax, "sigmoid": not softmax, "to_onehot_y": softmax, "batch": True}
    if terms == ("ce", "dice"):
        return _with_channel(losses.DiceCELoss(**shared), softmax) if softmax or classes == 1 else _regions_ce(losses.DiceLoss(**shared))
    if terms == ("focal", "dice"):  # MONAI's focal part is a sigmoid one even under softmax
        return _with_channel(losses.DiceFocalLoss(**shared), softmax)
    if terms == ("generalized_dice", "focal"):
        return _with_channel(losses.GeneralizedDiceFocalLoss(**shared), softmax)
    focal = losses.FocalLoss(use_softmax=softmax, to_onehot_y=softmax)
    dice, tversky = losses.DiceLoss(**shared), losses.TverskyLoss(alpha=0.3, beta=0.7, **shared)
    return _with_channel(lambda z, y: focal(z, y) + dice(z, y) + tversky(z, y), softmax)


def _with_channel(loss: Loss, softmax: bool) -> Loss:
    return lambda z, y: loss(z, y.unsqueeze(1) if softmax else y)


def _regions_ce(dice: Loss) -> Loss:
    """MONAI's DiceCELoss takes a softmax over regions; this is the sum that its users write instead."""
    return lambda z, y: dice(z, y) + F.binary_cross_entropy_with_logits(z, y)


def nnunet_loss(terms: tuple[str, ...], activation: str, classes: int) -> Loss | None:
    if terms != ("ce", "dice"):
        return None
    from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    dice = {"batch_dice": True, "smooth": 1e-5, "do_bg": True, "ddp": False}
    if activation == "sigmoid":
        bce = DC_and_BCE_loss({}, dice, dice_class=MemoryEfficientSoftDiceLoss)
        return lambda z, y: 1 + bce(z, y)
    ce = DC_and_CE_loss(dice, {}, dice_class=MemoryEfficientSoftDiceLoss)
    return lambda z, y: 1 + ce(z, y.unsqueeze(1))


def smp_loss(terms: tuple[str, ...], activation: str, classes: int) -> Loss | None:
    from segmentation_models_pytorch import losses

    if "generalized_dice" in terms:
        return None
    mode = "multiclass" if activation == "softmax" else "multilabel"
    parts: dict[str, Loss] = {
        "ce": F.cross_entropy if activation == "softmax" else lambda z, y: F.binary_cross_entropy_with_logits(z, y),
        "dice": losses.DiceLoss(mode),
        "focal": losses.FocalLoss(mode),  # sigmoid focal also for classes
        "tversky": losses.TverskyLoss(mode, alpha=0.3, beta=0.7),
    }
    return lambda z, y: torch.stack([parts[term](z, y) for term in terms]).sum()


def kornia_loss(terms: tuple[str, ...], activation: str, classes: int) -> Loss | None:
    from kornia import losses

    if "generalized_dice" in terms or activation == "sigmoid":
        return None
    parts: dict[str, Loss] = {
        "ce": F.cross_entropy,
        "dice": lambda z, y: losses.dice_loss(z, y, average="macro"),
        "focal": lambda z, y: losses.focal_loss(z, y, alpha=None, gamma=2.0, reduction="mean"),
        "tversky": lambda z, y: losses.tversky_loss(z, y, alpha=0.3, beta=0.7),
    }

    def loss(z: Tensor, y: Tensor) -> Tensor:
        plane = z.flatten(2, -2), y.flatten(1, -2)  # it takes no volumes, so they come as one tall image
        return torch.stack([parts[term](*plane) for term in terms]).sum()

    return loss


PEERS: dict[str, tuple[str, Callable[..., Loss | None]]] = {
    "MONAI": ("monai", monai_loss),
    "nnU-Net": ("nnunetv2", nnunet_loss),
    "smp": ("segmentation_models_pytorch", smp_loss),
    "kornia": ("kornia", kornia_loss),
}


def keep_memory() -> None:
    """Let glibc keep freed memory, as a caching allocator does: else page faults are timed, and fall now on one, now on another."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: large blocks too come from the heap
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: which is not given back
    except (OSError, AttributeError):
        print("without glibc page faults are timed too")


class Meter:
    """Clock and memory of a device."""

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device = device
        self.clock = time.process_time if device.type == "cpu" and threads == 1 else time.perf_counter

    def seconds(self, work: Callable[[], Any]) -> float:
        """Time of one call."""
        self._wait()
        start = self.clock()
        work()
        self._wait()
        return self.clock() - start

    def peak(self, work: Callable[[], Any]) -> float:
        """Bytes of tensors above the start."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            work()
            return torch.cuda.max_memory_allocated() - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            work()
        events = profiler.profiler.kineto_results.events()
        changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
        return max(itertools.accumulate((size for _, size in changes), initial=0))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def problem(activation: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits of an untrained network, and integer labels."""
    batch, classes, *spatial = shape
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
    if activation == "softmax":
        return logits, torch.randint(0, classes, (batch, *spatial), generator=generator).to(device, torch.uint8)
    return logits, torch.randint(0, 2, shape, generator=generator).to(device, torch.uint8)


def compare(size: str, sum_name: str, dtype: torch.dtype, meter: Meter, repeats: int) -> list[tuple[str, float, float]]:
    """(candidate, time in floors, extra memory in logits) of all, interleaved."""
    activation, shape = SIZES[size]
    logits, target = problem(activation, shape, dtype, meter.device)
    losses: dict[str, Loss] = {"medseg": medseg_loss(SUMS[sum_name], activation, shape[1])}
    for peer, (package, make) in PEERS.items():
        loss = make(SUMS[sum_name], activation, shape[1]) if importlib.util.find_spec(package) else None
        if loss is not None:
            losses[peer] = loss

    def floor() -> None:
        torch.add(logits.detach(), 1)
        target.sum()

    theirs = target.long() if activation == "softmax" else target.to(dtype)

    def step(name: str) -> None:
        logits.grad = None
        losses[name](logits, target if name == "medseg" else theirs).backward()

    works: dict[str, Callable[[], Any]] = {name: (lambda name=name: step(name)) for name in losses}
    memory = {}
    for name, work in works.items():
        work()  # warms up
        logits.grad = None
        memory[name] = (meter.peak(work) - logits.nbytes) / logits.nbytes
    works["floor"] = floor
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(meter.seconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return [(name, medians[name] / medians["floor"], max(memory[name], 0.0)) for name in losses]


def row(size: str, sum_name: str, dtype: str, results: list[tuple[str, float, float]]) -> str:
    (_, ours, memory), *peers = results
    cells = {name: f"{time:.1f} ({extra:.1f})" for name, time, extra in peers}
    best = min((time for _, time, _ in peers), default=float("nan"))
    listed = " | ".join(cells.get(peer, "-") for peer in PEERS)
    return f"| {size}, {dtype} | {sum_name} | {ours:.1f} ({memory:.2f}) | {listed} | **{best / ours:.1f}x** |"


def machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--sums", nargs="+", choices=SUMS, default=list(SUMS))
    parser.add_argument("--dtypes", nargs="+", choices=["float32", "bfloat16", "float16"], default=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    keep_memory()
    meter = Meter(device, arguments.threads)
    packages = [
        "torch",
        "monai",
        "segmentation-models-pytorch",
        *(name for name in ("kornia", "nnunetv2") if importlib.util.find_spec(name)),
    ]
    print(f"{machine(device)}; {arguments.threads} thread(s); " + ", ".join(f"{name} {version(name)}" for name in packages))
    print("Time of forward + backward in floors, (extra memory in logits), medians.\n")
    print(f"| logits | sum | medseg | {' | '.join(PEERS)} | best peer / medseg |\n|{' --- |' * (4 + len(PEERS))}")
    for size in arguments.sizes:
        for dtype in arguments.dtypes:
            for sum_name in arguments.sums:
                results = compare(size, sum_name, getattr(torch, dtype), meter, arguments.repeats)
                print(row(size, sum_name, dtype, results), flush=True)


if __name__ == "__main__":
    main()
