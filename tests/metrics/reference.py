"""Every metric once more, as slowly and plainly as it is defined: sets of voxels, loops, float64; of medseg only the names of the rules.

A mask is a set of index tuples. A brute-force distance stands for every distance transform, a flood fill for every labelling. From
elsewhere come only the areas of surface elements (the tables of DeepMind's surface-distance), skeletons (scikit-image) and pairs (SciPy's
assignment). `reference_of_probabilities.py` holds what is computed from probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from operator import add

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.morphology import skeletonize
from surface_distance import lookup_tables

from medseg.metrics import MetricOptions

Voxel = tuple[int, ...]
Mask = set[Voxel]
Pairs = list[tuple[float, float]]
"""(distance in mm, weight) of each surface element."""

IGNORE = 255
STEPS = {"faces": 1, "edges": 2, "corners": 3}
LOWER = ("hd", "hd95", "hd95_pooled", "hd95_surfel", "assd", "masd")
"""The distances, which are penalised."""
BEST_IS_ZERO = (
    *LOWER,
    "volume_difference_ml",
    "absolute_volume_difference_ml",
    "relative_volume_difference",
    "lesion_count_difference",
    "fp_volume_ml",
    "fn_volume_ml",
    "brats_hd95",
)


def score_case(
    prediction: np.ndarray,
    reference: np.ndarray,
    classes: Sequence[str],
    membership: np.ndarray,
    spacing: Sequence[float],
    options: MetricOptions,
) -> dict[tuple[str, str], float]:
    """(class, metric) -> value of every metric that there is, of two maps of ids."""
    scores = {}
    for name, members in zip(classes, membership, strict=True):
        predicted, true = set(), set()
        for voxel in np.ndindex(*reference.shape):
            if reference[voxel] != IGNORE:
                if members[prediction[voxel]]:
                    predicted.add(voxel)
                if members[reference[voxel]]:
                    true.add(voxel)
        tolerances = options.tolerances_of(name)
        for metric, value in score_class(predicted, true, reference.shape, spacing, options, tolerances).items():
            scores[name, metric] = value
    return scores


def voxels_of(mask: np.ndarray) -> Mask:
    """Index tuples of a boolean array."""
    return {voxel for voxel in np.ndindex(*mask.shape) if mask[voxel]}


def score_class(
    predicted: Mask, true: Mask, shape: Sequence[int], spacing: Sequence[float], options: MetricOptions, tolerances: Sequence[float]
) -> dict[str, float]:
    """All metrics of one class, by the policy for empty masks."""
    scores = {
        **overlap(predicted, true, options.beta),
        **volumes(predicted, true, spacing),
        **distances(predicted, true, shape, spacing, tolerances),
        "cl_dice": cl_dice(predicted, true, shape),
        **lesion_scores(predicted, true, spacing, options),
        **brats(predicted, true, shape, spacing, options),
    }
    if len(spacing) == 2:
        scores = {name: value for name, value in scores.items() if not name.endswith("_ml")}
    nothing = [name for name in scores if (not predicted and not true) or (name in LESION_FAMILY and math.isnan(scores[name]))]
    for name in nothing:
        best = 0.0 if name in BEST_IS_ZERO else 1.0
        scores[name] = best if options.both_empty == "best" else math.nan
    if bool(predicted) != bool(true):
        scores.update(dict.fromkeys(LOWER, penalty(shape, spacing, options)))
    return scores


def penalty(shape: Sequence[int], spacing: Sequence[float], options: MetricOptions) -> float:
    """Of a distance where one mask alone is empty."""
    if options.penalty == "diagonal":
        return math.sqrt(sum((n * s) ** 2 for n, s in zip(shape, spacing, strict=True)))
    return float(options.penalty)


# ---------------------------------------------------------------------------------------------------------------- voxels


def ratio(numerator: float, denominator: float) -> float:
    """A share that is 0 where it is 0 / 0: one of the masks is empty, and nothing overlaps."""
    return numerator / denominator if denominator else 0.0


def overlap(predicted: Mask, true: Mask, beta: float) -> dict[str, float]:
    """Counting metrics."""
    tp, fp, fn = len(predicted & true), len(predicted - true), len(true - predicted)
    return {
        "dice": ratio(2 * tp, len(predicted) + len(true)),
        "iou": ratio(tp, len(predicted | true)),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "f_beta": ratio((1 + beta**2) * tp, (1 + beta**2) * tp + beta**2 * fn + fp),
    }


def volumes(predicted: Mask, true: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """Differences of volume, in mL where a voxel has one."""
    difference = (len(predicted) - len(true)) * math.prod(spacing) / 1000
    return {
        "volume_similarity": 1 - ratio(abs(len(predicted) - len(true)), len(predicted) + len(true)),
        "volume_difference_ml": difference,
        "absolute_volume_difference_ml": abs(difference),
        "relative_volume_difference": (len(predicted) - len(true)) / len(true) if true else math.nan,
    }


# -------------------------------------------------------------------------------------------------------------- surfaces


def neighbours(voxel: Voxel, steps: int) -> list[Voxel]:
    """The voxels that differ by 1 in at least one and at most so many indices."""
    return [tuple(map(add, voxel, move)) for move in moves(len(voxel), steps)]


@cache
def moves(dimensions: int, steps: int) -> list[Voxel]:
    """To the neighbours."""
    return [move for move in product((-1, 0, 1), repeat=dimensions) if 0 < sum(map(abs, move)) <= steps]


def border(mask: Mask) -> Mask:
    """Voxels with a face to the outside; the outside of the image is outside."""
    return {voxel for voxel in mask if any(there not in mask for there in neighbours(voxel, 1))}


def nearest(elements: Sequence[Voxel], others: Sequence[Voxel], spacing: Sequence[float]) -> list[float]:
    """Distance in mm from each element to the nearest of the others."""
    return cdist(np.array(elements, float) * spacing, np.array(others, float) * spacing).min(1).tolist()


def surface_cells(mask: Mask, spacing: Sequence[float]) -> dict[Voxel, float]:
    """Cells between 2 x 2 (x 2) voxel centres that the surface runs through, with its length or area there; named by their last voxel."""
    if len(spacing) == 2:
        kernel, areas = lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL, lookup_tables.create_table_neighbour_code_to_contour_length(spacing)
    else:
        kernel, areas = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL, lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    corners = list(product((0, 1), repeat=len(spacing)))
    cells: dict[Voxel, float] = {}
    for voxel in mask:
        for corner in corners:
            cell, first = tuple(map(add, voxel, corner)), tuple(a + b - 1 for a, b in zip(voxel, corner, strict=True))
            if cell not in cells:
                inside = [c for c in corners if tuple(map(add, first, c)) in mask]
                cells[cell] = 0.0 if len(inside) == len(corners) else float(areas[sum(int(kernel[c]) for c in inside)])
    return {cell: area for cell, area in cells.items() if area}


def weighted_percentile(pairs: Pairs, percent: float) -> float:
    """The smallest distance that at least this part of the area lies within."""
    total, so_far = math.fsum(weight for _, weight in pairs), 0.0
    for distance, weight in sorted(pairs):
        so_far += weight
        if so_far >= (percent / 100 - 1e-12) * total:
            return distance
    raise AssertionError("unreachable")


def percentile(values: Sequence[float], percent: float) -> float:
    """With linear interpolation between order statistics."""
    values = sorted(values)
    position = (len(values) - 1) * percent / 100
    low = math.floor(position)
    high = min(low + 1, len(values) - 1)
    return values[low] + (position - low) * (values[high] - values[low])


def distances(predicted: Mask, true: Mask, shape: Sequence[int], spacing: Sequence[float], tolerances: Sequence[float]) -> dict[str, float]:
    """Distances between borders, in mm, and the shares within the tolerances."""
    if not predicted or not true:
        return dict.fromkeys(LOWER, math.nan) | {f"{kind}_{t:g}mm": 0.0 for kind in ("nsd", "nsd_surfel") for t in tolerances}
    ours, theirs = sorted(border(predicted)), sorted(border(true))
    there, back = nearest(ours, theirs, spacing), nearest(theirs, ours, spacing)
    both = there + back
    scores = {
        "hd": max(both),
        "hd95": max(percentile(there, 95), percentile(back, 95)),
        "hd95_pooled": percentile(both, 95),
        "assd": math.fsum(both) / len(both),
        "masd": (math.fsum(there) / len(there) + math.fsum(back) / len(back)) / 2,
        "hd95_surfel": hd95_of_surfels(predicted, true, spacing),
    }
    weighted = [pair for pairs in surfels(predicted, true, spacing) for pair in pairs]
    for tolerance in tolerances:
        reach = tolerance * (1 + 1e-6)  # as documented: a distance that exceeds it by rounding alone is within
        scores[f"nsd_{tolerance:g}mm"] = sum(d <= reach for d in both) / len(both)
        within = math.fsum(weight for d, weight in weighted if d <= reach)
        scores[f"nsd_surfel_{tolerance:g}mm"] = within / math.fsum(weight for _, weight in weighted)
    return scores


def surfels(predicted: Mask, true: Mask, spacing: Sequence[float]) -> tuple[Pairs, Pairs]:
    """Distance and area of the surface elements of both masks, to the other's."""
    ours, theirs = surface_cells(predicted, spacing), surface_cells(true, spacing)
    there, back = nearest(list(ours), list(theirs), spacing), nearest(list(theirs), list(ours), spacing)
    return list(zip(there, ours.values(), strict=True)), list(zip(back, theirs.values(), strict=True))


