"""Rules on values that types cannot express, on one key or between keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from medseg.config.errors import Problem
from medseg.config.heads import check_heads
from medseg.config.losses import check_loss
from medseg.config.metrics import check_metrics
from medseg.config.tree import KeyPath, Node, key_text, plain

_NAME = re.compile(r"\w[\w.+=-]{0,99}")


def _at_least(low: int) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value >= low, f"must be at least {low}"


_POSITIVE = (lambda value: value > 0, "must be above 0")
_POSITIVES = (lambda values: all(value > 0 for value in values), "must hold values above 0 only")
_SHARE = (lambda value: 0 <= value <= 1, "must lie in [0, 1]")
_SHARE_BELOW_ONE = (lambda value: 0 <= value < 1, "must lie in [0, 1), 1 left out")
_NOT_NEGATIVE = (lambda values: all(value >= 0 for value in values.values()), "must hold values of at least 0 only")
_SHARES = (lambda values: all(0 < value < 1 for value in values.values()), "must hold values between 0 and 1 only, both left out")
_DISTINCT = (lambda values: len(set(values)) == len(values), "names something twice")
_NOT_EMPTY = (lambda value: len(value) > 0, "must not be empty")

_FOLDER = (
    lambda value: bool(_NAME.fullmatch(value)) and not value.endswith("."),
    "is the name of a folder: letters, digits and _ . + = - only",
)

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": _FOLDER,
    "seed": _at_least(0),
    "runs_dir": _NOT_EMPTY,
    "data.root": _NOT_EMPTY,
    "data.patch_size": _POSITIVES,
    "data.folds": _at_least(2),
    "data.split_seed": _at_least(0),
    "data.fold": _at_least(0),
    "data.test_fraction": _SHARE_BELOW_ONE,
    "data.spacing": _POSITIVES,
    "data.batch_size": _at_least(1),
    "data.patches_per_epoch": _at_least(1),
    "data.sampling": _NOT_EMPTY,
    "data.copy_paste.probability": _SHARE,
    "data.copy_paste.lesions": _at_least(1),
    "data.copy_paste.classes": _NOT_EMPTY,
    "data.store": _NOT_EMPTY,
    "data.workers": _at_least(0),
    "data.cache_gib": _at_least(0),
    "loss.terms": (lambda value: len(value) > 0, "needs at least one term"),
    "loss.share_every": _at_least(0),
    "trainer.max_epochs": _at_least(1),
    "trainer.devices": _at_least(1),
    "trainer.nodes": _at_least(1),
    "trainer.gradient_clip": _at_least(0),
    "trainer.accumulate": _at_least(1),
    "validation.every_epochs": _at_least(1),
    "inference.window": _POSITIVES,
    "inference.overlap": _SHARE_BELOW_ONE,
    "inference.batch_size": _at_least(1),
    "inference.mirror_axes": (lambda values: all(type(value) is int and value >= 0 for value in values), "must hold axes, counted from 0"),
    "inference.postprocessing.thresholds": _SHARES,
    "inference.postprocessing.minimum_size": _NOT_NEGATIVE,
    "inference.postprocessing.largest_component": _DISTINCT,
    "inference.postprocessing.fill_holes": _DISTINCT,
    "evaluation.metrics": _DISTINCT,
    "evaluation.margin": _POSITIVE,
    "evaluation.tolerances": (
        lambda values: all(all(value > 0 for value in one) for one in (values.values() if isinstance(values, dict) else [values])),
        "must hold distances above 0 only",
    ),
    "evaluation.penalty": (lambda value: isinstance(value, str) or value >= 0, "must be at least 0"),
    "evaluation.beta": _POSITIVE,
    "evaluation.lesion_iou": _SHARE_BELOW_ONE,
    "evaluation.minimum_lesion": _at_least(0),
}
"""Key -> what its value must fulfil when it is given and not null, and how to say it."""


def check_rules(root: Node) -> list[Problem]:
    """Every rule that a config breaks. Values of the wrong type are left to the checker of types."""
    broken = [problem for key, rule in RULES.items() for problem in _apply(root, tuple(key.split(".")), rule)]
    return [
        *broken,
        *_fold_exists(root),
        *_axes_agree(root),
        *_one_split(root),
        *_holds_a_batch(root),
        *_weights(root),
        *_shares(root),
        *_mirrors(root),
        *_chosen_or_given(root),
        *check_loss(root),
        *check_heads(root),
        *check_metrics(root),
    ]


def _apply(root: Node, path: KeyPath, rule: tuple[Callable[[Any], bool], str]) -> Iterator[Problem]:
    node = _at(root, path)
    holds, message = rule
    try:
        if node is not None and node.value is not None and not holds(plain(node)):
            yield Problem(node.origin, key_text(path), f"{message}, got {plain(node)}")
    except TypeError:  # of the wrong type
        return


def _fold_exists(root: Node) -> Iterator[Problem]:
    fold, folds, split_file = (_at(root, ("data", key)) for key in ("fold", "folds", "split_file"))
    if split_file is not None and split_file.value is not None:  # the file says how many there are
        return
    if fold and folds and type(fold.value) is int and type(folds.value) is int and 2 <= folds.value <= fold.value:
        yield Problem(
            fold.origin, "data.fold", f"there is no fold {fold.value}", f"data.folds={folds.value} counts from 0 to {folds.value - 1}"
        )


def _one_split(root: Node) -> Iterator[Problem]:
    fraction, file = _at(root, ("data", "test_fraction")), _at(root, ("data", "split_file"))
    if fraction and file and file.value is not None and fraction.value:
        yield Problem(
            fraction.origin, "data.test_fraction", "has no effect with data.split_file", "set it to 0 and list the test cases in the file"
        )


def _holds_a_batch(root: Node) -> Iterator[Problem]:
    patches, batch = _at(root, ("data", "patches_per_epoch")), _at(root, ("data", "batch_size"))
    if patches and batch and type(patches.value) is int and type(batch.value) is int and 0 < patches.value < batch.value:
        message = f"an epoch of {patches.value} patches holds no batch of {batch.value}"
        yield Problem(patches.origin, "data.patches_per_epoch", message, "raise it, or lower data.batch_size")


def _axes_agree(root: Node) -> Iterator[Problem]:
    patch = _at(root, ("data", "patch_size"))
    if patch is None or not isinstance(patch.value, list):
        return
    axes = len(patch.value)
    if axes not in (2, 3):
        yield Problem(patch.origin, "data.patch_size", f"must have 2 items (a 2-D run) or 3 (a 3-D run), got {plain(patch)}")
        return
    for path in (("data", "spacing"), ("inference", "window")):
        node = _at(root, path)
        if node and isinstance(node.value, list) and len(node.value) != axes:
            yield Problem(node.origin, key_text(path), f"must have {axes} items as data.patch_size has, got {plain(node)}")


def _mirrors(root: Node) -> Iterator[Problem]:
    """Test-time mirroring is along axes that the images have."""
    patch, mirror = _at(root, ("data", "patch_size")), _at(root, ("inference", "mirror_axes"))
    if patch and mirror and isinstance(patch.value, list) and isinstance(mirror.value, list):
        axes = [item.value for item in mirror.value if type(item.value) is int]
        if any(axis >= len(patch.value) for axis in axes):
            yield Problem(mirror.origin, "inference.mirror_axes", f"there is no axis {max(axes)}", f"axes are 0 to {len(patch.value) - 1}")
        elif len(set(axes)) < len(axes):
            yield Problem(mirror.origin, "inference.mirror_axes", "names an axis twice", "name each once")


def _chosen_or_given(root: Node) -> Iterator[Problem]:
    """Post-processing is either chosen or given."""
    path: KeyPath = ("inference", "postprocessing")
    choose = _at(root, (*path, "choose"))
    for key in ("thresholds", "minimum_size", "largest_component", "fill_holes"):
        node = _at(root, (*path, key))
        if choose and choose.value is True and node and node.value:
            message = "is given, but inference.postprocessing.choose would choose it"
            yield Problem(node.origin, key_text((*path, key)), message, "remove it, or set choose to false")


def _weights(root: Node) -> Iterator[Problem]:
    terms = _at(root, ("loss", "terms"))
    for index in range(len(terms.value) if terms and isinstance(terms.value, list) else 0):
        path: KeyPath = ("loss", "terms", index, "weight")
        yield from _apply(root, path, _at_least(0))
        yield from _apply(root, (*path, "start"), _at_least(0))
        yield from _apply(root, (*path, "end"), _at_least(0))
        yield from _apply(root, (*path, "epochs"), _at_least(1))


def _shares(root: Node) -> Iterator[Problem]:
    """The samplers' shares of the patches make up a whole."""
    sampling = _at(root, ("data", "sampling"))
    if sampling is None or not isinstance(sampling.value, list) or not sampling.value:
        return
    shares = []
    for index in range(len(sampling.value)):
        path: KeyPath = ("data", "sampling", index, "fraction")
        yield from _apply(root, path, _SHARE)
        share = _at(root, path)
        shares.append(1.0 if share is None else share.value)
    if all(isinstance(share, int | float) for share in shares) and abs(sum(shares) - 1) > 1e-6:
        yield Problem(sampling.origin, "data.sampling", f"the fractions add up to {sum(shares):g}", "they must add up to 1")


def _at(root: Node, path: KeyPath) -> Node | None:
    """The node at a path, or None when there is none."""
    node: Node | None = root
    for part in path:
        if isinstance(part, int):
            node = node.value[part] if node and isinstance(node.value, list) else None
        else:
            node = node.value.get(part) if node and node.is_section else None
    return node
