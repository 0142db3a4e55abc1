"""Every metric against a second, slow implementation that was written from the definitions alone (`reference.py`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from medseg.metrics import (
    METRICS,
    CandidateRow,
    LesionRow,
    MetricOptions,
    average_precision,
    calibration_rows,
    candidate_rows,
    ece,
    froc,
    reliability,
    score,
    score_case,
    scored_lesions,
)
from medseg.metrics.options import BothEmpty, BratsRules, Connectivity, Penalty
from tests.metrics import reference as slow
from tests.metrics import reference_of_probabilities as slow_detection

OPTIONS = MetricOptions(metrics=tuple(METRICS), tolerances=(1.0, 2.5))
CLASSES = ["one", "two", "three"]
EXCLUSIVE = np.eye(3, 4, 1, dtype=bool)
NESTED = np.array([[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], bool)
SPACINGS = ((1, 1, 1), (1.0, 0.7, 2.5), (0.3, 0.3, 0.1), (3, 1, 1), (0.5, 0.5, 6))


@dataclass(frozen=True)
class Case:
    """Two maps of ids and the rules to score them by."""

    prediction: np.ndarray
    reference: np.ndarray
    membership: np.ndarray
    spacing: tuple[float, ...]
    options: MetricOptions


def random_ids(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Nothing, the whole image, noise, single voxels, or boxes that touch each other and the border."""
    ids, kind = np.zeros(shape, np.uint8), rng.integers(8)
    if kind == 1:
        ids[...] = rng.integers(1, 4)
    elif kind == 2:
        return rng.integers(0, 4, shape, dtype=np.uint8) * (rng.random(shape) < rng.uniform(0.02, 0.6))
    elif kind == 3:
        for _ in range(rng.integers(1, 4)):
            ids[tuple(rng.integers(0, n) for n in shape)] = rng.integers(1, 4)
    elif kind > 3:
        for _ in range(rng.integers(1, 7)):
            lows = [int(rng.integers(0, n)) for n in shape]
            ids[tuple(slice(low, low + int(rng.integers(1, 6))) for low in lows)] = rng.integers(0, 4)
    return ids


