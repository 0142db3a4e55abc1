"""From the fingerprint of a data set to the keys of a config, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medseg.config.schema import Config
from medseg.data.planning.fingerprint import Fingerprint
from medseg.data.planning.given import Decision, Given
from medseg.data.planning.grid import choose_patch, finer_for_lesions, median_shape, shown_size, target_spacing
from medseg.data.planning.intensity import choose_normalisation
from medseg.data.planning.memory import Level, levels_of, training_bytes

SMALL, LARGE = 1e-3, 0.1
"""Shares of the image below which the median component of a class is a small lesion, and above which it is an organ."""

LEAST_BATCH = {2: 8, 3: 2}
BATCHES = {2: (8, 12, 16, 24, 32), 3: (2, 3, 4, 6, 8, 12)}
BATCH_SHARE = 0.05
"""Share of all voxels of the training cases that a batch may show: with few cases, a larger one would show the same again and again."""

STEPS = (50, 250)
"""Fewest and most steps an epoch."""

FLIPS_SIDES = ("nnunet", "light")
"""Augmentations that flip left and right, and can let classes change places."""

MOST_SUPERVISED = 3
SHORTEST = 16
"""Voxels along an axis from which on it makes the three levels that the network needs."""


@dataclass(frozen=True)
class Plan:
    """What a data set is to be trained with.

    Args:
        decisions: The decided keys.
        warnings: What deserves a thought before training.
        levels: The network's levels.
        memory: Estimated peak of a training step in bytes.
        memory_gib: The memory that it was made for.
        half: Whether the estimate is for 16-bit maps.
        dimensions: "2-D" or "3-D", and why.
    """

    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...]
    levels: tuple[Level, ...]
    memory: int
    memory_gib: float
    half: bool
    dimensions: str

    def __getitem__(self, key: str) -> Decision:
        """The decision about a key; KeyError where there is none."""
        for decision in self.decisions:
            if decision.key == key:
                return decision
        raise KeyError(key)


def make_plan(fingerprint: Fingerprint, given: Given, memory_gib: float) -> Plan:
    """Decides grid, patch, batch, normalisation and network. What the command line says about them stays, and the rest follows from it.

    Which module samples the patches, and how, is the config's own choice.

    Args:
        fingerprint: What the training cases look like.
        given: The config that the plan will extend: its loss, precision and folds count; and what the command line says.
        memory_gib: Memory of the device that will train.

    Raises:
        DataError: What the command line says does not fit the data set.
    """
    given.check(fingerprint)
    config, dims = given.config, fingerprint.spatial_dims
    grid = given.over(_grid(fingerprint))
    spacing = grid.value
    shape = median_shape(fingerprint, spacing)
    sizes = np.median(fingerprint.spacings, axis=0) if spacing is None else np.array(spacing)
    budget = _Budget(fingerprint, config, sizes.tolist(), memory_gib)
    window = given.over(_window(fingerprint, shape, sizes, budget))
    patch = window.value
    most = config.data.patches_per_epoch if given.says("data.patches_per_epoch") else BATCHES[dims][-1]  # an epoch holds a batch at least
    batches = given.over(_batch(patch, budget, tuple(size for size in BATCHES[dims] if size <= most) or (most,)))
    batch = batches.value
    levels = levels_of(patch, sizes.tolist())
    memory = budget.bytes(patch, batch)
    decisions = (
        grid,
        window,
        batches,
        *map(given.over, _intensities(fingerprint)),
        given.over(_patches_per_epoch(fingerprint, config, shape, patch, batch)),
        *map(given.over, () if given.network else _network(fingerprint, config, sizes, spacing, levels)),
    )
    warnings = (
        *_memory_warnings(given, memory, memory_gib),
        *_warnings(fingerprint, sizes, shape, patch),
        *_sides(fingerprint, config),
        *_module(fingerprint, config),
    )
    return Plan(decisions, warnings, tuple(levels), memory, memory_gib, budget.half, _dimensions(fingerprint, sizes))


def smallest_lesion(fingerprint: Fingerprint) -> tuple[float, str]:
    """Median volume (mm^3; mm^2 in 2-D) of the lesions of the class whose are smallest, and its name; infinite where there is none."""
    volumes = [(fingerprint.lesion_volumes(k), name) for k, name in enumerate(fingerprint.classes)]
    return min(((float(np.median(sizes)), name) for sizes, name in volumes if sizes.size), default=(float("inf"), ""))


class _Budget:
    """What fits into the memory of a device."""

    def __init__(self, fingerprint: Fingerprint, config: Config, spacing: list[float], memory_gib: float) -> None:
        self.spacing, self.memory_gib, self.memory = spacing, memory_gib, memory_gib * 2**30
        self.channels, classes = len(fingerprint.channels), len(fingerprint.classes)
        self.outputs = classes + 1 if config.loss.activation == "softmax" else classes
        self.half = config.trainer.precision != "32-true"
        self.shown = BATCH_SHARE * float(np.prod(fingerprint.shapes * fingerprint.spacings / spacing, axis=1).sum())

    def bytes(self, patch: list[int], batch: int) -> int:
        return training_bytes(levels_of(patch, self.spacing), batch, self.channels, self.outputs, self.half)

    def fits(self, patch: list[int], batch: int) -> bool:
        return self.bytes(patch, batch) <= self.memory

    def largest_batch(self, patch: list[int], batches: tuple[int, ...]) -> int:
        voxels = float(np.prod(patch))
        able = [batch for batch in batches if self.fits(patch, batch) and batch * voxels <= self.shown]
        return max(able, default=batches[0])

    def batch_reason(self, patch: list[int], batch: int, batches: tuple[int, ...]) -> str:
        if batch == batches[-1]:
            return f"the largest that is used in {len(patch)}-D" if batch == BATCHES[len(patch)][-1] else "as many as an epoch can hold"
        larger = batches[batches.index(batch) + 1]
        least = "the smallest that is used; " if batch == batches[0] else ""
        if self.fits(patch, larger):
            return f"{least}{larger} patches would show more than {BATCH_SHARE:.0%} of all training voxels at once"
        return f"{least}{larger} patches would not fit into the memory"


def _grid(fingerprint: Fingerprint) -> Decision:
    spacing, reason = target_spacing(fingerprint)
    spacing, finer = finer_for_lesions(fingerprint, spacing, smallest_lesion(fingerprint)[0])
    return Decision("data.spacing", spacing, "mm a voxel" if spacing else "each image's own", finer or reason)


def _window(fingerprint: Fingerprint, shape: np.ndarray, sizes: np.ndarray, budget: _Budget) -> Decision:
    patch, covers = choose_patch(shape, sizes, lambda patch: budget.fits(patch, LEAST_BATCH[fingerprint.spatial_dims]))
    patch = _deep_enough(patch, sizes)
    reason = _patch_reason(patch, shape, covers, budget.memory_gib)
    return Decision("data.patch_size", patch, _patch_note(patch, sizes, fingerprint), reason)


def _batch(patch: list[int], budget: _Budget, batches: tuple[int, ...]) -> Decision:
    batch = budget.largest_batch(patch, batches)
    note = f"about {budget.bytes(patch, batch) / 2**30:.1f} GiB a step"
    return Decision("data.batch_size", batch, note, budget.batch_reason(patch, batch, batches))


def _dimensions(fingerprint: Fingerprint, sizes: np.ndarray) -> str:
    if fingerprint.spatial_dims == 2:
        return "2-D: the images are pictures"
    if sizes.max() > 2 * sizes.min():
        return f"3-D: volumes of slices ({shown_size(sizes)}); the network starts in 2-D and joins slices once voxels are even"
    return f"3-D: volumes of nearly even voxels ({shown_size(sizes)})"


def _deep_enough(patch: list[int], sizes: np.ndarray) -> list[int]:
    """Lengthens the fine axes of a tiny patch, which padding then fills, until the network has its three levels."""
    return [max(size, SHORTEST) if step <= 2 * sizes.min() else size for size, step in zip(patch, sizes, strict=True)]


def _patch_note(patch: list[int], sizes: np.ndarray, fingerprint: Fingerprint) -> str:
    if all(case.picture for case in fingerprint.cases):
        return "pixels"
    return "voxels: " + " x ".join(f"{size:.0f}" for size in np.array(patch) * sizes) + " mm"


def _patch_reason(patch: list[int], shape: np.ndarray, covers: bool, memory_gib: float) -> str:
    median = " x ".join(f"{size:.0f}" for size in shape)
    if covers:
        return f"covers the median image ({median}) and fits into {memory_gib:g} GiB"
    share = np.prod(np.minimum(patch, shape)) / np.prod(shape)
    return f"the proportions of the median image ({median}), {share:.0%} of it: the largest that fits into {memory_gib:g} GiB"


def _intensities(fingerprint: Fingerprint) -> Iterator[Decision]:
    name, reason = choose_normalisation(fingerprint)
    meaning = {"zscore": "per case and channel", "ct": "clipped to the foreground's range", "unit": "to [0, 1]"}
    note = meaning[name] if isinstance(name, str) else "one a channel: " + ", ".join(fingerprint.channels)
    yield Decision("data.normalisation", name, note, reason)


def _module(fingerprint: Fingerprint, config: Config) -> Iterator[str]:
    """Lesions that the config samples as organs, or the other way round; which it is to be stays the config's choice."""
    image = float(np.median(fingerprint.shapes.prod(axis=1)))
    shares = [
        (float(np.median(sizes)) / image, name)
        for k, name in enumerate(fingerprint.classes)
        if (sizes := fingerprint.lesion_voxels(k)).size
    ]
    if config.data.sampling is not None or not shares:
        return
    share, name = min(shares)
    fits = "small_lesion" if share < SMALL else "organ" if share > LARGE else config.data.module
    if fits != config.data.module:
        per_case = np.mean([sum(case.lesions) for case in fingerprint.cases if case.labelled])
        yield (
            f"data.module is {config.data.module}, and a median component of '{name}' fills {share:.2g} of the image, "
            f"{per_case:.1f} components a case: data.module={fits} may fit better"
        )


