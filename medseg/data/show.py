"""What a config makes of a data set's patches, as a picture."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from medseg.config.schema import Config
from medseg.data.augmentation import none
from medseg.data.contact_sheet import write_sheet
from medseg.data.modules import SegmentationDataModule
from medseg.data.normalisation import Normaliser
from medseg.data.patches import PatchDataset
from medseg.data.store import StoredCases
from medseg.errors import DataError

WINDOW = 0.5, 99.95
"""Percentiles of a case that are shown black and white: small bright lesions are less than 1 % of it and shall not be clipped."""

_SAMPLE = 500_000  # voxels of a case that the percentiles are taken of


class Display:
    """Turns patches back into the raw intensities of their case, and these into grey values that are the same all over the case.

    Pictures of 8 bits a channel in colour are shown as they are. Of other cases each channel runs from the 0.5 to the 99.95 percentile of
    its voxels that are not 0; of other pictures in colour all channels together.

    Args:
        cases: The stored cases.
        normaliser: What they are read with.
    """

    def __init__(self, cases: StoredCases, normaliser: Normaliser) -> None:
        self.cases, self.normaliser = cases, normaliser
        self._numbers = {cases.case(number).id: number for number in range(len(cases))}
        self._windows: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def grey(self, case: str, image: np.ndarray) -> np.ndarray:
        """Maps a normalised image (C, *patch) of a case to grey values, 0 for black and 1 for white, or beyond."""
        number = self._numbers[case]
        if number not in self._windows:
            self._windows[number] = self._window(number)
        low, high = (side.reshape(-1, *(1,) * (image.ndim - 1)) for side in self._windows[number])
        raw = self.normaliser.inverse(image, self.cases.index(number).intensities)
        return np.asarray((raw - low) / np.where(high > low, high - low, 1), dtype=np.float32)

    def _window(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Black and white of each channel, (C,) each."""
        intensities = self.cases.index(number).intensities
        channels = len(intensities.mean)
        if intensities.eight_bit and channels > 1:
            return np.zeros(channels), np.full(channels, 255.0)
        whole = self.cases.whole(number, reference=False).image.reshape(channels, -1)
        if whole.shape[1] > _SAMPLE:
            whole = whole[:, np.random.default_rng(0).integers(whole.shape[1], size=_SAMPLE)]
        values = self.normaliser.inverse(whole, intensities)
        rows = values.reshape(1, -1) if intensities.picture else values
        windows = [np.percentile(row[row != 0] if row.any() else row, WINDOW) for row in rows]
        low, high = np.broadcast_to(windows, (channels, 2)).T
        return low, high


class Displayed:
    """Patches by number as a contact sheet wants them: with grey values in place of normalised intensities."""

    def __init__(self, patches: PatchDataset, display: Display) -> None:
        self.patches, self.display = patches, display

    def __getitem__(self, number: int) -> dict[str, Any]:
        item = self.patches[number]
        return item | {"image": self.display.grey(item["case"], item["image"].numpy())}


def show_patches(config: Config, out: Path, patches: int, console: Console, *, planes: int = 1, channel: str | None = None) -> None:
    """Write a contact sheet of the first training patches of a run, each beside the patch as it was read.

    Both are shown in the intensities of the files, with one black and one white for all patches of a case, so that changes of brightness,
    contrast and colour show: see `Display`.

    Args:
        config: Of the run.
        out: The picture, .png.
        patches: How many.
        console: Where its name and what the samplers did is said.
        planes: Of volumes, how many of axial, coronal and sagittal cuts are shown.
        channel: Name of the channel to show; None: colours, or the first.

    Raises:
        DataError: The data set cannot be read, or an argument does not fit it.
    """
    from medseg.data import DATA_MODULES  # here, since the registries' module imports others of this folder

    if out.suffix.lower() != ".png" or patches < 1:
        raise DataError(f"--out must be a .png file and --patches at least 1, got {out} and {patches}")
    data: SegmentationDataModule = DATA_MODULES[config.data.module](config.data, config.seed)
    names = data.dataset.channels
    if channel is not None and channel not in names:
        raise DataError(f"--channel {channel}: there is no such channel; the data set '{data.dataset.name}' has {', '.join(names)}")
    data.prepare_cases()
    data.setup("fit")
    made, labels = data.patches, data.dataset.labels
    plain = copy.copy(made)
    plain.augmentation, plain.copy_paste = none(data.dataset.spatial_dims, labels), None
    display = Display(made.cases, data.preparer.normaliser)
    items = config.data.sampling or data.default_sampling
    drawn = [item.name for item in items if item.fraction > 0]
    write_sheet(
        Displayed(made, display),
        Displayed(plain, display),
        labels,
        out,
        patches,
        planes=planes,
        channel=None if channel is None else names.index(channel),
        title=f"{config.name}, augmentation {config.data.augmentation.name}",
        sampler=lambda number: drawn[made.mixture.sampler_of(number)],
    )
    console.print(f"{patches} patches of {data.dataset.name}: {out}", markup=False, highlight=False, soft_wrap=True)
