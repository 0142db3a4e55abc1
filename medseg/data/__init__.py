"""Data: formats on disk -> cases -> prepared arrays -> patches -> loaders.

To add a data set format, an augmentation or a way to sample: one class or function, one line below.
"""

from __future__ import annotations

from typing import Any

from medseg.data.augmentation import light, none, strong
from medseg.data.formats.decathlon import Decathlon
from medseg.data.formats.folders import Folders
from medseg.data.formats.nnunet import NnUNet
from medseg.data.modules import OrganDataModule, SegmentationDataModule, SmallLesionDataModule
from medseg.data.phantoms import Phantom

__all__ = ["AUGMENTATIONS", "DATA_MODULES", "FORMATS", "SegmentationDataModule"]

FORMATS: dict[str, Any] = {
    "decathlon": Decathlon,
    "nnunet": NnUNet,
    "folders": Folders,
    "phantom": Phantom,
}

AUGMENTATIONS: dict[str, Any] = {
    "none": none,
    "light": light,
    "strong": strong,
}

DATA_MODULES: dict[str, type[SegmentationDataModule]] = {
    "small_lesion": SmallLesionDataModule,
    "organ": OrganDataModule,
}
