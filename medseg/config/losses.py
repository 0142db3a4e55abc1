"""Rules of the `loss:` section that concern several keys, for the checker of files and for `medseg.losses.build_loss` alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medseg.config import signatures
from medseg.config.errors import Problem
from medseg.config.signatures import REGISTRIES
from medseg.config.tree import KeyPath, Node, key_text

TERMS = REGISTRIES["loss.terms[]"]


def wrong_activation(name: str, only: str | None, sibling: str | None, activation: object) -> tuple[str, str | None] | None:
    """Message and suggestion when a term works with `only` one activation, which is not the given one."""
    if only in (None, activation):
        return None
    return f"{name} needs loss.activation: {only}, got {activation}", f"with {activation} take {sibling}" if sibling else None


def idle_balance(balance: object, share_every: object, terms: int) -> tuple[str, str] | None:
    """Message and suggestion when `loss.balance: gradient` has nothing to work on."""
    if balance != "gradient":
        return None
    if type(share_every) is int and share_every == 0:
        return "gradient needs loss.share_every above 0, since it lives on those measurements", "set it to 10"
    if terms == 1:
        return "gradient has no effect on a single term", "set it to none, or add a term"
    return None


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
    if "balance" in section.value:
        fault = idle_balance(_scalar(section, "balance"), _scalar(section, "share_every"), len(items))
        yield from _problem(section.value["balance"], ("loss", "balance"), fault)


def _problem(node: Node, path: KeyPath, fault: tuple[str, str | None] | None) -> Iterator[Problem]:
    if fault is not None:
        yield Problem(node.origin, key_text(path), *fault)


def _scalar(section: Node, key: str) -> Any:
    return section.value[key].value if key in section.value else None
