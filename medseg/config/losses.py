"""Rules of the `loss:` section that concern several keys, for the checker of files and for `medseg.losses.build_loss` alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from medseg.config import signatures
from medseg.config.errors import Problem, did_you_mean
from medseg.config.signatures import REGISTRIES
from medseg.config.tree import KeyPath, Node, key_text

Fault = tuple[str, str | None]

TERMS = REGISTRIES["loss.terms[]"]
SETTINGS: dict[str, tuple[object, tuple[object, ...]]] = {
    "include_background": (False, (True,)),
    "reduce_over": ("batch", ("sample",)),
    "empty": ("smooth", ("skip", "volume", "batch")),
}
"""Settings of a sum that a term may look at (`Term.looks_at`) -> the default, and the other values."""
COMMON_NAMES = {
    "ce": "cross_entropy", "xent": "cross_entropy", "nll": "cross_entropy", "softmaxce": "cross_entropy",
    "wce": "cross_entropy with class_weights", "wbce": "bce with pos_weight", "binarycrossentropy": "bce", "bcewithlogits": "bce",
    "labelsmoothing": "cross_entropy with label_smoothing", "logitadjustment": "cross_entropy with class_priors",
    "ohem": "topk", "ohemce": "topk", "hardmining": "topk", "poly1": "poly", "svm": "hinge",
    "kl": "kl_divergence", "kld": "kl_divergence", "kldiv": "kl_divergence", "distillation": "kl_divergence",
    "softdice": "dice", "dsc": "dice", "f1": "dice", "vnet": "squared_dice", "dsquared": "squared_dice",
    "gdl": "generalized_dice", "gdice": "generalized_dice", "generaliseddice": "generalized_dice",
    "iou": "jaccard", "softiou": "jaccard", "miou": "jaccard", "jml": "jaccard_metric", "dml": "dice_semimetric",
    "asl": "f_beta", "asym": "f_beta", "asymmetricsimilarity": "f_beta", "ftl": "focal_tversky",
    "ss": "sensitivity_specificity", "matthews": "mcc", "ufl": "unified_focal", "aufl": "unified_focal", "bd": "boundary",
    "surface": "boundary", "hd": "hausdorff_dt", "hausdorff": "hausdorff_dt", "hddt": "hausdorff_dt",
    "lovasz": "lovasz_softmax, or lovasz_hinge with loss.activation: sigmoid", "softcldice": "cl_dice",
    "centerline": "cl_dice", "ccdice": "component", "ccdicece": "component", "vgg": "perceptual",
    "l1": "mae", "l2": "mse", "brier": "mse", "smoothl1": "huber", "sdf": "signed_distance", "sdm": "signed_distance",
    "iw": "inverse_component", "inverseweighting": "inverse_component", "generalizediou": "giou",
    "dicece": "cross_entropy and dice, a term each", "cedice": "cross_entropy and dice, a term each",
    "bcedice": "bce and dice, a term each", "dicebce": "bce and dice, a term each", "dicefocal": "dice and focal, a term each",
    "dicetopk": "dice and topk, a term each",
}  # fmt: skip
"""What others call it (in lower case, letters and digits only) -> what it is here."""


def meant(name: str, choices: Iterable[str]) -> str | None:
    """What an unknown name of the loss library probably means: a common name of a choice, or a typo; None when nothing is near."""
    choices, bare = list(choices), re.sub(r"[\W_]", "", name.lower())
    for word in (bare, bare.removesuffix("loss")):
        same = [choice for choice in choices if choice.replace("_", "") == word]
        common = same[0] if same else COMMON_NAMES.get(word)
        if common and re.split(r"\W", common)[0] in choices:
            return f"did you mean {common}?"
    return did_you_mean(name, choices)


def wrong_activation(name: str, only: str | None, sibling: str | None, activation: object) -> Fault | None:
    """Message and suggestion when a term works with `only` one activation, which is not the given one."""
    if only in (None, activation):
        return None
    return f"{name} needs loss.activation: {only}, got {activation}", f"with {activation} take {sibling}" if sibling else None


def idle_balance(balance: object, share_every: object, terms: int) -> Fault | None:
    """Message and suggestion when `loss.balance: gradient` has nothing to work on."""
    if balance != "gradient":
        return None
    if type(share_every) is int and share_every == 0:
        return "gradient needs loss.share_every above 0, since it lives on those measurements", "set it to 10"
    if terms == 1:
        return "gradient has no effect on a single term", "set it to none, or add a term"
    return None


def idle_sum(weights: Sequence[object], heads: Sequence[object]) -> Fault | None:
    """Message and suggestion when a sum trains nothing, or no segmentation: from its terms' weights and the heads that they act on."""
    if weights and all(_is_zero(weight) for weight in weights):
        return "all weights are 0, so that nothing is trained", "give a term a weight above 0"
    if weights and all(_is_zero(weight) or head is not None for weight, head in zip(weights, heads, strict=True)):
        return "every term acts on a head, so that the segmentation is not trained", "add a term without `head`, such as dice"
    return None


