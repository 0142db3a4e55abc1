"""A contact sheet of training patches: what the network will see, beside what was read, with the labels outlined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from medseg.data.labels import IGNORE, LabelSchema
from medseg.files import atomic_path

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")

# Okabe and Ito's colours, which colour-blind readers can tell apart; those that stand out on grey, skin and fundus come first.
COLOURS = ("#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#E69F00", "#0072B2", "#D55E00")
IGNORED = "#B9AFC8"
HALO = "#000000"
BACKGROUND, TEXT, FAINT = "#23272E", "#F2F2F2", "#A9AFB8"

TILE = 216
"""Longest side of a tile in pixels."""
GAP, MARGIN, LINE = 4, 36, 18
BETWEEN = 14
"""Pixels between the two tiles of a pair: without them a tile and its mirror image look like one picture."""
SHAPE_OF_SHEET = 1.5
"""Width to height that the number of columns aims at."""
MOST_WIDTH = 2000
"""Largest width of a sheet in pixels, a screen's: a wider one would be scaled down until its text cannot be read."""


class Patches(Protocol):
    """Patches by number: mappings with `image` (C, *patch), `label` (1, *patch) and `case`; `spacing` (axes,) where it is known.

    Images are grey values to be shown, from 0 (black) to 1 (white); what lies beyond is cut off.
    """

    def __getitem__(self, number: int, /) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class _Entry:
    """One patch on the sheet: its tiles, rows of (plain, augmented), and what is written above."""

    rows: list[tuple[Image.Image, Image.Image]]
    title: str
    counts: np.ndarray
    ignored: bool
    note: str


def write_sheet(
    augmented: Patches,
    plain: Patches,
    labels: LabelSchema,
    out: Path,
    patches: int = 24,
    *,
    planes: int = 1,
    channel: int | None = None,
    title: str = "Training patches",
    sampler: Callable[[int], str] | None = None,
) -> None:
    """Write a PNG of the first `patches` patches, each twice: as it was read (left) and as the network sees it (right).

    Volumes are cut through the middle of their largest lesion, with the patient's right at the left and the front or head at the top.
    Outlines lie just outside of what they surround, with a dark line around them. A sheet is at most 2000 pixels wide, so that its text can
    be read on a screen: more patches make it longer.

    Args:
        augmented: The training patches.
        plain: The same patches without augmentation and copy-paste.
        labels: The classes.
        out: The file, .png.
        patches: How many.
        planes: Of volumes, how many of axial, coronal and sagittal cuts are shown, 1 to 3.
        channel: Which channel is shown; None: the three of a 2-D patch as colours, else the first.
        title: Heading.
        sampler: Names what chose the place of a patch, told its number.

    Raises:
        ValueError: A number out of range.
    """
    if patches < 1 or not 1 <= planes <= len(PLANES):
        raise ValueError(f"a sheet needs at least one patch and 1 to {len(PLANES)} planes, got {patches} and {planes}")
    entries = []
    for number in range(patches):
        note = "" if sampler is None else sampler(number)
        entries.append(_entry(augmented[number], plain[number], labels, PLANES[:planes], channel, note))
    sheet = _Layout(entries, labels, title).draw()
    with atomic_path(Path(out)) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)


def outline(ids: np.ndarray, labels: LabelSchema, picture: np.ndarray) -> np.ndarray:
    """Draw the outline of each class, and of ignored voxels, onto a picture: two pixels wide, just outside, with a dark pixel around it.

    The dark line makes the colour visible on a ground of the same colour. It covers no class.

    Shape:
        ids (H, W) uint8, picture (H, W, 3) uint8 -> (H, W, 3) uint8
    """
    drawn = picture.copy()
    colours = [IGNORED, *(COLOURS[k % len(COLOURS)] for k in range(labels.num_classes))]
    masks = [ids == IGNORE, *labels.masks(ids)]
    found = [(mask, ndimage.binary_dilation(mask, iterations=2), colour) for mask, colour in zip(masks, colours, strict=True) if mask.any()]
    everything = np.any(masks, axis=0)
    for _, grown, _ in found:
        drawn[ndimage.binary_dilation(grown) & ~grown & ~everything] = _rgb(HALO)
    for mask, grown, colour in found:
        drawn[grown & ~mask] = _rgb(colour)
    return drawn


