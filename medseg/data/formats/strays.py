"""Files of a tree that belong to no case, because the image that would make it one is missing or misspelled."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from medseg.data.case import Fault
from medseg.data.formats.templates import Template, Tree

Fields = Mapping[str, str]


def strays(
    tree: Tree, finder: str, finders: Sequence[Template], channels: Iterable[Template], masks: Iterable[Template], used: Collection[str]
) -> list[Fault]:
    """Warn of scans that would disappear silently, once each: of files of other channels, of masks, and of misspelled first channels.

    Args:
        tree: The data set's tree.
        finder: Name of the channel whose files are the cases; "" where one file holds all.
        finders: Its templates.
        channels: Templates of the other channels.
        masks: Templates of the masks.
        used: Paths that belong to cases.
    """
    near = {path.lower(): path for template in finders for path in tree.nearly(template) if path not in used}
    known = frozenset(field for template in finders for field in template.fields)
    lost: set[frozenset[tuple[str, str]]] = set()
    faults = []
    for path, fields in _unused(tree, channels, used):
        scan = frozenset((name, text) for name, text in fields.items() if name in known)
        if scan not in lost:
            lost.add(scan)
            wanted = str(finders[0].fill(fields))
            capitals = near.pop(wanted.lower(), None)
            remedy = f"rename {capitals}, where upper and lower case differ" if capitals else "add it, or remove the rest of the scan"
            faults.append(Fault("warning", "", tree.path(path), f"has no {finder} ({wanted}), so that the scan is not used", remedy))
    for path, fields in _unused(tree, masks, used):
        if frozenset((name, text) for name, text in fields.items() if name in known) not in lost:
            remedy = f"add its image ({finders[0].text}), or remove it"
            faults.append(Fault("warning", "", tree.path(path), "is a mask without an image, and is not used", remedy))
    for path in near.values():
        message = f"is not used, since {finders[0].text} has other upper and lower case"
        faults.append(Fault("warning", "", tree.path(path), message, "rename it, or correct data.format.params.images"))
    return faults


def _unused(tree: Tree, templates: Iterable[Template], used: Collection[str]) -> Iterator[tuple[str, Fields]]:
    """What templates match and no case has, each path once."""
    found = {path: fields for template in templates for path, fields in tree.match(template) if path not in used}
    yield from found.items()