def random_case(seed: int, longest: int) -> Case:
    """Maps that have to do with each other, or not, and any rules."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, longest, rng.integers(2, 4)))
    reference = random_ids(rng, shape)
    prediction = [
        reference.copy(),
        np.roll(reference, rng.integers(-2, 3), rng.integers(len(shape))),
        np.where(rng.random(shape) < 0.05, random_ids(rng, shape), reference),
        random_ids(rng, shape),
    ][rng.integers(4)]
    if rng.random() < 0.3:
        reference = np.where(rng.random(shape) < 0.1, np.uint8(255), reference)
    return Case(
        prediction,
        reference,
        (EXCLUSIVE, NESTED)[rng.integers(2)],
        tuple(rng.permutation(SPACINGS[rng.integers(len(SPACINGS))])[: len(shape)].tolist()),
        replace(
            OPTIONS,
            tolerances=((1.0, 2.5), {"one": (0.3,), "two": (1.0, 2.0)})[rng.integers(2)],
            both_empty=("exclude", "best")[rng.integers(2)],
            penalty=("diagonal", "inf", "nan", 373.0)[rng.integers(4)],
            beta=(1.0, 2.0, 0.5)[rng.integers(3)],
            connectivity=("faces", "edges", "corners")[rng.integers(3)],
            lesion_iou=(0.0, 0.0, 0.1, 0.25, 1 / 3, 0.5)[rng.integers(6)],
            minimum_lesion=(0.0, 0.0, 3.0, 8.0)[rng.integers(4)],
            brats=("gli", "met")[rng.integers(2)],
        ),
    )


def assert_same(case: Case) -> None:
    """All metrics of all classes, within 1e-9."""
    rows = score_case("a", "", case.prediction, case.reference, CLASSES, case.membership, case.spacing, case.options).rows
    ours = {(row.class_name, row.metric): row.value for row in rows}
    assert len(ours) == len(rows)
    theirs = slow.score_case(case.prediction, case.reference, CLASSES, case.membership, case.spacing, case.options)
    assert ours == pytest.approx(theirs, rel=0, abs=1e-9, nan_ok=True)


def scenes(dimensions: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Situations in which definitions part: name, prediction, reference."""
    shape = (11, 9, 9)[:dimensions]

    def mask(*boxes: tuple[int, int]) -> np.ndarray:
        """Cubes from the first index to the second, along each axis."""
        drawn = np.zeros(shape, bool)
        for low, high in boxes:
            drawn[(slice(low, high),) * dimensions] = True
        return drawn

    yield "identical", mask((2, 6)), mask((2, 6))
    yield "both empty", mask(), mask()
    yield "empty prediction", mask(), mask((2, 6))
    yield "empty reference", mask((2, 6)), mask()
    yield "whole images", mask((0, 99)), mask((0, 99))
    yield "a lesion in a whole image", mask((0, 99)), mask((4, 6))
    yield "single voxels", mask((2, 3)), mask((7, 8))
    yield "one voxel", mask((3, 4)), mask((3, 4))
    yield "opposite corners", mask((0, 1)), mask((8, 9))
    yield "diagonal voxels", mask((2, 3), (3, 4), (4, 5)), mask((3, 4))
    yield "diagonal cubes", mask((1, 4), (4, 7)), mask((1, 4), (4, 6))
    yield "split", mask((1, 3), (5, 7)), mask((1, 7))
    yield "merged", mask((1, 8)), mask((1, 3), (5, 8))
    yield "half and half", mask((1, 5)), mask((3, 7))
    yield "joined by dilation", mask((1, 3)), mask((1, 3), (5, 8))
    yield "touching the dilation alone", mask((4, 6)), mask((0, 3))
    yield "hollow", mask((1, 8)) ^ mask((3, 6)), mask((1, 8))
    yield "at the border", mask((6, 99)), mask((7, 99))
    yield "checkerboard", np.indices(shape).sum(0) % 2 == 0, np.indices(shape).sum(0) % 2 == 1


class TestMasks:
    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize(
        ("connectivity", "brats", "penalty", "spacing"),
        [("faces", "met", 373.0, (1, 1, 1)), ("edges", "gli", "nan", (1, 1.5, 1)), ("corners", "gli", "diagonal", (4, 0.7, 2.5))],
    )
    def test_where_definitions_part(
        self, connectivity: Connectivity, brats: BratsRules, penalty: Penalty, spacing: tuple[float, ...], dimensions: int
    ) -> None:
        options = replace(OPTIONS, connectivity=connectivity, brats=brats, penalty=penalty, minimum_lesion=2.0, both_empty="best")
        for name, prediction, reference in scenes(dimensions):
            predicted, true = slow.voxels_of(prediction), slow.voxels_of(reference)
            theirs = slow.score_class(predicted, true, reference.shape, spacing[:dimensions], options, (1.0, 2.5))
            ours = score(prediction, reference, spacing[:dimensions], (), options)
            assert ours == pytest.approx(theirs, rel=0, abs=1e-9, nan_ok=True), name

    @pytest.mark.parametrize("both_empty", ["exclude", "best"])
    def test_lesions_that_do_not_count_are_as_good_as_none(self, both_empty: BothEmpty) -> None:
        """Nothing is found, but nothing was to be found either."""
        options, lesion = replace(OPTIONS, minimum_lesion=8.0, both_empty=both_empty), np.zeros((6, 6, 6), bool)
        lesion[1:3, 1:3, 1] = True
        scores = score(np.zeros_like(lesion), lesion, (1, 1, 1), (), options)
        for name in slow.LESION_FAMILY:
            if not name.startswith("brats"):
                best = 0.0 if name in slow.BEST_IS_ZERO else 1.0
                assert scores[name] == pytest.approx(best if both_empty == "best" else math.nan, nan_ok=True), name

    @pytest.mark.slow
    @pytest.mark.parametrize("filled", [0.02, 0.5, 0.95])
    def test_lesions_among_many_false_voxels(self, filled: float) -> None:
        """Where shortcuts for many voxels are taken."""
        rng, shape, spacing = np.random.default_rng(0), (36, 40, 38), (1.0, 0.7, 2.5)
        reference, prediction = np.zeros(shape, bool), rng.random(shape) < filled
        for low in rng.integers(0, 34, (25, 3)):
            reference[tuple(slice(first, first + size) for first, size in zip(low, rng.integers(1, 6, 3), strict=True))] = True
        options = replace(OPTIONS, minimum_lesion=20.0)
        theirs = slow.lesion_scores(slow.voxels_of(prediction), slow.voxels_of(reference), spacing, options)
        assert score(prediction, reference, spacing, list(theirs), options) == pytest.approx(theirs, rel=0, abs=1e-9)


