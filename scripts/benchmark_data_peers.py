"""The peers of `benchmark_data.py`, each with its own loader and the transforms that match medseg's `nnunet` preset."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PATCH = (64, 64, 64)
Step = Callable[[], int]


def volumes(root: Path) -> list[tuple[Path, Path]]:
    """Image and label files of a data set in nnU-Net's layout."""
    labels = sorted(path for path in (root / "labelsTr").iterdir())
    return [(root / "imagesTr" / path.name.replace(".", "_0000.", 1), path) for path in labels]


def monai_patches(root: Path, folder: Path) -> Step:
    """CacheDataset, a crop around foreground or background, one fused affine, the intensities of the list."""
    from monai import transforms as t
    from monai.data import CacheDataset

    keys, both = ("image", "label"), ("bilinear", "nearest")
    turn = math.radians(30)
    chain = t.Compose(
        [
            t.LoadImaged(keys, ensure_channel_first=True),
            t.NormalizeIntensityd("image"),
            t.RandCropByPosNegLabeld(keys, "label", PATCH, pos=1, neg=1, num_samples=1),
            t.RandAffined(keys, prob=0.36, rotate_range=[turn] * 3, scale_range=[(-0.3, 0.4)] * 3, mode=both, padding_mode="zeros"),
            *[t.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)],
            t.RandGaussianNoised("image", prob=0.1, std=0.3),
            t.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1)),
            t.RandScaleIntensityd("image", prob=0.15, factors=0.25),
            t.RandScaleIntensityFixedMeand("image", prob=0.15, factors=0.25, preserve_range=True),
            t.RandSimulateLowResolutiond("image", prob=0.25, zoom_range=(0.5, 1)),
            t.RandAdjustContrastd("image", prob=0.1, gamma=(0.7, 1.5), retain_stats=True, invert_image=True),
            t.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
        ]
    )
    files = [{"image": str(image), "label": str(label)} for image, label in volumes(root)]
    cached = CacheDataset(files, chain, progress=False)
    state = {"n": 0}

    def step() -> int:
        (item,) = cached[state["n"] % len(cached)]
        state["n"] += 1
        return int(item["image"].shape[1:] == PATCH)

    return step


def nnunet_patches(root: Path, folder: Path) -> Step:
    """Its own loader over its own prepared files, with its default training transforms."""
    import torch
    from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
    from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

    torch.set_num_threads(1)
    prepared = nnunet_store(root, folder / "nnunet", spacing=None)
    turn = (-math.radians(30), math.radians(30))
    larger = get_patch_size(PATCH, turn, turn, turn, (0.85, 1.25))
    transforms = nnUNetTrainer.get_training_transforms(
        np.array(PATCH), turn, None, (0, 1, 2), False, use_mask_for_norm=[False], is_cascaded=False, foreground_labels=[1]
    )
    labels = LabelManager({"background": 0, "lesion": 1}, None)
    data = nnUNetDatasetBlosc2(str(prepared))
    loader = nnUNetDataLoader(data, 2, larger.astype(int), PATCH, labels, 0.33, transforms=transforms)
    return lambda: len(next(loader)["data"])


def nnunet_store(root: Path, folder: Path, spacing: list[float] | None) -> Path:
    """The data set prepared by nnU-Net's own preprocessor."""
    save = nnunet_case(folder, spacing)
    for image, label in volumes(root):
        save(image, label)
    return folder


def nnunet_case(folder: Path, spacing: list[float] | None) -> Callable[[Path, Path], Any]:
    """Its default preprocessing of one case, from files to files."""
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    folder.mkdir(parents=True, exist_ok=True)
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    configuration = {
        "spacing": spacing or [1.0, 1.0, 1.0],
        "patch_size": list(PATCH),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "architecture": {},
    }
    plans = PlansManager(
        {
            "configurations": {"3d_fullres": configuration},
            "transpose_forward": [0, 1, 2],
            "image_reader_writer": "SimpleITKIO",
            "foreground_intensity_properties_per_channel": {"0": {}},
            "experiment_planner_used": "ExperimentPlanner",
            "label_manager": "LabelManager",
        }
    )
    description = json.loads('{"labels": {"background": 0, "lesion": 1}}')
    preprocessor = DefaultPreprocessor(verbose=False)

    def save(image: Path, label: Path) -> None:
        chosen = plans.get_configuration("3d_fullres")
        if spacing is None:
            import SimpleITK

            chosen.configuration["spacing"] = list(SimpleITK.ReadImage(str(image)).GetSpacing())[::-1]
        name = label.name.split(".")[0]
        for old in folder.glob(f"{name}*"):
            old.unlink()
        preprocessor.run_case_save(str(folder / name), [str(image)], str(label), plans, chosen, description)

    return save


