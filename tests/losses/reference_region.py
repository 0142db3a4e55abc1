"""Independent float64 references of the region terms: a loss of the counts of each class, then a mean over the classes.

The API is that of `reference.py`, with `empty` beside the other options. With w the weight map, q = 1 - p, TP = sum w p y,
FP = sum w p (1-y), FN = sum w q y, TN = sum w q (1-y), V = sum w y, N = sum w, s = smooth:

    squared_dice             E / (2TP + E + s), E = sum w (p-y)^2
    dice_plus_plus           E / (2TP + E + s), E = sum w (y q)^g + sum w ((1-y) p)^g, g = exponent
    log_cosh_dice            log cosh d, d = (FP + FN) / (2TP + FP + FN + s)
    jaccard                  (FP + FN) / (TP + FP + FN + s)
    jaccard_metric           D / (M + D + s), M = sum w min(p, y), D = sum w |p-y|
    dice_semimetric          D / (2M + D + s)
    f_beta                   E / (TP + E + s), E = [beta^2 FN + FP] / (1 + beta^2)
    sensitivity_specificity  r sum w y q^2 / V + (1-r) sum w (1-y) p^2 / (N-V), r = sensitivity_weight
    mcc                      1 - (TP TN - FP FN) / sqrt((TP+FP)(TP+FN)(TN+FP)(TN+FN)); 0/0: 1, but 0 without any voxel
    unified_focal            focal_share F + (1-focal_share) R, d = fn_weight, g = gamma
                             R: mean over all classes and the background (whatever include_background) of (1-TI)^(1-g), asymmetric: of
                                1-TI for the background, TI = (TP + s) / (TP + d FN + (1-d) FP + s)
                             F: mean over the voxels of the batch (sigmoid: and channels) of d (1-p_t)^g (-log p_t) where a foreground
                                class holds, asymmetric: d (-log p_t); (1-d) (1-p_t)^g (-log p_t) where the background does
                             sigmoid: each channel has itself and its complement, the background, as classes

0/0 is 0 unless said otherwise. The mean is one over all (group, class) pairs, a group being a sample or the batch. `empty` for V = 0:
smooth: the formula as it is; skip: that pair leaves the mean, 0 if none is left; volume: sum w p / N, instead of the class' loss, after
any log cosh or power; batch: the formula with the counts of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tests.losses.reference import Activation, Channel, ReduceOver, mean, power, ratio, region_classes
from tests.losses.reference_distribution import number_of_terms, soft_groups_of, voxels_of

Empty = Literal["smooth", "skip", "volume", "batch"]


def mean_of_classes(groups: list[list[Channel]], whole: list[Channel], class_loss: Callable[[int, Channel], float], empty: Empty) -> float:
    """`class_loss` takes the position of the class and its voxels; `whole` has the classes over the whole batch."""
    values = []
    for group in groups:
        for i, x in enumerate(group):
            if x.total_weight == 0:
                continue
            if x.volume > 0 or empty == "smooth":
                values.append(class_loss(i, x))
            elif empty == "volume":
                values.append(ratio(float(np.sum(x.w * x.p)), x.total_weight, if_empty=0.0))
            elif empty == "batch":
                values.append(class_loss(i, whole[i]))
            elif empty != "skip":
                raise ValueError(f"{empty=}")
    return mean(values) if values else 0.0


def region_mean(
    logits: np.ndarray,
    target: np.ndarray,
    class_loss: Callable[[Channel], float],
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    empty: Empty = "smooth",
) -> float:
    groups = soft_groups_of(logits, target, activation, reduce_over, ignore_index, weight_map)
    (whole,) = soft_groups_of(logits, target, activation, "batch", ignore_index, weight_map)
    return mean_of_classes(
        [region_classes(channels, activation, include_background) for channels in groups],
        region_classes(whole, activation, include_background),
        lambda _, x: class_loss(x),
        empty,
    )


def error(x: Channel) -> np.ndarray:
    """Y - p, without cancellation."""
    return x.y * x.q - (1 - x.y) * x.p


# --- overlap --------------------------------------------------------------------------------------------------------


def squared_dice(logits: np.ndarray, target: np.ndarray, *, smooth: float = 1e-5, **options: Any) -> float:
    def loss(x: Channel) -> float:
        e = float(np.sum(x.w * error(x) ** 2))
        return ratio(e, 2 * x.tp + e + smooth, if_empty=0.0)

    return region_mean(logits, target, loss, **options)


def dice_plus_plus(logits: np.ndarray, target: np.ndarray, *, exponent: float = 2.0, smooth: float = 1e-5, **options: Any) -> float:
    def loss(x: Channel) -> float:
        missed = float(np.sum(x.w * (x.y * x.q) ** exponent))
        invented = float(np.sum(x.w * ((1 - x.y) * x.p) ** exponent))
        return ratio(missed + invented, 2 * x.tp + missed + invented + smooth, if_empty=0.0)

    return region_mean(logits, target, loss, **options)


def log_cosh_dice(logits: np.ndarray, target: np.ndarray, *, smooth: float = 1e-5, **options: Any) -> float:
    def loss(x: Channel) -> float:
        return math.log(math.cosh(ratio(x.fp + x.fn, 2 * x.tp + x.fp + x.fn + smooth, if_empty=0.0)))

    return region_mean(logits, target, loss, **options)


def jaccard(logits: np.ndarray, target: np.ndarray, *, smooth: float = 1e-5, **options: Any) -> float:
    def loss(x: Channel) -> float:
        return ratio(x.fp + x.fn, x.tp + x.fp + x.fn + smooth, if_empty=0.0)

    return region_mean(logits, target, loss, **options)


def common_and_different(x: Channel) -> tuple[float, float]:
    return float(np.sum(x.w * np.minimum(x.p, x.y))), float(np.sum(x.w * np.abs(error(x))))


def jaccard_metric(logits: np.ndarray, target: np.ndarray, *, smooth: float = 1e-3, **options: Any) -> float:
    def loss(x: Channel) -> float:
        common, different = common_and_different(x)
        return ratio(different, common + different + smooth, if_empty=0.0)

    return region_mean(logits, target, loss, **options)


def dice_semimetric(logits: np.ndarray, target: np.ndarray, *, smooth: float = 1e-3, **options: Any) -> float:
    def loss(x: Channel) -> float:
        common, different = common_and_different(x)
        return ratio(different, 2 * common + different + smooth, if_empty=0.0)

    return region_mean(logits, target, loss, **options)


def f_beta(logits: np.ndarray, target: np.ndarray, *, beta: float = 1.5, smooth: float = 1e-5, **options: Any) -> float:
    def loss(x: Channel) -> float:
        e = (beta**2 * x.fn + x.fp) / (1 + beta**2)
        return ratio(e, x.tp + e + smooth, if_empty=0.0)

    return region_mean(logits, target, loss, **options)


# --- rates and correlation ------------------------------------------------------------------------------------------


def sensitivity_specificity(logits: np.ndarray, target: np.ndarray, *, sensitivity_weight: float = 0.05, **options: Any) -> float:
    def loss(x: Channel) -> float:
        missed = ratio(float(np.sum(x.w * x.y * x.q**2)), x.volume, if_empty=0.0)
        invented = ratio(float(np.sum(x.w * (1 - x.y) * x.p**2)), float(np.sum(x.w * (1 - x.y))), if_empty=0.0)
        return sensitivity_weight * missed + (1 - sensitivity_weight) * invented

    return region_mean(logits, target, loss, **options)


def mcc(logits: np.ndarray, target: np.ndarray, **options: Any) -> float:
    def loss(x: Channel) -> float:
        if x.total_weight == 0:
            return 0.0
        tn = float(np.sum(x.w * x.q * (1 - x.y)))
        product = (x.tp + x.fp) * (x.tp + x.fn) * (tn + x.fp) * (tn + x.fn)
        return 1 - ratio(x.tp * tn - x.fp * x.fn, math.sqrt(product), if_empty=0.0)

    return region_mean(logits, target, loss, **options)


# --- compound -------------------------------------------------------------------------------------------------------


def with_complements(channels: list[Channel]) -> list[Channel]:
    """Two classes for each sigmoid channel: its background, itself."""
    classes = []
    for x in channels:
        classes += [Channel(x.q, x.p, x.log_q, x.log_p, 1 - x.y, x.w), x]
    return classes


def unified_focal(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
    empty: Empty = "smooth",
    variant: Literal["asymmetric", "symmetric"] = "asymmetric",
    focal_share: float = 0.5,
    fn_weight: float = 0.6,
    gamma: float = 0.5,
    smooth: float = 1e-6,
) -> float:
    if variant not in ("asymmetric", "symmetric"):
        raise ValueError(f"{variant=}")
    whole = voxels_of(logits, target, activation=activation, ignore_index=ignore_index, weight_map=weight_map)
    count = number_of_terms(whole, activation)
    groups = soft_groups_of(logits, target, activation, reduce_over, ignore_index, weight_map)
    if activation == "sigmoid":
        whole = with_complements(whole)
        groups = [with_complements(channels) for channels in groups]

    def is_background(position: int) -> bool:
        return position % 2 == 0 if activation == "sigmoid" else position == 0

    def region_loss(position: int, x: Channel) -> float:
        e = fn_weight * x.fn + (1 - fn_weight) * x.fp
        plain = variant == "asymmetric" and is_background(position)
        return power(ratio(e, x.tp + e + smooth, if_empty=0.0), 1.0 if plain else 1 - gamma)

    focal = 0.0
    for position, x in enumerate(whole):
        plain = variant == "asymmetric" and not is_background(position)
        share = 1 - fn_weight if is_background(position) else fn_weight
        focal += share * float(np.sum(x.w * x.y * (1.0 if plain else x.q**gamma) * -x.log_p))
    region = mean_of_classes(groups, whole, region_loss, empty)
    return focal_share * ratio(focal, count, if_empty=0.0) + (1 - focal_share) * region


TERMS: dict[str, Callable[..., float]] = {
    "squared_dice": squared_dice,
    "dice_plus_plus": dice_plus_plus,
    "log_cosh_dice": log_cosh_dice,
    "jaccard": jaccard,
    "jaccard_metric": jaccard_metric,
    "dice_semimetric": dice_semimetric,
    "f_beta": f_beta,
    "sensitivity_specificity": sensitivity_specificity,
    "mcc": mcc,
    "unified_focal": unified_focal,
}
