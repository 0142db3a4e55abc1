from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import pytest

from medseg.data.labels import LabelSchema
from medseg.data.normalisation import Intensities
from medseg.data.store.index import CaseIndex, build_index
from medseg.data.store.lost import lost_lesions


@dataclass
class Counted:
    """As many lesions of each class as there were, and as there are."""

    native_lesions: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def lesions(self) -> Counted:
        return self

    @property
    def classes(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.left)), self.left)


def said(*cases: tuple[tuple[int, ...], tuple[int, ...]], spacing: tuple[float, ...] | None = (3.0, 3.0, 6.5)) -> list[str]:
    return lost_lesions(("small", "big"), [cast(CaseIndex, Counted(*case)) for case in cases], spacing)


class TestLostLesions:
    def test_each_class_is_counted_for_itself(self) -> None:
        (warning,) = said(((40, 100), (28, 100)), ((7, 0), (2, 0)))
        assert warning.startswith("resampling to [3, 3, 6.5] mm leaves 30 of 47 lesions of 'small'")

    @pytest.mark.parametrize(("left", "warnings"), [(98, 0), (97, 1)])
    def test_up_to_two_in_a_hundred_may_go(self, left: int, warnings: int) -> None:
        assert len(said(((100, 1), (left, 1)))) == warnings

    def test_those_that_break_do_not_make_up_for_those_that_vanish_elsewhere(self) -> None:
        assert "leaves 10 of 20" in said(((10, 0), (0, 0)), ((10, 0), (20, 0)))[0]

    def test_own_grids_lose_nothing(self) -> None:
        assert said(((9, 9), (0, 0)), spacing=None) == []
        assert said() == []
        assert said(((0, 0), (0, 0))) == []

    def test_lesions_of_a_voxel_are_lost_in_a_coarser_grid(self) -> None:
        native = np.zeros((8, 8, 8), np.uint8)
        native[1:3, 1:3, 1:3] = native[4, 5, 6] = native[6, 6, 7] = 1
        label = native[::2, ::2, ::2]
        image = np.zeros((1, 4, 4, 4), np.float32)
        intensities = Intensities.from_dict({"mean": [0], "std": [1], "low": [0], "high": [1], "eight_bit": False, "picture": False})
        schema = LabelSchema.exclusive({"background": 0, "lesion": 1})
        index = build_index(label, schema, (2, 2, 2), image, intensities, native)
        assert "leaves 1 of 3 lesions of 'lesion'" in lost_lesions(["lesion"], [index], (2, 2, 2))[0]
