from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medseg.data.phantoms import Phantom
from medseg.data.phantoms.sample import Sample


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [Phantom(kind="organs_3d").sample(index) for index in range(8)]


class TestOrgans:
    def test_all_three_are_in_every_case_in_one_piece(self, samples: list[Sample]) -> None:
        for sample in samples:
            assert [ndimage.label(sample.label == value)[1] for value in (1, 2, 3)] == [1, 1, 1]

    def test_liver_is_larger_than_kidney_than_gallbladder(self, samples: list[Sample]) -> None:
        for sample in samples:
            counts = np.bincount(sample.label.ravel())
            assert counts[1] > counts[2] > counts[3] > 100

    def test_kidney_and_gallbladder_touch_the_liver(self, samples: list[Sample]) -> None:
        for sample in samples:
            rim = ndimage.binary_dilation(sample.label == 1)
            assert (rim & (sample.label == 2)).any()
            assert (rim & (sample.label == 3)).any()

    def test_contrast_between_neighbours_is_that_of_a_real_scan(self, samples: list[Sample]) -> None:
        ratios = []
        for sample in samples:
            liver = sample.image[ndimage.binary_erosion(sample.label == 1)]
            ratios.append((sample.image[sample.label == 2].mean() - liver.mean()) / liver.std())
        assert 1.5 <= np.median(ratios) <= 4

    def test_intensity_alone_does_not_find_the_kidney(self, samples: list[Sample]) -> None:
        for sample in samples:
            low, high = np.percentile(sample.image[sample.label == 2], [10, 90])
            inside = (sample.image >= low) & (sample.image <= high)
            assert (inside & (sample.label != 2)).sum() > 0.5 * (inside & (sample.label == 2)).sum()
