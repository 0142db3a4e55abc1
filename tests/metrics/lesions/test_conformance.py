"""The cases of the reference folder that follow our definitions; ours are NaN where a library has a value for nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medseg.metrics.lesions import Lesions, LesionWise, brats, cell_dice, count_difference, counts, f1, f1_wmh, panoptic, recall, volumes
from medseg.metrics.lesions.matching import one_to_one
from medseg.metrics.lesions.runs import runs_of
from tests.metrics.conformance import build_array, conformance_cases


def lesions_of(case: dict[str, Any], connectivity: Any = "corners") -> Lesions:
    prediction, reference = (build_array(case[side]) > 0 for side in ("pred", "ref"))
    return Lesions.of(prediction, reference, case["spacing"] or (1.0,) * reference.ndim, connectivity)


def same(got: float, expected: Any, case: dict[str, Any], *, nothing: float) -> None:
    if np.isnan(got):
        assert not lesions_of(case).ref_voxels.size
        assert not lesions_of(case).pred_voxels.size
        assert expected in (nothing, "nan")
    else:
        assert got == pytest.approx(float(expected), abs=max(case["tol"], 1e-12))


class TestConformance:
    @pytest.mark.parametrize("case", conformance_cases("lesion_f1,abs_lesion_count_difference"))
    def test_isles(self, case: dict[str, Any]) -> None:
        lesions = lesions_of(case)
        same(f1(lesions), case["expected"]["f1"], case, nothing=1)
        same(count_difference(lesions), case["expected"]["ald"], case, nothing=0)

    @pytest.mark.parametrize("case", conformance_cases("wmh_bundle"))
    def test_wmh(self, case: dict[str, Any]) -> None:
        lesions = lesions_of(case)
        same(f1_wmh(lesions), case["expected"]["f1"], case, nothing=1)
        same(recall(lesions), case["expected"]["recall"], case, nothing=1)

    @pytest.mark.parametrize("case", conformance_cases("fp_volume,fn_volume"))
    def test_autopet(self, case: dict[str, Any]) -> None:
        for got, side in zip(volumes(lesions_of(case, "edges")), ("fp_voxels", "fn_voxels"), strict=True):
            same(got, case["expected"][side], case, nothing=0)

    @pytest.mark.parametrize("case", conformance_cases("panoptic"))
    def test_panoptica(self, case: dict[str, Any]) -> None:
        if case["params"]["matcher"] != "NaiveThresholdMatching":
            pytest.skip("another way of matching")
        lesions = lesions_of(case, "faces" if len(build_array(case["ref"]).shape) == 2 else "corners")
        for got, name in zip(panoptic(lesions), ("pq", "sq", "rq"), strict=True):
            if name in case["expected"]:
                same(got, case["expected"][name], case, nothing=1)
        matches = counts(lesions, 0.5 + 1e-9)
        assert {"tp": matches.tp, "fp": matches.fp, "fn": matches.fn}.items() >= {
            name: case["expected"][name] for name in ("tp", "fp", "fn") if name in case["expected"]
        }.items()

    @pytest.mark.parametrize("case", conformance_cases("lesion_wise_brats2023"))
    def test_brats_2023(self, case: dict[str, Any]) -> None:
        rules, expected = case["id"].rsplit("-", 1)[1].lower(), case["expected"]
        scores = brats(lesions_of(case), rules)
        same(scores[0], expected["lesionwise_dice"], case, nothing=1)
        same(scores[1], expected["lesionwise_hd95"], case, nothing=0)
        scored = LesionWise.of(lesions_of(case), rules)
        hits = int(scored.found.sum())
        assert (hits, len(scored.lesions) - hits, scored.fp) == (expected["num_tp"], expected["num_fn"], expected["num_fp"])

    @pytest.mark.parametrize("case", conformance_cases("cc_dice_per_component"))
    def test_cc_dice(self, case: dict[str, Any]) -> None:
        lesions = lesions_of(case)
        got = cell_dice(lesions).tolist() if len(lesions.ref_voxels) else [0.0]
        assert got == pytest.approx(case["expected"], abs=case["tol"])

    @pytest.mark.parametrize("case", conformance_cases("lesion_candidates"))
    def test_picai_matches(self, case: dict[str, Any]) -> None:
        lesions = lesions_of(case)
        found = counts(lesions, case["params"]["min_overlap"])
        lesion_rows = [row for row in case["expected"] if row[0]]
        assert (found.tp, found.fn) == (sum(row[1] > 0 for row in lesion_rows), sum(row[1] == 0 for row in lesion_rows))
        chosen = one_to_one(lesions, lesions.ious >= case["params"]["min_overlap"], unique=False)
        assert sorted(lesions.ious[chosen]) == pytest.approx(sorted(row[2] for row in lesion_rows if row[1]))

    @pytest.mark.parametrize("case", conformance_cases("sq"))
    def test_monai_matching_of_given_instances(self, case: dict[str, Any]) -> None:
        (pred, pred_ids), (ref, ref_ids) = (runs_of(build_array(case[side]).astype(np.uint8)) for side in ("pred", "ref"))
        sizes = [np.bincount(ids - 1, weights=runs.lengths).astype(int) for runs, ids in ((ref, ref_ids), (pred, pred_ids))]
        lesions = Lesions(ref, pred, ref_ids.astype(int) - 1, pred_ids.astype(int) - 1, *sizes, (1.0, 1.0))
        chosen = one_to_one(lesions, lesions.ious > case["params"]["match_iou_threshold"], unique=False)
        assert lesions.ious[chosen].mean() == pytest.approx(case["expected"], abs=case["tol"])
