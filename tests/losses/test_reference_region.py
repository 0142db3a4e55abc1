"""The references of the region terms, against hand calculations, and what each makes of a class that is absent."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.losses import reference_region as region
from tests.losses import reference_shape as shape
from tests.losses.test_reference import SIGMOID, SOFTMAX, problem
from tests.losses.test_reference_new import ONE_ACTIVATION, TERMS, certain, sigmoid_problem


class TestRegionByHand:
    def test_smooth_stands_in_the_denominator(self) -> None:
        # TP = 1.3, FP = .3, FN = .7; squared errors .37 + .05
        assert region.jaccard(**SIGMOID, smooth=2) == pytest.approx(1 / 4.3)
        assert region.log_cosh_dice(**SIGMOID, smooth=2) == pytest.approx(math.log(math.cosh(1 / 5.6)))
        assert region.squared_dice(**SIGMOID, smooth=2) == pytest.approx(0.42 / 5.02)
        assert region.jaccard_metric(**SIGMOID, smooth=2) == pytest.approx(1 / 4.3)
        assert region.dice_semimetric(**SIGMOID, smooth=2) == pytest.approx(1 / 5.6)
        assert region.f_beta(**SIGMOID, beta=2, smooth=2) == pytest.approx(0.62 / 3.92)

    def test_dice_plus_plus_cubed(self) -> None:
        assert region.dice_plus_plus(**SIGMOID, exponent=3, smooth=0) == pytest.approx(0.226 / 2.826)

    def test_soft_labels(self) -> None:
        soft = sigmoid_problem([0.5, 0.2], [0.8, 0.1])
        assert region.jaccard_metric(**soft, smooth=0) == pytest.approx(0.4 / 1)
        assert region.dice_semimetric(**soft, smooth=0) == pytest.approx(0.4 / 1.6)
        assert region.squared_dice(**soft, smooth=0) == pytest.approx(0.1 / (2 * 0.42 + 0.1))

    @pytest.mark.parametrize(("share", "expected"), [(1.0, 0.37 / 2), (0.0, 0.05 / 2)])
    def test_sensitivity_specificity(self, share: float, expected: float) -> None:
        assert region.sensitivity_specificity(**SIGMOID, sensitivity_weight=share) == pytest.approx(expected)

    def test_mcc_is_the_correlation(self) -> None:
        """For hard predictions."""
        rng = np.random.default_rng(0)
        y, predicted = rng.integers(0, 2, (2, 30))
        data = {"logits": certain(predicted[None, None], "sigmoid"), "target": y[None, None], "activation": "sigmoid"}
        assert region.mcc(**data) == pytest.approx(1 - np.corrcoef(y, predicted)[0, 1])

    def test_mcc_from_means(self) -> None:
        data = problem("sigmoid", classes=1)
        p, y = 1 / (1 + np.exp(-data["logits"])), data["target"]
        covariance = (p * y).mean() - p.mean() * y.mean()
        variances = p.mean() * (1 - p.mean()) * y.mean() * (1 - y.mean())
        assert region.mcc(**data) == pytest.approx(1 - covariance / math.sqrt(variances))

    def test_unified_focal(self) -> None:
        """Each part for itself, with an exponent whose complement is another."""
        params = {"gamma": 0.25, "fn_weight": 0.7, "smooth": 0}
        hit, rest = -np.log([0.9, 0.4]), -np.log([0.8, 0.9])
        far = 0.3 * float(rest @ np.array([0.2, 0.1]) ** 0.25)
        near = 0.7 * float(hit @ np.array([0.1, 0.6]) ** 0.25)
        of_lesion, of_rest = 0.58 / 1.88, 0.42 / 2.12  # .7 FN + .3 FP: TP 1.3 FP .3 FN .7; TP 1.7 FP .7 FN .3
        for data in (SIGMOID, SOFTMAX):
            symmetric, asymmetric = ({**data, **params, "variant": variant} for variant in ("symmetric", "asymmetric"))
            assert region.unified_focal(**symmetric, focal_share=1) == pytest.approx((near + far) / 4)
            assert region.unified_focal(**asymmetric, focal_share=1) == pytest.approx((0.7 * hit.sum() + far) / 4)
            assert region.unified_focal(**symmetric, focal_share=0) == pytest.approx((of_lesion**0.75 + of_rest**0.75) / 2)
            assert region.unified_focal(**asymmetric, focal_share=0) == pytest.approx((of_lesion**0.75 + of_rest) / 2)


OF_CLASSES = [*region.TERMS, "lovasz_hinge", "lovasz_softmax"]
"""Those that take `empty`."""


class TestEmpty:
    """Two samples of two voxels at p = 1/2, one lesion voxel in the first: TP = FP = FN = 1/2 there, FP = 1 in the second."""

    DATA: ClassVar[dict[str, Any]] = {"logits": np.zeros((2, 1, 2)), "target": np.array([[[1, 0]], [[0, 0]]]), "activation": "sigmoid"}

    @pytest.mark.parametrize(("empty", "second"), [("smooth", 1 / 2), ("volume", 1 / 2), ("skip", None), ("batch", 2 / 3.5)])
    def test_jaccard(self, empty: str, second: float | None) -> None:
        first = 1 / 2.5  # FP + FN = 1, TP = 1/2, s = 1
        expected = first if second is None else (first + second) / 2
        assert region.jaccard(**self.DATA, smooth=1, empty=empty, reduce_over="sample") == pytest.approx(expected)

    @pytest.mark.parametrize(("empty", "second"), [("smooth", 1), ("volume", 0.5), ("skip", None), ("batch", 1)])
    def test_lovasz(self, empty: str, second: float | None) -> None:
        """All errors are 1, so the extension is that of the full set: 1."""
        value = shape.lovasz_hinge(**self.DATA, empty=empty, reduce_over="sample")
        assert value == pytest.approx(1 if second is None else (1 + second) / 2)

    def test_lovasz_without_reference_is_the_largest_error(self) -> None:
        empty = sigmoid_problem([0.9, 0.4, 0.2], [0, 0, 0])
        assert shape.lovasz_hinge(**empty) == pytest.approx(1 + math.log(9))

    @pytest.mark.parametrize("name", OF_CLASSES)
    def test_nothing_present(self, name: str) -> None:
        activation = ONE_ACTIVATION.get(name, "softmax")
        data = problem(activation)
        data["target"][:] = 0
        if name == "unified_focal":
            data["focal_share"] = 0
        odds = np.exp(data["logits"])
        p = odds[:, 1:] / odds.sum(axis=1, keepdims=True) if activation == "softmax" else odds / (1 + odds)
        skipped, volume = TERMS[name](**data, empty="skip"), TERMS[name](**data, empty="volume")
        if name == "unified_focal":  # its background is there
            assert volume == pytest.approx((skipped + 2 * p.mean()) / 3)
        else:
            assert skipped == 0
            assert volume == pytest.approx(p.mean())
        assert TERMS[name](**data, empty="batch") == TERMS[name](**data)

    def test_the_mean_without_skipped_pairs_is_one_over_all_that_are_left(self) -> None:
        data = problem("sigmoid", batch=2, classes=2)
        data["target"][1, 1] = 0
        left = [(0, 0), (0, 1), (1, 0)]
        single = [region.jaccard(data["logits"][[b], [c]][None], data["target"][[b], [c]][None], activation="sigmoid") for b, c in left]
        assert region.jaccard(**data, reduce_over="sample", empty="skip") == pytest.approx(np.mean(single))