def _entry(
    after: Mapping[str, Any], before: Mapping[str, Any], labels: LabelSchema, planes: Sequence[Plane], channel: int | None, note: str
) -> _Entry:
    images = [np.asarray(item["image"], dtype=np.float32) for item in (before, after)]
    ids = [np.asarray(item["label"])[0] for item in (before, after)]
    if channel is not None or images[0].ndim != 3 or len(images[0]) != 3:
        channel = channel or 0
        if not 0 <= channel < len(images[0]):
            raise ValueError(f"channel {channel} does not exist: the images have {len(images[0])}, counted from 0")
        images = [image[channel : channel + 1] for image in images]
    spacing = tuple(float(size) for size in after.get("spacing", (1.0,) * ids[0].ndim))
    rows = []
    for plane in planes if ids[0].ndim == 3 else [None]:
        left, right = (_tile(image, label, labels, plane, spacing) for image, label in zip(images, ids, strict=True))
        rows.append((left, right))
    return _Entry(rows, str(after["case"]), labels.masks(ids[1]).reshape(labels.num_classes, -1).sum(axis=1), IGNORE in ids[1], note)


def _tile(image: np.ndarray, ids: np.ndarray, labels: LabelSchema, plane: Plane | None, spacing: tuple[float, ...]) -> Image.Image:
    """One cut through image (C, *patch) and its ids, scaled to `TILE`."""
    if plane is not None:
        axis = 2 - PLANES.index(plane)
        place = _middle(np.any(labels.masks(ids), axis=0))[axis]
        # Right to left and front to back or top to bottom: all three cuts are their transpose turned by half.
        image = np.moveaxis(np.take(image, place, axis + 1), -1, -2)[:, ::-1, ::-1]
        ids = np.take(ids, place, axis).T[::-1, ::-1]
        spacing = tuple(size for other, size in enumerate(spacing) if other != axis)[::-1]
    grey = np.clip(image, 0, 1)
    extent = np.asarray(ids.shape) * spacing
    height, width = (max(1, round(float(length))) for length in extent * TILE / extent.max())
    bytes_ = np.moveaxis(np.broadcast_to(np.round(255 * grey), (3, *ids.shape)), 0, -1).astype(np.uint8)
    picture = Image.fromarray(bytes_).resize((width, height), Image.Resampling.BICUBIC)
    shown = Image.fromarray(np.ascontiguousarray(ids)).resize((width, height), Image.Resampling.NEAREST)
    return Image.fromarray(outline(np.asarray(shown), labels, np.asarray(picture)))