class TestLabelMaps:
    @pytest.mark.parametrize("seed", range(40))
    def test_random_maps_by_random_rules(self, seed: int) -> None:
        assert_same(random_case(seed, 10))

    @pytest.mark.slow
    @pytest.mark.parametrize("seed", range(1000, 1400))
    def test_many_more(self, seed: int) -> None:
        assert_same(random_case(seed, 16))


class TestRows:
    @pytest.mark.parametrize("seed", range(100, 130))
    def test_what_stands_beside_a_value(self, seed: int) -> None:
        case = random_case(seed, 9)
        ml = math.prod(case.spacing) / 1000 if len(case.spacing) == 3 else math.nan
        for row in score_case("a", "", case.prediction, case.reference, CLASSES, case.membership, case.spacing, case.options).rows:
            predicted, true = masks_of(case, CLASSES.index(row.class_name))
            steps = slow.STEPS[case.options.connectivity]
            one_empty = bool(predicted) != bool(true)
            assert (row.pred_voxels, row.ref_voxels) == (len(predicted), len(true))
            assert (row.pred_empty, row.ref_empty) == (not predicted, not true)
            assert (row.pred_ml, row.ref_ml) == pytest.approx((len(predicted) * ml, len(true) * ml), nan_ok=True)
            assert row.pred_lesions == len(slow.components(predicted, steps))
            assert row.ref_lesions == len(slow.components(true, steps))
            assert row.penalised == (one_empty and METRICS[row.metric.split("_", 1)[0] if "nsd" in row.metric else row.metric].unit == "mm")

    @pytest.mark.parametrize("seed", range(200, 230))
    def test_lesions(self, seed: int) -> None:
        case = random_case(seed, 9)
        case = replace(case, options=replace(case.options, lesion_iou=0.0))
        found = score_case("a", "", case.prediction, case.reference, CLASSES, case.membership, case.spacing, case.options).lesions
        theirs = []
        for index, name in enumerate(CLASSES):
            scene = slow.Scene(*masks_of(case, index), case.spacing, case.options)
            hit, correct = scene.matched(0.0)
            sides = (("reference", scene.lesions, scene.scored, hit), ("prediction", scene.found, scene.scored_found, correct))
            for side, components, scored, matched in sides:
                for number, component in enumerate(components):
                    size, dice = len(component) * math.prod(case.spacing), scene.dice(side, number)
                    theirs.append(LesionRow("a", "a", name, side, number, len(component), size, number in scored, number in matched, dice))
        assert len(found) == len(theirs)
        ours = {(row.class_name, row.side, row.lesion): row for row in found}
        for row in theirs:
            same = ours[row.class_name, row.side, row.lesion]
            assert (same.size, same.dice) == pytest.approx((row.size, row.dice), rel=0, abs=1e-9)
            assert replace(same, size=row.size, dice=row.dice) == row


