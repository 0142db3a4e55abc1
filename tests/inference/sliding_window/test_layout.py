from __future__ import annotations

import pytest
import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from medseg.inference.sliding_window.layout import Layout, at_once, importance_map


class TestWindows:
    @pytest.mark.parametrize("overlap", [0.0, 0.1, 0.25, 0.5, 0.625, 0.9, 0.99])
    @pytest.mark.parametrize(("image", "window"), [((17, 12, 9), (8, 8, 8)), ((64, 33), (16, 11)), ((8, 9), (8, 8)), ((100, 41), (7, 40))])
    def test_they_lie_where_monai_lays_them(self, image: tuple[int, ...], window: tuple[int, ...], overlap: float) -> None:
        interval = _get_scan_interval(image, window, len(image), (overlap,) * len(image))
        expected = [tuple(part.start for part in box) for box in dense_patch_slices(image, window, interval)]
        layout = Layout(image, window, overlap)
        assert layout.windows(0) == expected
        assert sorted(layout.windows(1)) == sorted(expected)
        assert [start[1] for start in layout.windows(1)] == sorted(start[1] for start in expected)

    def test_a_small_image_lies_in_the_middle_of_its_window(self) -> None:
        layout = Layout((5, 20), (8, 8), 0.5)
        assert layout.pads
        assert layout.starts(0) == [-1]
        assert layout.inside((-1, 12)) == (slice(0, 5), slice(12, 20))
        assert layout.covered((-1, 12)) == (slice(1, 6), slice(0, 8))

    def test_one_voxel_too_few_is_padded_behind(self) -> None:
        layout = Layout((7,), (8,), 0.5)
        assert (layout.pads, layout.starts(0), layout.covered((0,))) == (True, [0], (slice(0, 7),))

    def test_windows_are_copied_with_what_lies_outside(self) -> None:
        image = torch.arange(12.0).view(2, 2, 3)
        windows = torch.empty(2, 2, 4, 2)
        Layout((2, 3), (4, 2), 0.0).cut(image, [(-1, 0), (-1, 1)], torch.tensor([-5.0, -6.0]), windows)
        assert torch.equal(windows[1, :, 1:3], image[:, :, 1:])
        assert windows[0, 0, 0].tolist() == [-5, -5]
        assert windows[1, 1, 3].tolist() == [-6, -6]


class TestImportance:
    @pytest.mark.parametrize("window", [(8,), (16, 11), (32, 8, 5)])
    def test_it_is_monais_bit_for_bit(self, window: tuple[int, ...]) -> None:
        assert torch.equal(importance_map(window), compute_importance_map(window, mode="gaussian"))


class TestAtOnce:
    def test_long_rows_come_one_by_one(self) -> None:
        assert at_once(10**9) == 1
        assert at_once(1) > 1000
