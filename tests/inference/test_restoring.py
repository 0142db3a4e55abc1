from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from medseg.data.case import Case
from medseg.data.geometry import Geometry, resample
from medseg.data.preparation import PreparedCase, Preparer, canonical_grid
from medseg.inference import restoring
from medseg.inference.restoring import Slab, SlabRestorer, slab_axis, slab_slices
from medseg.inference.sliding_window import layout

AXES = [(order, signs) for order in itertools.permutations(range(3)) for signs in ((1, 1, 1), (-1, 1, -1), (-1, -1, -1))]


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "SLAB_VOXELS", 100)


def grid(shape: tuple[int, ...], order: tuple[int, ...], signs: tuple[int, ...]) -> Geometry:
    """A slightly oblique, anisotropic grid with these axes."""
    directions = np.linalg.qr(np.eye(3) + 0.02 * np.random.default_rng(0).normal(size=(3, 3)))[0]
    directions *= np.sign(np.diag(directions))
    affine = np.eye(4)
    affine[:3, :3] = directions[:, list(order)] * signs * [0.8, 1.5, 2.5]
    affine[:3, 3] = [-40, 20, 7]
    return Geometry(shape, affine)


def prepared_case(original: Geometry, spacing: tuple[float, ...] | None) -> PreparedCase:
    canonical = canonical_grid(original)
    empty = np.zeros((1, *canonical.shape), np.float32)
    image, geometry = (empty, canonical) if spacing is None else resample(empty, canonical, spacing, "cubic")
    return PreparedCase(Case("a", (), None, ""), image, None, geometry, original, None)


def in_pieces(maps: torch.Tensor, axis: int, rows: int) -> Iterator[Slab]:
    """Slabs whose memory is overwritten afterwards, as that of the windows' sums is."""
    for first in range(0, maps.shape[axis + 1], rows):
        part = maps.narrow(axis + 1, first, min(rows, maps.shape[axis + 1] - first)).clone()
        yield slice(first, first + part.shape[axis + 1]), part
        part.fill_(torch.nan)


def restored(maps: torch.Tensor, prepared: PreparedCase, rows: int) -> torch.Tensor:
    shape = prepared.original.shape
    found = torch.full((len(maps), *shape), torch.nan)
    restorer = SlabRestorer(prepared.geometry, prepared.original)
    for place, part in restorer(in_pieces(maps, restorer.axis, rows)):
        found[(slice(None),) * (1 + slab_axis(shape)) + (place,)] = part
    return found


class TestAgainstWholeMaps:
    @pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (2.0, 0.7, 4.0), (9.0, 9.0, 9.0), (0.5, 3.0, 2.5)])
    @pytest.mark.parametrize(("order", "signs"), AXES)
    def test_slabs_are_what_restore_makes(self, order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
        prepared = prepared_case(grid((11, 23, 17), order, signs), spacing)
        maps = torch.rand(2, *prepared.geometry.shape, generator=torch.Generator().manual_seed(0))
        expected = Preparer("none", spacing).restore(maps, prepared)
        for rows in (1, 5, 100):
            torch.testing.assert_close(restored(maps, prepared, rows), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("spacing", [None, (1.0, 1.0), (0.3, 0.9), (5.0, 2.0)])
    @pytest.mark.parametrize("shape", [(31, 12), (9, 40), (1, 1), (2, 1)])
    def test_pictures_too(self, shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
        prepared = prepared_case(Geometry(shape, np.diag([0.7, 0.9, 1, 1])), spacing)
        maps = torch.rand(3, *prepared.geometry.shape)
        torch.testing.assert_close(restored(maps, prepared, 4), Preparer("none", spacing).restore(maps, prepared))

    def test_without_resampling_values_are_copied_exactly(self) -> None:
        prepared = prepared_case(grid((6, 9, 5), (2, 0, 1), (-1, 1, 1)), None)
        maps = torch.rand(2, *prepared.geometry.shape)
        assert torch.equal(restored(maps, prepared, 2), Preparer("none", None).restore(maps, prepared))
        assert not SlabRestorer(prepared.geometry, prepared.original).resamples


class TestSlabs:
    def test_they_lie_along_the_longest_axis_the_first_of_several(self) -> None:
        assert [slab_axis(shape) for shape in ((3, 9, 4), (5, 5, 5), (4, 8), (1, 2, 2))] == [1, 0, 1, 1]

    @pytest.mark.parametrize("shape", [(3, 9, 4), (50, 50), (1000, 3, 3), (1,)])
    def test_they_cover_it_in_few_voxels(self, shape: tuple[int, ...]) -> None:
        slices = slab_slices(shape)
        assert [row for rows in slices for row in range(rows.start, rows.stop)] == list(range(max(shape)))
        assert max(rows.stop - rows.start for rows in slices) == min(max(shape), layout.at_once(int(np.prod(shape)) // max(shape)))

    def test_their_ranges_depend_on_the_original_shape_alone(self) -> None:
        original, ranges = grid((11, 23, 17), (0, 1, 2), (1, -1, 1)), []
        for spacing in (None, (1.0, 2.0, 3.0)):
            prepared = prepared_case(original, spacing)
            restorer = SlabRestorer(prepared.geometry, original)
            maps = torch.zeros(1, *prepared.geometry.shape)
            ranges.append([rows for rows, _ in restorer(in_pieces(maps, restorer.axis, 3))])
        assert ranges[0] == ranges[1] == slab_slices(original.shape)[::-1]  # the file's axis points against the canonical one

    def test_a_turned_grid_is_refused(self) -> None:
        turned = np.eye(4)
        turned[:2, :2] = [[0.9, -0.5], [0.5, 0.9]]
        with pytest.raises(ValueError, match="turned"):
            SlabRestorer(Geometry((5, 5, 5), np.eye(4)), Geometry((5, 5, 5), turned))

    def test_nothing_is_read_ahead(self) -> None:
        asked = []

        def source() -> Iterator[Slab]:
            for slab in in_pieces(torch.zeros(1, 40, 5, 5), 0, 4):
                asked.append(slab[0].stop)
                yield slab

        original = Geometry((40, 5, 5), np.eye(4))
        slabs = SlabRestorer(original, original)(source())
        assert next(slabs)[0] == slice(0, 4)
        assert asked == [4]
        assert restoring.at_once(25) == 4