def hd95_of_surfels(predicted: Mask, true: Mask, spacing: Sequence[float]) -> float:
    """Larger of the weighted percentiles."""
    return max(weighted_percentile(pairs, 95) for pairs in surfels(predicted, true, spacing))


def cl_dice(predicted: Mask, true: Mask, shape: Sequence[int]) -> float:
    """Harmonic mean of the shares of either skeleton inside of the other mask."""
    if not predicted or not true:
        return 0.0
    ours, theirs = skeleton(predicted, shape), skeleton(true, shape)
    precision, sensitivity = len(ours & true) / len(ours), len(theirs & predicted) / len(theirs)
    return ratio(2 * precision * sensitivity, precision + sensitivity)


def skeleton(mask: Mask, shape: Sequence[int]) -> Mask:
    """A mask that is thinned away altogether stands for its own skeleton. The image is widened: one slice thins otherwise without."""
    array = np.zeros([n + 2 for n in shape], bool)
    for voxel in mask:
        array[tuple(i + 1 for i in voxel)] = True
    return {tuple(int(i) - 1 for i in voxel) for voxel in np.argwhere(skeletonize(array))} or mask


# --------------------------------------------------------------------------------------------------------------- lesions


LESION_FAMILY = (
    "lesion_f1",
    "lesion_precision",
    "lesion_recall",
    "lesion_f1_wmh",
    "lesion_count_difference",
    "fp_volume_ml",
    "fn_volume_ml",
    "pq",
    "sq",
    "rq",
    "brats_dice",
    "brats_hd95",
    "cc_dice",
)