def _middle(foreground: np.ndarray) -> tuple[int, ...]:
    """The voxel of the largest lesion next to its centroid; without any, the middle of the patch."""
    parts, count = ndimage.label(foreground, np.ones((3,) * foreground.ndim))
    if not count:
        return tuple(length // 2 for length in foreground.shape)
    largest = np.argwhere(parts == 1 + np.bincount(parts.ravel())[1:].argmax())
    nearest = largest[((largest - largest.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return tuple(int(place) for place in nearest)


class _Layout:
    """Places entries on a sheet, a heading and a legend above them."""

    def __init__(self, entries: Sequence[_Entry], labels: LabelSchema, title: str) -> None:
        self.entries, self.labels, self.title = entries, labels, title
        self.fonts = {size: ImageFont.load_default(size=size) for size in (13, 15, 24)}
        self.width = 2 * max(tile.width for entry in entries for row in entry.rows for tile in row) + BETWEEN
        tiles = max(sum(row[0].height + GAP for row in entry.rows) for entry in entries)
        self.height = 2 * LINE + 4 + tiles
        wanted = np.sqrt(SHAPE_OF_SHEET * len(entries) * (self.height + MARGIN) / (self.width + MARGIN))
        wanted = min(wanted, (MOST_WIDTH - MARGIN) // (self.width + MARGIN))
        # As many columns as make a sheet of the wanted shape, but no half-empty last row where one column less fills the same rows.
        rows = int(np.ceil(len(entries) / min(len(entries), max(2, round(float(wanted))))))
        self.columns = int(np.ceil(len(entries) / rows))
        self.rows = rows

    def draw(self) -> Image.Image:
        """The sheet."""
        width = max(760, MARGIN + self.columns * (self.width + MARGIN))
        legend = self._legend_places(width)
        top = 94 + LINE * (1 + legend[-1][1])
        canvas = Image.new("RGB", (width, top + self.rows * (self.height + MARGIN)), BACKGROUND)
        pen = ImageDraw.Draw(canvas)
        self._heading(pen)
        for (x, row), (name, colour) in zip(legend, self._legend(), strict=True):
            y = 84 + LINE * row
            pen.rectangle((x, y + 2, x + 11, y + 13), outline=colour, width=3)
            pen.text((x + 18, y), name, TEXT, self.fonts[13])
        for number, entry in enumerate(self.entries):
            row, column = divmod(number, self.columns)
            self._draw_entry(canvas, pen, entry, MARGIN + column * (self.width + MARGIN), top + row * (self.height + MARGIN))
        return canvas

    def _heading(self, pen: ImageDraw.ImageDraw) -> None:
        shown = sum(bool(entry.counts.any()) for entry in self.entries)
        pen.text((MARGIN, 14), self.title, TEXT, self.fonts[24])
        pen.text(
            (MARGIN, 50),
            f"left: as read, right: as the network sees it     {shown} of {len(self.entries)} patches show a class",
            FAINT,
            self.fonts[15],
        )

    def _legend(self) -> list[tuple[str, str]]:
        """Names, with the number of patches that show each class, and colours."""
        counts = [sum(bool(entry.counts[k]) for entry in self.entries) for k in range(self.labels.num_classes)]
        names = [f"{name} ({count})" for name, count in zip(self.labels.classes, counts, strict=True)]
        pairs = [(name, COLOURS[k % len(COLOURS)]) for k, name in enumerate(names)]
        return [*pairs, ("ignored", IGNORED)] if any(entry.ignored for entry in self.entries) else pairs

    def _legend_places(self, width: int) -> list[tuple[int, int]]:
        """Column in pixels and line of each name."""
        places: list[tuple[int, int]] = []
        x, line = MARGIN, 0
        for name, _ in self._legend():
            length = 18 + round(self.fonts[13].getlength(name)) + 22
            if x + length > width and x > MARGIN:
                x, line = MARGIN, line + 1
            places.append((x, line))
            x += length
        return places

    def _draw_entry(self, canvas: Image.Image, pen: ImageDraw.ImageDraw, entry: _Entry, x: int, y: int) -> None:
        pen.text((x, y), self._cut(entry.title, self.fonts[15]), TEXT, self.fonts[15])
        content = ", ".join(f"{name} {count}" for name, count in zip(self.labels.classes, entry.counts, strict=True) if count)
        note = (f"drawn by {entry.note} · " if entry.note else "") + (content or "background only")
        pen.text((x, y + LINE + 1), self._cut(note, self.fonts[13]), FAINT, self.fonts[13])
        y += 2 * LINE + 4
        for left, right in entry.rows:
            canvas.paste(left, (x, y))
            canvas.paste(right, (x + (self.width + BETWEEN) // 2, y))
            y += left.height + GAP

    def _cut(self, text: str, font: Any) -> str:
        """The text, shortened to the width of an entry."""
        if font.getlength(text) <= self.width:
            return text
        while text and font.getlength(text + "…") > self.width:
            text = text[:-1]
        return text + "…"


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
