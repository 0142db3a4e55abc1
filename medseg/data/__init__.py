"""Data: formats on disk -> cases -> prepared arrays -> patches -> loaders.

To add a data set format, an augmentation or a way to sample: one class or function, one line below.
"""

from __future__ import annotations

from typing import Any

from medseg.data.augmentation import light, nnunet, none
from medseg.data.augmentation.pictures import dermoscopy, fundus, microscopy, ultrasound, xray
from medseg.data.formats.cases import Cases
from medseg.data.formats.decathlon import Decathlon
from medseg.data.formats.folders import Folders
from medseg.data.formats.nnunet import NnUNet
from medseg.data.formats.recipe import Recipe
from medseg.data.formats.table import Table
from medseg.data.modules import OrganDataModule, SegmentationDataModule, SmallLesionDataModule
from medseg.data.phantoms import Phantom
from medseg.data.sampling import CaseBalanced, ClassBalanced, Foreground, HardCase, LesionBalanced, Random

__all__ = ["AUGMENTATIONS", "DATA_MODULES", "FORMATS", "SAMPLERS", "SegmentationDataModule"]

FORMATS: dict[str, Any] = {
    "decathlon": Decathlon,
    "nnunet": NnUNet,
    "folders": Folders,
    "cases": Cases,
    "table": Table,
    "recipe": Recipe,
    "phantom": Phantom,
}

AUGMENTATIONS: dict[str, Any] = {
    "nnunet": nnunet,
    "light": light,
    "none": none,
    "ultrasound": ultrasound,
    "fundus": fundus,
    "dermoscopy": dermoscopy,
    "microscopy": microscopy,
    "xray": xray,
}

SAMPLERS: dict[str, Any] = {
    "random": Random,
    "foreground": Foreground,
    "class": ClassBalanced,
    "case": CaseBalanced,
    "lesion": LesionBalanced,
    "hard_case": HardCase,
}

DATA_MODULES: dict[str, type[SegmentationDataModule]] = {
    "small_lesion": SmallLesionDataModule,
    "organ": OrganDataModule,
}