def _patches_per_epoch(fingerprint: Fingerprint, config: Config, shape: np.ndarray, patch: list[int], batch: int) -> Decision:
    training = max(1, round(sum(case.labelled for case in fingerprint.cases) * (1 - 1 / config.data.folds)))
    looks = training * float(np.prod(np.ceil(shape / patch)))
    steps = int(np.clip(np.ceil(looks / batch), *STEPS))
    why = f"{training} training cases in {looks:.0f} patches, {looks / batch:.0f} steps, show every voxel once"
    bounds = "" if STEPS[0] <= looks / batch <= STEPS[1] else f"; an epoch takes {STEPS[0]} to {STEPS[1]}"
    return Decision("data.patches_per_epoch", steps * batch, f"{steps} steps an epoch", why + bounds)


def _network(
    fingerprint: Fingerprint, config: Config, sizes: np.ndarray, spacing: list[float] | None, levels: list[Level]
) -> Iterator[Decision]:
    coarsest = " x ".join(map(str, levels[-1].size))
    waits = sum(1 in level.kernel for level in levels)
    yield Decision("network.name", "dynunet", "U-Net that follows patch and spacing", "the U-Net of nnU-Net, which fits any grid")
    depth = f"{len(levels)} levels, down to {coarsest} voxels" + (f"; the first {waits} leave the coarse axis alone" if waits else "")
    yield Decision(
        "network.params.patch_size", "${data.patch_size}", f"sets the depth: {depth}", "halved while 4 voxels are left along an axis"
    )
    if not all(case.picture for case in fingerprint.cases):
        value = "${data.spacing}" if spacing else [float(f"{size:.4g}") for size in sizes]
        yield Decision("network.params.spacing", value, "coarse axes are halved later", "the voxel size that the patches have")
    smallest, name = smallest_lesion(fingerprint)
    count = _supervised(levels, smallest / float(np.prod(sizes)))
    reason = f"the median component of '{name}' still fills a voxel there" if count else f"half of '{name}' are lost one level down"
    yield Decision("network.params.deep_supervision", count, "coarser levels that are trained too", reason if name else "nothing to lose")
    for key in ("strides", "kernels", "channels"):
        if config.network.name == "dynunet" and config.network.params.get(key) is not None:
            yield Decision(f"network.params.{key}", None, "follows from the patch", f"the {key} of the extended config fit another patch")