def torchio_patches(samples: int) -> Callable[[Path, Path], Step]:
    """TorchIO's queue, which augments whole volumes and takes `samples` patches of each."""

    def build(root: Path, folder: Path) -> Step:
        import torchio as tio

        subjects = []
        for image, label in volumes(root):
            subject = tio.Subject(image=tio.ScalarImage(image), label=tio.LabelMap(label))
            subject.load()
            subjects.append(tio.ZNormalization()(subject))
        transform = tio.Compose(
            [
                tio.RandomAffine(scales=(0.7, 1.4), isotropic=True, degrees=30, p=0.36),
                tio.RandomFlip(axes=(0, 1, 2), flip_probability=0.5),
                tio.RandomNoise(std=(0, 0.3), p=0.1),
                tio.RandomBlur(std=(0.5, 1), p=0.2),
                tio.RandomAnisotropy(downsampling=(1, 2), p=0.25),
                tio.RandomGamma(log_gamma=(-0.35, 0.4), p=0.4),
            ]
        )
        sampler = tio.LabelSampler(PATCH, "label", label_probabilities={0: 1, 1: 1})
        queue = tio.Queue(
            tio.SubjectsDataset(subjects, transform=transform), max_length=4 * samples, samples_per_volume=samples, sampler=sampler,
            num_workers=0, shuffle_subjects=True, shuffle_patches=True,
        )  # fmt: skip

        def step() -> int:
            for _ in range(4 * samples):
                queue[0]
            return 4 * samples

        return step

    return build


def albumentations_pictures(standardise: bool) -> Callable[[Path, Path], Step]:
    """A plain data set: decode, crop, and the operations and shares of medseg's `microscopy` preset, one after the other."""

    def build(root: Path, folder: Path) -> Step:
        import albumentations as a
        import cv2

        cv2.setNumThreads(0)
        chain = a.Compose(
            [
                a.RandomCrop(256, 256),
                a.HorizontalFlip(p=0.5),
                a.VerticalFlip(p=0.5),
                a.Affine(rotate=(-180, 180), scale=(0.8, 1.25), border_mode=cv2.BORDER_REFLECT_101, p=0.5),
                a.ElasticTransform(alpha=40, sigma=12, p=0.25),
                a.RandomGamma(p=0.3),
                a.ColorJitter(brightness=(0.75, 1.25), contrast=(0.75, 1.25), saturation=(0.75, 1.25), hue=(-0.1, 0.1), p=0.5),
                a.Illumination(p=0.2),
                a.GaussianBlur(sigma_limit=(0.0, 1.5), p=0.2),
                a.GaussNoise(p=0.2),
                *([a.Normalize(normalization="image_per_channel")] if standardise else []),
            ]
        )
        files, state = volumes(root), {"n": 0}

        def step() -> int:
            image, label = files[state["n"] % len(files)]
            state["n"] += 1
            picture = cv2.cvtColor(cv2.imread(str(image)), cv2.COLOR_BGR2RGB)
            item = chain(image=picture, mask=cv2.imread(str(label), cv2.IMREAD_UNCHANGED))
            made = np.ascontiguousarray(np.moveaxis(item["image"].astype(np.float32), -1, 0))
            return len(made) // 3

        return step

    return build


def nnunet_prepare(root: Path, folder: Path) -> Step:
    """One case after the other to 0.8 mm."""
    save, files, state = nnunet_case(folder / "nnunet_prepare", [0.8, 0.8, 0.8]), volumes(root), {"n": 0}

    def step() -> int:
        save(*files[state["n"] % len(files)])
        state["n"] += 1
        return 1

    return step


PATCH_PEERS: dict[str, tuple[str, Callable[[Path, Path], Step]]] = {
    "MONAI": ("monai", monai_patches),
    "nnU-Net": ("nnunetv2", nnunet_patches),
    "TorchIO, 4 patches an augmentation": ("torchio", torchio_patches(4)),
    "TorchIO, 1 patch an augmentation": ("torchio", torchio_patches(1)),
}
PICTURE_PEERS = {
    "albumentations": ("albumentations", albumentations_pictures(True)),
    "albumentations, without z-score": ("albumentations", albumentations_pictures(False)),
}
PREPARE_PEERS = {"nnU-Net": ("nnunetv2", nnunet_prepare)}
