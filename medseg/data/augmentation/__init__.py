"""Random changes of training patches."""

from medseg.data.augmentation.base import Augmentation, Draw
from medseg.data.augmentation.presets import light, nnunet, none

__all__ = ["Augmentation", "Draw", "light", "nnunet", "none"]
