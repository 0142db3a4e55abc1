from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medseg.data.contact_sheet import BACKGROUND, BETWEEN, COLOURS, HALO, IGNORED, MOST_WIDTH, TILE, outline, write_sheet
from medseg.data.labels import LabelSchema

LABELS = LabelSchema.exclusive({"lesion": 1, "organ": 2})


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


class Patches:
    """Grey ramps with a square lesion, or what is given."""

    def __init__(self, shape: tuple[int, ...] = (24, 24), channels: int = 1, brighter: float = 0.0, **extra: Any) -> None:
        self.shape, self.channels, self.brighter, self.extra = shape, channels, brighter, extra

    def __getitem__(self, number: int) -> dict[str, Any]:
        label = np.zeros((1, *self.shape), np.uint8)
        if number % 2 == 0:
            label[0][tuple(slice(4, 9) for _ in self.shape)] = 1
        ramp = np.broadcast_to(np.linspace(0, 0.8, self.shape[-1], dtype=np.float32), (self.channels, *self.shape))
        item = {"image": torch.from_numpy(ramp + self.brighter), "label": torch.from_numpy(label), "case": f"case_{number:03d}"}
        return item | self.extra


def written(path: Path, augmented: Any = None, plain: Any = None, labels: LabelSchema = LABELS, **options: Any) -> np.ndarray:
    plain = plain or Patches()
    write_sheet(augmented or plain, plain, labels, path / "sheet.png", **options)
    with Image.open(path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        return np.asarray(sheet.convert("RGB"))


def has(sheet: np.ndarray, colour: str) -> bool:
    return bool((sheet == rgb(colour)).all(axis=-1).any())


class TestOutline:
    def test_it_lies_just_outside_in_the_colour_of_the_class(self) -> None:
        ids = np.zeros((12, 12), np.uint8)
        ids[3:6, 3:6], ids[8:10, 8:10] = 1, 255
        drawn = outline(ids, LABELS, np.zeros((12, 12, 3), np.uint8))
        assert (drawn[3:6, 3:6] == 0).all()
        assert tuple(drawn[2, 4]) == tuple(drawn[4, 6]) == rgb(COLOURS[0])
        assert tuple(drawn[7, 8]) == rgb(IGNORED)
        assert (drawn[0] == 0).all()

    def test_a_dark_line_around_it_makes_it_visible_on_its_own_colour(self) -> None:
        ids = np.zeros((20, 20), np.uint8)
        ids[8:11, 8:11] = 1
        ground = np.broadcast_to(np.array(rgb(COLOURS[0]), np.uint8), (20, 20, 3))
        drawn = outline(ids, LABELS, ground)
        dark = (drawn == rgb(HALO)).all(axis=-1)
        assert dark[9].nonzero()[0].tolist() == [5, 13]
        assert (drawn[~dark] == rgb(COLOURS[0])).all()

    def test_the_dark_line_covers_no_class(self) -> None:
        ids = np.zeros((20, 20), np.uint8)
        ids[8:11, 3:6], ids[8:11, 8:11] = 1, 2
        drawn = outline(ids, LABELS, np.full((20, 20, 3), 255, np.uint8))
        assert (drawn[9, 8:11] == 255).all()
        assert tuple(drawn[9, 2]) == rgb(COLOURS[0])

    def test_overlapping_classes_have_an_outline_each(self) -> None:
        schema = LabelSchema(("whole", "core"), ((1, 2), (2,)))
        ids = np.zeros((20, 20), np.uint8)
        ids[3:17, 3:17], ids[8:11, 8:11] = 1, 2
        drawn = outline(ids, schema, np.zeros((20, 20, 3), np.uint8))
        assert tuple(drawn[2, 9]) == rgb(COLOURS[0])
        assert tuple(drawn[7, 9]) == rgb(COLOURS[1])

    def test_more_classes_than_colours_begin_again(self) -> None:
        schema = LabelSchema.exclusive({f"c{value}": value for value in range(1, 10)})
        ids = np.zeros((8, 8), np.uint8)
        ids[3:5, 3:5] = 8
        assert tuple(outline(ids, schema, np.zeros((8, 8, 3), np.uint8))[2, 3]) == rgb(COLOURS[0])


class TestSheet:
    def test_patches_stand_beside_their_plain_twins(self, tmp_path: Path) -> None:
        same = written(tmp_path, patches=1)
        brighter = written(tmp_path, augmented=Patches(brighter=0.2), patches=1)
        changed = np.flatnonzero((same != brighter).any(axis=(0, 2)))
        assert changed.min() == 36 + TILE + BETWEEN, "the left tile is the plain one, the right one comes after a gap"
        assert brighter[:, changed.min() :].mean() > same[:, changed.min() :].mean()

    def test_more_patches_make_a_larger_sheet(self, tmp_path: Path) -> None:
        small, large = written(tmp_path, patches=2), written(tmp_path, patches=12)
        assert large.shape[0] * large.shape[1] > 3 * small.shape[0] * small.shape[1]
        assert 0.7 < large.shape[1] / large.shape[0] < 2.5

    def test_grey_values_are_shown_as_they_are(self, tmp_path: Path) -> None:
        label = np.zeros((1, 24, 24), np.uint8)
        for value, colour in ((0.0, "#000000"), (0.2, "#333333"), (1.0, "#FFFFFF"), (-3.0, "#000000"), (7.0, "#FFFFFF")):
            sheet = written(tmp_path, plain=Patches(image=np.full((1, 24, 24), value, np.float32), label=label), patches=1)
            assert (sheet[-40 - TILE : -40, 36 : 36 + TILE] == rgb(colour)).all()

    @pytest.mark.parametrize("planes", [1, 3])
    def test_a_sheet_of_many_patches_grows_in_length_so_that_its_text_can_be_read(self, tmp_path: Path, planes: int) -> None:
        sheet = written(tmp_path, plain=Patches((8, 8, 8)), patches=48, planes=planes)
        assert 3 * (2 * TILE + 30) < sheet.shape[1] <= MOST_WIDTH
        assert sheet.shape[0] > 12 * planes * TILE

    def test_the_legend_names_the_classes_and_ignored_voxels_where_there_are_any(self, tmp_path: Path) -> None:
        sheet = written(tmp_path, patches=2)
        assert has(sheet, COLOURS[0])
        assert has(sheet, COLOURS[1]), "a class that no patch shows is in the legend"
        assert not has(sheet, IGNORED)
        ignored = torch.full((1, 24, 24), 255, dtype=torch.uint8)
        assert has(written(tmp_path, plain=Patches(label=ignored), patches=1), IGNORED)

    def test_a_long_legend_takes_more_lines(self, tmp_path: Path) -> None:
        many = LabelSchema.exclusive({f"a class with a long name {value}": value for value in range(1, 41)})
        assert written(tmp_path, labels=many, patches=1).shape[0] > written(tmp_path, patches=1).shape[0] + 100

    def test_three_channels_are_colours_and_others_one_grey_channel(self, tmp_path: Path) -> None:
        colours = np.zeros((3, 24, 24), np.float32)
        colours[0, :12] = 1
        assert has(written(tmp_path, plain=Patches(image=colours), patches=1), "#FF0000")
        two = np.stack([np.zeros((24, 24)), np.pad(np.ones((12, 24)), ((0, 12), (0, 0)))]).astype(np.float32)
        none, first, second = (written(tmp_path, plain=Patches(image=two), patches=1, channel=channel) for channel in (None, 0, 1))
        assert not has(first, "#FFFFFF")
        assert has(second, "#FFFFFF")
        assert (none == first).all()

    def test_one_of_three_colours_may_be_asked_for(self, tmp_path: Path) -> None:
        colours = np.zeros((3, 24, 24), np.float32)
        colours[0, :12] = 1
        assert has(written(tmp_path, plain=Patches(image=colours), patches=1, channel=0), "#FFFFFF")
        assert not has(written(tmp_path, plain=Patches(image=colours), patches=1, channel=1), "#FFFFFF")

    def test_volumes_are_cut_through_their_lesion(self, tmp_path: Path) -> None:
        volume = Patches((24, 20, 16))
        one, three = (written(tmp_path, plain=volume, patches=1, planes=planes) for planes in (1, 3))
        assert has(one[120:], COLOURS[0])
        assert three.shape[0] > one.shape[0] + TILE

    def test_the_axial_cut_shows_the_right_side_left_and_the_front_on_top(self, tmp_path: Path) -> None:
        image = np.zeros((1, 24, 24, 24), np.float32)
        image[0, 16:, 16:] = 1
        sheet = written(tmp_path, plain=Patches(image=image, label=np.zeros((1, 24, 24, 24), np.uint8)), patches=1)
        bright = np.argwhere((sheet == 255).all(axis=-1))
        tile = np.argwhere((sheet[100:] == 0).all(axis=-1)) + np.array([100, 0])
        assert bright[:, 0].max() < tile[:, 0].max() - TILE / 2
        assert bright[:, 1].min() == tile[:, 1].min() == 36

    def test_voxel_sizes_stretch_the_cuts(self, tmp_path: Path) -> None:
        flat = Patches((24, 24), spacing=torch.tensor([1.0, 3.0]))
        assert written(tmp_path, plain=flat, patches=1).shape[0] < written(tmp_path, patches=1).shape[0] - TILE / 2

    def test_title_and_sampler_are_written(self, tmp_path: Path) -> None:
        plain = written(tmp_path, patches=1)
        for options in ({"title": "Another"}, {"sampler": lambda number: f"lesion {number}"}):
            assert (written(tmp_path, patches=1, **options) != plain).any()

    def test_text_wider_than_a_patch_is_cut(self, tmp_path: Path) -> None:
        plain = written(tmp_path, patches=1)
        long = written(tmp_path, plain=Patches(case="a_very_long_name_" * 9), patches=1)
        assert long.shape == plain.shape
        assert (long[120:, 36 + 2 * TILE + BETWEEN :] == rgb(BACKGROUND)).all()

    def test_a_constant_patch_is_drawn(self, tmp_path: Path) -> None:
        assert written(tmp_path, plain=Patches(image=np.zeros((1, 24, 24), np.float32)), patches=1).size

    @pytest.mark.parametrize("options", [{"patches": 0}, {"planes": 0}, {"planes": 4}, {"patches": 1, "channel": 1}])
    def test_numbers_out_of_range_are_refused(self, tmp_path: Path, options: dict[str, int]) -> None:
        with pytest.raises(ValueError, match=r"planes|channel"):
            written(tmp_path, **options)
        assert not list(tmp_path.iterdir())
