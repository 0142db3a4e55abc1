"""Cases and patches as torch data sets, and who loads which of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, DistributedSampler, default_collate

from medseg.data.augmentation.base import Augmentation, Draw
from medseg.data.preparation import PreparedCase
from medseg.data.sampling import LesionSizes, Mixture, patch_start

if TYPE_CHECKING:
    from medseg.data.store import StoredCases

CopyPaste = Callable[[np.ndarray, np.ndarray, Sequence[float], np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""From image (C, *box), label (*box), voxel size in mm and generator to the image and label with lesions of other cases in them."""

DeriveMaps = Callable[[torch.Tensor, Sequence[float]], dict[str, torch.Tensor]]
"""From the ids (1, *patch) of an augmented patch and its voxel size in mm to maps (channels, *patch) by name, which travel with it."""


class CaseDataset(Dataset[PreparedCase]):
    """Whole prepared cases with their references, in the order of the store's."""

    def __init__(self, cases: StoredCases) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> PreparedCase:
        return self.cases.whole(index)


class PatchDataset(Dataset[dict[str, Any]]):
    """Training patches by their number over the whole run: item `epoch * len(patches) + n` is the n-th patch of an epoch.

    An item is a function of the seed and its number alone (and, with hard cases, of the errors so far), so that it is the same in any
    loader process, on any rank and after a resume. First everything random is drawn, then only the box that is needed is read.
    Patches lie inside the image; an image smaller than the patch is padded on both sides with the lowest value of each channel, and its
    label with background.

    Args:
        cases: The training cases, with their normaliser.
        mixture: What patches are centred on, of the same cases in the same order.
        augmentation: Of each patch.
        channels: Of the images.
        patch_size: In voxels of the prepared grid.
        patches_per_epoch: Patches drawn in an epoch; those that would make up a partial last batch are left out.
        seed: Of everything that is drawn.
        copy_paste: Brings lesions of other cases into the box that was read, before augmentation.
        derive: Makes maps of each augmented label, for a loss that needs them; see `medseg.training.derived_maps`.
        on_device: Leave augmentation to `augment_batch`: items are then the boxes that were read, to be put together by `collate_sources`.
    """

    def __init__(
        self,
        cases: StoredCases,
        mixture: Mixture,
        augmentation: Augmentation,
        *,
        channels: int,
        patch_size: Sequence[int],
        patches_per_epoch: int,
        seed: int,
        copy_paste: CopyPaste | None = None,
        derive: DeriveMaps | None = None,
        on_device: bool = False,
    ) -> None:
        self.cases = cases
        self.mixture = mixture
        self.augmentation = augmentation
        self.channels = channels
        self.patch_size = tuple(patch_size)
        self.patches_per_epoch = patches_per_epoch - patches_per_epoch % mixture.batch_size
        self.seed = seed
        self.copy_paste = copy_paste
        self.derive = derive
        self.on_device = on_device
        self.sizes = LesionSizes([cases.index(number) for number in range(len(cases))])
        """The lesions of the training cases, in bins of size."""
        self._spacings = [torch.tensor(cases.index(number).spacing) for number in range(len(cases))]

    def __len__(self) -> int:
        return self.patches_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `image` (C, *patch) float32, `label` (1, *patch) uint8 ids, `case`, the id of the case, and `spacing`, in mm.

        With `derive` also its `maps`, by name. Where the training cases have lesions also
        `lesions_seen` (bins,): how many of each bin of `sizes` have their centroid in the patch, before augmentation.

        On the device instead `image` (C, *box), `label` (*box) and `draw`, what the augmentation has drawn.
        """
        rng = np.random.default_rng([self.seed, index])
        number, centre = self.mixture.draw(index, rng)
        case = self.cases.index(number)
        start = patch_start(centre, self.patch_size, case.shape)
        draw = self.augmentation.draw(start, self.patch_size, self.channels, case.spacing, rng)
        image, label = self.cases.read(number, draw.start, draw.size, draw.flips)
        if self.copy_paste is not None:
            image, label = self.copy_paste(image, label, case.spacing, rng)
        item: dict[str, Any] = {"case": self.cases.case(number).id, "spacing": self._spacings[number]}
        if self.on_device:
            item |= {"image": _tensor(image), "label": _tensor(label), "draw": draw}
        else:
            image, label = self.augmentation.apply(image, label, draw)
            item |= {"image": _tensor(image), "label": _tensor(label[None])}
        if self.derive is not None and not self.on_device:
            item["maps"] = self.derive(item["label"], case.spacing)
        if self.sizes.names:
            item["lesions_seen"] = torch.from_numpy(self.sizes.seen(number, start, self.patch_size))
        return item


class Draws:
    """The draws of a batch. Not a plain list: on the way to the device Lightning would walk into it, and stumble over the frozen `Draw`."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self.each = tuple(draws)


def collate_sources(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collates items of patches that are augmented on the device: lists of boxes, which may differ in size, and the `Draws` as `draws`."""
    boxes = {key: [item[key] for item in items] for key in ("image", "label")}
    others = [{key: value for key, value in item.items() if key not in ("image", "label", "draw")} for item in items]
    return {**default_collate(others), **boxes, "draws": Draws([item["draw"] for item in items])}


def augment_batch(batch: Mapping[str, Any], augmentation: Augmentation, derive: DeriveMaps | None = None) -> dict[str, Any]:
    """Turns a batch of `collate_sources`, on the device by now, into what the loader's processes would have made of it.

    Args:
        batch: As `collate_sources` made it.
        augmentation: The one that drew.
        derive: Makes maps of each augmented label, on the CPU, one patch after the other.
    """
    image, label = augmentation.apply_batch(batch["image"], batch["label"], batch["draws"].each)
    made = {key: value for key, value in batch.items() if key != "draws"} | {"image": image, "label": label}
    if derive is not None:
        maps = [derive(ids, spacing) for ids, spacing in zip(label.cpu(), batch["spacing"].tolist(), strict=True)]
        made["maps"] = {name: torch.stack([each[name] for each in maps]).to(image.device) for name in maps[0]}
    return made


class PatchSampler(DistributedSampler[int]):
    """Numbers of an epoch's patches that this rank loads: every `world_size`-th, so that the ranks' batches make up one process's batch.

    (A `DistributedSampler` because Lightning replaces any other one.)
    """

    def __init__(self, patches: PatchDataset, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(patches, num_replicas=world_size, rank=rank, shuffle=False, drop_last=True)
        self._per_epoch = patches.patches_per_epoch

    def __len__(self) -> int:
        return len(range(self.rank, self._per_epoch, self.num_replicas))

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self._per_epoch
        return iter(range(first + self.rank, first + self._per_epoch, self.num_replicas))


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


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))
