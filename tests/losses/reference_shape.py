"""Independent float64 references of the Lovasz, boundary and topology terms: definitions written out, distances by brute force.

The API is that of `reference.py`; the Lovasz terms also take `empty` (see `reference_region.py`), the boundary terms `spacing`, one step
per axis for all samples or a row of them for each; without it every step is 1.

Lovasz: with D the Jaccard set loss, D(M) = 1 - |Y \\ M| / |Y + M| for a set M of wrong voxels (weighted sizes; D(M) = 0 if Y and M weigh
nothing), and the voxels i = 1, 2, ... by falling error e_i: sum e_i [D({1..i}) - D({1..i-1})].

    lovasz_hinge     e = max(0, 1 - (2y-1) z)
    lovasz_softmax   e = |y - p|

Boundary and topology, over the foreground channels F (softmax: all but 0; sigmoid: all), whatever `include_background`. A voxel is
removed where it is ignored or weighs 0: it then belongs to no mask, of the reference or of the prediction. h = the steps.

    boundary      sum w p phi / sum w; phi outside the mask: distance to its nearest voxel centre; inside: -(distance to the nearest centre
                  outside - min h), hence 0 at the rim; 0 everywhere for an empty or full mask
    hausdorff_dt  sum w (p-y)^2 (d_G^a + d_P^a) / diagonal^a / sum w, a = exponent, d the distance to the nearest centre on the other side
                  of the mask's rim, 0 for an empty or full mask; P: p > 0.5; diagonal: the largest distance of two centres of the image
    cl_dice       mean over groups and channels of 1 - 2 a b / (a + b), a = (sum w S_P y + s) / (sum w S_P + s),
                  b = (sum w S_L p + s) / (sum w S_L + s), S the soft skeleton of a sample after p and y became 0 where removed; 0/0 is 1

The boundary terms are a mean over the voxels of the batch, whatever `reduce_over`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tests.losses.reference import Activation, Channel, ReduceOver, log_probabilities, mean, ratio
from tests.losses.reference_distribution import only
from tests.losses.reference_region import region_mean

# --- Lovasz ---------------------------------------------------------------------------------------------------------


def jaccard_set_loss(y: np.ndarray, wrong: np.ndarray, w: np.ndarray) -> float:
    """Of a prediction that is wrong at exactly the voxels `wrong`."""
    both = y & ~wrong
    either = y | wrong
    return 1 - ratio(float(np.sum(w[both])), float(np.sum(w[either])), if_empty=1.0)


def lovasz_extension(errors: np.ndarray, x: Channel) -> float:
    y = x.y > 0.5
    wrong = np.zeros(y.shape, dtype=bool)
    total = before = 0.0
    for i in np.argsort(-errors, kind="stable"):
        wrong[i] = True
        now = jaccard_set_loss(y, wrong, x.w)
        total += float(errors[i]) * (now - before)
        before = now
    return total


def lovasz_hinge(logits: np.ndarray, target: np.ndarray, *, activation: Activation = "sigmoid", **options: Any) -> float:
    only(activation, "sigmoid", "lovasz_hinge")

    def loss(x: Channel) -> float:
        z = x.log_p - x.log_q
        return lovasz_extension(np.maximum(0, 1 - (2 * x.y - 1) * z), x)

    return region_mean(logits, target, loss, activation=activation, **options)


def lovasz_softmax(logits: np.ndarray, target: np.ndarray, *, activation: Activation = "softmax", **options: Any) -> float:
    only(activation, "softmax", "lovasz_softmax")

    def loss(x: Channel) -> float:
        return lovasz_extension(x.y * x.q + (1 - x.y) * x.p, x)

    return region_mean(logits, target, loss, activation=activation, **options)


# --- arrays that keep their shape -----------------------------------------------------------------------------------


class Field(NamedTuple):
    """A foreground channel of a sample; arrays (*spatial); where removed, w is 0 and so are `p` and `y`."""

    sample: int
    channel: int
    p: np.ndarray
    q: np.ndarray
    log_p: np.ndarray
    log_q: np.ndarray
    y: np.ndarray
    w: np.ndarray


def fields_of(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    activation: Activation,
    include_background: bool = False,
    reduce_over: ReduceOver = "batch",
    ignore_index: int | None = None,
    weight_map: np.ndarray | None = None,
) -> list[Field]:
    """Sample by sample, in each channel by channel."""
    logits = np.asarray(logits, dtype=np.float64)
    target = np.asarray(target)
    batch, num_classes, *spatial = logits.shape
    if activation == "softmax" and target.shape == (batch, 1, *spatial):
        target = target[:, 0]
    fields = []
    for b in range(batch):
        log_p, log_q = log_probabilities(logits[b].reshape(num_classes, -1), activation)
        for c in range(1 if activation == "softmax" else 0, num_classes):
            labels = target[b] if activation == "softmax" else target[b, c]
            y = (labels == c).astype(np.float64) if activation == "softmax" else labels.astype(np.float64)
            w = np.ones(spatial) if weight_map is None else np.array(weight_map[b], dtype=np.float64)
            if ignore_index is not None:
                w[labels == ignore_index] = 0
            used = w > 0
            arrays = [a[c].reshape(spatial) for a in (log_p, log_q)]
            p, q = np.exp(arrays[0]), np.exp(arrays[1])
            fields.append(Field(b, c, np.where(used, p, 0.0), q, *arrays, np.where(used, y, 0.0), w))
    return fields


def spacing_of(sample: int, dims: int, spacing: Sequence[float] | np.ndarray | None) -> np.ndarray:
    if spacing is None:
        return np.ones(dims)
    steps = np.asarray(spacing, dtype=np.float64)
    return steps if steps.ndim == 1 else steps[sample]


# --- distances ------------------------------------------------------------------------------------------------------


def distance_to(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """From each voxel centre to the nearest of the mask; infinite for an empty mask."""
    centres = [np.array(index) * spacing for index in np.ndindex(mask.shape) if mask[index]]
    distances = np.full(mask.shape, np.inf)
    for index in np.ndindex(mask.shape):
        for centre in centres:
            distances[index] = min(distances[index], math.dist(np.array(index) * spacing, centre))
    return distances


def has_rim(mask: np.ndarray) -> bool:
    return bool(mask.any()) and not bool(mask.all())


def signed_distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    if not has_rim(mask):
        return np.zeros(mask.shape)
    inside = -(distance_to(~mask, spacing) - spacing.min())
    return np.where(mask, inside, distance_to(mask, spacing))


def rim_distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    if not has_rim(mask):
        return np.zeros(mask.shape)
    return np.where(mask, distance_to(~mask, spacing), distance_to(mask, spacing))


def diagonal_of(size: tuple[int, ...], spacing: np.ndarray) -> float:
    """From centre to centre: an axis of one voxel adds nothing, and no distance is longer."""
    return math.sqrt(sum(((n - 1) * h) ** 2 for n, h in zip(size, spacing, strict=True)))


def boundary(logits: np.ndarray, target: np.ndarray, *, spacing: Sequence[float] | np.ndarray | None = None, **options: Any) -> float:
    total = count = 0.0
    for x in fields_of(logits, target, **options):
        phi = signed_distance(x.y > 0.5, spacing_of(x.sample, x.y.ndim, spacing))
        total += float(np.sum(x.w * x.p * phi))
        count += float(np.sum(x.w))
    return ratio(total, count, if_empty=0.0)


def hausdorff_dt(
    logits: np.ndarray,
    target: np.ndarray,
    *,
    exponent: float = 2.0,
    prediction_distance: bool = True,
    spacing: Sequence[float] | np.ndarray | None = None,
    **options: Any,
) -> float:
    total = count = 0.0
    for x in fields_of(logits, target, **options):
        steps = spacing_of(x.sample, x.y.ndim, spacing)
        d = rim_distance(x.y > 0.5, steps) ** exponent
        if prediction_distance:
            d = d + rim_distance(x.p > 0.5, steps) ** exponent
        e = x.y * x.q - (1 - x.y) * x.p
        total += ratio(float(np.sum(x.w * e**2 * d)), diagonal_of(x.y.shape, steps) ** exponent, if_empty=0.0)
        count += float(np.sum(x.w))
    return ratio(total, count, if_empty=0.0)


# --- topology -------------------------------------------------------------------------------------------------------


def pool(image: np.ndarray, offsets: Sequence[tuple[int, ...]], best: Callable[[list[float]], float]) -> np.ndarray:
    """Of each voxel's neighbours at the offsets, as far as they lie in the image."""
    result = np.empty_like(image)
    for index in np.ndindex(image.shape):
        neighbours = [tuple(i + o for i, o in zip(index, offset, strict=True)) for offset in offsets]
        inside = [n for n in neighbours if all(0 <= i < size for i, size in zip(n, image.shape, strict=True))]
        result[index] = best([float(image[n]) for n in inside])
    return result


