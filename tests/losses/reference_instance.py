"""Independent float64 references of the instance and regression terms, of the weights of components, and of box overlaps.

The API of the terms is that of `reference.py`. Instances are connected components, with all neighbours of a voxel (8 in 2-D, 26 in 3-D),
of each sample and foreground channel (softmax: all but 0; sigmoid: all; whatever `include_background`), numbered in the order of their
first voxel. Ignored voxels and those of weight 0 belong to no component and to no region. s = smooth, sums over a region:

    inner "dice"     (FP + FN) / (2TP + FP + FN + s), 0/0 = 0
    inner "dice_ce"  the same + sum w [y (-log p) + (1-y) (-log q)] / sum w
    blob             a region for each component: all voxels but those of the other components of its sample and channel
    component        a region for each component: the voxels nearer to it than to any other, by the centres' distance in `spacing`
                     (as in `reference_shape.py`); of two as near, the one with the lower number
                     both: the mean over the regions; sample: the mean of each (sample, channel) with regions, then the mean of those

    mse, mae, huber, log_cosh   sum w f(p-y) / sum w over voxels and all channels, f(e) = e^2, |e|, e^2/2 up to |e| = delta and
                                delta (|e| - delta/2) beyond, log cosh e. A softmax target may be soft. `reduce_over` changes nothing.

    inverse_component   weights N / ((K+1) |part|), clipped, of the K components and of the background, in a sample (sigmoid: in a
                        channel of a sample) with N voxels; softmax: the components of each class on their own, K of all classes
                        together; ignored voxels do not count in N or |part| and get 0

    generalised_iou     IoU - (hull - union) / hull
    distance_iou        IoU - (distance of centres / diagonal of the hull)^2
    complete_iou        that - alpha v, v = 4/pi^2 (atan(width / height) of a - of b)^2, alpha = v / (1 - IoU + v)
                        of boxes (lows, highs); no losses yet: 1 - x is; 0/0 = 0
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from tests.losses.reference import Activation, ReduceOver, mean, ratio
from tests.losses.reference_distribution import voxels_of
from tests.losses.reference_shape import Field, fields_of, spacing_of

Inner = Literal["dice", "dice_ce"]

# --- instances ------------------------------------------------------------------------------------------------------


def components_of(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers 1, 2, ... of the components by flood fill, 0 outside, and how many there are."""
    numbers = np.zeros(mask.shape, dtype=int)
    count = 0
    for start in np.ndindex(mask.shape):
        if not mask[start] or numbers[start]:
            continue
        count += 1
        numbers[start] = count
        to_visit = [start]
        while to_visit:
            index = to_visit.pop()
            for offset in itertools.product((-1, 0, 1), repeat=mask.ndim):
                neighbour = tuple(i + o for i, o in zip(index, offset, strict=True))
                inside = all(0 <= i < size for i, size in zip(neighbour, mask.shape, strict=True))
                if inside and mask[neighbour] and not numbers[neighbour]:
                    numbers[neighbour] = count
                    to_visit.append(neighbour)
    return numbers, count


def cells_of(numbers: np.ndarray, count: int, spacing: np.ndarray) -> np.ndarray:
    """The number of the component that is nearest to each voxel."""
    cells = np.zeros(numbers.shape, dtype=int)
    for index in np.ndindex(numbers.shape):
        nearest = math.inf
        for n in range(1, count + 1):
            for other in np.argwhere(numbers == n):
                distance = float(np.sum(((np.array(index) - other) * spacing) ** 2))
                # Two distances that differ by rounding alone are a tie.
                if distance < nearest * (1 - 1e-12):
                    nearest, cells[index] = distance, n
    return cells


def inner_loss(x: Field, y: np.ndarray, region: np.ndarray, inner: Inner, smooth: float) -> float:
    w = np.where(region, x.w, 0.0)
    tp, fp, fn = float(np.sum(w * x.p * y)), float(np.sum(w * x.p * (1 - y))), float(np.sum(w * x.q * y))
    dice = ratio(fp + fn, 2 * tp + fp + fn + smooth, if_empty=0.0)
    if inner == "dice":
        return dice
    if inner != "dice_ce":
        raise ValueError(f"{inner=}")
    return dice + ratio(float(np.sum(w * (y * -x.log_p + (1 - y) * -x.log_q))), float(np.sum(w)), if_empty=0.0)


def mean_of_instances(losses: list[list[float]], reduce_over: ReduceOver) -> float:
    """From the losses of the components of each (sample, channel)."""
    pools = losses if reduce_over == "sample" else [[loss for own in losses for loss in own]]
    values = [mean(own) for own in pools if own]
    return mean(values) if values else 0.0


def blob(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    reduce_over: ReduceOver = "batch",
    inner: Inner = "dice",
    smooth: float = 1e-5,
    **options: Any,
) -> float:
    losses = []
    for x in fields_of(logits, target, reduce_over=reduce_over, **options):
        numbers, count = components_of(x.y > 0.5)
        own = []
        for n in range(1, count + 1):
            others = (numbers > 0) & (numbers != n)
            own.append(inner_loss(x, (numbers == n).astype(np.float64), ~others, inner, smooth))
        losses.append(own)
    return mean_of_instances(losses, reduce_over)


