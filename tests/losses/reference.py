"""Independent float64 NumPy references of the losses: plain loops from the papers' formulas, slow and obvious.

API
---
    f(logits, target, *, activation, include_background=False, reduce_over="batch", ignore_index=None, weight_map=None,
      **the term's parameters) -> float

    logits      (B, C, *spatial)
    target      softmax: class ids (B, *spatial) or (B, 1, *spatial); sigmoid: (B, C, *spatial) in {0, 1} (or soft, in [0, 1])
    weight_map  (B, *spatial), not negative

Functions and their parameters (`TERMS` maps name -> function):

    bce               pos_weight=None (scalar or one per channel)                         sigmoid only
    cross_entropy     class_weights=None (one per class)                                  sigmoid: the same as `bce`, no class_weights
    focal             gamma=2.0, alpha=None                                               alpha: see below
    dice              smooth=1e-5
    tversky           fn_weight=0.7, fp_weight=0.3, smooth=1e-5
    focal_tversky     fn_weight=0.7, fp_weight=0.3, exponent=0.75, smooth=1.0
    combo             ce_share=0.5, fn_weight=0.5, smooth=1.0, shift=True, ce_form="one_vs_rest", ce_reduce_over=None
    exp_log           dice_weight=0.8, ce_weight=0.2, dice_exponent=0.3, ce_exponent=0.3, epsilon=1.0,
                      class_weights=None, ce_reduce_over=None
    generalized_dice  weighting="square", smooth=1e-5

Formulas, and where `smooth` (s) stands
---------------------------------------
With w the weight map (1 without one), q = 1 - p, TP = sum w p y, FP = sum w p (1-y), FN = sum w q y, V = sum w y:

    bce               sum w [pos_weight y (-log p) + (1-y) (-log q)] / sum w        over voxels and channels
    cross_entropy     sum w a_t (-log p_t) / sum w a_t                              a = class_weights
    focal softmax     sum w a_t (1-p_t)^gamma (-log p_t) / sum w                    a = alpha, a vector (C,)
    focal sigmoid     sum w a_t (1-p_t)^gamma (-log p_t) / sum w                    alpha where y=1, 1-alpha where y=0 (scalar, (C,))
    dice              mean_c 1 - (2TP + s) / (2TP + FP + FN + s)
    tversky           mean_c 1 - (TP + s) / (TP + fp_weight FP + fn_weight FN + s)         = dice with 2s at .5/.5
    focal_tversky     mean_c (tversky loss of class c)^exponent                            the power per class, before the mean
    combo             ce_share CE + (1-ce_share) mean_c (dice loss of class c);  shift=False subtracts (1-ce_share): CE - Dice, as printed
                      CE one_vs_rest: sum w [fn_weight y (-log p) + (1-fn_weight) (1-y) (-log q)] / sum w over voxels and the kept classes
                      CE categorical (softmax only): sum w b_t (-log p_t) / sum w, b_0 = 1-fn_weight, b_c = fn_weight for c > 0
                      the two forms agree for 2 classes with include_background=False, and there they equal the sigmoid of z1 - z0
    exp_log           dice_weight mean_c (-log D_c)^dice_exponent + ce_weight sum w a_t (-log p_t)^ce_exponent / sum w
                      D_c = (2TP + epsilon) / (2TP + FP + FN + epsilon);  a_c = sqrt(sum_k V_k / V_c) over ALL classes, from the same
                      voxels, unless class_weights (C,) gives it. Sigmoid: each channel is a problem of two labels,
                      a = sqrt(N / V) where y=1, sqrt(N / (N - V)) where y=0 (class_weights: (C, 2), columns y=0 and y=1); D over y=1 only
    generalized_dice  1 - (2 sum_c g_c TP_c + s) / (sum_c g_c (2TP_c + FP_c + FN_c) + s)   one ratio over all kept classes
                      g_c = 1/V_c^2 (square), 1/V_c (simple), 1 (uniform), divided by their sum over the present classes BEFORE s is added;
                      an absent class (V_c = 0) then gets the largest g of the present ones; with no class present, all g are 1

Options
-------
    include_background  False drops class 0 from the region terms under softmax (also from the region part of combo and exp_log, and from
                        the one_vs_rest CE of combo). Without effect under sigmoid and for bce, cross_entropy and focal.
                        The paper of exp_log and that of generalized_dice include the background.
    reduce_over         "batch": every sum above runs over the whole batch; "sample": the whole formula for each sample, then the mean over
                        samples. Holds for the voxel terms too (equal to batch unless voxels are ignored or weighted, or a_t is a
                        class weight of cross_entropy or comes from the group's own frequencies, as in exp_log).
                        `ce_reduce_over` of the compound terms sets it for their CE part alone; None = as reduce_over.
    ignore_index        voxels (sigmoid: elements) with this target are removed from the arrays before anything is computed.
    nothing left        a sample and class without voxels, or with weights that are all zero, is not in the mean of the region terms; a
                        voxel term of such a sample is 0 and counts in the mean over samples. Nothing in the mean: 0.
                        A region score 0/0 (smooth = 0, empty target, nothing predicted) is 1.

Powers are plain x^g: an implementation with (x + d)^g - d^g differs by up to d^g.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Activation = Literal["softmax", "sigmoid"]
ReduceOver = Literal["batch", "sample"]


class Channel(NamedTuple):
    """What one class sees of a group of voxels; all arrays (N,), ignored voxels removed."""

    p: np.ndarray
    q: np.ndarray  # 1 - p, without cancellation
    log_p: np.ndarray
    log_q: np.ndarray
    y: np.ndarray
    w: np.ndarray

    @property
    def tp(self) -> float:
        return float(np.sum(self.w * self.p * self.y))

    @property
    def fp(self) -> float:
        return float(np.sum(self.w * self.p * (1 - self.y)))

    @property
    def fn(self) -> float:
        return float(np.sum(self.w * self.q * self.y))

    @property
    def volume(self) -> float:
        return float(np.sum(self.w * self.y))

    @property
    def total_weight(self) -> float:
        return float(np.sum(self.w))


# --- from logits to voxels ------------------------------------------------------------------------------------------


def log_sum_exp(z: np.ndarray) -> np.ndarray:
    """Over the first axis."""
    largest = z.max(axis=0)
    return largest + np.log(np.sum(np.exp(z - largest), axis=0))


def log_probabilities(z: np.ndarray, activation: Activation) -> tuple[np.ndarray, np.ndarray]:
    """log p and log(1 - p) of the logits (C, N) of one sample."""
    if activation == "sigmoid":
        return -np.logaddexp(0, -z), -np.logaddexp(0, z)
    log_p = np.empty_like(z)
    log_q = np.empty_like(z)
    for c in range(len(z)):
        log_p[c] = z[c] - log_sum_exp(z)
        log_q[c] = log_sum_exp(np.delete(z, c, axis=0)) - log_sum_exp(z)
    return log_p, log_q


def channels_of(
    logits: np.ndarray, target: np.ndarray, weights: np.ndarray, activation: Activation, ignore_index: int | None
) -> list[Channel]:
    """One sample: logits (C, *spatial), target (*spatial) or (C, *spatial), weights (*spatial)."""
    num_classes = len(logits)
    log_p, log_q = log_probabilities(logits.reshape(num_classes, -1), activation)
    w = weights.reshape(-1)
    channels = []
    for c in range(num_classes):
        labels = target.reshape(-1) if activation == "softmax" else target[c].reshape(-1)
        keep = np.ones(labels.shape, dtype=bool) if ignore_index is None else labels != ignore_index
        y = (labels == c).astype(np.float64) if activation == "softmax" else labels.astype(np.float64)
        channels.append(Channel(np.exp(log_p[c])[keep], np.exp(log_q[c])[keep], log_p[c][keep], log_q[c][keep], y[keep], w[keep]))
    return channels


def groups_of(
    logits: np.ndarray,
    target: np.ndarray,
    activation: Activation,
    reduce_over: ReduceOver,
    ignore_index: int | None,
    weight_map: np.ndarray | None,
) -> list[list[Channel]]:
    """The channels of each sample, or, over the batch, one list of channels with the voxels of all samples."""
    if activation not in ("softmax", "sigmoid") or reduce_over not in ("batch", "sample"):
        raise ValueError(f"{activation=}, {reduce_over=}")
    logits = np.asarray(logits, dtype=np.float64)
    target = np.asarray(target)
    batch, num_classes, *spatial = logits.shape
    if activation == "softmax" and target.shape == (batch, 1, *spatial):
        target = target[:, 0]
    expected = (batch, *spatial) if activation == "softmax" else (batch, num_classes, *spatial)
    if target.shape != expected:
        raise ValueError(f"target has shape {target.shape}, expected {expected}")
    if activation == "softmax" and not np.isin(target, [*range(num_classes), *([] if ignore_index is None else [ignore_index])]).all():
        raise ValueError(f"target has ids that are neither a class below {num_classes} nor the ignored one")
    weights = np.ones((batch, *spatial)) if weight_map is None else np.asarray(weight_map, dtype=np.float64)
    if weights.shape != (batch, *spatial):
        raise ValueError(f"weight_map has shape {weights.shape}, expected {(batch, *spatial)}")

    samples = [channels_of(logits[b], target[b], weights[b], activation, ignore_index) for b in range(batch)]
    if reduce_over == "sample":
        return samples
    return [[Channel(*(np.concatenate(arrays) for arrays in zip(*(s[c] for s in samples), strict=True))) for c in range(num_classes)]]


def region_classes(channels: list[Channel], activation: Activation, include_background: bool) -> list[Channel]:
    if activation == "softmax" and not include_background:
        return channels[1:]
    return channels


def left(channels: list[Channel]) -> list[Channel]:
    """Those of which any voxel is left."""
    return [channel for channel in channels if channel.total_weight > 0]


def ratio(numerator: float, denominator: float, if_empty: float) -> float:
    return if_empty if denominator == 0 else numerator / denominator


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if len(values) else 0.0


# --- one class, one group -------------------------------------------------------------------------------------------


def dice_score(c: Channel, smooth: float) -> float:
    return ratio(2 * c.tp + smooth, 2 * c.tp + c.fp + c.fn + smooth, if_empty=1.0)


def tversky_score(c: Channel, fn_weight: float, fp_weight: float, smooth: float) -> float:
    return ratio(c.tp + smooth, c.tp + fp_weight * c.fp + fn_weight * c.fn + smooth, if_empty=1.0)


def power(x: float, exponent: float) -> float:
    """x^exponent, x >= 0 up to rounding."""
    return max(x, 0.0) ** exponent


# --- voxel terms ----------------------------------------------------------------------------------------------------


def bce(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation = "sigmoid",
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    pos_weight: float | Sequence[float] | None = None,
) -> float:
    if activation != "sigmoid":
        raise ValueError("bce is a sigmoid loss")
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        positive = np.broadcast_to(1.0 if pos_weight is None else np.asarray(pos_weight, dtype=np.float64), len(channels))
        total = count = 0.0
        for c, x in enumerate(channels):
            total += float(np.sum(x.w * (positive[c] * x.y * -x.log_p + (1 - x.y) * -x.log_q)))
            count += x.total_weight
        results.append(ratio(total, count, if_empty=0.0))
    return mean(results)


def cross_entropy(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation = "softmax",
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    class_weights: Sequence[float] | None = None,
) -> float:
    if activation == "sigmoid":
        if class_weights is not None:
            raise ValueError("class_weights need softmax; bce has pos_weight")
        return bce(logits, target, reduce_over=reduce_over, ignore_index=ignore_index, weight_map=weight_map)
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        a = [1.0] * len(channels) if class_weights is None else class_weights
        total = count = 0.0
        for c, x in enumerate(channels):
            total += float(np.sum(x.w * a[c] * x.y * -x.log_p))
            count += float(np.sum(x.w * a[c] * x.y))
        results.append(ratio(total, count, if_empty=0.0))
    return mean(results)


def focal(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    gamma: float = 2.0,
    alpha: float | Sequence[float] | None = None,
) -> float:
    if activation == "softmax" and alpha is not None and np.ndim(alpha) == 0:
        raise ValueError("softmax focal takes alpha as one weight per class")
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        if alpha is None:
            positive = negative = np.ones(len(channels))
        else:
            positive = np.broadcast_to(np.asarray(alpha, dtype=np.float64), len(channels))
            negative = 1 - positive
        total = count = 0.0
        for c, x in enumerate(channels):
            total += float(np.sum(x.w * positive[c] * x.y * x.q**gamma * -x.log_p))
            if activation == "sigmoid":
                total += float(np.sum(x.w * negative[c] * (1 - x.y) * x.p**gamma * -x.log_q))
            # Softmax: every voxel belongs to one class, so the classes' volumes add up to the voxels.
            count += x.total_weight if activation == "sigmoid" else x.volume
        results.append(ratio(total, count, if_empty=0.0))
    return mean(results)


# --- region terms ---------------------------------------------------------------------------------------------------


def dice(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    smooth: float = 1e-5,
) -> float:
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        classes = left(region_classes(channels, activation, include_background))
        results.extend(1 - dice_score(c, smooth) for c in classes)
    return mean(results)


def tversky(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    fn_weight: float = 0.7,
    fp_weight: float = 0.3,
    smooth: float = 1e-5,
) -> float:
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        classes = left(region_classes(channels, activation, include_background))
        results.extend(1 - tversky_score(c, fn_weight, fp_weight, smooth) for c in classes)
    return mean(results)


def focal_tversky(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    fn_weight: float = 0.7,
    fp_weight: float = 0.3,
    exponent: float = 0.75,
    smooth: float = 1.0,
) -> float:
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        classes = left(region_classes(channels, activation, include_background))
        results.extend(power(1 - tversky_score(c, fn_weight, fp_weight, smooth), exponent) for c in classes)
    return mean(results)


def generalized_dice(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    weighting: Literal["square", "simple", "uniform"] = "square",
    smooth: float = 1e-5,
) -> float:
    exponent = {"square": 2, "simple": 1, "uniform": 0}[weighting]
    results = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        classes = left(region_classes(channels, activation, include_background))
        present = [1 / c.volume**exponent for c in classes if c.volume > 0]
        numerator = denominator = smooth
        for c in classes:
            if c.volume > 0:
                g = (1 / c.volume**exponent) / sum(present)
            elif present:
                g = max(present) / sum(present)
            else:
                g = 1.0
            numerator += 2 * g * c.tp
            denominator += g * (2 * c.tp + c.fp + c.fn)
        results.extend([1 - ratio(numerator, denominator, if_empty=1.0)] * len(classes))
    return mean(results)


# --- compound terms -------------------------------------------------------------------------------------------------


def combo(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    ce_share: float = 0.5,
    fn_weight: float = 0.5,
    smooth: float = 1.0,
    shift: bool = True,
    ce_form: Literal["one_vs_rest", "categorical"] = "one_vs_rest",
    ce_reduce_over: ReduceOver | None = None,
) -> float:
    if ce_form not in ("one_vs_rest", "categorical") or (ce_form == "categorical" and activation != "softmax"):
        raise ValueError(f"{ce_form=} with {activation=}")
    ce_parts = []
    for channels in groups_of(logits, target, activation, ce_reduce_over or reduce_over, ignore_index, weight_map):
        total = count = 0.0
        if ce_form == "one_vs_rest":
            for x in region_classes(channels, activation, include_background):
                total += float(np.sum(x.w * (fn_weight * x.y * -x.log_p + (1 - fn_weight) * (1 - x.y) * -x.log_q)))
                count += x.total_weight
        else:
            for c, x in enumerate(channels):
                total += float(np.sum(x.w * (1 - fn_weight if c == 0 else fn_weight) * x.y * -x.log_p))
                count += x.volume
        ce_parts.append(ratio(total, count, if_empty=0.0))
    dice_part = dice(
        logits,
        target,
        activation=activation,
        include_background=include_background,
        reduce_over=reduce_over,
        ignore_index=ignore_index,
        weight_map=weight_map,
        smooth=smooth,
    )
    value = ce_share * mean(ce_parts) + (1 - ce_share) * dice_part
    return value if shift else value - (1 - ce_share)


def exp_log(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    dice_weight: float = 0.8,
    ce_weight: float = 0.2,
    dice_exponent: float = 0.3,
    ce_exponent: float = 0.3,
    epsilon: float = 1.0,
    class_weights: np.ndarray | Sequence[float] | None = None,
    ce_reduce_over: ReduceOver | None = None,
) -> float:
    dice_parts = []
    for channels in groups_of(logits, target, activation, reduce_over, ignore_index, weight_map):
        classes = left(region_classes(channels, activation, include_background))
        scores = [dice_score(c, epsilon) for c in classes]
        dice_parts.extend(power(float("inf") if d == 0 else -np.log(d), dice_exponent) for d in scores)

    ce_parts = []
    for channels in groups_of(logits, target, activation, ce_reduce_over or reduce_over, ignore_index, weight_map):
        total = count = 0.0
        voxels = sum(c.volume for c in channels)  # softmax: sum_k f_k
        for c, x in enumerate(channels):
            to_y = np.maximum(-x.log_p, 0) ** ce_exponent
            to_rest = np.maximum(-x.log_q, 0) ** ce_exponent
            if activation == "softmax":
                # An absent class weighs nothing: no voxel has it.
                a = ratio(voxels, x.volume, if_empty=0.0) ** 0.5 if class_weights is None else class_weights[c]
                total += float(np.sum(x.w * a * x.y * to_y))
                count += x.volume
            else:
                negatives = float(np.sum(x.w * (1 - x.y)))
                if class_weights is None:
                    a_rest = ratio(x.total_weight, negatives, if_empty=0.0) ** 0.5
                    a_y = ratio(x.total_weight, x.volume, if_empty=0.0) ** 0.5
                else:
                    a_rest, a_y = np.asarray(class_weights)[c]
                total += float(np.sum(x.w * (a_y * x.y * to_y + a_rest * (1 - x.y) * to_rest)))
                count += x.total_weight
        ce_parts.append(ratio(total, count, if_empty=0.0))
    return dice_weight * mean(dice_parts) + ce_weight * mean(ce_parts)


TERMS: dict[str, Callable[..., float]] = {
    "bce": bce,
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
    "combo": combo,
    "exp_log": exp_log,
    "generalized_dice": generalized_dice,
}