def masks_of(case: Case, index: int) -> tuple[slow.Mask, slow.Mask]:
    """Prediction and reference of a class."""
    considered, members = case.reference != 255, np.append(case.membership[index], np.zeros(252, bool))
    return slow.voxels_of(members[case.prediction] & considered), slow.voxels_of(members[case.reference] & considered)


@dataclass
class Study:
    """Probabilities of some cases: what ours makes of them, and the slow one."""

    rows: list[CandidateRow]
    lesions: dict[str, set[int]]
    cases: list[slow_detection.DetectionCase]


def random_maps(rng: np.random.Generator, dimensions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability, reference, considered: with ties and ends of bins, in both precisions, with empty ones."""
    shape = tuple(int(n) for n in rng.integers(1, 10, dimensions))
    probability = rng.random(shape) ** rng.choice([1, 4, 12]) * rng.choice([1, 1, 1, 0])
    if rng.random() < 0.5:
        probability = np.round(probability, 1)
    precision = np.dtype(rng.choice(["float32", "float64"]))
    return probability.astype(precision), rng.random(shape) < rng.choice([0, 0.03, 0.2]), rng.random(shape) >= rng.choice([0, 0.1])


def random_study(seed: int) -> Study:
    """Up to five cases."""
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.permutation([1.0, 0.7, 2.5, 4.0])[: rng.integers(2, 4)].tolist())
    options = MetricOptions(connectivity=("faces", "edges", "corners")[rng.integers(3)], minimum_lesion=(0.0, 6.0)[rng.integers(2)])
    study, lesion_rows = Study([], {}, []), []
    names = [f"{number}" for number in range(rng.integers(1, 6))]
    for name in names:
        probability, reference, considered = random_maps(rng, len(spacing))
        study.rows += candidate_rows(name, "", "it", probability, reference, considered, spacing, options)
        ids = np.where(considered, reference, 255).astype(np.uint8)
        lesion_rows += score_case(name, "", np.zeros_like(ids), ids, ["it"], np.array([[False, True]]), spacing, options).lesions
        study.cases.append(slow_detection.detection_case(probability, reference, considered, spacing, options))
    study.lesions = scored_lesions(names, lesion_rows, "it")
    return study


class TestDetection:
    @pytest.mark.parametrize("seed", range(40))
    def test_random_studies(self, seed: int) -> None:
        study = random_study(seed)
        theirs = [candidate for case in study.cases for candidate in case.candidates]
        assert [(row.score, row.voxels, row.hits) for row in study.rows] == theirs
        assert list(study.lesions.values()) == [case.lesions for case in study.cases]
        curve = froc(study.rows, study.lesions)
        for name, values in slow_detection.froc(study.cases).items():
            ours = (curve.mean,) if name == "mean" else getattr(curve, name)
            assert ours == pytest.approx(values, rel=0, abs=1e-9, nan_ok=True), name
        area = slow_detection.average_precision(study.cases)
        assert average_precision(study.rows, study.lesions) == pytest.approx(area, rel=0, abs=1e-9, nan_ok=True)


class TestCalibration:
    @pytest.mark.parametrize("seed", range(60))
    def test_random_maps(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        spacing = tuple(rng.permutation([1.0, 0.7, 2.5, 11.0])[: rng.integers(2, 4)].tolist())
        bins, margin = int(rng.integers(1, 14)), float(rng.choice([0, 0.7, 2.0, 3.0, 10.0]))
        maps = random_maps(rng, len(spacing))
        rows = calibration_rows("a", "", "it", *maps, spacing, margin, bins)
        counts = slow_detection.calibration_bins(*maps, spacing, margin, bins)
        assert [row.high for row in rows] == pytest.approx([(n + 1) / bins for n in range(bins)])
        for row, count in zip(rows, counts, strict=True):
            assert (row.voxels, row.probability, row.positives) == pytest.approx(count, rel=0, abs=1e-9)
        assert ece(reliability(rows)) == pytest.approx(slow_detection.ece(counts), rel=0, abs=1e-9, nan_ok=True)