def erode(image: np.ndarray) -> np.ndarray:
    """The least of the lines of three voxels along each axis: a cross."""
    along_axes = []
    for axis in range(image.ndim):
        offsets = [tuple(step if k == axis else 0 for k in range(image.ndim)) for step in (-1, 0, 1)]
        along_axes.append(pool(image, offsets, min))
    return np.minimum.reduce(along_axes)


def dilate(image: np.ndarray) -> np.ndarray:
    """The largest of the box of three voxels along every axis."""
    return pool(image, list(itertools.product((-1, 0, 1), repeat=image.ndim)), max)


def soft_skeleton(image: np.ndarray, iterations: int) -> np.ndarray:
    p = np.array(image, dtype=np.float64)
    skeleton = np.maximum(0, p - dilate(erode(p)))
    for _ in range(iterations):
        p = erode(p)
        delta = np.maximum(0, p - dilate(erode(p)))
        skeleton = skeleton + np.maximum(0, delta - skeleton * delta)
    return skeleton


def cl_dice(
    logits: np.ndarray, target: np.ndarray, *, reduce_over: ReduceOver = "batch", iterations: int = 10, smooth: float = 1.0, **options: Any
) -> float:
    # The sums of each (group, channel): S_P y, S_P, S_L p, S_L.
    sums: dict[tuple[int, int], np.ndarray] = {}
    for x in fields_of(logits, target, reduce_over=reduce_over, **options):
        of_p, of_y = soft_skeleton(x.p, iterations), soft_skeleton(x.y, iterations)
        own = np.array([np.sum(x.w * s) for s in (of_p * x.y, of_p, of_y * x.p, of_y)])
        group = (x.sample if reduce_over == "sample" else 0, x.channel)
        sums[group] = sums.get(group, np.zeros(4)) + own
    losses = []
    for precise, predicted, sensed, labelled in sums.values():
        precision = ratio(precise + smooth, predicted + smooth, if_empty=1.0)
        sensitivity = ratio(sensed + smooth, labelled + smooth, if_empty=1.0)
        losses.append(1 - ratio(2 * precision * sensitivity, precision + sensitivity, if_empty=0.0))
    return mean(losses)


TERMS: dict[str, Callable[..., float]] = {
    "lovasz_hinge": lovasz_hinge,
    "lovasz_softmax": lovasz_softmax,
    "boundary": boundary,
    "hausdorff_dt": hausdorff_dt,
    "cl_dice": cl_dice,
}