def component(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    reduce_over: ReduceOver = "batch",
    inner: Inner = "dice",
    smooth: float = 1e-5,
    spacing: Sequence[float] | np.ndarray | None = None,
    **options: Any,
) -> float:
    losses = []
    for x in fields_of(logits, target, reduce_over=reduce_over, **options):
        numbers, count = components_of(x.y > 0.5)
        cells = cells_of(numbers, count, spacing_of(x.sample, x.y.ndim, spacing))
        losses.append([inner_loss(x, (numbers == n).astype(np.float64), cells == n, inner, smooth) for n in range(1, count + 1)])
    return mean_of_instances(losses, reduce_over)


def inverse_component(
    target: np.ndarray, *, activation: Activation, ignore_index: int | None = None, minimum: float = 1.0, maximum: float = 2e5
) -> np.ndarray:
    """Softmax: (B, *spatial) -> the same; sigmoid: (B, C, *spatial) -> the same."""
    target = np.asarray(target)
    weights = np.zeros(target.shape)
    images = range(len(target)) if activation == "softmax" else itertools.product(range(target.shape[0]), range(target.shape[1]))
    for image in images:
        labels = target[image]
        valid = np.ones(labels.shape, dtype=bool) if ignore_index is None else labels != ignore_index
        parts = [valid & (labels == 0)]
        for label in np.unique(labels[valid & (labels > 0)]):
            numbers, count = components_of(valid & (labels == label))
            parts += [numbers == n for n in range(1, count + 1)]
        for part in parts:
            if part.any():
                own = valid.sum() / (len(parts) * part.sum())
                weights[image][part] = min(max(own, minimum), maximum)
    return weights


# --- regression on probabilities ------------------------------------------------------------------------------------


def regression(
    logits: np.ndarray, target: np.ndarray, of_error: Callable[[float], float], *, activation: Activation, **options: Any
) -> float:
    total = count = 0.0
    for x in voxels_of(logits, target, activation=activation, **options):
        for p, q, y, w in zip(x.p, x.q, x.y, x.w, strict=True):
            total += w * of_error((1 - y) * p - y * q)
            count += w
    return float(ratio(total, count, if_empty=0.0))


def mse(logits: np.ndarray, target: np.ndarray, *, activation: Activation, **options: Any) -> float:
    return regression(logits, target, lambda e: e**2, activation=activation, **options)


def mae(logits: np.ndarray, target: np.ndarray, *, activation: Activation, **options: Any) -> float:
    return regression(logits, target, abs, activation=activation, **options)


def huber(logits: np.ndarray, target: np.ndarray, *, activation: Activation, delta: float = 1.0, **options: Any) -> float:
    def of_error(e: float) -> float:
        return e**2 / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2)

    return regression(logits, target, of_error, activation=activation, **options)


def log_cosh(logits: np.ndarray, target: np.ndarray, *, activation: Activation, **options: Any) -> float:
    return regression(logits, target, lambda e: math.log(math.cosh(e)), activation=activation, **options)


# --- boxes ----------------------------------------------------------------------------------------------------------

Box = tuple[Sequence[float], Sequence[float]]


def volume(lows: Sequence[float], highs: Sequence[float]) -> float:
    """Of a box; 0 if it is turned inside out along an axis."""
    return math.prod(max(0.0, high - low) for low, high in zip(lows, highs, strict=True))


def union_of(a: Box, b: Box) -> tuple[float, float]:
    """The volumes of the intersection and of the union."""
    lows = [max(x, y) for x, y in zip(a[0], b[0], strict=True)]
    highs = [min(x, y) for x, y in zip(a[1], b[1], strict=True)]
    common = volume(lows, highs)
    return common, volume(*a) + volume(*b) - common


def iou(a: Box, b: Box) -> float:
    return ratio(*union_of(a, b), if_empty=0.0)


def hull_of(a: Box, b: Box) -> Box:
    return [min(x, y) for x, y in zip(a[0], b[0], strict=True)], [max(x, y) for x, y in zip(a[1], b[1], strict=True)]


def generalised_iou(a: Box, b: Box) -> float:
    hull = volume(*hull_of(a, b))
    return iou(a, b) - ratio(hull - union_of(a, b)[1], hull, if_empty=0.0)


def distance_iou(a: Box, b: Box) -> float:
    centres = [[(low + high) / 2 for low, high in zip(*box, strict=True)] for box in (a, b)]
    return iou(a, b) - ratio(math.dist(*centres) ** 2, math.dist(*hull_of(a, b)) ** 2, if_empty=0.0)


def complete_iou(a: Box, b: Box) -> float:
    """2-D: the ratio of the two sides; which of them is called the width changes nothing."""
    angles = [math.atan2(highs[1] - lows[1], highs[0] - lows[0]) for lows, highs in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return distance_iou(a, b) - ratio(v, 1 - iou(a, b) + v, if_empty=0.0) * v


TERMS: dict[str, Callable[..., float]] = {
    "blob": blob,
    "component": component,
    "mse": mse,
    "mae": mae,
    "huber": huber,
    "log_cosh": log_cosh,
}