def _supervised(levels: list[Level], lesion: float) -> int:
    """Coarser levels at which a lesion of so many voxels still fills one."""
    count, volume = 0, 1
    for level in levels[1 : min(len(levels) - 1, MOST_SUPERVISED + 1)]:
        volume *= int(np.prod(level.stride))
        if lesion < volume:
            break
        count += 1
    return count


def _sides(fingerprint: Fingerprint, config: Config) -> Iterator[str]:
    """Classes that may be each other's mirror images, which flips from left to right would confuse."""
    augmentation = config.data.augmentation
    left_right, axes = (0 if fingerprint.spatial_dims == 3 else 1), augmentation.params.get("mirror_axes")
    if augmentation.name not in FLIPS_SIDES or augmentation.params.get("lateral") or (axes is not None and left_right not in axes):
        return
    pairs = [[name, name.replace("left", "right")] for name in fingerprint.classes if "left" in name]
    pairs = [pair for pair in pairs if pair[1] in fingerprint.classes]
    if pairs:
        yield (
            "flips from left to right show one side as the other: where these classes are mirror images, set "
            f"data.augmentation.params.lateral=[{', '.join(f'[{left}, {right}]' for left, right in pairs)}]"
        )


def _memory_warnings(given: Given, memory: int, memory_gib: float) -> Iterator[str]:
    if given.network:
        yield f"memory is estimated for the network dynunet; how much '{given.config.network.name}' takes is not known"
    if memory > memory_gib * 2**30:
        own = given.says("data.patch_size") or given.says("data.batch_size")
        what = "what the command line says" if own else "even the smallest patch"
        yield f"{what} needs about {memory / 2**30:.1f} GiB, more than {memory_gib:g}: expect to run out of memory"