def _is_zero(weight: object) -> bool:
    return isinstance(weight, int | float) and weight == 0


def ignored_label(activation: object, ignore_index: object) -> Fault | None:
    """Message and suggestion when `loss.ignore_index` is one of the two labels of a mask."""
    if activation != "sigmoid" or type(ignore_index) is not int or ignore_index not in (0, 1):
        return None
    where = "inside" if ignore_index else "outside"
    return f"{ignore_index} leaves out every voxel {where} the masks, with loss.activation: sigmoid", "set it to another value, such as 255"


def idle_settings(section: Mapping[str, object], looked_at: Collection[str]) -> Iterator[tuple[str, Fault]]:
    """Key, message and suggestion for each setting other than the default that changes nothing.

    Args:
        section: The values of `loss:` by key. Those that are no choice are passed over.
        looked_at: The settings that at least one of the terms looks at.
    """
    for key, (default, others) in SETTINGS.items():
        value = section.get(key, default)
        if type(value) is not type(default) or value not in others:
            continue
        shown, back = (str(one).lower() for one in (value, default))
        if key == "include_background" and section.get("activation") == "sigmoid":
            yield key, (f"{shown} has no effect with loss.activation: sigmoid, which has no background", f"set it to {back}")
        elif key not in looked_at:
            yield key, (f"{shown} has no effect: no term of the sum looks at it", f"set it to {back}, or add a region term")
        elif value == "batch" and section.get("reduce_over", "batch") == "batch":
            yield key, (f"{shown} has no effect with loss.reduce_over: batch", f"set it to {back}, or loss.reduce_over to sample")


def check_loss(root: Node) -> Iterator[Problem]:
    """What is wrong between the keys of `loss:`; what other checks report is passed over."""
    section = root.value.get("loss")
    if section is None or not section.is_section:
        return
    terms, activation = section.value.get("terms"), _scalar(section, "activation")
    items: list[Node] = terms.value if terms and isinstance(terms.value, list) else []
    for index, item in enumerate(items):
        name = item.value.get("name") if item.is_section else None
        if name is None or activation not in ("softmax", "sigmoid") or name.value not in signatures.names(TERMS):
            continue
        only, sibling = (signatures.attribute(TERMS, name.value, attribute) for attribute in ("activation", "sibling"))
        path: KeyPath = ("loss", "terms", index, "name")
        yield from _problem(name, path, wrong_activation(name.value, only, sibling, activation))
    yield from _idle(section, items)
    if terms is not None and all(item.is_section for item in items):
        values = [
            [_scalar(item, key) if key in item.value else default for item in items] for key, default in (("weight", 1.0), ("head", None))
        ]
        yield from _problem(terms, ("loss", "terms"), idle_sum(*values))
    if "ignore_index" in section.value:
        fault = ignored_label(activation, _scalar(section, "ignore_index"))
        yield from _problem(section.value["ignore_index"], ("loss", "ignore_index"), fault)
    if "balance" in section.value:
        fault = idle_balance(_scalar(section, "balance"), _scalar(section, "share_every"), len(items))
        yield from _problem(section.value["balance"], ("loss", "balance"), fault)


def _idle(section: Node, items: list[Node]) -> Iterator[Problem]:
    """Settings without effect, once it is known which terms there are."""
    given = [_scalar(item, "name") if item.is_section else None for item in items]
    names = [name for name in given if isinstance(name, str) and name in signatures.names(TERMS)]
    if not names or len(names) < len(items):
        return
    looked_at = {key for name in names for key in signatures.attribute(TERMS, name, "looks_at") or ()}
    values = {key: _scalar(section, key) for key in section.value}
    for key, fault in idle_settings(values, looked_at):
        yield from _problem(section.value[key], ("loss", key), fault)


def _problem(node: Node, path: KeyPath, fault: Fault | None) -> Iterator[Problem]:
    if fault is not None:
        yield Problem(node.origin, key_text(path), *fault)


def _scalar(section: Node, key: str) -> Any:
    return section.value[key].value if key in section.value else None