def components(mask: Mask, steps: int) -> list[Mask]:
    """Connected components in the order of their first voxel (C order), by flood fill."""
    left, found = set(mask), []
    for seed in sorted(mask):
        if seed in left:
            left.discard(seed)
            component, front = {seed}, [seed]
            while front:
                new = [voxel for voxel in neighbours(front.pop(), steps) if voxel in left]
                left.difference_update(new)
                component.update(new)
                front.extend(set(new))
            found.append(component)
    return found


class Scene:
    """The lesions of a class and the components that were predicted; those that are not scored are known by number."""

    def __init__(self, predicted: Mask, true: Mask, spacing: Sequence[float], options: MetricOptions) -> None:
        steps = STEPS[options.connectivity]
        self.found, self.lesions = components(predicted, steps), components(true, steps)
        self.scored = [n for n, lesion in enumerate(self.lesions) if len(lesion) * math.prod(spacing) >= options.minimum_lesion]
        self.scored_found = []
        for n, component in enumerate(self.found):
            touched = [m for m, lesion in enumerate(self.lesions) if component & lesion]
            if not touched or any(m in self.scored for m in touched):
                self.scored_found.append(n)

    def pairs(self, least: float, strict: bool = False) -> list[tuple[int, int]]:
        """(lesion, component) of one-to-one matches of at least this IoU: as many as possible, then the largest sum."""
        gain = np.zeros((len(self.scored), len(self.scored_found)))
        for row, n in enumerate(self.scored):
            for column, m in enumerate(self.scored_found):
                value = iou(self.lesions[n], self.found[m])
                if value > least or (value == least and not strict):
                    gain[row, column] = 1 + min(gain.shape) + value
        chosen = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
        return [(self.scored[row], self.scored_found[column]) for row, column in chosen if gain[row, column] > 0]

    def matched(self, least: float) -> tuple[set[int], set[int]]:
        """Numbers of the matched lesions and components: by any voxel where the IoU is 0."""
        if least > 0:
            pairs = self.pairs(least)
        else:
            pairs = [(n, m) for n in range(len(self.lesions)) for m in range(len(self.found)) if self.lesions[n] & self.found[m]]
        return {n for n, _ in pairs}, {m for _, m in pairs}

    def dice(self, side: str, number: int) -> float:
        """Of a lesion with everything in the other map that shares a voxel with it, taken whole."""
        own, others = (self.lesions, self.found) if side == "reference" else (self.found, self.lesions)
        touching = set().union(*(other for other in others if other & own[number]))
        return ratio(2 * len(touching & own[number]), len(touching) + len(own[number])) if touching else 0.0


