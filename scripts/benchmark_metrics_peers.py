"""The same numbers by other packages, each called as its documentation says. Conversions from the label maps are part of the call."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from benchmark_metrics_scenes import Scene

Step = Callable[[], float]
"""Computes, and returns the mean of one metric over the classes."""


def _one_hot(ids: np.ndarray, num_classes: int) -> torch.Tensor:
    """(1, classes with background, *spatial) of float32, as MONAI's AsDiscrete makes it."""
    from monai.networks.utils import one_hot

    return one_hot(torch.from_numpy(ids)[None, None], num_classes + 1, dtype=torch.float32)


def monai_dice(scene: Scene) -> Step:
    """DiceMetric on label maps."""
    from monai.metrics import DiceMetric

    def step() -> float:
        metric = DiceMetric(include_background=False, num_classes=scene.num_classes + 1)
        return float(metric(*(torch.from_numpy(ids)[None, None] for ids in (scene.prediction, scene.reference))).mean())

    return step


def monai_hd95(scene: Scene) -> Step:
    """compute_hausdorff_distance."""
    from monai.metrics import compute_hausdorff_distance

    def step() -> float:
        maps = (_one_hot(ids, scene.num_classes) for ids in (scene.prediction, scene.reference))
        return float(compute_hausdorff_distance(*maps, percentile=95, spacing=scene.spacing).mean())

    return step


def monai_nsd(scene: Scene) -> Step:
    """compute_surface_dice at 2 mm."""
    from monai.metrics import compute_surface_dice

    def step() -> float:
        maps = (_one_hot(ids, scene.num_classes) for ids in (scene.prediction, scene.reference))
        return float(compute_surface_dice(*maps, class_thresholds=[2.0] * scene.num_classes, spacing=scene.spacing).mean())

    return step


def monai_assd(scene: Scene) -> Step:
    """compute_average_surface_distance, symmetric."""
    from monai.metrics import compute_average_surface_distance

    def step() -> float:
        maps = (_one_hot(ids, scene.num_classes) for ids in (scene.prediction, scene.reference))
        return float(compute_average_surface_distance(*maps, symmetric=True, spacing=scene.spacing).mean())

    return step


def monai_cc_dice(scene: Scene) -> Step:
    """DiceMetric per component: CC-Dice of one class."""
    from monai.metrics import DiceMetric

    def step() -> float:
        metric = DiceMetric(include_background=False, per_component=True)
        return float(metric(*(_one_hot(ids, 1) for ids in (scene.prediction, scene.reference))).mean())

    return step


def torchmetrics_dice(scene: Scene) -> Step:
    """DiceScore on label maps."""
    from torchmetrics.segmentation import DiceScore

    def step() -> float:
        metric = DiceScore(scene.num_classes + 1, include_background=False, average="none", input_format="index")
        return float(metric(*(torch.from_numpy(ids)[None].long() for ids in (scene.prediction, scene.reference))).mean())

    return step


def surface_distance(scene: Scene) -> Step:
    """HD95, NSD at two tolerances and both mean distances of every class; returns the mean HD95."""
    import surface_distance as package

    def step() -> float:
        values = []
        for prediction, reference in scene.masks():
            distances = package.compute_surface_distances(reference, prediction, scene.spacing)
            values.append(package.compute_robust_hausdorff(distances, 95))
            package.compute_surface_dice_at_tolerance(distances, 1.0)
            package.compute_surface_dice_at_tolerance(distances, 2.0)
            package.compute_average_surface_distance(distances)
        return float(np.mean(values))

    return step


def panoptica(scene: Scene) -> Step:
    """PQ of one class: components, matching and scores."""
    from panoptica import ConnectedComponentsInstanceApproximator, InputType, NaiveThresholdMatching, Panoptica_Evaluator

    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(),
    )
    return lambda: float(evaluator.evaluate(scene.prediction, scene.reference, verbose=False)["ungrouped"].pq)


MONAI_CALLS = (monai_dice, monai_hd95, monai_nsd, monai_assd)


def monai_all(scene: Scene) -> Step:
    """Dice, HD95, NSD and ASSD: the four calls that give what one pass gives here. Returns the mean HD95."""
    steps = [build(scene) for build in MONAI_CALLS]
    return lambda: [step() for step in steps][1]