def _warnings(fingerprint: Fingerprint, sizes: np.ndarray, shape: np.ndarray, patch: list[int]) -> Iterator[str]:
    cases = fingerprint.cases
    smallest, name = smallest_lesion(fingerprint)
    if smallest < np.prod(sizes):
        yield f"half of the lesions of '{name}' are smaller than a voxel ({shown_size(sizes)}): set data.spacing finer"
    for k, label in enumerate(fingerprint.classes):
        shown = sum(case.counts[k] > 0 for case in cases)
        if shown == 0:
            yield f"class '{label}' occurs in no case: nothing can be learnt of it"
        elif shown < 5:
            yield f"class '{label}' occurs in {shown} of {len(cases)} cases: some folds may not hold it"
    unlabelled = sum(not case.labelled for case in cases)
    if unlabelled:
        yield f"{unlabelled} cases have no label and cannot be trained on"
    if np.prod(np.minimum(patch, shape)) < 0.05 * np.prod(shape):
        yield "a patch shows less than 5 % of the median image: where the place in the body matters, use a coarser data.spacing"
    spacings = fingerprint.spacings
    if (spacings.max(axis=0) > 5 * spacings.min(axis=0)).any():
        ends = shown_size(spacings.min(axis=0)), shown_size(spacings.max(axis=0))
        yield f"voxel sizes differ more than fivefold between cases ({ends[0]} to {ends[1]})"
    for number, channel in enumerate(fingerprint.channels):
        constant = sum(case.low[number] == case.high[number] for case in cases)
        if constant:
            yield f"channel '{channel}' is constant in {constant} cases"
