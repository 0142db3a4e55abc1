"""The numbers behind the figures of medseg/losses/GUIDE.md: what losses answer to, measured on small synthetic images.

Every one comes from `build_loss` and autograd; `MEASURES` maps each figure to its measurement. `plot_losses.py` draws them, and
tests/test_plot_losses.py checks what the guide says about them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from medseg.losses import WeightedLoss, build_loss

SIZE = 128
"""Edge of the square images in voxels."""
BACKGROUND = 0.01
"""Probability that a half trained network leaves in the background."""
LARGE = 1257
"""Voxels of the large lesion, a disk of radius 20."""
LESIONS = (1, 2, 3, 5, 9, 16, 28, 50, 90, 160, 285, 500)
"""Voxels of the small lesion."""


@dataclass
class Panel:
    """Curves over one axis: label -> values, NaN where there is none."""

    x: Sequence[float]
    lines: dict[str, list[float]] = field(default_factory=dict)


def made(
    name: str, activation: str = "sigmoid", num_classes: int = 1, params: Mapping[str, Any] | None = None, **settings: Any
) -> WeightedLoss:
    """A loss of one term."""
    return build_loss({"activation": activation, "terms": [{"name": name, "params": dict(params or {})}], **settings}, num_classes)


def pull(loss: WeightedLoss, logits: Tensor, target: Tensor) -> Tensor:
    """The size of the gradient of each logit."""
    z = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(z, target), z)
    return gradient.abs()


def disk(voxels: int, centre: tuple[float, float]) -> Tensor:
    """Boolean (SIZE, SIZE): the voxels nearest to a point."""
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    distance = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2).flatten()
    mask = torch.zeros(SIZE * SIZE, dtype=torch.bool)
    mask[distance.argsort(stable=True)[:voxels]] = True
    return mask.view(SIZE, SIZE)


def logits_of(*parts: tuple[Tensor, float]) -> Tensor:
    """Sigmoid logits (1, 1, SIZE, SIZE) of a probability for each mask, and of BACKGROUND elsewhere."""
    p = torch.full((SIZE, SIZE), BACKGROUND, dtype=torch.float64)
    for mask, value in parts:
        p[mask] = value
    return p.logit()[None, None]


ALONE: dict[str, WeightedLoss] = {
    "bce": made("bce"),
    "focal": made("focal"),
    "dice": made("dice"),
    "tversky": made("tversky"),
    "focal_tversky": made("focal_tversky"),
    "lovasz_hinge": made("lovasz_hinge"),
    "bce + inverse_component": made("bce", weight_map={"name": "inverse_component"}),
}
EACH: dict[str, WeightedLoss] = {**ALONE, "blob": made("blob"), "component": made("component")}


def lesion_against_background() -> Panel:
    """The share of a half found lesion, alone in the image, in the gradient of all voxels."""
    panel = Panel(LESIONS, {name: [] for name in ALONE})
    for voxels in LESIONS:
        lesion = disk(voxels, (64, 64))
        z = logits_of((lesion, 0.5))
        for name, loss in ALONE.items():
            gradient = pull(loss, z, lesion.long()[None, None])[0, 0]
            panel.lines[name].append((gradient[lesion].sum() / gradient.sum()).item())
    return panel


def lesion_beside_lesion(p_small: float, p_large: float) -> Panel:
    """The share of a small lesion in the gradient of its own voxels and those of a large one."""
    panel = Panel(LESIONS, {name: [] for name in EACH})
    large = disk(LARGE, (40, 40))
    for voxels in LESIONS:
        small = disk(voxels, (100, 100))
        z, target = logits_of((large, p_large), (small, p_small)), (large | small).long()[None, None]
        for name, loss in EACH.items():
            gradient = pull(loss, z, target)[0, 0]
            panel.lines[name].append((gradient[small].sum() / gradient[small | large].sum()).item())
    return panel


def class_beside_class() -> Panel:
    """The share of a small structure, with a class of its own, in the gradient of its voxels and those of a large one; both half found."""
    losses = {
        "cross_entropy": made("cross_entropy", "softmax", 3),
        "dice": made("dice", "softmax", 3),
        **{
            f"generalized_dice, {weighting}": made("generalized_dice", "softmax", 3, {"weighting": weighting})
            for weighting in ("square", "simple", "uniform")
        },
    }
    panel = Panel(LESIONS, {name: [] for name in losses})
    large = disk(LARGE, (40, 40))
    for voxels in LESIONS:
        small = disk(voxels, (100, 100))
        target = large.long() + 2 * small.long()
        p = torch.full((3, SIZE, SIZE), BACKGROUND / 2, dtype=torch.float64)
        p[0] = 1 - BACKGROUND
        for mask, label in ((large, 1), (small, 2)):
            p[:, mask] = BACKGROUND / 2
            p[0, mask], p[label, mask] = 0.5 - BACKGROUND / 4, 0.5 - BACKGROUND / 4
        for name, loss in losses.items():
            gradient = pull(loss, p.log()[None], target[None])[0].sum(0)
            panel.lines[name].append((gradient[small].sum() / gradient[small | large].sum()).item())
    return panel


def small_lesions() -> dict[str, Panel]:
    """Figure 1."""
    return {
        "background": lesion_against_background(),
        "half found": lesion_beside_lesion(0.5, 0.5),
        "missed": lesion_beside_lesion(0.1, 0.9),
        "classes": class_beside_class(),
    }


INVENTED = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 16384)
"""Voxels of false positives."""
CONFIDENCE = 0.9
"""Their probability."""
PARTNER = "dice, beside a lesion"
"""The line where the batch holds another image, with 200 lesion voxels."""


def lesion_free() -> dict[str, Panel]:
    """Figure 2: the gradient of all false positives together on an image without lesion, by their number."""
    smooth = {f"dice, smooth {value:g}": made("dice", params={"smooth": value}) for value in (1e-5, 1.0, 100.0)}
    smooth |= {f"tversky, smooth {value:g}": made("tversky", params={"smooth": value}) for value in (1e-5, 1.0, 100.0)}
    options = {f"dice, empty: {name}": made("dice", empty=name) for name in ("smooth", "volume", "skip")}
    options |= {"bce": made("bce"), "focal": made("focal")}
    panels = {"smooth": Panel(INVENTED, {name: [] for name in smooth}), "empty": Panel(INVENTED, {name: [] for name in options})}
    panels["empty"].lines[PARTNER] = []
    other = disk(200, (64, 64))
    for voxels in INVENTED:
        false = disk(voxels, (64, 64))
        z = torch.where(false, torch.tensor(CONFIDENCE, dtype=torch.float64).logit(), -30.0)[None, None]
        target = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.int64)
        for panel, losses in ((panels["smooth"], smooth), (panels["empty"], options)):
            for name, loss in losses.items():
                panel.lines[name].append(pull(loss, z, target).sum().item())
        batch = torch.cat([z, torch.where(other, 2.0, -30.0).to(z)[None, None]])
        panels["empty"].lines[PARTNER].append(pull(made("dice"), batch, torch.cat([target, other.long()[None, None]]))[0].sum().item())
    return panels


def easy_and_hard() -> dict[str, Panel]:
    """Figure 3: how hard a voxel pulls towards its label, by the probability that the label has already; bce is 1 at p_t = 0."""
    count = 1000
    p = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    z = p.logit()[None, None]
    hard, soft = torch.ones(1, 1, count, dtype=torch.int64), torch.full((1, 1, count), 0.8, dtype=torch.float64)
    losses = {
        "cross entropy": [
            ("bce, cross_entropy", made("bce"), hard),
            ("focal, gamma 0.5", made("focal", params={"gamma": 0.5}), hard),
            ("focal, gamma 2", made("focal"), hard),
            ("poly", made("poly"), hard),
            ("topk, 20 %, times 1/5", made("topk", params={"percent": 20.0}), hard),
        ],
        "others": [
            ("bce, cross_entropy", made("bce"), hard),
            ("hinge", made("hinge"), hard),
            ("mse", made("mse"), hard),
            ("mae", made("mae"), hard),
            ("kl_divergence, label 0.8", made("kl_divergence"), soft),
        ],
    }
    panels = {}
    for title, rows in losses.items():
        panels[title] = Panel(p.tolist())
        for name, loss, target in rows:
            x = z.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(x, target), x)
            panels[title].lines[name] = (-gradient * count / (5 if "topk" in name else 1)).flatten().tolist()
    return panels


REGION: dict[str, WeightedLoss] = {
    "dice": made("dice"),
    "squared_dice": made("squared_dice"),
    "jaccard": made("jaccard"),
    "log_cosh_dice": made("log_cosh_dice"),
    "focal_tversky, exponent 0.75": made("focal_tversky"),
    "focal_tversky, exponent 4/3": made("focal_tversky", params={"exponent": 4 / 3}),
    "exp_log": made("exp_log"),
    "mcc": made("mcc"),
}


def near_the_optimum() -> dict[str, Panel]:
    """Figure 4: value and slope of region losses by the soft Dice error 1 - D: p = D in a disk, 1 - D in as many voxels around it."""
    inner, outer = disk(400, (64, 64)), disk(800, (64, 64))
    ring, target = outer & ~inner, inner.long()[None, None]
    even = [index / 40 for index in range(1, 40)]
    small = [10 ** (-index / 5) for index in range(1, 21)]
    panels = {"value": Panel([1 - error for error in even]), "slope": Panel(small)}
    for name, loss in REGION.items():
        for title, errors in (("value", even), ("slope", small)):
            numbers = []
            for error in errors:
                e = torch.tensor(error, dtype=torch.float64, requires_grad=True)
                p = torch.where(inner, 1 - e, torch.where(ring, e, 1e-12))
                value = loss(p.logit()[None, None], target)
                numbers.append(value.item() if title == "value" else torch.autograd.grad(value, e)[0].item())
            panels[title].lines[name] = numbers
    return panels


STEPS = [index / 3 for index in range(1, 46)]
"""Sharpness of the prediction: logits are this times noisy +-1."""
FRACTIONS = {1638: "10 %", 164: "1 %", 16: "0.1 %"}
"""Lesion voxels in SIZE^2, and what share of the image that is."""
MAIN = "1 %"
"""The one whose values are drawn too."""
MEASUREMENTS = 20
"""Of the shares at each step, for `balance` to keep pace: a training changes more slowly."""


def ce_and_dice() -> dict[str, Panel]:
    """Figure 5: values of cross entropy and Dice, and Dice's share of the gradient, as the prediction sharpens; x is its soft Dice."""
    terms = [{"name": "bce"}, {"name": "dice"}]
    noise = 0.2 * torch.randn(1, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    panels = {"values": Panel([])}
    for voxels, label in FRACTIONS.items():
        main = label == MAIN
        plain = build_loss({"activation": "sigmoid", "terms": terms}, 1)
        balanced = build_loss({"activation": "sigmoid", "terms": terms, "balance": "gradient"}, 1)
        target = disk(voxels, (64, 64)).long()[None, None]
        values: dict[str, list[float]] = {"bce": [], "dice": []}
        score, shares, levelled = [], [], []
        for step in STEPS:
            z = (step * (2.0 * target - 1 + noise)).requires_grad_()
            _, now, share = plain.with_shares(z, target)
            score.append(1 - now["dice"].item())
            shares.append(share["dice"].item())
            for name, value in now.items():
                values[name].append(value.item())
            for _ in range(MEASUREMENTS if main else 0):
                level = balanced.with_shares(z, target)[2]["dice"].item()
            if main:
                levelled.append(level)
        panels[label] = Panel(score, {label: shares, **({"balance: gradient": levelled} if main else {})})
        if main:
            panels["values"] = Panel(score, values)
    return panels


MEASURES: dict[str, Callable[[], dict[str, Panel]]] = {
    "small_lesions": small_lesions,
    "lesion_free": lesion_free,
    "easy_and_hard": easy_and_hard,
    "near_the_optimum": near_the_optimum,
    "ce_and_dice": ce_and_dice,
}
"""File name of a figure -> its panels by name."""
