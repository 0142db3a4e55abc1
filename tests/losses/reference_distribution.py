"""Independent float64 references of the voxelwise terms: a loss of each voxel, then a mean over all voxels of the batch.

The API is that of `reference.py`: f(logits, target, *, activation, include_background, reduce_over, ignore_index, weight_map, **params).
`include_background` and `reduce_over` are accepted and change nothing here. With w the weight map, p_t the probability of the label
that holds, t the class of a voxel and N = sum w (times the channels under sigmoid):

    balanced_bce   mean over (sample, channel) of [beta sum w y (-log p) + (1-beta) sum w (1-y) (-log q)] / N, beta the share of y = 0 of
                   that sample and channel, kept in [minimum, 1 - minimum]; without voxels it leaves the mean
    cross_entropy  sum w [(1-e) a_t (-log p_t) + e/C sum_c a_c (-log p_c)] / sum w a_t, e = label_smoothing, a = class_weights,
                   p of z + adjustment log(class_priors)
    poly           sum w [(1-p_t)^gamma (-log p_t) + epsilon (1-p_t)^(gamma+1)] / N
    topk           mean of the K largest -log p_t, K = max(1, ceil(percent N / 100)); whole weights only: 2 = two voxels. `percent` is read
                   as the decimal that it prints as
    hinge          sum w max(0, margin - (2y-1) z) / N
    kl_divergence  T^2 sum w sum_c y_c log(y_c / p_c(z/T)) / N; sigmoid: y log(y/p) + (1-y) log((1-y)/q). 0 log 0 = 0

Under softmax a target of the shape of the logits is soft: a distribution over the classes; it is ignored where any channel has the
ignored value. Nothing left: 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tests.losses.reference import Activation, Channel, ReduceOver, groups_of, log_probabilities, mean, ratio


def soft_groups_of(
    logits: np.ndarray,
    target: np.ndarray,
    activation: Activation,
    reduce_over: ReduceOver,
    ignore_index: int | None,
    weight_map: np.ndarray | None,
) -> list[list[Channel]]:
    """`groups_of`, which under softmax also takes a target (B, C, *spatial) of class probabilities."""
    logits = np.asarray(logits, dtype=np.float64)
    target = np.asarray(target)
    batch, num_classes = logits.shape[:2]
    if activation != "softmax" or target.shape != logits.shape or num_classes == 1:
        return groups_of(logits, target, activation, reduce_over, ignore_index, weight_map)
    weights = np.ones((batch, *logits.shape[2:])) if weight_map is None else np.asarray(weight_map, dtype=np.float64)
    samples = []
    for b in range(batch):
        log_p, log_q = log_probabilities(logits[b].reshape(num_classes, -1), activation)
        y = target[b].reshape(num_classes, -1).astype(np.float64)
        w = weights[b].reshape(-1)
        keep = np.ones(w.shape, dtype=bool) if ignore_index is None else np.all(y != ignore_index, axis=0)
        channels = []
        for c in range(num_classes):
            arrays = (np.exp(log_p[c]), np.exp(log_q[c]), log_p[c], log_q[c], y[c], w)
            channels.append(Channel(*(a[keep] for a in arrays)))
        samples.append(channels)
    if reduce_over == "sample":
        return samples
    return [[Channel(*(np.concatenate(arrays) for arrays in zip(*(s[c] for s in samples), strict=True))) for c in range(num_classes)]]


def voxels_of(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
) -> list[Channel]:
    """All classes, over the whole batch, whatever `include_background` and `reduce_over` say."""
    return soft_groups_of(logits, target, activation, "batch", ignore_index, weight_map)[0]


def number_of_terms(channels: list[Channel], activation: Activation) -> float:
    """What a voxelwise mean divides by: the weights of the voxels; under sigmoid every channel of a voxel counts."""
    return sum(x.total_weight for x in channels) if activation == "sigmoid" else channels[0].total_weight


def only(activation: Activation, allowed: Activation, name: str) -> None:
    if activation != allowed:
        raise ValueError(f"{name} is a {allowed} loss")


def balanced_bce(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation = "sigmoid",
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    minimum: float = 0.01,
) -> float:
    only(activation, "sigmoid", "balanced_bce")
    values = []
    for channels in groups_of(logits, target, activation, "sample", ignore_index, weight_map):
        for x in channels:
            if x.total_weight == 0:
                continue
            beta = (x.total_weight - x.volume) / x.total_weight
            beta = min(max(beta, minimum), 1 - minimum)
            positive = float(np.sum(x.w * x.y * -x.log_p))
            negative = float(np.sum(x.w * (1 - x.y) * -x.log_q))
            values.append((beta * positive + (1 - beta) * negative) / x.total_weight)
    return mean(values) if values else 0.0


def cross_entropy(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation = "softmax",
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    class_priors: Sequence[float] | None = None,
    adjustment: float = 1.0,
    **options: Any,
) -> float:
    only(activation, "softmax", "cross_entropy")
    adjusted = np.array(logits, dtype=np.float64)
    if class_priors is not None:
        for c, prior in enumerate(class_priors):
            adjusted[:, c] += adjustment * math.log(prior)
    channels = voxels_of(adjusted, target, activation=activation, **options)
    a = [1.0] * len(channels) if class_weights is None else class_weights
    total = count = 0.0
    for c, x in enumerate(channels):
        total += (1 - label_smoothing) * float(np.sum(x.w * a[c] * x.y * -x.log_p))
        total += label_smoothing / len(channels) * float(np.sum(x.w * a[c] * -x.log_p))
        count += float(np.sum(x.w * a[c] * x.y))
    return ratio(total, count, if_empty=0.0)


def poly(
    logits: np.ndarray, target: np.ndarray, *, activation: Activation, epsilon: float = 1.0, gamma: float = 0.0, **options: Any
) -> float:
    channels = voxels_of(logits, target, activation=activation, **options)
    total = 0.0
    for x in channels:
        if_y = x.q**gamma * -x.log_p + epsilon * x.q ** (gamma + 1)
        total += float(np.sum(x.w * x.y * if_y))
        if activation == "sigmoid":
            if_rest = x.p**gamma * -x.log_q + epsilon * x.p ** (gamma + 1)
            total += float(np.sum(x.w * (1 - x.y) * if_rest))
    return ratio(total, number_of_terms(channels, activation), if_empty=0.0)


def topk(logits: np.ndarray, target: np.ndarray, *, activation: Activation, percent: float = 10.0, **options: Any) -> float:
    channels = voxels_of(logits, target, activation=activation, **options)
    if activation == "sigmoid":
        losses = np.concatenate([x.y * -x.log_p + (1 - x.y) * -x.log_q for x in channels])
        weights = np.concatenate([x.w for x in channels])
    else:
        losses = np.sum([x.y * -x.log_p for x in channels], axis=0)
        weights = channels[0].w
    if np.any(weights != np.round(weights)):
        raise ValueError("the reference of topk counts voxels: the weights must be whole numbers")
    pool: list[float] = []
    for loss, weight in zip(losses, weights, strict=True):
        pool += [float(loss)] * int(weight)
    if not pool:
        return 0.0
    count = max(1, math.ceil(Fraction(str(percent)) * len(pool) / 100))
    return mean(sorted(pool, reverse=True)[:count])


def hinge(logits: np.ndarray, target: np.ndarray, *, activation: Activation = "sigmoid", margin: float = 1.0, **options: Any) -> float:
    only(activation, "sigmoid", "hinge")
    channels = voxels_of(logits, target, activation=activation, **options)
    total = 0.0
    for x in channels:
        z = x.log_p - x.log_q
        total += float(np.sum(x.w * np.maximum(0, margin - (2 * x.y - 1) * z)))
    return ratio(total, number_of_terms(channels, activation), if_empty=0.0)


def x_log_x(values: np.ndarray) -> np.ndarray:
    return np.array([v * math.log(v) if v > 0 else 0.0 for v in values])


def kl_divergence(logits: np.ndarray, target: np.ndarray, *, activation: Activation, temperature: float = 1.0, **options: Any) -> float:
    channels = voxels_of(np.asarray(logits, dtype=np.float64) / temperature, target, activation=activation, **options)
    total = 0.0
    for x in channels:
        total += float(np.sum(x.w * (x_log_x(x.y) - x.y * x.log_p)))
        if activation == "sigmoid":
            total += float(np.sum(x.w * (x_log_x(1 - x.y) - (1 - x.y) * x.log_q)))
    return temperature**2 * ratio(total, number_of_terms(channels, activation), if_empty=0.0)


TERMS: dict[str, Callable[..., float]] = {
    "balanced_bce": balanced_bce,
    "cross_entropy": cross_entropy,
    "poly": poly,
    "topk": topk,
    "hinge": hinge,
    "kl_divergence": kl_divergence,
}
