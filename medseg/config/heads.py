"""Rules between `network.heads` and the terms that act on them, for the checker of files and for `medseg.losses.build_loss` alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from medseg.config import signatures
from medseg.config.errors import Problem, did_you_mean
from medseg.config.schema import SEGMENTATION
from medseg.config.signatures import REGISTRIES
from medseg.config.tree import KeyPath, Node, key_text

Fault = tuple[str, str | None]

TERMS, HEADS = REGISTRIES["loss.terms[]"], REGISTRIES["network.heads.*"]
_NAME = re.compile(r"[A-Za-z]\w*")


def wrong_name(head: str) -> Fault | None:
    """Message and suggestion when a head cannot be called that."""
    if _NAME.fullmatch(head) and head != SEGMENTATION:
        return None
    return f"is no name of a head: a word of letters, digits and _ other than {SEGMENTATION}", None


def wrong_head(term: str, kinds: Sequence[str], needed: bool, head: object, heads: Mapping[str, object]) -> Fault | None:
    """Message and suggestion when a term cannot act on the head it names, or on none.

    Args:
        term: Its name.
        kinds: The kinds of head that it can act on.
        needed: Whether it can do nothing else.
        head: The head it names, or None.
        heads: Name -> kind of those that exist; None where another check says what is wrong with it.
    """
    listed = " or ".join(kinds)
    if head is None:
        return (f"{term} needs a head", f"name one of kind {listed} in network.heads") if needed else None
    if not kinds:
        return f"{term} acts on the segmentation, not on a head", "remove the line"
    if not isinstance(head, str) or head not in heads:
        known = f"there are {', '.join(heads)}" if heads else "there are none"
        return f"network.heads has no {head!r}", did_you_mean(str(head), heads) or known
    if heads[head] is not None and heads[head] not in kinds:
        return f"{term} cannot act on a head of kind {heads[head]}", f"it takes {listed}"
    return None


def idle_head(head: str, used: Collection[object]) -> Fault | None:
    """Message and suggestion when no term acts on a head."""
    if head in used:
        return None
    return "no term of the loss acts on it", f"add `head: {head}` to one, or remove the head"


def check_heads(root: Node) -> Iterator[Problem]:
    """What is wrong between `network.heads`, `loss.terms` and the patch; what other checks report is passed over."""
    network, terms = _child(root, "network"), _list(_child(_child(root, "loss"), "terms"))
    section = _child(network, "heads")
    heads = section.value if section is not None and section.is_section else {}
    known = signatures.names(HEADS) if heads else ()
    kinds = {name: kind if (kind := _scalar(_child(node, "name"))) in known else None for name, node in heads.items()}
    for name, node in heads.items():
        yield from _problem(node, ("network", "heads", name), wrong_name(name))
    for index, item in enumerate(terms):
        name = _scalar(_child(item, "name"))
        if name not in signatures.names(TERMS):
            continue
        path: KeyPath = ("loss", "terms", index)
        own, needed, axes = (signatures.attribute(TERMS, name, attribute) for attribute in ("kinds", "needs_head", "axes"))
        if network is not None:  # else a part of a config, whose heads another file may define
            given = _child(item, "head")
            yield from _problem(given or item, (*path, "head"), wrong_head(name, own or (), bool(needed), _scalar(given), kinds))
        patch = _list(_child(_child(root, "data"), "patch_size"))
        if axes is not None and patch and len(patch) != axes:
            yield Problem(item.origin, key_text((*path, "name")), f"{name} is {axes}-D only, data.patch_size has {len(patch)} items")
    if terms:
        used = [_scalar(_child(item, "head")) for item in terms]
        for name, node in heads.items():
            yield from _problem(node, ("network", "heads", name), idle_head(name, used))


def _problem(node: Node, path: KeyPath, fault: Fault | None) -> Iterator[Problem]:
    if fault is not None:
        yield Problem(node.origin, key_text(path), *fault)


def _child(node: Node | None, key: str) -> Node | None:
    return node.value.get(key) if node is not None and node.is_section else None


def _list(node: Node | None) -> list[Node]:
    return node.value if node is not None and isinstance(node.value, list) else []


def _scalar(node: Node | None) -> object:
    return None if node is None or isinstance(node.value, dict | list) else node.value
