"""Tools to build tiny copies of public data sets, file for file as they are unpacked, and to say what must be read from them."""

from __future__ import annotations

import locale
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
import yaml
from PIL import Image

RECIPES = Path(__file__).resolve().parents[3] / "configs" / "recipes"
PICTURE = (16, 24)
"""Rows and columns of the pictures: multiples of 8, so that JPEG keeps masks of whole blocks apart."""
VOLUME = (6, 7, 5)
AFFINE = np.array([[-0.9, 0, 0, 30], [0, 1.1, 0, -20], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])


@dataclass
class Expected:
    """What one case must be read as.

    Args:
        group: The patient.
        masks: Class -> booleans in the shape of the image; classes that are left out are empty. None: the case has no label.
        image: (C, *spatial), None where the file's format loses something.
        ignored: Where the label counts as no voxel.
    """

    group: str
    masks: dict[str, np.ndarray] | None
    image: np.ndarray | None = None
    ignored: np.ndarray | None = None


@dataclass
class Tree:
    """What the whole data set must be read as; `painter` writes its files."""

    root: Path
    channels: Sequence[str]
    classes: Sequence[str]
    cases: dict[str, Expected] = field(default_factory=dict)
    tests: dict[str, Expected] = field(default_factory=dict)
    lonely: tuple[str, ...] = ()
    """Masks without an image, of which reading warns."""

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(5)

    def path(self, name: str) -> Path:
        """A path below the root, its folder made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def junk(self, *names: str) -> None:
        """Write files that are no images."""
        for name in names:
            self.path(name).write_text("not an image")

    def picture(self, name: str, mode: str = "RGB") -> np.ndarray | None:
        """Write a noisy picture and return what to read: three channels of a coloured one, None for JPEG."""
        depth = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
        array = self.rng.integers(1, 255, (*PICTURE, *depth), dtype=np.uint8)
        Image.fromarray(array).save(self.path(name))
        if name.lower().endswith(("jpg", "jpeg")):
            return None
        return (np.moveaxis(array[..., :3], -1, 0) if depth else array[None]).astype(np.float32)

    def grey(self, name: str, mode: str = "L") -> np.ndarray:
        """Write a grey picture, in three equal colours if mode is RGB; one channel."""
        array = self.rng.integers(1, 255, PICTURE, dtype=np.uint8)
        Image.fromarray(array).convert(mode).save(self.path(name))
        return array[None].astype(np.float32)

    def mask(self, name: str, form: str = "255") -> np.ndarray:
        """Write a binary mask and return it.

        Args:
            name: The file; JPEG blurs the mask's edges.
            form: The values: 255, 1, bit (a 1-bit file), palette (indices 0 and 1, red), colour (three equal ones), soft (grey on
                both sides of the middle) or empty.
        """
        blocks = self.rng.permutation(np.arange(PICTURE[0] * PICTURE[1] // 64) % 3 == 0).reshape(PICTURE[0] // 8, -1)
        mask = np.roll(np.kron(blocks, np.ones((8, 8))), (3, 3), (0, 1)).astype(bool) & (form != "empty")
        values = mask * np.uint8(1 if form in ("1", "palette") else 255)
        if form == "soft":
            values = np.where(mask, self.rng.integers(128, 256, PICTURE), self.rng.integers(0, 128, PICTURE)).astype(np.uint8)
        picture = Image.fromarray(values)
        if form == "palette":
            picture = picture.convert("P")
            picture.putpalette([0, 0, 0, 255, 0, 0])
        elif form in ("bit", "colour"):
            picture = picture.convert({"bit": "1", "colour": "RGB"}[form])
        picture.save(self.path(name))
        return mask

    def volume(self, name: str, shape: Sequence[int] = VOLUME, affine: np.ndarray = AFFINE) -> np.ndarray:
        """Write a noisy volume; one channel."""
        array = self.rng.integers(-500, 500, shape).astype(np.int16)
        save_volume(self.path(name), array, affine)
        return array[None].astype(np.float32)

    def labels(
        self, name: str, values: Mapping[str, int | Sequence[int]], shape: Sequence[int] = VOLUME, affine: np.ndarray = AFFINE
    ) -> dict[str, np.ndarray]:
        """Write a label map that holds every value, and return where each class lies."""
        every = [0, *(value for entry in values.values() for value in ([entry] if isinstance(entry, int) else entry))]
        array = self.rng.permutation(np.resize(every, int(np.prod(shape)))).reshape(shape).astype(np.uint8)
        save_volume(self.path(name), array, affine)
        return {label: np.isin(array, entry) for label, entry in values.items()}

    def drawing(self, name: str, affine: np.ndarray = AFFINE, empty: bool = False) -> np.ndarray:
        """Write a binary mask of a volume: a fifth of the voxels, or none."""
        mask = (self.rng.random(VOLUME) < 0.2) & (not empty)
        save_volume(self.path(name), mask.astype(np.uint8), affine)
        return mask

    def channels_of(self, names: Sequence[str]) -> np.ndarray:
        """Write one volume per name, the channels of a case."""
        return np.concatenate([self.volume(name) for name in names])

    def dicom(self, folder: str, names: Sequence[str], one_series: bool = True) -> np.ndarray:
        """Write a series whose file names run from the head down, against the positions; one channel, lowest slice first."""
        array = self.rng.integers(0, 1000, VOLUME).astype(np.int16)
        for index, name in enumerate(names):
            place = VOLUME[2] - 1 - index
            image = SimpleITK.GetImageFromArray(array[:, :, place].T[None])
            image.SetSpacing((1.5, 1.2, 4.0))
            image.SetOrigin((-10.0, -20.0, -50.0 + 4 * place))
            series = "1.2.826.0.1.3680043.2.1125.7" + ("" if one_series else f".{index}")
            tags = {
                "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{index + 1}",
                "0008|0060": "CT",
                "0020|000d": "1.2.826.0.1.3680043.2.1125.2",
                "0020|000e": series,
                "0020|0013": str(index + 1),
                "0020|0032": f"-10\\-20\\{-50 + 4 * place}",
                "0020|0037": "1\\0\\0\\0\\1\\0",
            }
            for tag, value in tags.items():
                image.SetMetaData(tag, value)
            writer = SimpleITK.ImageFileWriter()
            writer.KeepOriginalImageUIDOn()
            writer.SetFileName(str(self.path(f"{folder}/{name}")))
            before = locale.setlocale(locale.LC_CTYPE)
            writer.Execute(image)
            locale.setlocale(locale.LC_CTYPE, before)  # writing DICOM, not reading it, leaves it at "C", and other tests read text
        return array[None].astype(np.float32)

    def slices(
        self, folder: str, names: Sequence[str], values: Mapping[str, Sequence[int]], background: Sequence[int] = (0,)
    ) -> dict[str, np.ndarray]:
        """Write a stack of PNG masks in the order of `dicom`'s names."""
        every = [*background, *(value for entry in values.values() for value in entry)]
        array = self.rng.permutation(np.resize(every, int(np.prod(VOLUME)))).reshape(VOLUME).astype(np.uint8)
        for index, name in enumerate(names):
            Image.fromarray(array[:, :, VOLUME[2] - 1 - index].T).save(self.path(f"{folder}/{name}"))
        return {label: np.isin(array, list(entry)) for label, entry in values.items()}

    def litter(self) -> Tree:
        """Put an AppleDouble file beside every file and a .DS_Store into every folder, as macOS does."""
        for path in sorted(self.root.rglob("*")):
            if path.is_dir():
                (path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
            else:
                (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
        return self


def recipe_of(name: str) -> dict[str, Any]:
    """A shipped recipe as it stands in its file."""
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))


def save_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write (x, y, z) as NIfTI, MetaImage or NRRD."""
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
        return
    image = SimpleITK.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetSpacing(np.abs(np.diag(affine)[:3]).tolist())
    SimpleITK.WriteImage(image, str(path))


def painted_over(masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Exclusive masks: later classes over earlier ones."""
    names = list(masks)
    return {
        name: masks[name] & ~np.any([masks[later] for later in names[index + 1 :]] + [np.zeros_like(masks[name])], axis=0)
        for index, name in enumerate(names)
    }


def ramp(shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
    """A volume that is linear in millimetres: linear interpolation into any grid inside it is exact."""
    voxels = np.stack(np.meshgrid(*(np.arange(size) for size in shape), indexing="ij"), axis=-1)
    return ((voxels @ affine[:3, :3].T + affine[:3, 3]) @ np.array([3.0, 2.0, -1.0])).astype(np.float32)
