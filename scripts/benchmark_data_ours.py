"""medseg's side of `benchmark_data.py`: the data modules as training uses them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medseg.config.schema import Component, DataConfig, SamplerConfig
from medseg.data.modules import SmallLesionDataModule
from medseg.data.patches import PatchDataset
from medseg.data.phantoms import Phantom
from medseg.data.preparation import Preparer
from medseg.data.store import PreparedStore

Step = Callable[[], int]


def generate(folder: Path, kind: str, cases: int, size: list[int]) -> Path:
    """Phantoms in nnU-Net's layout."""
    return Phantom(kind=kind, cases=cases, test_cases=0, size=size).read(folder / "phantoms").root  # type: ignore[arg-type]


def generate_pictures(folder: Path, cases: int) -> Path:
    """Colour pictures of 512 x 512: phantoms, and two more channels of them."""
    root = folder / "pictures"
    shutil.copytree(generate(folder, "lesions_2d", cases, [512, 512]), root, dirs_exist_ok=True)
    for path in (root / "imagesTr").iterdir():
        grey = np.array(Image.open(path))
        Image.fromarray(np.stack([grey, 255 - grey, grey // 2], axis=-1)).save(path)
    description = json.loads((root / "dataset.json").read_text())
    description["channel_names"] = {"0": "R", "1": "G", "2": "B"}
    (root / "dataset.json").write_text(json.dumps(description))
    return root


def data_module(root: Path, folder: Path, patch: list[int], **options: Any) -> SmallLesionDataModule:
    """A third of the patches on lesions, as the peers have it."""
    config = DataConfig(
        Component("nnunet"),
        patch,
        root=str(root),
        store=str(folder / "prepared"),
        folds=2,
        batch_size=1,
        patches_per_epoch=10**6,
        sampling=[SamplerConfig("lesion", fraction=0.33), SamplerConfig("random", fraction=0.67)],
    )
    return SmallLesionDataModule(replace(config, **options), seed=0)


def one_by_one(patches: PatchDataset) -> Step:
    """The next patch, as a loader's process makes it."""
    state = {"n": 0}

    def step() -> int:
        patches[state["n"]]
        state["n"] += 1
        return 1

    return step


def patches_of(root: Path, folder: Path, patch: list[int], augmentation: Component) -> Step:
    data = data_module(root, folder, patch, augmentation=augmentation)
    data.setup("fit")
    return one_by_one(data.patches)


def medseg_patches(root: Path, folder: Path) -> Step:
    return patches_of(root, folder, [64, 64, 64], Component("nnunet"))


def crop_only(root: Path, folder: Path) -> Step:
    """Crop and flip: every other change of the preset has probability 0."""
    others = ("rotation", "scale", "noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "gamma_inverted")
    still = Component("nnunet", {"probabilities": dict.fromkeys(others, 0.0)})
    return patches_of(root, folder, [64, 64, 64], still)


def medseg_pictures(root: Path, folder: Path) -> Step:
    return patches_of(root, folder, [256, 256], Component("microscopy"))


def memory_mapped_copy(root: Path, folder: Path) -> Step:
    """Image and label of 64^3 voxels at a random place, copied out of memory-mapped arrays."""
    data = data_module(root, folder, [64, 64, 64])
    arrays = []
    for number, case in enumerate(data.cases("train")):
        prepared = Preparer("zscore").prepare(case, data.dataset.labels)
        for name, array in (("image", prepared.image), ("label", prepared.label)):
            assert array is not None
            np.save(folder / f"{name}{number}.npy", array)
        arrays.append([np.load(folder / f"{name}{number}.npy", mmap_mode="r") for name in ("image", "label")])
    rng = np.random.default_rng(0)

    def step() -> int:
        image, label = arrays[rng.integers(len(arrays))]
        box = tuple(slice(first, first + 64) for first in (rng.integers(size - 63) for size in label.shape))
        return int(np.array(image[(slice(None), *box)]).size == 64**3 and np.array(label[box]).size == 64**3)

    return step


def medseg_prepare(root: Path, folder: Path) -> Step:
    """One case after the other to 0.8 mm, into a store of its own."""
    data = data_module(root, folder, [64, 64, 64])
    cases, place, state = data.cases("train"), folder / "prepared_anew", {"n": 0}

    def step() -> int:
        case = cases[state["n"] % len(cases)]
        state["n"] += 1
        PreparedStore(place, data.dataset, Preparer("zscore", [0.8, 0.8, 0.8])).build([case], workers=1)
        shutil.rmtree(place)
        return 1

    return step


def first_batch(folder: Path, cases: int) -> float:
    """Seconds from the config to the first batch, with all cases prepared; in this process, whose imports are done."""
    root = generate(folder, "lesions_3d", cases, [32, 32, 32])
    options: dict[str, Any] = {"augmentation": Component("nnunet"), "batch_size": 2, "workers": 2}
    data_module(root, folder, [32, 32, 32], **options).prepare_cases()
    start = time.perf_counter()
    data = data_module(root, folder, [32, 32, 32], **options)
    data.prepare_cases()
    data.setup("fit")
    next(iter(data.train_dataloader()))
    return time.perf_counter() - start
