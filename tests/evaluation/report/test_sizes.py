from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.report.sizes import size_bins


class TestBins:
    @pytest.mark.parametrize("per_decade", [1, 2, 3])
    def test_every_lesion_is_in_one(self, per_decade: int) -> None:
        sizes = [*(10 ** np.random.default_rng(0).uniform(-2, 5, 200)), 1, 10, 100, 1000, 0.1]
        bins = size_bins(sizes, per_decade)
        assert all(sum(one.holds(size) for one in bins) == 1 for size in sizes)

    def test_ends_are_powers_of_ten_that_other_reports_have_too(self) -> None:
        assert [one.name for one in size_bins([3, 1000])] == ["1 to 10", "10 to 100", "100 to 1,000", "1,000 to 10,000"]
        assert size_bins([1, 30], 2)[0].high == pytest.approx(10**0.5)

    def test_the_middle_is_geometric(self) -> None:
        assert size_bins([20])[0].middle == pytest.approx(10**1.5)

    def test_without_lesions_there_is_none(self) -> None:
        assert size_bins([]) == size_bins([0]) == []