def iou(one: Mask, other: Mask) -> float:
    """Intersection over union."""
    return len(one & other) / len(one | other)


def lesion_scores(predicted: Mask, true: Mask, spacing: Sequence[float], options: MetricOptions) -> dict[str, float]:
    """Detection, panoptic quality and CC-Dice; NaN where there is nothing to score."""
    scene = Scene(predicted, true, spacing, options)
    n_true, n_found = len(scene.scored), len(scene.scored_found)
    if not n_true and not n_found:
        return {name: math.nan for name in LESION_FAMILY if not name.startswith("brats")}
    hit, correct = scene.matched(options.lesion_iou)
    tp, tp_found = len(hit & set(scene.scored)), len(correct & set(scene.scored_found))
    fn, fp = n_true - tp, n_found - tp_found
    recall, precision = ratio(tp, n_true), ratio(tp_found, n_found)
    quality = [iou(scene.lesions[n], scene.found[m]) for n, m in scene.pairs(0.5, strict=True)]
    sq, rq = ratio(math.fsum(quality), len(quality)), ratio(2 * len(quality), n_true + n_found)
    ml = math.prod(spacing) / 1000
    return {
        "lesion_f1": ratio(2 * tp, 2 * tp + fp + fn),
        "lesion_precision": ratio(tp, tp + fp),
        "lesion_recall": ratio(tp, tp + fn),
        "lesion_f1_wmh": ratio(2 * precision * recall, precision + recall),
        "lesion_count_difference": abs(n_found - n_true),
        "fp_volume_ml": ml * sum(len(component) for component in scene.found if not component & true),
        "fn_volume_ml": ml * sum(len(scene.lesions[n]) for n in scene.scored if not scene.lesions[n] & predicted),
        "pq": sq * rq,
        "sq": sq,
        "rq": rq,
        "cc_dice": cc_dice(scene, predicted),
    }


def cc_dice(scene: Scene, predicted: Mask) -> float:
    """Mean Dice in the cells of the lesions: the voxels nearest to each, in voxels; the first of equals."""
    if not scene.scored:
        return 0.0
    if not predicted:
        return 0.0
    away = np.array([cdist(sorted(predicted), sorted(lesion), "sqeuclidean").min(1) for lesion in scene.lesions])
    in_cell = np.bincount(away.argmin(0), minlength=len(scene.lesions))
    dice = [2 * len(scene.lesions[n] & predicted) / (in_cell[n] + len(scene.lesions[n])) for n in scene.scored]
    return math.fsum(dice) / len(dice)


# ----------------------------------------------------------------------------------------------------------------- BraTS


def dilated(mask: Mask, times: int, shape: Sequence[int]) -> Mask:
    """Widened by 18 neighbours (8 in 2-D), within the image."""
    for _ in range(times):
        grown = mask | {voxel for centre in mask for voxel in neighbours(centre, 2)}
        mask = {voxel for voxel in grown if all(0 <= i < n for i, n in zip(voxel, shape, strict=True))}
    return mask


def brats(predicted: Mask, true: Mask, shape: Sequence[int], spacing: Sequence[float], options: MetricOptions) -> dict[str, float]:
    """Lesion-wise Dice and HD95 of 2023."""
    times, threshold = {"gli": (3, 50.0), "met": (1, 2.0)}[options.brats]
    found = components(predicted, 3)
    lesions = [true & joined for joined in components(dilated(true, times, shape), 3)]
    touched: set[int] = set()
    dice, hd95 = [], []
    for lesion in lesions:
        near = dilated(lesion, times, shape)
        touching = [n for n, component in enumerate(found) if component & near]
        touched.update(touching)
        if len(lesion) * math.prod(spacing) > threshold:
            union = set().union(*(found[n] for n in touching))
            dice.append(2 * len(union & lesion) / (len(union) + len(lesion)))
            hd95.append(hd95_of_surfels(union, lesion, spacing) if union else 374.0)
    false = len(found) - len(touched)
    if not dice and not false:
        return {"brats_dice": math.nan, "brats_hd95": math.nan}
    total = len(dice) + false
    return {"brats_dice": math.fsum(dice) / total, "brats_hd95": (math.fsum(hd95) + 374.0 * false) / total}
