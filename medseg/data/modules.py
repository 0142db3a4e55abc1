"""Data modules: from the `data` section of a config to the loaders of training, validation and test."""

from __future__ import annotations

import math
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from medseg.config.schema import SamplerConfig
from medseg.data.augmentation.base import Augmentation
from medseg.data.case import Case, DataSet
from medseg.data.check import layout_errors
from medseg.data.copy_paste import CopyPaste
from medseg.data.loader_errors import Telling
from medseg.data.patches import CaseDataset, CaseSampler, DeriveMaps, PatchDataset, PatchSampler, augment_batch, collate_sources, only_item
from medseg.data.preparation import PreparedCase, Preparer, foreground_statistics
from medseg.data.sampling import build_mixture
from medseg.data.splits import Splits, make_splits, read_split_file, write_splits
from medseg.data.store import CaseIndex, PreparedStore, StoredCases
from medseg.errors import DataError, first_few

if TYPE_CHECKING:
    from medseg.config.schema import DataConfig

Stage = Literal["train", "val", "test"]

STAGES: tuple[Stage, ...] = ("train", "val", "test")

CASE_WORKERS = 2
"""Most processes that read whole cases, each one case ahead: more would hold gigabytes of large scans, and scoring takes longer anyway."""


class SegmentationDataModule(LightningDataModule):
    """Reads a data set, splits it, prepares each case once, and loads patches for training and whole cases for scoring.

    A batch of training is `{"image": (B, C, *patch) float32, "label": (B, 1, *patch) uint8 ids, "case": list of ids}`, with `derive_maps`
    also `{"maps": {name: (B, ..., *patch)}, "spacing": (B, axes) in mm}`; a batch of validation or test is one `PreparedCase`, left on the
    CPU. `batch_size` and `patches_per_epoch` count over all devices: with the same seed the ranks together load the patches that one
    process would.

    Subclasses say what half of the patches are centred on where `data.sampling` says nothing.

    Args:
        config: The `data` section.
        seed: Seed of patches and augmentation.

    Raises:
        DataError: The data set cannot be read or does not fit the config.
    """

    centred_on: ClassVar[str]
    """A key of `medseg.data.SAMPLERS`."""

    def __init__(self, config: DataConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.seed = seed
        self.allow_zero_length_dataloader_with_multiple_devices = True  # there may be fewer cases to score than ranks
        self.dataset: DataSet = read_dataset(config)
        self._check_dimensions()
        self._check_batches()
        self.splits: Splits = self._split()
        self.statistics: dict[str, Any] | None = None
        """Intensities of the training foreground, for `ct` only: measured at the first need, unless a checkpoint's are put here before."""
        self.derive_maps: DeriveMaps | None = None
        """Makes maps of each training patch's label, for a loss that needs them; to be set before `setup`."""
        self.store = PreparedStore(Path(config.store), self.dataset, Preparer(config.normalisation, config.spacing))
        self.augmentation: Augmentation = build_augmentation(config, self.dataset)
        self._patches: PatchDataset | None = None
        self._stored: dict[Stage, StoredCases] = {}
        self._cache_left = config.cache_gib

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.dataset.channels)

    @property
    def patches(self) -> PatchDataset:
        """The training patches, once `setup` has run."""
        assert self._patches is not None, "call setup('fit') first"
        return self._patches

    @property
    def default_sampling(self) -> list[SamplerConfig]:
        """What patches are centred on where `data.sampling` says nothing."""
        return [SamplerConfig(self.centred_on, fraction=0.5), SamplerConfig("random", fraction=0.5)]

    def case_ids(self, stage: Stage) -> list[str]:
        """The cases of a stage. Test: those held out by the split, then the labelled ones that the data set itself sets apart."""
        if stage == "test":
            return [*self.splits.test, *(case.id for case in self.dataset.test_cases if case.label is not None)]
        return list(self.splits.folds[self.config.fold][stage])

    def cases(self, stage: Stage) -> list[Case]:
        """The cases of a stage, in the order of `case_ids`."""
        by_id = {case.id: case for case in (*self.dataset.cases, *self.dataset.test_cases)}
        return [by_id[name] for name in self.case_ids(stage)]

    @property
    def used_cases(self) -> dict[str, Case]:
        """All cases that the run trains, validates or tests on, by id."""
        return {case.id: case for stage in STAGES for case in self.cases(stage)}

    def write_splits(self, path: Path) -> None:
        """Writes the splits as JSON, so that the run says what it was trained on."""
        write_splits(path, self.splits)

    def prepare_cases(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Prepares all cases that the run will use and that the store does not hold yet, and finds every fault that they have.

        Args:
            progress: Called with the number of cases done and the number to do: before the first one, and after each.

        Raises:
            DataError: Some have faults; the message names the first few.
        """
        used = self.used_cases
        faults = layout_errors(self.dataset, used)
        if faults:
            raise DataError(
                f"the data set '{self.dataset.name}' has {len(faults)} faults; `medseg check` lists all of them:\n{first_few(faults)}"
            )
        self.store.build(list(used.values()), progress=progress)

    @property
    def preparer(self) -> Preparer:
        """What turns files into arrays; measures the training foreground first where the normalisation needs it."""
        names = self.config.normalisation
        if self.statistics is None and "ct" in ([names] if isinstance(names, str) else names):
            train = self._opened("train")
            self.statistics = foreground_statistics(train.foreground(number) for number in range(len(train)))
        return Preparer(names, self.config.spacing, self.statistics)

    def setup(self, stage: str) -> None:
        """Opens the cases of a stage (`fit`, `validate`, `test`), prepared first where they are not; once."""
        wanted: dict[str, tuple[Stage, ...]] = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}
        for name in wanted.get(stage, ()):
            self.stored(name)
        if stage == "fit" and self._patches is None:
            self._patches = self._make_patches()

    def stored(self, stage: Stage) -> StoredCases:
        """The prepared cases of a stage, normalised as they are read."""
        cases = self._opened(stage)
        cases.use(self.preparer.normaliser)
        return cases

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of patches."""
        patches, (rank, world_size) = self.patches, self._place()
        if self.config.batch_size % world_size:
            raise DataError(
                f"data.batch_size={self.config.batch_size} counts over all devices and cannot be shared by {world_size}; choose a multiple"
            )
        patches.on_device = self._augments_on_device()
        collate = {"collate_fn": collate_sources} if patches.on_device else {}
        sampler = PatchSampler(patches, rank, world_size)
        if self.trainer is not None:  # Lightning says it only after the loader's processes have begun to read ahead
            sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        return self._loader(patches, sampler, self.config.workers, batch_size=self.config.batch_size // world_size, **collate)

    def val_dataloader(self) -> DataLoader[PreparedCase]:
        """The validation cases, one at a time."""
        return self._case_loader("val")

    def test_dataloader(self) -> DataLoader[PreparedCase]:
        """The test cases, one at a time."""
        return self._case_loader("test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves a batch of patches; a whole case stays where it is, since inference moves its windows."""
        return batch if isinstance(batch, PreparedCase) else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augments on the device what the loader's processes have left to it."""
        return augment_batch(batch, self.augmentation, self.derive_maps) if isinstance(batch, dict) and "draws" in batch else batch

    def _split(self) -> Splits:
        config = self.config
        splits = split_cases(config, self.dataset.cases)
        if config.fold >= len(splits.folds):
            raise DataError(f"data.fold={config.fold} does not exist: there are {len(splits.folds)} folds, counted from 0")
        return splits

    def _check_dimensions(self) -> None:
        config, dims = self.config, self.dataset.spatial_dims
        name = self.dataset.name
        if len(config.patch_size) != dims:
            raise DataError(f"data.patch_size={list(config.patch_size)} must have {dims} numbers: data set '{name}' is {dims}-D")
        if config.spacing is not None and len(config.spacing) != dims:
            raise DataError(f"data.spacing={list(config.spacing)} must have {dims} numbers: data set '{name}' is {dims}-D")
        if not isinstance(config.normalisation, str) and len(config.normalisation) != self.channels:
            raise DataError(
                f"data.normalisation={list(config.normalisation)} must be one name, or {self.channels} names, one for each channel "
                f"of data set '{name}' ({', '.join(self.dataset.channels)})"
            )

    def _check_batches(self) -> None:
        if self.config.patches_per_epoch < self.config.batch_size:
            raise DataError(
                f"data.patches_per_epoch={self.config.patches_per_epoch} is less than data.batch_size={self.config.batch_size}: "
                "an epoch would hold no batch; raise the former"
            )

    def _opened(self, stage: Stage) -> StoredCases:
        if stage not in self._stored:
            cases = self._some_cases(stage)
            self._stored[stage] = self.store.open(cases, self._cache_left, build=True)
            self._cache_left -= self._stored[stage].cache_nbytes / 2**30
        return self._stored[stage]

    def _make_patches(self) -> PatchDataset:
        config, cases, labels = self.config, self.stored("train"), self.dataset.labels
        index = [cases.index(number) for number in range(len(cases))]
        self._check_lesions(index)
        options = config.copy_paste
        return PatchDataset(
            cases,
            build_mixture(config.sampling or self.default_sampling, index, labels, config.batch_size, self.seed),
            self.augmentation,
            channels=self.channels,
            patch_size=config.patch_size,
            patches_per_epoch=config.patches_per_epoch,
            seed=self.seed,
            copy_paste=None if options is None else CopyPaste(cases, labels, options, self.augmentation.mirrored_axes),
            derive=self.derive_maps,
        )

    def _check_lesions(self, cases: Sequence[CaseIndex]) -> None:
        """Blames the spacing, not the labels, where resampling has left nothing to train on."""
        there = sum(sum(case.native_lesions) for case in cases)
        if there and not any(len(case.lesions) for case in cases):
            smallest = min((case.shape for case in cases), key=math.prod)
            raise DataError(
                f"data.spacing={list(self.config.spacing or ())} leaves none of the {there} lesions of the {len(cases)} training cases: "
                f"images become as small as {' x '.join(map(str, smallest))} voxels; choose a finer one, or null to keep each image's own"
            )

    def _augments_on_device(self) -> bool:
        wanted, able = self.config.augment_on, self.augmentation.on_device
        if wanted == "device" and not able:
            raise DataError(
                f"data.augment_on=device: '{self.config.augmentation.name}' augments in the loader's processes only; use worker or auto"
            )
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        # Maps of the labels are made where the patches are made, and would come back from the GPU for it.
        return wanted == "device" or (wanted == "auto" and able and on_gpu and self.derive_maps is None)

    def _some_cases(self, stage: Stage) -> list[Case]:
        cases = self.cases(stage)
        if not cases:
            remedy = (
                "set data.test_fraction above 0" if stage == "test" else "lower data.folds or data.test_fraction, or check data.split_file"
            )
            raise DataError(f"data set '{self.dataset.name}' leaves no {stage} cases; {remedy}")
        return cases

    def _case_loader(self, stage: Stage) -> DataLoader[PreparedCase]:
        cases, workers = CaseDataset(self.stored(stage)), min(self.config.workers, CASE_WORKERS)
        options = {"prefetch_factor": 1} if workers else {}
        return self._loader(cases, CaseSampler(cases, *self._place()), workers, batch_size=1, collate_fn=only_item, **options)

    def _loader(self, items: Any, sampler: Any, workers: int, **options: Any) -> DataLoader[Any]:
        # How many workers is the config's choice.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        return DataLoader(
            Telling(items) if workers else items,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            # Forked processes share the unpacked cases; elsewhere each unpacks boxes.
            multiprocessing_context="fork" if workers and _can_fork() else None,
            # Seeds nothing of ours, and without it each epoch would advance the global generator.
            generator=torch.Generator().manual_seed(self.seed),
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
            **options,
        )

    def _place(self) -> tuple[int, int]:
        """This process's rank and the number of processes."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


class SmallLesionDataModule(SegmentationDataModule):
    """For small, scattered structures: half of the patches are centred on a lesion, each lesion equally likely."""

    centred_on = "lesion"


class OrganDataModule(SegmentationDataModule):
    """For one or many large structures: half of the patches are centred on a class, each class equally likely."""

    centred_on = "class"


def read_dataset(config: DataConfig) -> DataSet:
    """Reads the data set that the `data` section names.

    Raises:
        DataError: The folder is missing or not in the format.
    """
    from medseg.data import FORMATS  # here, since the registries' module imports this one

    name = config.format.name
    reader = FORMATS[name](**config.format.params)
    root = None if config.root is None else Path(config.root).expanduser()
    if name != "phantom":
        if root is None:
            raise DataError(f"data.root is not set: say where the '{name}' data set lies, as in data.root=/path/to/dataset")
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder; set data.root to the data set's folder")
    dataset: DataSet = reader.read(root)
    return dataset


def split_cases(config: DataConfig, cases: Sequence[Case]) -> Splits:
    """Divides the cases as the `data` section says.

    Raises:
        DataError: There are too few, or the split file does not fit them.
    """
    if config.split_file is not None:
        return read_split_file(Path(config.split_file).expanduser(), cases)
    return make_splits(cases, config.folds, config.split_seed, config.test_fraction)


def build_augmentation(config: DataConfig, dataset: DataSet) -> Augmentation:
    """Builds the augmentation that the `data` section names.

    Raises:
        DataError: A parameter is out of range.
    """
    from medseg.data import AUGMENTATIONS  # as above

    try:
        build = AUGMENTATIONS[config.augmentation.name]
        augmentation: Augmentation = build(dataset.spatial_dims, dataset.labels, **config.augmentation.params)
    except ValueError as error:
        raise DataError(f"data.augmentation.params: {error}") from error
    return augmentation


def _can_fork() -> bool:
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
