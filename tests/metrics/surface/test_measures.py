"""What is read from the lists: by hand, and against MONAI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from medseg.metrics.surface import Surfaces, assd, hd, hd95, masd, nsd, surfaces
from tests.metrics.surface.by_hand import blobs

LONG = Surfaces(np.array([0.0, 0.0, 1.0, 2.0]), np.array([3.0]))
WEIGHED = Surfaces(np.array([2.0, 0.0, 5.0]), np.array([1.0, 4.0]), np.array([1.0, 8.0, 1.0]), np.array([3.0, 1.0]))
EMPTY = Surfaces(np.array([]), np.array([np.inf]))


class TestPlainLists:
    def test_hd_is_the_longest_way(self) -> None:
        assert hd(LONG) == 3

    def test_assd_pools_and_masd_does_not(self) -> None:
        assert assd(LONG) == pytest.approx(6 / 5)
        assert masd(LONG) == pytest.approx((3 / 4 + 3) / 2)

    def test_hd95_is_the_larger_percentile_or_that_of_all(self) -> None:
        near = Surfaces(np.zeros(99), np.array([0.0, 10.0]))
        assert hd95(near) == pytest.approx(9.5)
        assert hd95(near, "pooled") == 0
        assert hd95(near, percentile=50) == pytest.approx(5)
        assert hd95(near, percentile=100) == hd(near)

    def test_nsd_counts_what_is_within(self) -> None:
        assert nsd(LONG, 0) == pytest.approx(2 / 5)
        assert nsd(LONG, 1) == pytest.approx(3 / 5)
        assert nsd(LONG, 3) == 1

    def test_nsd_forgives_spacings_that_were_stored_in_single_precision(self) -> None:
        step = float(np.float32(1.2))
        assert step > 1.2
        assert nsd(Surfaces(np.array([step]), np.array([step])), 1.2) == 1
        assert nsd(Surfaces(np.array([1.2001]), np.array([1.2001])), 1.2) == 0


class TestWeightedLists:
    def test_means_are_weighted(self) -> None:
        assert assd(WEIGHED) == pytest.approx((2 + 5 + 3 + 4) / 14)
        assert masd(WEIGHED) == pytest.approx((7 / 10 + 7 / 4) / 2)

    def test_nsd_is_a_part_of_the_area(self) -> None:
        assert nsd(WEIGHED, 1) == pytest.approx((8 + 3) / 14)

    def test_percentiles_are_reached_by_the_area(self) -> None:
        assert hd95(WEIGHED) == 5
        assert hd95(WEIGHED, percentile=80) == 4
        assert hd95(WEIGHED, percentile=70) == 1
        assert hd95(WEIGHED, "pooled", percentile=80) == 2

    def test_nineteen_of_twenty_equal_parts_are_95_percent(self) -> None:
        for part in (0.1, 0.7, 1 / 3, np.sqrt(2)):
            one = np.arange(20.0), np.full(20, part)
            assert hd95(Surfaces(one[0], one[0], one[1], one[1])) == 18


class TestRefusals:
    @pytest.mark.parametrize("measure", [hd, hd95, assd, masd, lambda s: nsd(s, 1.0)])
    def test_an_empty_mask_has_no_distance(self, measure: Callable[[Surfaces], float]) -> None:
        with pytest.raises(ValueError, match="empty"):
            measure(EMPTY)

    def test_of_an_unknown_definition(self) -> None:
        with pytest.raises(ValueError, match="max_of_directed"):
            hd95(LONG, "max")  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # of MONAI
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 1.0), (4.0, 0.8, 0.8)])
def test_monai_finds_the_same_numbers(spacing: tuple[float, ...]) -> None:
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    prediction, reference = blobs(4, (30, 28, 20)[: len(spacing)], 3, 2)
    maps: list[Any] = [torch.from_numpy(np.stack([ids == index for index in range(4)])[None]) for ids in (prediction, reference)]
    found = surfaces(prediction, reference, np.eye(4, dtype=np.bool_)[1:], spacing)
    expected = {
        hd: compute_hausdorff_distance(*maps, spacing=spacing),
        hd95: compute_hausdorff_distance(*maps, percentile=95, spacing=spacing),
        assd: compute_average_surface_distance(*maps, symmetric=True, spacing=spacing),
        nsd_at_1: compute_surface_dice(*maps, [1.1] * 3, spacing=spacing),
    }
    for measure, values in expected.items():
        assert [measure(both) for both in found] == pytest.approx(values[0].tolist(), rel=1e-5)


def nsd_at_1(both: Surfaces) -> float:
    return nsd(both, 1.1)
