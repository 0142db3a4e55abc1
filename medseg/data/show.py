"""What a config makes of a data set's patches, as a picture."""

from __future__ import annotations

import copy
from pathlib import Path

from rich.console import Console

from medseg.config.schema import Config
from medseg.data.augmentation import none
from medseg.data.contact_sheet import write_sheet
from medseg.data.modules import SegmentationDataModule
from medseg.errors import DataError


def show_patches(config: Config, out: Path, patches: int, console: Console, *, planes: int = 1, channel: str | None = None) -> None:
    """Write a contact sheet of the first training patches of a run, each beside the patch as it was read.

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
    items = config.data.sampling or data.default_sampling
    drawn = [item.name for item in items if item.fraction > 0]
    write_sheet(
        made,
        plain,
        labels,
        out,
        patches,
        planes=planes,
        channel=0 if channel is None else names.index(channel),
        title=f"{config.name}: {config.data.augmentation.name}",
        sampler=lambda number: drawn[made.mixture.sampler_of(number)],
    )
    console.print(f"{patches} patches of {data.dataset.name}: {out}", markup=False, highlight=False, soft_wrap=True)
