from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from medseg.evaluation.report import picture
from medseg.evaluation.report.picture import area, grey, jpeg, outline, window


def edges(text: str) -> set[tuple[str, int, int]]:
    """Unit edges of an outline."""
    found = set()
    for x, y, way, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", text):
        for step in range(int(length)):
            found.add((way, int(x) + (step if way == "h" else 0), int(y) + (step if way == "v" else 0)))
    return found


def filled(text: str, shape: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for x, y, width, height in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", text):
        mask[int(y) : int(y) + int(height), int(x) : int(x) + int(width)] = True
    return mask


class TestMasks:
    def test_an_area_is_the_mask(self) -> None:
        mask = np.random.default_rng(0).random((13, 17)) < 0.4
        assert np.array_equal(filled(area(mask), mask.shape), mask)

    def test_an_outline_is_every_edge_between_inside_and_outside(self) -> None:
        mask = np.random.default_rng(1).random((9, 12)) < 0.5
        padded = np.pad(mask, 1)
        wanted = set()
        for y in range(mask.shape[0] + 1):
            for x in range(mask.shape[1] + 1):
                if x < mask.shape[1] and padded[y, x + 1] != padded[y + 1, x + 1]:
                    wanted.add(("h", x, y))
                if y < mask.shape[0] and padded[y + 1, x] != padded[y + 1, x + 1]:
                    wanted.add(("v", x, y))
        assert edges(outline(mask)) == wanted

    def test_an_empty_mask_has_neither(self) -> None:
        assert area(np.zeros((3, 3), bool)) == outline(np.zeros((3, 3), bool)) == ""

    def test_noise_is_drawn_from_blocks_that_hold_all_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mask = np.random.default_rng(2).random((41, 43)) < 0.3
        monkeypatch.setattr(picture, "MOST_LETTERS", 3000)
        assert len(area(mask)) <= 3000
        assert filled(area(mask), (48, 48))[:41, :43][mask].all()
        assert len(outline(mask)) <= 3000


class TestWindow:
    def test_zeros_around_a_head_do_not_count(self) -> None:
        image = np.zeros(10_000)
        image[:1000] = np.arange(1000) + 100
        low, high, _ = window(image)
        assert low == pytest.approx(105, abs=1)
        assert high == pytest.approx(1099, abs=1)

    def test_air_of_a_ct_does_not_count(self) -> None:
        image = np.concatenate([np.full(5000, -1024.0), np.linspace(-100, 300, 5000)])
        low, high, rule = window(image)
        assert (low, high) == (pytest.approx(-98, abs=1), pytest.approx(298, abs=1))
        assert "-500" in rule

    @pytest.mark.parametrize("image", [np.zeros(10), np.full(10, 7.0), np.full(10, -1000.0), np.array([np.nan, 1.0])])
    def test_flat_images_have_a_window_too(self, image: np.ndarray) -> None:
        low, high, _ = window(image)
        assert high > low


class TestScan:
    def test_intensities_become_grey_values(self) -> None:
        assert grey(np.array([[-5.0, 0.0, 50.0, 200.0, np.nan]]), 0, 100).tolist() == [[0, 0, 128, 255, 0]]
        assert grey(np.zeros((3, 4, 5)), 0, 1).shape == (4, 5, 3)

    def test_a_large_picture_becomes_smaller_and_keeps_its_shape(self) -> None:
        uri = jpeg(np.zeros((100, 400), np.uint8), 200, 80)
        assert uri.startswith("data:image/jpeg;base64,")
        assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (200, 50)

    def test_a_small_one_is_left_alone(self) -> None:
        picture_ = np.random.default_rng(0).integers(0, 255, (30, 20, 3), dtype=np.uint8)
        read = Image.open(io.BytesIO(base64.b64decode(jpeg(picture_, 200, 80).partition(",")[2])))
        assert (read.size, read.mode) == ((20, 30), "RGB")
        assert len(jpeg(picture_, 200, 30)) < len(jpeg(picture_, 200, 90))
