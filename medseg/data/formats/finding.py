"""Images to predict: the tree of a data set's templates, or a part of it, without its masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from medseg.data.formats import layout
from medseg.data.formats.nnunet import NnUNet
from medseg.data.formats.templates import Template, Tree, some_files
from medseg.data.images import list_images, stem_of, suffix_of
from medseg.data.images.series import holds_series
from medseg.errors import DataError

Channels = Mapping[str, tuple[Template, ...]]


def find_images(folder: Path, channels: Channels, name: Callable[[Mapping[str, str]], str | None]) -> list[tuple[str, tuple[Path, ...]]]:
    """Find the images of a folder by the templates of their data set.

    The folder may be one such as the data set's, or any folder in it: where nothing matches, the templates' leading folders are left out
    one by one. Images of one file each may also lie in one folder under any name, those of several as <case>_0000, <case>_0001, ... in the
    order of channels.

    Args:
        folder: The folder, or one file.
        channels: The templates of each channel's file, in the order of channels; the first channel's files are the cases.
        name: The id of a case, from what was captured; None where too little was.

    Returns:
        Id and files of each case. A file that no template finds is named as its template.

    Raises:
        DataError: When there is no image.
    """
    if folder.is_file() and len(channels) == 1 and suffix_of(folder):
        return [(stem_of(folder), (folder,))]
    if not folder.is_dir():
        files = ", ".join(template.text for templates in channels.values() for template in templates[:1])
        raise DataError(f"{folder}: is no folder of images; give one with {files}")
    first, finders = next(iter(channels.items()))
    for levels in range(max(template.text.count("/") for template in finders) + 1):
        heads = _below(finders, levels)
        parts = {channel: _below(templates, levels) for channel, templates in channels.items()}
        tree = Tree(folder, (*heads, *(template for templates in parts.values() for template in templates)))
        found = {path: fields for template in heads for path, fields in reversed(tree.match(template))}
        if found:
            return [
                (
                    name(fields) or (folder.name if len(found) == 1 else stem_of(path)),
                    tuple(tree.path(path) if channel == first else _file(tree, path, fields, parts[channel]) for channel in channels),
                )
                for path, fields in sorted(found.items())
            ]
    if len(channels) == 1:
        return _single_files(folder, next(iter(channels.values())))
    if any(stem_of(path).endswith("_0000") for path in list_images(folder)):
        return [(case.id, case.images) for case in NnUNet().find(folder, len(channels))]
    texts = " and ".join(template.text for templates in channels.values() for template in templates[:1])
    numbers = ", ".join(f"<case>_{number:04d} ({channel})" for number, channel in enumerate(channels))
    raise DataError(
        f"{folder}: no image matches {finders[0].text} here; give a folder with {texts} ({some_files(folder)}), or name the files {numbers}"
    )


def _below(templates: Sequence[Template], levels: int) -> tuple[Template, ...]:
    shorter = (template.below(levels) for template in templates)
    return tuple(template for template in shorter if template is not None)


def _file(tree: Tree, found: str, fields: Mapping[str, str], templates: Sequence[Template]) -> Path:
    """Another channel's file for the case of an image that was found."""
    matches = [path for template in templates for path, _ in tree.match(template.fill(fields))]
    return tree.path(matches[0] if matches else str(templates[0].fill(fields)) if templates else found)


def _single_files(folder: Path, templates: Sequence[Template]) -> list[tuple[str, tuple[Path, ...]]]:
    """The images that lie in a folder: files, or series of slices that it or its subfolders hold."""
    if any(template.text.endswith("/") for template in templates):
        if holds_series(folder):
            return [(folder.name, (folder,))]
        below = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and holds_series(path))
        if below:
            return [(path.name, (path,)) for path in below]
    try:
        return [(stem_of(path), (path,)) for path in layout.images_in(folder)]
    except DataError as error:
        raise DataError(f"{folder}: no image matches {templates[0].text} here ({some_files(folder)}); give the folder of images") from error
