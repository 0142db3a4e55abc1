"""What patches are centred on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from medseg.data.labels import IGNORE, LabelSchema
from medseg.data.sampling import CaseBalanced, ClassBalanced, Foreground, HardCase, LesionBalanced, Random, Sampler
from medseg.errors import DataError
from tests.data.sampling.fakes import LESION, ORGANS, REGIONS, expected_within, index_of, rng


def squares(*sizes: int, shape: tuple[int, int] = (60, 240), value: int = 1) -> np.ndarray:
    """Squares of the given sides in a row, with gaps."""
    label = np.zeros(shape, np.uint8)
    column = 1
    for size in sizes:
        label[1 : 1 + size, column : column + size] = value
        column += size + 2
    return label


def draws(sampler: Sampler, count: int, seed: int = 0) -> list[tuple[int, tuple[int, ...]]]:
    generator = rng(seed)
    return [sampler.draw(generator) for _ in range(count)]


def build(kind: type[Sampler], labels: list[np.ndarray], schema: LabelSchema = LESION, **params: Any) -> Sampler:
    return kind([index_of(label, schema) for label in labels], schema, **params)


def cases_of(sampler: Sampler) -> list[int]:
    """How often each case is drawn."""
    drawn = [case for case, _ in draws(sampler, 3000)]
    return [drawn.count(number) for number in range(len(sampler.cases))]


def fits(observed: list[int], weights: list[float]) -> bool:
    """A chi-square test at a level that chance passes but once in a million runs (and a fixed seed repeats)."""
    possible = np.array(weights) > 0
    assert not np.array(observed)[~possible].any()
    expected = np.array(weights) / sum(weights) * sum(observed)
    return stats.chisquare(np.array(observed)[possible], expected[possible]).pvalue > 1e-6


class TestRandom:
    def test_cases_are_equally_likely_whatever_their_size_and_so_are_their_voxels(self) -> None:
        sampler = build(Random, [np.zeros((30, 40)), np.zeros((2, 3))])
        drawn = draws(sampler, 3000)
        assert fits([sum(case == n for case, _ in drawn) for n in range(2)], [1, 1])
        small = [voxel for case, voxel in drawn if case == 1]
        assert fits([small.count((i, j)) for i in range(2) for j in range(3)], [1] * 6)

    def test_needs_no_foreground(self) -> None:
        assert draws(build(Random, [np.zeros((1, 1))]), 1) == [(0, (0, 0))]


class TestForeground:
    def test_each_voxel_of_the_data_set_is_equally_likely(self) -> None:
        labels = [squares(2), squares(4, value=3), np.zeros((5, 5)), squares(1)]
        sampler = build(Foreground, labels, ORGANS)
        drawn = draws(sampler, 4000)
        voxels = [(n, tuple(v)) for n, label in enumerate(labels) for v in np.argwhere(label).tolist()]
        assert len(voxels) == 4 + 16 + 1
        assert fits([drawn.count(voxel) for voxel in voxels], [1] * 21)

    def test_a_voxel_of_overlapping_classes_counts_for_each(self) -> None:
        label = np.zeros((1, 10), np.uint8)
        label[0, :3] = 1
        label[0, 3] = 2
        drawn = [voxel[1] for _, voxel in draws(build(Foreground, [label], REGIONS), 2000)]
        assert fits([drawn.count(i) for i in range(4)], [1, 1, 1, 2])


class TestClassBalanced:
    def test_classes_then_cases_then_voxels_are_equally_likely(self) -> None:
        liver, both = squares(30), squares(20)
        both[50, 200:202] = 2
        sampler = build(ClassBalanced, [liver, both, np.zeros((4, 4))], ORGANS)
        drawn = [(case, int((liver, both)[case][voxel]), voxel) for case, voxel in draws(sampler, 3000)]
        seen = [(0, 1), (1, 1), (1, 2)]
        assert fits([sum(one[:2] == key for one in drawn) for key in seen], [1, 1, 2])
        kidney = [voxel for _, value, voxel in drawn if value == 2]
        assert fits([kidney.count((50, column)) for column in (200, 201)], [1, 1])

    def test_a_voxel_of_overlapping_classes_counts_for_each(self) -> None:
        label = np.zeros((10, 10), np.uint8)
        label[0, :9] = 1
        label[0, 9] = 2  # the whole has ten voxels, the core one
        core = sum(voxel == (0, 9) for _, voxel in draws(build(ClassBalanced, [label], REGIONS), 2000))
        assert expected_within(core, 2000, 0.5 + 0.5 * 0.1)


class TestCaseBalanced:
    def test_cases_then_classes_then_voxels_are_equally_likely(self) -> None:
        both = squares(20)
        both[50, 200] = 3
        labels = [squares(1), both, np.zeros((3, 2))]
        drawn = draws(build(CaseBalanced, labels, ORGANS), 3000)
        assert fits([sum(case == n for case, _ in drawn) for n in range(3)], [1, 1, 1])
        values = [int(both[voxel]) for case, voxel in drawn if case == 1]
        assert fits([values.count(1), values.count(3)], [1, 1])

    def test_a_case_without_foreground_gives_any_voxel(self) -> None:
        drawn = [voxel for _, voxel in draws(build(CaseBalanced, [np.zeros((3, 2))]), 1200)]
        assert fits([drawn.count((i, j)) for i in range(3) for j in range(2)], [1] * 6)


class TestLesionBalanced:
    def test_ten_small_lesions_are_not_lost_beside_a_large_one(self) -> None:
        """One of 60 voxels across and ten of 4: drawn by voxel the small ones would share 0.3 % of the patches (in 3-D)."""
        label = np.zeros((62, 62, 150), np.uint8)
        label[1:61, 1:61, 1:61] = 1
        for number in range(10):
            label[10:14, 10:14, 70 + 6 * number : 74 + 6 * number] = 1
        drawn = [voxel for _, voxel in draws(build(LesionBalanced, [label]), 4400)]
        which = [0 if voxel[2] < 62 else 1 + (voxel[2] - 70) // 6 for voxel in drawn]
        assert all(label[voxel] for voxel in drawn)
        assert fits([which.count(n) for n in range(11)], [1] * 11)
        by_voxel = [voxel[2] >= 62 for _, voxel in draws(build(Foreground, [label]), 4400)]
        assert sum(by_voxel) / 4400 < 0.01

    def test_by_dataset_a_case_with_more_lesions_is_drawn_more(self) -> None:
        labels = [squares(3, 1, 5), np.zeros((9, 9)), squares(8)]
        assert fits(cases_of(build(LesionBalanced, labels)), [3, 0, 1])

    def test_by_case_each_case_with_a_lesion_is_equally_likely(self) -> None:
        labels = [squares(3, 1, 5), np.zeros((9, 9)), squares(8)]
        sampler = build(LesionBalanced, labels, by="case")
        assert fits(cases_of(sampler), [1, 0, 1])
        columns = [voxel[1] for case, voxel in draws(sampler, 3000) if case == 0]
        assert fits([sum(low <= column < high for column in columns) for low, high in ((1, 4), (6, 7), (9, 14))], [1, 1, 1])

    @pytest.mark.parametrize("by", ["dataset", "case"])
    @pytest.mark.parametrize("exponent", [-0.5, 0.5, 1.0])
    def test_size_counts_by_its_power(self, exponent: float, by: str) -> None:
        labels = [squares(2, 4), squares(1), squares(3)]
        sampler = build(LesionBalanced, labels, size_exponent=exponent, by=by)
        drawn = draws(sampler, 4000)
        found = [
            sum(case == 0 and voxel[1] < 4 for case, voxel in drawn),
            sum(case == 0 and voxel[1] >= 4 for case, voxel in drawn),
            *(sum(case == n for case, _ in drawn) for n in (1, 2)),
        ]
        weights = np.array([4.0, 16.0, 1.0, 9.0]) ** exponent
        if by == "case":
            weights = np.array([*weights[:2] / weights[:2].sum(), 1, 1])
        assert fits(found, weights.tolist())

    def test_only_the_classes_that_are_named(self) -> None:
        label = squares(3, 3)
        label[50, 100] = 2
        label[50, 120] = 3
        sampler = build(LesionBalanced, [label, squares(4)], ORGANS, classes=["spleen", "kidney"])
        drawn = draws(sampler, 1000)
        assert fits([drawn.count((0, (50, 100))), drawn.count((0, (50, 120)))], [1, 1])

    def test_a_lesion_is_a_component_of_one_class(self) -> None:
        label = np.zeros((6, 6), np.uint8)
        label[0:4, 0] = 1
        label[4, 1] = 1  # touches by its corner
        label[0:4, 1] = 2  # a lesion of its own
        values = [int(label[voxel]) for _, voxel in draws(build(LesionBalanced, [label], ORGANS), 1000)]
        assert fits([values.count(1), values.count(2)], [1, 1])

    def test_an_unknown_class_is_named_with_those_there_are(self) -> None:
        with pytest.raises(DataError, match=r"classes: no class named heart; there are liver, kidney, spleen"):
            build(LesionBalanced, [squares(2)], ORGANS, classes=["heart"])

    def test_a_class_without_lesions_is_an_error(self) -> None:
        with pytest.raises(DataError, match="none of the 1 training cases has any lesion of kidney"):
            build(LesionBalanced, [squares(2)], ORGANS, classes=["kidney"])

    @pytest.mark.parametrize(("exponent", "column"), [(-400.0, 1), (400.0, 4)])
    def test_powers_that_no_number_holds_choose_the_smallest_or_the_largest(self, exponent: float, column: int) -> None:
        drawn = draws(build(LesionBalanced, [squares(1, 40), squares(3)], size_exponent=exponent), 20)
        assert {(case, voxel[1] >= 4) for case, voxel in drawn} == {(0, column >= 4)}


class TestHardCase:
    LABELS = (squares(2), squares(3), np.zeros((9, 9)), squares(4))

    def test_until_a_case_has_an_error_it_counts_as_hard(self) -> None:
        sampler = build(HardCase, list(self.LABELS))
        assert isinstance(sampler, HardCase)
        assert sampler.errors.tolist() == [1.0] * 4
        assert fits(cases_of(sampler), [1] * 4)

    @pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
    def test_cases_are_drawn_by_a_power_of_their_error(self, exponent: float) -> None:
        sampler = build(HardCase, list(self.LABELS), exponent=exponent)
        assert isinstance(sampler, HardCase)
        sampler.errors.copy_(sampler.errors.new_tensor([0.2, 0.9, 0.5, 1.0]))
        assert fits(cases_of(sampler), [error**exponent for error in (0.2, 0.9, 0.5, 1.0)])

    def test_a_case_without_error_is_not_drawn_unless_no_case_has_any(self) -> None:
        sampler = build(HardCase, list(self.LABELS), exponent=50.0)
        assert isinstance(sampler, HardCase)
        sampler.errors.zero_()
        assert fits(cases_of(sampler), [1] * 4)
        sampler.errors[1] = 1e-30
        assert cases_of(sampler) == [0, 3000, 0, 0]

    def test_inner_says_what_the_patch_is_centred_on(self) -> None:
        label = squares(10, 2, 2, shape=(40, 60))
        label[30, 40] = 3
        found = {}
        for inner in ("class", "lesion", "random"):
            voxels = [voxel for _, voxel in draws(build(HardCase, [label], ORGANS, inner=inner), 2000)]
            found[inner] = voxels
        assert expected_within(sum(label[voxel] == 3 for voxel in found["class"]), 2000, 1 / 2)
        assert expected_within(sum(label[voxel] == 3 for voxel in found["lesion"]), 2000, 1 / 4)
        assert expected_within(sum(label[voxel] == 0 for voxel in found["random"]), 2000, (label == 0).mean())

    @pytest.mark.parametrize("inner", ["class", "lesion", "random"])
    def test_a_case_without_foreground_gives_any_voxel(self, inner: str) -> None:
        drawn = [voxel for _, voxel in draws(build(HardCase, [np.zeros((2, 2))], inner=inner), 800)]
        assert fits([drawn.count((i, j)) for i in range(2) for j in range(2)], [1] * 4)

    @pytest.mark.parametrize("params", [{"exponent": -1.0}, {"cases_per_validation": 0}])
    def test_values_out_of_range_are_refused(self, params: dict[str, Any]) -> None:
        (name,) = params
        with pytest.raises(DataError, match=name):
            build(HardCase, [squares(2)], **params)

    def test_errors_lie_in_shared_memory(self) -> None:
        sampler = build(HardCase, [squares(2)])
        assert isinstance(sampler, HardCase)
        assert sampler.errors.is_shared()


@pytest.mark.parametrize("kind", [Foreground, ClassBalanced, LesionBalanced])
def test_without_foreground_there_is_an_error_that_says_what_to_do(kind: type[Sampler]) -> None:
    ignored = np.full((5, 5), IGNORE, np.uint8)
    with pytest.raises(DataError, match=r"none of the 2 training cases has any .*data\.sampling=\[\{name: random\}\]"):
        build(kind, [np.zeros((4, 4)), ignored])


@pytest.mark.parametrize("kind", [Random, Foreground, ClassBalanced, CaseBalanced, LesionBalanced, HardCase])
def test_a_draw_is_a_function_of_the_generator(kind: type[Sampler]) -> None:
    labels = [squares(2, 5), squares(3)]
    first, again, other = (draws(build(kind, labels), 20, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert all(isinstance(number, int) and all(type(i) is int for i in voxel) for number, voxel in first)
