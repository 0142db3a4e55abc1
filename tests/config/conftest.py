"""A small package with registries, and a folder of configs, so that the rooms of medseg may change without breaking these tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config import find, signatures

PACKAGE = {
    "medseg/losses/__init__.py": """
from medseg.losses.overlap import Dice, FocalTversky
from medseg.losses.pixel import Focal as FocalTerm

TERMS: dict[str, type] = {"dice": Dice, "focal_tversky": FocalTversky, "focal": FocalTerm}
""",
    "medseg/losses/overlap.py": """
from __future__ import annotations
from torch import nn
from medseg.losses.base import Term

class Dice(Term):
    pass

class FocalTversky(Term):
    def __init__(self, num_classes: int, *, fn_weight: float = 0.7, fp_weight: float = 0.3, exponent: float = 0.75, smooth: float = 1e-5):
        super().__init__(num_classes, smooth=smooth)
""",
    "medseg/losses/base.py": """
from torch import nn

class Term(nn.Module):
    def __init__(self, num_classes: int, *, smooth: float = 1e-5, class_weights: list[float] | None = None):
        pass
""",
    "medseg/losses/pixel.py": """
from medseg.losses.base import Term

class Focal(Term):
    def __init__(self, num_classes: int, *, gamma: float = 2.0, alpha: "float | None" = None):
        pass
""",
    "medseg/metrics/measures.py": 'METRICS: dict[str, object] = {"dice": 1, "iou": 2, "nsd": 3, "lesion_f1": 4}\n',
    "medseg/networks/__init__.py": """
from medseg.networks.monai_nets import unet
from .monai_nets import Res

NETWORKS = {"unet": unet, "segresnet": Res}
""",
    "medseg/networks/monai_nets.py": """
from typing import Literal
from collections.abc import Sequence
from medseg.networks.norms import Norm

def unet(in_channels: int, num_outputs: int, *, channels: Sequence[int] = (16, 32), norm: Norm = "instance", residual: bool = False):
    pass

class Res:
    def __init__(self, in_channels, *, filters: int, upsample: Literal["nearest", "deconv"] = "deconv"):
        pass
""",
    "medseg/networks/norms.py": 'from typing import Literal\nNorm = Literal["instance", "batch"]\n',
    "medseg/data/__init__.py": """
from medseg.data.formats import Decathlon, Folders, Phantom
from medseg.data.augment import light, nnunet, none
from medseg.data.sampling import Lesion, Random

FORMATS = {"decathlon": Decathlon, "folders": Folders, "phantom": Phantom}
AUGMENTATIONS = {"none": none, "light": light, "nnunet": nnunet}
SAMPLERS = {"random": Random, "lesion": Lesion}
""",
    "medseg/data/formats/__init__.py": """
from __future__ import annotations
from collections.abc import Mapping
from typing import Literal

class Decathlon:
    pass

class Folders:
    def __init__(self, *, images: str = "images", labels: Mapping[str, int | list[int]] | None = None, suffix: str | None = None):
        pass

class Phantom:
    def __init__(self, *, kind: Literal["lesions_2d", "lesions_3d"] = "lesions_2d", cases: int = 20,
                 contrast: tuple[float, float] = (0.1, 0.5)):
        pass
""",
    "medseg/data/augment.py": """
def none(spatial_dims: int):
    pass

def light(spatial_dims: int, *, flip: float = 0.5):
    pass

def nnunet(spatial_dims: int, *, flip: float = 0.5):
    pass
""",
    "medseg/data/sampling.py": """
class Random:
    def __init__(self, cases):
        pass

class Lesion:
    def __init__(self, cases, *, size_exponent: float = 0.0):
        pass
""",
    "medseg/training/__init__.py": """
from medseg.training.optimizers import adamw, sgd
from medseg.training.schedules import cosine

OPTIMIZERS = {"adamw": adamw, "sgd": sgd}
SCHEDULES = {"cosine": cosine}
""",
    "medseg/training/optimizers.py": """
def adamw(parameters, *, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)):
    pass

def sgd(parameters, *, lr: float = 0.01, momentum: float = 0.9):
    pass
""",
    "medseg/training/schedules.py": "def cosine(optimizer, *, warmup_epochs: int = 0):\n    pass\n",
}

SMALL_LESION = """\
data:
  format: {name: phantom, params: {kind: lesions_2d, cases: 12}}
  patch_size: [64, 64]
network:
  name: unet
  params:
    channels: [8, 16]
trainer: {max_epochs: 3}
"""

FOCAL_TVERSKY = """\
extends: [_base/small_lesion.yaml]
name: focal_tversky
loss:
  activation: softmax
  terms:
    - {name: focal_tversky, weight: 1.0, params: {fn_weight: 0.7}}
    - name: dice
      weight: 0.5
"""


def write_all(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fixture package, read in place of the real one."""
    folder = write_all(tmp_path / "package", PACKAGE)
    monkeypatch.setattr(signatures, "PACKAGES", folder)
    return folder


@pytest.fixture
def configs(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, made the working directory, whose `configs/` holds focal_tversky.yaml and its base; nothing is shipped."""
    project = tmp_path / "project"
    write_all(project / "configs", {"focal_tversky.yaml": FOCAL_TVERSKY, "_base/small_lesion.yaml": SMALL_LESION})
    monkeypatch.chdir(project)
    monkeypatch.setattr(find, "_PACKAGE", tmp_path / "elsewhere" / "medseg")
    return project / "configs"


@pytest.fixture
def write(configs: Path) -> Callable[[str, str], Path]:
    """Write a config file: `write("x.yaml", text)`."""

    def write_one(name: str, text: str) -> Path:
        return write_all(configs, {name: text}) / name

    return write_one
