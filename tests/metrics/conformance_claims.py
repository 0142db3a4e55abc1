"""What medseg claims of the conformance cases: its own number beside the expected one, or why a case speaks of something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medseg.metrics import MetricOptions, class_counts, score
from medseg.metrics.lesions import Lesions, counts
from medseg.metrics.surface import Surfaces, hd, hd95, masd, nsd, surfaces, surfels
from tests.metrics.conformance import build_array

Claim = dict[str, tuple[float, float]] | str
"""Name -> (ours, expected), or the reason why the case does not apply."""

MASK = np.array([[False, True]])
NOT_OFFERED = {
    "balanced_accuracy": "counts true negatives, which a crop changes",
    "cohens_kappa": "counts true negatives, which a crop changes",
    "mcc": "counts true negatives, which a crop changes",
    "npv": "counts true negatives, which a crop changes",
    "boundary_iou": "boundary IoU is not offered",
    "cedi": "centre distance is not offered",
    "dice_mean": "averages over classes within a case first; ours over the cases of a class",
    "generalized_dice": "weights classes by their size across a batch; no metric of a case",
    "froc_score": "CAMELYON16's rule, by which the lowest score is never a threshold",
    "lesion_candidates": "PI-CAI's rule, by which an unmatched candidate with overlap is neither true nor false",
    "mce": "maximum over bins of top-label confidence is not offered",
    "class_wise_ece": "probabilities without a map; tests/metrics/test_calibration.py has it",
    "sq": "instances given from outside, matched below an IoU of 1/2",
}


def claim(case: dict[str, Any]) -> Claim:
    """Compute what a case expects, where medseg claims its definition."""
    metric, params = case["metric"], case["params"]
    if metric in NOT_OFFERED:
        return NOT_OFFERED[metric]
    if params.get("distance_metric", "euclidean") != "euclidean":
        return f"{params['distance_metric']} distances are not offered"
    return CLAIMS[metric](case)


def _of_one(ours: str, sign: Callable[[float], float] = float, **options: Any) -> Callable[[dict[str, Any]], Claim]:
    def of_case(case: dict[str, Any]) -> Claim:
        prediction, reference, spacing = _masks(case)
        rules = MetricOptions(**options)
        return {ours: (sign(score(prediction, reference, spacing, [ours], rules)[ours]), float(case["expected"]))}

    return of_case


def _overlap(case: dict[str, Any]) -> Claim:
    metric, params = "iou" if case["metric"] == "iou" else "dice", case["params"]
    options = MetricOptions(metrics=(metric,), both_empty="exclude" if params.get("ignore_empty", True) else "best")
    prediction, reference = build_array(case["pred"]), build_array(case["ref"])
    if "pred_instance" in params:
        prediction, reference = prediction == params["pred_instance"], reference == params["ref_instance"]
    if "layout" not in params:
        return {metric: (score(prediction, reference, (1.0, 1.0), options=options)[metric], case["expected"])}
    first = 0 if params.get("include_background", True) else 1
    return {
        f"{metric} {b} {c}": (score(prediction[b, first + c], reference[b, first + c], (1.0, 1.0), options=options)[metric], value)
        for b, row in enumerate(case["expected"])
        for c, value in enumerate(row)
    }


def _counts(case: dict[str, Any]) -> Claim:
    prediction, reference, _ = _masks(case)
    (found,) = class_counts(prediction.astype(np.uint8), reference.astype(np.uint8), MASK, 0.001)
    return {case["metric"]: (getattr(found, case["metric"]), case["expected"])}


def _hausdorff(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    percentile = case["params"].get("percentile")
    if not prediction.any() and not reference.any():
        return {"hd": (score(prediction, reference, spacing, ["hd"])["hd"], case["expected"])}
    if not prediction.any() or not reference.any():
        options = MetricOptions(penalty="inf")  # MONAI's
        return {"hd": (score(prediction, reference, spacing, ["hd"], options)["hd"], float(case["expected"]))}
    both = _both(surfaces, case)
    if case["params"].get("directed"):
        both = Surfaces(both.pred_to_ref, both.pred_to_ref)
    return {"hd": (hd(both) if percentile is None else hd95(both, percentile=percentile), case["expected"])}


def _asd(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    if not prediction.any() or not reference.any():
        options = MetricOptions(penalty="inf")  # MONAI's
        return {"assd": (score(prediction, reference, spacing, ["assd"], options)["assd"], float(case["expected"]))}
    both = _both(surfaces, case)
    if case["params"].get("symmetric"):
        return {"assd": (score(prediction, reference, spacing, ["assd"])["assd"], case["expected"])}
    return {"asd": (masd(Surfaces(both.pred_to_ref, both.pred_to_ref)), case["expected"])}


def _distances(*names: str) -> Callable[[dict[str, Any]], Claim]:
    """Several at once; an empty name for one whose definition is not ours."""

    def of_case(case: dict[str, Any]) -> Claim:
        prediction, reference, spacing = _masks(case)
        wanted = [name for name in names if name]
        keys = ["nsd" if name.startswith("nsd") else name for name in wanted]
        found = score(prediction, reference, spacing, keys, MetricOptions(tolerances=(1.0,)))
        return {name: (found[name], value) for name, value in zip(names, case["expected"], strict=True) if name}

    return of_case


def _bundle(case: dict[str, Any]) -> Claim:
    both = {
        "hd,hd95,assd,asd": _distances("hd", "hd95_pooled", "assd", ""),
        "hd,hd95,nsd@1,assd,masd": _distances("hd", "hd95", "nsd_1mm", "assd", "masd"),
        "pooled": _distances("hd", "hd95_pooled", "", "masd"),
        "max": _distances("hd", "hd95", "nsd_1mm", "assd"),
    }
    return both.get(case["metric"], both["pooled" if "POOLED" in case["definition"] else "max"])(case)


def _assd(case: dict[str, Any]) -> Claim:
    return _of_one("masd" if "MEAN OF" in case.get("definition", "") else "assd")(case)


def _nsd(case: dict[str, Any]) -> Claim:
    definition = case.get("definition", "")
    if "mean of the two" in definition:
        return "mean of two fractions; ours is pooled"
    prediction, reference, spacing = _masks(case)
    tolerance = float(case["params"]["tolerance"])
    metric = "nsd_surfel" if "surfel" in definition else "nsd"
    (found,) = score(prediction, reference, spacing, [metric], MetricOptions(tolerances=(tolerance,))).values()
    return {metric: (found, case["expected"])}


def _nsd_per_class(case: dict[str, Any]) -> Claim:
    prediction, reference = build_array(case["pred"]), build_array(case["ref"])
    spacing = case["spacing"] or (1.0,) * reference.ndim
    result = {}
    for index, tolerance, expected in zip(case["params"]["classes"], case["params"]["tolerance"], case["expected"], strict=True):
        options = MetricOptions(tolerances=(float(tolerance),))
        (found,) = score(prediction == index, reference == index, spacing, ["nsd"], options).values()
        result[f"nsd of class {index}"] = (found, expected)
    return result


def _empty_nsd(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    found = score(prediction, reference, spacing, ["nsd"], MetricOptions(tolerances=(1.0,), both_empty="best"))
    return {"nsd": (found["nsd_1mm"], case["expected"][0])}


def _surfel_bundle(case: dict[str, Any]) -> Claim:
    expected, (prediction, reference, spacing) = case["expected"], _masks(case)
    if not prediction.any() or not reference.any():
        found = score(prediction, reference, spacing, ["nsd_surfel", "dice"], MetricOptions(tolerances=(1.0,)))
        return {"nsd": (found["nsd_surfel_1mm"], float(expected["nsd_1mm"])), "dice": (found["dice"], float(expected["dice"]))}
    both, tolerance = _both(surfels, case), float(case["params"]["tolerance_mm"])
    pred = Surfaces(both.pred_to_ref, both.pred_to_ref, both.pred_weights, both.pred_weights)
    ref = Surfaces(both.ref_to_pred, both.ref_to_pred, both.ref_weights, both.ref_weights)
    ours = {
        "asd_ref_to_pred": masd(ref),
        "asd_pred_to_ref": masd(pred),
        "hd100": hd(both),
        "hd95": score(prediction, reference, spacing, ["hd95_surfel"])["hd95_surfel"],
        "overlap_ref_1mm": nsd(ref, tolerance),
        "overlap_pred_1mm": nsd(pred, tolerance),
        "nsd_1mm": nsd(both, tolerance),
        "dice": score(prediction, reference, spacing, ["dice"])["dice"],
    }
    return {name: (ours[name], float(value)) for name, value in expected.items()}


def _volumes(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    options = MetricOptions(connectivity="edges", both_empty="best")
    found = score(prediction, reference, spacing, ["fp_volume_ml", "fn_volume_ml"], options)
    return {
        "fp": (1000 * found["fp_volume_ml"], case["expected"]["fp_voxels"]),
        "fn": (1000 * found["fn_volume_ml"], case["expected"]["fn_voxels"]),
    }


def _isles(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    names = {"f1": "lesion_f1", "ald": "lesion_count_difference", "dice": "dice"}
    found = score(prediction, reference, spacing, list(names.values()), MetricOptions(both_empty="best"))
    return {key: (found[name], case["expected"][key]) for key, name in names.items()}


def _brats(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    rules = "gli" if case["params"]["dilation"] == 3 else "met"
    options = MetricOptions(both_empty="best", brats=rules, penalty=case["params"]["hd_penalty"])
    names = {"lesionwise_dice": "brats_dice", "lesionwise_hd95": "brats_hd95", "legacy_dice": "dice", "legacy_hd95": "hd95_surfel"}
    found = score(prediction, reference, spacing, list(names.values()), options)
    return {key: (found[name], float(case["expected"][key])) for key, name in names.items() if key in case["expected"]}


def _panoptic(case: dict[str, Any]) -> Claim:
    params, expected = case["params"], case["expected"]
    if params.get("input", "InputType.SEMANTIC") != "InputType.SEMANTIC":
        return "instances given from outside"
    if params["matcher"] != "NaiveThresholdMatching":
        return f"{params['matcher']}: several predictions are merged into one"
    prediction, reference, spacing = _masks(case)
    connectivity = "faces" if reference.ndim == 2 else "corners"
    lesions = Lesions.of(prediction, reference, spacing, connectivity)
    found: dict[str, float] = {**score(prediction, reference, spacing, ["pq", "sq", "rq"], MetricOptions(connectivity=connectivity))}
    detected = counts(lesions, np.nextafter(0.5, 1))
    found |= {"tp": detected.tp, "fp": detected.fp, "fn": detected.fn}
    return {key: (found[key], float(expected[key])) for key in found if key in expected}


def _wmh(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    found = score(
        prediction, reference, spacing, ["lesion_f1_wmh", "lesion_recall", "relative_volume_difference"], MetricOptions(both_empty="best")
    )
    ours = {"f1": found["lesion_f1_wmh"]}
    if reference.any():
        ours |= {"recall": found["lesion_recall"], "avd_percent": 100 * abs(found["relative_volume_difference"])}
    return {key: (value, float(case["expected"][key])) for key, value in ours.items() if key in case["expected"]}


def _cc_dice(case: dict[str, Any]) -> Claim:
    prediction, reference, spacing = _masks(case)
    found = score(prediction, reference, spacing, ["cc_dice"], MetricOptions(both_empty="best"))
    return {"cc_dice": (found["cc_dice"], float(np.mean(case["expected"])))}


def _masks(case: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    """Two boolean masks of at least two axes, and the spacing; 1 mm where the case has none."""
    masks = [np.atleast_2d(build_array(case[side])) for side in ("pred", "ref")]
    return masks[0] != 0, masks[1] != 0, tuple(case["spacing"] or (1.0,) * masks[0].ndim)


def _both(function: Callable[..., list[Surfaces]], case: dict[str, Any]) -> Surfaces:
    prediction, reference, spacing = _masks(case)
    return function(prediction.astype(np.uint8), reference.astype(np.uint8), MASK, spacing)[0]


CLAIMS: dict[str, Callable[[dict[str, Any]], Claim]] = {
    "absolute_volume_difference_ratio": _of_one("relative_volume_difference", abs),
    "asd": _asd,
    "assd": _assd,
    "cc_dice_per_component": _cc_dice,
    "cldice": _of_one("cl_dice"),
    "cldsc": _of_one("cl_dice"),
    "dice": _overlap,
    "dsc": _overlap,
    "fbeta1": _of_one("f_beta", beta=1.0),
    "fn": _counts,
    "fp_volume,fn_volume": _volumes,
    "hausdorff": _hausdorff,
    "hd": _of_one("hd"),
    "hd,hd95,assd,asd": _bundle,
    "hd,hd95,nsd@1,assd": _bundle,
    "hd,hd95,nsd@1,assd,masd": _bundle,
    "hd95": _of_one("hd95_pooled"),
    "iou": _overlap,
    "lesion_f1,abs_lesion_count_difference": _isles,
    "lesion_wise_brats2023": _brats,
    "nsd": _nsd,
    "nsd,boundary_iou": _empty_nsd,
    "nsd_per_class": _nsd_per_class,
    "panoptic": _panoptic,
    "precision": _of_one("precision"),
    "rvae": _of_one("relative_volume_difference", abs),
    "rvd": _of_one("relative_volume_difference"),
    "surface_bundle": _surfel_bundle,
    "tp": _counts,
    "wmh_bundle": _wmh,
}
