"""Data modules: from the `data` section of a config to the loaders of training, validation and test."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from medseg.data.augmentation import Augmentation
from medseg.data.case import Case, DataSet
from medseg.data.check import check_cases
from medseg.data.patches import CaseDataset, CaseSampler, DeriveMaps, PatchDataset, PatchSampler, only_item, read_ahead
from medseg.data.preparation import PreparedCase, Preparer, foreground_statistics
from medseg.data.sampling import CentreSampler, ClassSampler, LesionSampler
from medseg.data.splits import Splits, make_splits, read_split_file, write_splits
from medseg.errors import DataError

if TYPE_CHECKING:
    from medseg.config.schema import DataConfig

Stage = Literal["train", "val", "test"]

FAULTS_SHOWN = 5


class SegmentationDataModule(LightningDataModule):
    """Reads a data set, splits it, and loads patches for training and whole cases for scoring.

    A batch of training is `{"image": (B, C, *patch) float32, "label": (B, 1, *patch) uint8 ids, "case": list of ids}`, with `derive_maps`
    also `{"maps": {name: (B, ..., *patch)}, "spacing": (B, axes) in mm}`; a batch of validation or test is one `PreparedCase`, left on the
    CPU. `batch_size` and `patches_per_epoch` count over all devices: with the same seed the ranks together load the patches that one
    process would.

    Subclasses say what a patch of foreground is centred on.

    Args:
        config: The `data` section.
        seed: Seed of patches and augmentation.

    Raises:
        DataError: The data set cannot be read or does not fit the config.
    """

    centre_sampler: ClassVar[type[CentreSampler]]

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
        self._augmentation: Augmentation = build_augmentation(config, self.dataset.spatial_dims)
        self._patches: PatchDataset | None = None
        self._scored: dict[str, CaseDataset] = {}
        self._memory_left = config.cache_gib * 2**30

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return len(self.dataset.channels)

    def case_ids(self, stage: Stage) -> list[str]:
        """The cases of a stage. Test: those held out by the split, then the labelled ones that the data set itself sets apart."""
        if stage == "test":
            return [*self.splits.test, *(case.id for case in self.dataset.test_cases if case.label is not None)]
        return list(self.splits.folds[self.config.fold][stage])

    def cases(self, stage: Stage) -> list[Case]:
        """The cases of a stage, in the order of `case_ids`."""
        by_id = {case.id: case for case in (*self.dataset.cases, *self.dataset.test_cases)}
        return [by_id[name] for name in self.case_ids(stage)]

    def write_splits(self, path: Path) -> None:
        """Writes the splits as JSON, so that the run says what it was trained on."""
        write_splits(path, self.splits)

    def check(self) -> None:
        """Looks at every case that the run will use, before it begins.

        Raises:
            DataError: Some have faults; the message names the first few.
        """
        used = {case.id: case for stage in ("train", "val", "test") for case in self.cases(stage)}
        faults = check_cases(list(used.values()), self.dataset)
        if faults:
            shown = "\n".join(f"  {fault}" for fault in faults[:FAULTS_SHOWN])
            more = f"\n  ... and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
            raise DataError(
                f"the data set '{self.dataset.name}' has {len(faults)} faults; `medseg check` lists all of them:\n{shown}{more}"
            )

    @property
    def preparer(self) -> Preparer:
        """What turns files into arrays; measures the training foreground first where the normalisation needs it."""
        if self.config.normalisation == "ct" and self.statistics is None:
            with read_ahead() as pool:
                self.statistics = foreground_statistics(self.cases("train"), self.dataset.labels, pool.map)
        return Preparer(self.config.normalisation, self.config.spacing, self.statistics)

    def setup(self, stage: str) -> None:
        """Prepares the cases of a stage (`fit`, `validate`, `test`), as many in memory as `cache_gib` allows; once."""
        if stage == "fit" and self._patches is None:
            self._patches = self._prepare_patches()
        if stage in ("fit", "validate"):
            self._prepare_scored("val")
        if stage == "test":
            self._prepare_scored("test")

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Batches of patches."""
        assert self._patches is not None, "call setup('fit') first"
        rank, world_size = self._place()
        if self.config.batch_size % world_size:
            raise DataError(
                f"data.batch_size={self.config.batch_size} counts over all devices and cannot be shared by {world_size}; choose a multiple"
            )
        sampler = PatchSampler(self._patches, rank, world_size)
        return self._loader(self._patches, sampler, self.config.workers, batch_size=self.config.batch_size // world_size)

    def val_dataloader(self) -> DataLoader[PreparedCase]:
        """The validation cases, one at a time."""
        return self._case_loader("val")

    def test_dataloader(self) -> DataLoader[PreparedCase]:
        """The test cases, one at a time."""
        return self._case_loader("test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves a batch of patches; a whole case stays where it is, since inference moves its windows."""
        return batch if isinstance(batch, PreparedCase) else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _split(self) -> Splits:
        config, cases = self.config, self.dataset.cases
        if config.split_file is not None:
            splits = read_split_file(Path(config.split_file).expanduser(), cases)
        else:
            splits = make_splits(cases, config.folds, config.split_seed, config.test_fraction)
        if config.fold >= len(splits.folds):
            raise DataError(f"data.fold={config.fold} does not exist: there are {len(splits.folds)} folds, counted from 0")
        return splits

    def _check_dimensions(self) -> None:
        config, dims = self.config, self.dataset.spatial_dims
        if len(config.patch_size) != dims:
            raise DataError(
                f"data.patch_size={list(config.patch_size)} must have {dims} numbers: data set '{self.dataset.name}' is {dims}-D"
            )
        if config.spacing is not None and len(config.spacing) != dims:
            raise DataError(f"data.spacing={list(config.spacing)} must have {dims} numbers: data set '{self.dataset.name}' is {dims}-D")

    def _check_batches(self) -> None:
        if self.config.patches_per_epoch < self.config.batch_size:
            raise DataError(
                f"data.patches_per_epoch={self.config.patches_per_epoch} is less than data.batch_size={self.config.batch_size}: "
                "an epoch would hold no batch; raise the former"
            )

    def _prepare_patches(self) -> PatchDataset:
        config = self.config
        cases = CaseDataset(self._some_cases("train"), self.preparer, self.dataset.labels)
        centres = self.centre_sampler()
        self._memory_left -= cases.load(self._memory_left, references=False, visit=lambda prepared: _index(centres, prepared, cases))
        if config.foreground_fraction > 0 and not centres.has_foreground:
            raise DataError(
                f"none of the {len(cases)} training cases has any foreground; check the labels, or set data.foreground_fraction=0"
            )
        return PatchDataset(
            cases,
            centres,
            self._augmentation,
            patch_size=config.patch_size,
            patches_per_epoch=config.patches_per_epoch,
            foreground_fraction=config.foreground_fraction,
            batch_size=config.batch_size,
            seed=self.seed,
            derive=self.derive_maps,
        )

    def _prepare_scored(self, stage: Stage) -> None:
        if stage not in self._scored:
            cases = CaseDataset(self._some_cases(stage), self.preparer, self.dataset.labels)
            self._memory_left -= cases.load(self._memory_left)
            self._scored[stage] = cases

    def _some_cases(self, stage: Stage) -> list[Case]:
        cases = self.cases(stage)
        if not cases:
            remedy = (
                "set data.test_fraction above 0" if stage == "test" else "lower data.folds or data.test_fraction, or check data.split_file"
            )
            raise DataError(f"data set '{self.dataset.name}' leaves no {stage} cases; {remedy}")
        return cases

    def _case_loader(self, stage: Stage) -> DataLoader[PreparedCase]:
        cases = self._scored[stage]
        # From memory there is nothing to wait for, and a case would only be copied between processes.
        workers = 0 if cases.in_memory else self.config.workers
        return self._loader(cases, CaseSampler(cases, *self._place()), workers, batch_size=1, collate_fn=only_item)

    def _loader(self, items: Any, sampler: Any, workers: int, **options: Any) -> DataLoader[Any]:
        # How many workers is the config's choice.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        return DataLoader(
            items,
            sampler=sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            # Forked processes share the prepared cases; elsewhere each gets a copy.
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
    """For small, scattered structures: half of the patches (`foreground_fraction`) are centred on a lesion, each lesion equally likely."""

    centre_sampler = LesionSampler


class OrganDataModule(SegmentationDataModule):
    """For one or many large structures: patches of foreground are centred on a class, each class that the case shows equally likely."""

    centre_sampler = ClassSampler


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


def build_augmentation(config: DataConfig, spatial_dims: int) -> Augmentation:
    """Builds the augmentation that the `data` section names.

    Raises:
        DataError: A parameter is out of range.
    """
    from medseg.data import AUGMENTATIONS  # as above

    try:
        augmentation: Augmentation = AUGMENTATIONS[config.augmentation.name](spatial_dims, **config.augmentation.params)
    except ValueError as error:
        raise DataError(f"data.augmentation.params: {error}") from error
    return augmentation


def _index(centres: CentreSampler, prepared: PreparedCase, cases: CaseDataset) -> None:
    if prepared.label is None:
        raise DataError(f"case '{prepared.case.id}' has no label and cannot be trained on; remove it from the split")
    centres.add(prepared.label, cases.labels)


def _can_fork() -> bool:
    return sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
