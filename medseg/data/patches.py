"""Cases and patches as torch data sets, and who loads which of them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler

from medseg.data.augmentation import Augmentation
from medseg.data.case import Case
from medseg.data.labels import LabelSchema
from medseg.data.preparation import PreparedCase, Preparer
from medseg.data.sampling import CentreSampler, crop, foreground_flags, patch_start

Item = TypeVar("Item")
Result = TypeVar("Result")

DeriveMaps = Callable[[torch.Tensor, Sequence[float]], dict[str, torch.Tensor]]
"""From the ids (1, *patch) of an augmented patch and its voxel size in mm to maps (channels, *patch) by name, which travel with it."""

_FLAGS = 1  # third word of the seed of an epoch's foreground flags; patches have two words


class CaseDataset(Dataset[PreparedCase]):
    """Whole prepared cases, in the order given; prepared on demand unless `load` has put them into memory.

    Loader processes that are forked after `load` share its arrays, without a copy.
    """

    def __init__(self, cases: Sequence[Case], preparer: Preparer, labels: LabelSchema) -> None:
        self.cases = tuple(cases)
        self.preparer = preparer
        self.labels = labels
        self._loaded: list[PreparedCase | None] = [None] * len(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> PreparedCase:
        return self._loaded[index] or self.preparer.prepare(self.cases[index], self.labels)

    @property
    def in_memory(self) -> bool:
        """Whether no case needs to be read any more."""
        return None not in self._loaded

    def load(self, max_bytes: float, *, references: bool = True, visit: Callable[[PreparedCase], None] | None = None) -> int:
        """Prepares every case once, several at a time, and keeps the first ones that fit into `max_bytes`.

        Args:
            max_bytes: Memory for the arrays.
            references: Whether to keep the labels in the grid of the files, which only scoring needs.
            visit: Called with every prepared case, in order.

        Returns:
            The bytes used.

        Raises:
            DataError: A case cannot be used.
        """
        used = 0
        with read_ahead() as pool:
            for index, prepared in enumerate(in_order(pool, lambda case: self.preparer.prepare(case, self.labels), self.cases)):
                if visit is not None:
                    visit(prepared)
                kept = prepared if references else replace(prepared, reference=None)
                if used + kept.nbytes <= max_bytes:
                    self._loaded[index] = kept
                    used += kept.nbytes
        return used


class PatchDataset(Dataset[dict[str, Any]]):
    """Training patches by their number over the whole run: item `epoch * patches_per_epoch + n` is the n-th patch of an epoch.

    An item is a function of the seed and its number alone, so that it is the same in any loader process, on any rank and after a resume.
    Patches lie inside the image; an image smaller than the patch is padded on both sides with the lowest value of each channel, and its
    label with background.

    Args:
        cases: The training cases.
        centres: Sampler that has indexed the same cases in the same order.
        augmentation: Applied to image and label of each patch.
        patch_size: In voxels of the prepared grid.
        patches_per_epoch: Patches drawn in an epoch.
        foreground_fraction: Share of them that is centred on foreground: exact in each epoch, and within one patch in each batch.
        batch_size: Patches a step, over all ranks.
        seed: Of everything that is drawn.
        derive: Makes maps of each augmented label, for a loss that needs them; see `medseg.training.derived_maps`.
    """

    def __init__(
        self,
        cases: CaseDataset,
        centres: CentreSampler,
        augmentation: Augmentation,
        *,
        patch_size: Sequence[int],
        patches_per_epoch: int,
        foreground_fraction: float,
        batch_size: int,
        seed: int,
        derive: DeriveMaps | None = None,
    ) -> None:
        self.cases = cases
        self.centres = centres
        self.augmentation = augmentation
        self.patch_size = tuple(patch_size)
        self.patches_per_epoch = patches_per_epoch
        self.foreground_fraction = foreground_fraction
        self.batch_size = batch_size
        self.seed = seed
        self.derive = derive
        self._epoch_flags: tuple[int, np.ndarray] = (-1, np.empty(0))

    def __len__(self) -> int:
        return self.patches_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `image` (C, *patch) float32, `label` (1, *patch) uint8 ids and `case`, the id of the case.

        With `derive` also its `maps`, by name, and `spacing`, the voxel size in mm.
        """
        rng = np.random.default_rng([self.seed, index])
        number, centre = self.centres.draw(rng, self._is_foreground(index))
        prepared = self.cases[number]
        assert prepared.label is not None
        start = patch_start(centre, self.patch_size, prepared.label.shape)
        image = crop(prepared.image, start, self.patch_size, fill=self._padding(prepared))
        label = crop(prepared.label, start, self.patch_size, fill=0)
        image, label = self.augmentation(image, label, rng)
        item: dict[str, Any] = {
            "image": torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)),
            "label": torch.from_numpy(np.ascontiguousarray(label[None], dtype=np.uint8)),
            "case": prepared.case.id,
        }
        if self.derive is not None:
            spacing = prepared.geometry.spacing
            item["maps"] = self.derive(item["label"], spacing)
            item["spacing"] = torch.tensor(spacing)
        return item

    def _padding(self, prepared: PreparedCase) -> np.ndarray | int:
        """The lowest value of each channel; looked for only in images that need padding."""
        if all(s >= p for s, p in zip(prepared.image.shape[1:], self.patch_size, strict=True)):
            return 0
        return prepared.image.min(axis=tuple(range(1, prepared.image.ndim)), keepdims=True)

    def _is_foreground(self, index: int) -> bool:
        epoch, n = divmod(index, self.patches_per_epoch)
        if self._epoch_flags[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch, _FLAGS])
            self._epoch_flags = (epoch, foreground_flags(self.patches_per_epoch, self.foreground_fraction, self.batch_size, rng))
        return bool(self._epoch_flags[1][n])


class PatchSampler(DistributedSampler[int]):
    """Numbers of an epoch's patches that this rank loads: every `world_size`-th, so that the ranks' batches make up one process's batch.

    The patches of a last, partial batch are left out. (A `DistributedSampler` because Lightning replaces any other one.)
    """

    def __init__(self, patches: PatchDataset, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(patches, num_replicas=world_size, rank=rank, shuffle=False, drop_last=True)
        self._per_epoch = patches.patches_per_epoch
        self._used = self._per_epoch - self._per_epoch % patches.batch_size

    def __len__(self) -> int:
        return len(range(self.rank, self._used, self.num_replicas))

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self._per_epoch
        return iter(range(first + self.rank, first + self._used, self.num_replicas))


class CaseSampler(DistributedSampler[PreparedCase]):
    """The whole cases that this rank scores: every `world_size`-th, none twice, so that ranks may differ in number."""

    def __init__(self, cases: CaseDataset, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(cases, num_replicas=world_size, rank=rank, shuffle=False)
        self._count = len(cases)

    def __len__(self) -> int:
        return len(range(self.rank, self._count, self.num_replicas))

    def __iter__(self) -> Iterator[Any]:
        return iter(range(self.rank, self._count, self.num_replicas))


def only_item(items: list[PreparedCase]) -> PreparedCase:
    """Collates a batch of one case: the case."""
    (item,) = items
    return item


def in_order(pool: ThreadPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 16) -> Iterator[Result]:
    """Map in a pool, at most `ahead` items before the consumer: `Executor.map` would read all, and hold what is not taken yet."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


@contextmanager
def read_ahead() -> Iterator[ThreadPoolExecutor]:
    """A pool of threads that reads files (decompression and disks leave the interpreter free); an error stops what has not begun."""
    pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="medseg-read")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
