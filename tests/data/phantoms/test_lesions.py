"""Statistics of the generated lesions: over the default data sets, and of the scattering itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medseg.data.phantoms import Phantom
from medseg.data.phantoms.lesions import HIGHEST_SHARE, LARGEST, LOWEST_SHARE, SMALLEST, scatter_lesions
from medseg.data.phantoms.sample import Sample

KINDS = ("lesions_2d", "lesions_3d")


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    return ndimage.label(mask, np.ones((3,) * mask.ndim))


@pytest.fixture(scope="module", params=KINDS)
def samples(request: pytest.FixtureRequest) -> list[Sample]:
    """The diseased among the first cases of a default data set."""
    kind: Literal["lesions_2d", "lesions_3d"] = request.param
    phantom = Phantom(kind=kind)
    return [sample for sample in map(phantom.sample, range(14)) if sample.label.any()]


def local_contrast(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Mean of each lesion above its surroundings (three voxels around it), in standard deviations of these."""
    labels, count = components(label)
    full = np.ones((3,) * labels.ndim)
    ratios = []
    for lesion, box in enumerate(ndimage.find_objects(labels, count), 1):
        around = tuple(slice(max(axis.start - 4, 0), axis.stop + 4) for axis in box)
        mask, image_box = labels[around] == lesion, image[around]
        ring = ndimage.binary_dilation(mask, full, iterations=3) & ~ndimage.binary_dilation(label[around] > 0, full) & (image_box > 0)
        if ring.sum() >= 20:
            ratios.append((image_box[mask].mean() - image_box[ring].mean()) / image_box[ring].std())
    return np.array(ratios)


class TestRealLesions:
    def test_the_contrast_that_the_phantom_imitates(self, real_data: Path) -> None:
        folder = real_data / "Dataset501_OpenMS"
        medians = []
        for path in sorted(folder.glob("labelsTr/*.nii.gz")):
            label = np.asarray(nib.load(path).dataobj)
            image = nib.load(folder / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz")).get_fdata()
            medians.append(np.median(local_contrast(image, label)))
        assert 1.7 <= min(medians) <= max(medians) <= 2.2


class TestDefaultLesions:
    def test_fill_a_thousandth_to_a_fiftieth_of_each_case(self, samples: list[Sample]) -> None:
        shares = [sample.label.mean() for sample in samples]
        assert min(shares) >= LOWEST_SHARE
        assert max(shares) <= HIGHEST_SHARE
        assert max(shares) > 2 * min(shares)

    def test_sizes_are_small_and_log_normal(self, samples: list[Sample]) -> None:
        sizes = np.concatenate([np.bincount(components(sample.label)[0].ravel())[1:] for sample in samples])
        low, median, high = np.percentile(sizes, [5, 50, 95])
        assert sizes.min() >= 1  # the camera's aperture may cut one
        assert sizes.max() <= LARGEST
        assert 3 <= low <= 7
        assert 9 <= median <= 25
        assert 45 <= high <= 130

    def test_contrast_is_that_of_real_lesions(self, samples: list[Sample]) -> None:
        ratios = np.concatenate([local_contrast(sample.image.astype(float), sample.label) for sample in samples])
        assert 1.5 <= np.median(np.abs(ratios)) <= 3.0  # 1.8 to 2.1 in three OpenMS scans, see below
        assert np.percentile(np.abs(ratios), 90) <= 5.0

    def test_intensity_alone_does_not_find_them(self, samples: list[Sample]) -> None:
        def best_dice(image: np.ndarray, label: np.ndarray, sign: int) -> float:
            order = np.argsort(sign * image.ravel().astype(float))[::-1]
            hits = np.cumsum(label.ravel()[order])
            return float((2 * hits / (np.arange(1, label.size + 1) + label.sum())).max())

        sign = -1 if samples[0].image.ndim == 2 else 1
        assert np.mean([best_dice(sample.image, sample.label, sign) for sample in samples]) < 0.25


class TestScatter:
    @pytest.mark.parametrize("shape", [(128, 128), (48, 48, 48)])
    def test_lesions_stay_where_the_prior_allows_and_do_not_touch(self, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(0)
        prior = np.zeros(shape)
        prior[tuple(slice(8, -8) for _ in shape)] = 1
        mask, profile = scatter_lesions(rng, prior, (1.0,) * len(shape), share=0.01, median=15, spread=1.0)
        assert not mask[prior == 0].any()
        assert not profile[prior == 0].any()
        sizes = np.bincount(components(mask)[0].ravel())[1:]
        assert sizes.min() >= SMALLEST
        assert (profile[mask] > 0.35).all()
        assert profile.max() <= 1.25

    def test_no_room_is_an_error(self) -> None:
        prior = np.zeros((64, 64))
        prior[3, 3] = 1
        with pytest.raises(ValueError, match="no room"):
            scatter_lesions(np.random.default_rng(0), prior, (1.0, 1.0), share=0.01, median=15, spread=1.0)
