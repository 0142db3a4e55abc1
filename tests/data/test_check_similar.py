from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medseg.data import check_similar
from medseg.data.check_similar import ALIKE, alike, signature


def picture(seed: int, shape: tuple[int, ...] = (160, 192)) -> np.ndarray:
    """Something with structures of several sizes, 0 to 255."""
    rng = np.random.default_rng(seed)
    image = sum(scale * ndimage.gaussian_filter(rng.standard_normal(shape), scale) for scale in (2, 5, 12))
    return (255 * (image - image.min()) / np.ptp(image)).astype(np.float32)


def compressed(image: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(stream, "JPEG", quality=40)
    return np.asarray(Image.open(stream), dtype=np.float32)


def correlation(one: np.ndarray, two: np.ndarray) -> float:
    first, second = signature(one), signature(two)
    assert first is not None
    assert second is not None
    return float(first @ second)


class TestSignature:
    def test_has_length_one(self) -> None:
        found = signature(picture(0))
        assert found is not None
        assert (found.dtype, found.shape) == (np.float32, (32 * 32,))
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)

    def test_stays_when_the_image_is_stored_another_way(self) -> None:
        image = picture(1)
        noise = 0.05 * image.std() * np.random.default_rng(0).standard_normal(image.shape)
        half = np.asarray(Image.fromarray(image).resize((96, 80), Image.Resampling.BILINEAR))
        for other in (3 * image - 500, image / 1000, image + noise, compressed(image), half, image[1:, :-1]):
            assert correlation(image, other) > ALIKE

    def test_volumes_too(self) -> None:
        volume = picture(2, (40, 44, 36))
        assert correlation(volume, 0.1 * volume + 7) == pytest.approx(1, abs=1e-4)
        assert correlation(volume, picture(3, (40, 44, 36))) < 0.5

    def test_differs_between_images(self) -> None:
        assert max(correlation(picture(0), picture(seed)) for seed in range(1, 20)) < 0.5

    def test_the_layout_that_all_share_counts_little(self) -> None:
        shared = 400 * ndimage.gaussian_filter(np.pad(np.ones((100, 120)), ((30, 30), (36, 36))), 12)
        assert correlation(shared + picture(0), shared + picture(1)) < 0.8

    @pytest.mark.parametrize("value", [0.0, 1e6, -3.7])
    def test_an_image_without_detail_has_none(self, value: float) -> None:
        assert signature(np.full((50, 60), value, np.float32)) is None

    def test_images_smaller_than_the_grid_have_one(self) -> None:
        assert correlation(picture(0, (7, 9)), 2 * picture(0, (7, 9))) > ALIKE


class TestAlike:
    def rows(self, *seeds: int) -> list[np.ndarray]:
        return [found for seed in seeds if (found := signature(picture(seed))) is not None]

    def test_pairs_across_groups_are_found_and_those_within_are_not(self) -> None:
        rows = self.rows(0, 1, 0, 1, 2)
        assert [(one, two) for one, two, _ in alike(rows, ["a", "b", "c", "b", "d"])] == [(0, 2)]

    def test_each_later_image_is_told_once_with_the_one_it_resembles_most(self) -> None:
        base = self.rows(0)[0]
        near = base + 0.003 * np.random.default_rng(0).standard_normal(base.size).astype(np.float32)
        rows = [near / np.linalg.norm(near), base, base]
        found = alike(rows, ["a", "b", "c"])
        assert [(one, two) for one, two, _ in found] == [(0, 1), (1, 2)]
        assert found[1][2] == pytest.approx(1, abs=1e-5)

    def test_the_threshold_decides(self) -> None:
        rows = self.rows(0, 1)
        assert alike(rows, ["a", "b"], threshold=-1.0)
        assert not alike(rows, ["a", "b"])

    def test_blocks_find_what_one_comparison_finds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = self.rows(0, 1, 2, 0, 3, 2, 1, 4)
        groups = list("abcdefgh")
        whole = [(one, two) for one, two, _ in alike(rows, groups)]
        monkeypatch.setattr(check_similar, "BLOCK", 3)
        assert [(one, two) for one, two, _ in alike(rows, groups)] == whole == [(0, 3), (2, 5), (1, 6)]

    def test_one_image_has_no_pair(self) -> None:
        assert alike([], []) == alike(self.rows(0), ["a"]) == []


class TestRealData:
    def test_the_known_duplicate_of_busi_is_the_only_pair(self, real_data: Path) -> None:
        folder = real_data / "busi30" / "images"
        if not folder.is_dir():
            pytest.skip("busi30 is not there")
        paths = sorted(folder.iterdir())
        rows = [signature(np.asarray(Image.open(path).convert("L"), dtype=np.float32)) for path in paths]
        found = alike([row for row in rows if row is not None], [path.stem for path in paths])
        assert [(paths[one].stem, paths[two].stem) for one, two, _ in found] == [("10582", "10593")]
