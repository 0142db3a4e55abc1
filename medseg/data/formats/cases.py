"""Any folder tree: images and masks found by templates of their paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from medseg.data.case import Case, DataSet, Fault
from medseg.data.formats import layout
from medseg.data.formats.fields import default_id, group_rule, held_out, naming, unknown
from medseg.data.formats.finding import find_images
from medseg.data.formats.mask_entries import MaskPlan, read_sources
from medseg.data.formats.problems import kept, raise_all
from medseg.data.formats.strays import strays
from medseg.data.formats.templates import Template, Tree, some_files
from medseg.data.images import suffix_of
from medseg.errors import DataError

_KEY = "data.format.params"


@dataclass
class _Draft:
    """A case and how it was put together."""

    case: Case
    fields: Mapping[str, str]
    masks: int
    """Mask files that were found."""


class Cases:
    """Images and masks that templates of their paths find, in any tree.

        images: {FLAIR: "{site}/{id}/pre/FLAIR.nii.gz", T1: "{site}/{id}/pre/T1.nii.gz"}
        masks: [{file: "{site}/{id}/wmh.nii.gz", values: {WMH: 1, ignore: 2}}]

    A template is a path below the data set's folder. `{field}` captures a part of a name, `{field:regex}` what the regular expression
    matches (it may contain "/"), `*` is anything but "/"; all else is literal. A template that ends in "/" is a folder: a DICOM series, or
    the pictures that label its slices. The first channel's templates find the cases; in all others the captured fields are filled in.
    Hidden files are skipped. Where nothing matches below the folder but does below just one of its subfolders, that one is taken.

    Args:
        images: Channel name -> template, or list of templates any of which will do. Or one template, or list, of files with all channels.
        masks: What is painted, in order, later entries over earlier ones. Each is one of
            `{file: template, values: {class: 1, other: [2, "5-9"], ignore: 3}}`: one file with several values (also `background`, else 0);
            `{file: template, class: liver, threshold: 127}`: binary, above the threshold (0) is the class, several files are united;
            `{file: ".../{class}.nii.gz", classes: [a, b] or {ours: "on disk"}, threshold: 0}`: a binary file per class.
            `missing` says what a file that is not there means: `error`, `empty` (none of it), or `unlabelled` (nobody looked: background
            becomes ignored). `where: {field: value or list}` limits an entry to some cases; the others have none of it.
        channels: With one template, the channels' names, in the files' order. With a mapping, the channels to use, in this order. None:
            all; pictures become colour if any is.
        case: Template of the case's id. None: all fields, joined by "_".
        group: Template of the patient, who is never split between training and validation; or field -> list of numbers and ranges ("1-25"),
            each a patient. None: groups.csv in the folder where there is one, otherwise the id.
        groups: CSV file with columns case,group, or a regular expression on ids, in place of `group`.
        test: Field -> value or list: such cases are never trained on. Or `{file: meta.csv, case: column, column: split, values: [test]}`.
            Test cases without any mask file have no label.
        overlap: `paint` lets later masks win. `keep` lets a voxel belong to several classes: its value is a sum of powers of two, one a
            class, seven at most.
        regions: Name -> list of classes that it unites. Regions take the classes' place, may overlap, and are written as the value of their
            first class.
        resample: Whether channels and masks in other grids are brought to that of the first channel; otherwise they are a fault.
        classes: The classes (or regions) to segment; the others become background, and files that show only those are not read. None: all.
    """

    def __init__(
        self,
        *,
        images: Mapping[str, str | list[str]] | list[str] | str,
        masks: list[Mapping[str, Any]],
        channels: list[str] | None = None,
        case: str | None = None,
        group: str | Mapping[str, list[int | str]] | None = None,
        groups: str | None = None,
        test: Mapping[str, Any] | None = None,
        overlap: Literal["paint", "keep"] = "paint",
        regions: Mapping[str, list[str]] | None = None,
        resample: bool = False,
        classes: list[str] | None = None,
    ) -> None:
        problems: list[str] = []
        with kept(problems):
            self._finder, self._finders, self._channels = _image_templates(images, channels)
        if problems:  # without fields to go by, but not without a look at the masks
            with kept(problems):
                read_sources(masks, None, {})
            raise_all(problems)
        self._names = tuple(self._channels) if isinstance(images, Mapping) else tuple(channels) if channels else None
        fields = tuple(dict.fromkeys(field for template in self._finders for field in template.fields))
        self._fields = frozenset(fields)
        definitions = {name: regex for template in self._finders for name, regex in template.definitions.items()}
        self._channels = {name: tuple(template.define(definitions) for template in found) for name, found in self._channels.items()}
        self._id, self._id_fields, self._group, self._test = None, fields, None, None
        if case is not None:
            with kept(problems):
                self._id = naming(case, f"{_KEY}.case", self._finders)
                self._id_fields = Template.parse(case, f"{_KEY}.case").fields
        if group is not None:
            with kept(problems):
                self._group = group_rule(group, f"{_KEY}.group", self._finders)
        if test is not None:
            with kept(problems):
                self._test = held_out(test, f"{_KEY}.test", fields)
        with kept(problems):
            self._plan = MaskPlan(masks, overlap, regions, classes, fields, definitions)
        raise_all(problems)
        self._groups = groups
        self._test_table = test.get("file") if test is not None and "column" in test else None
        self._resample = resample

    def read(self, root: Path) -> DataSet:
        """Walk the tree once and put the cases together; only headers are opened.

        Raises:
            DataError: When the data set cannot be read as a whole. What is wrong with single files is `check_dataset`'s business.
        """
        layout.require_folder(root, "the data set's folder", "set data.root to the folder that holds the images and masks")
        tree, found = self._find(root)
        faults: list[Fault] = []
        used: set[str] = set()
        drafts = self._assemble_all(tree, found, faults, used)
        files = [path for draft in drafts for path in draft.case.images]
        spatial_dims = layout.spatial_dims(files)
        names = self._names or layout.names_of_channels(layout.most_channels(files, spatial_dims), spatial_dims)
        for draft in drafts:
            draft.case = replace(draft.case, channels=len(names))
        is_test = self._test(tree.root) if self._test else None
        held = [is_test is not None and is_test(draft.case.id, draft.fields) for draft in drafts]
        tests = [draft for draft, out in zip(drafts, held, strict=True) if out]
        trained = [draft for draft, out in zip(drafts, held, strict=True) if not out]
        if trained and not any(draft.masks for draft in trained):
            raise DataError(self._no_mask(tree, trained[0]))
        if self._test_table is not None and not tests:
            faults.append(_no_test(tree.root / self._test_table))
        cases: Sequence[Case] = [draft.case for draft in trained]
        test_cases: Sequence[Case] = [draft.case if draft.masks else replace(draft.case, label=None) for draft in tests]
        if self._groups is not None or self._group is None:
            cases, group_faults = layout.assign_groups(cases, tree.root, self._groups)
            test_cases, _ = layout.assign_groups(test_cases, tree.root, self._groups)
            faults += group_faults
        return DataSet(
            name=tree.root.name,
            root=tree.root,
            cases=tuple(cases),
            channels=names,
            labels=self._plan.labels,
            spatial_dims=spatial_dims,
            suffix=layout.label_suffix(_mask_suffixes(draft.case for draft in drafts), spatial_dims),
            test_cases=tuple(test_cases),
            faults=(*faults, *self._strays(tree, used)),
        )

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder as cases without labels: the data set's tree or a part of it, or plain files of all channels."""
        found = find_images(folder, self._channels, self._id_of)
        return tuple(Case(name, files, None, name, channels, self._resample) for name, files in found)

    def _find(self, root: Path) -> tuple[Tree, list[tuple[str, dict[str, str]]]]:
        """The tree and the images of its cases, each with the fields that its path holds, in order of ids."""
        channels = [template for templates in self._channels.values() for template in templates]
        tree = Tree(root, (*self._finders, *channels, *self._plan.templates))
        found = self._matches(tree)
        if not found:
            subfolders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
            roots = [folder for folder in subfolders if self._matches(Tree(folder, self._finders))]
            if len(roots) != 1:
                several = f" (it matches below {', '.join(path.name for path in roots[:5])})" if roots else ""
                raise DataError(
                    f"{root}: no image matches {self._finders[0].text}{several}; set data.root to the folder that the templates begin in, "
                    f"or correct data.format.params.images ({some_files(root)})"
                )
            tree = Tree(roots[0], (*self._finders, *channels, *self._plan.templates))
            found = self._matches(tree)
        return tree, sorted(found.items(), key=lambda item: (self._id_of(item[1]) or "", item[0]))

    def _matches(self, tree: Tree) -> dict[str, dict[str, str]]:
        return {path: fields for template in reversed(self._finders) for path, fields in tree.match(template)}

    def _id_of(self, fields: Mapping[str, str]) -> str | None:
        """The id that the fields make, or those of its fields that are there; None where there are none."""
        named = self._id(fields) if self._id else None
        return named or default_id({name: fields[name] for name in self._id_fields if name in fields}) or None

    def _assemble_all(self, tree: Tree, found: Iterable[tuple[str, dict[str, str]]], faults: list[Fault], used: set[str]) -> list[_Draft]:
        problems: list[str] = []
        drafts = []
        for path, fields in found:
            with kept(problems):
                drafts.append(self._assemble(tree, path, fields, faults, used))
        raise_all(problems)
        return drafts

    def _assemble(self, tree: Tree, path: str, fields: Mapping[str, str], faults: list[Fault], used: set[str]) -> _Draft:
        """One case: its channels' files and its label."""
        name = self._id_of(fields) or tree.root.name
        images = []
        for channel, templates in self._channels.items():
            found = [path] if channel == self._finder else self._filled(tree, templates, fields)
            used.update(found)
            images.append(tree.path(found[0]) if found else tree.root / str(templates[0].fill(fields)))
            for extra in found[1:]:
                message = f"is a second file of channel '{channel}' beside {found[0]}"
                faults.append(Fault("error", name, tree.path(extra), message, "keep one of them, or make the template narrower"))

        def find(template: Template) -> list[Path]:
            found = [relative for relative, _ in tree.match(template)]
            used.update(found)
            return [tree.path(relative) for relative in found]

        used.update([path])
        label, masks = self._plan.compose(fields, find, lambda template: tree.root / str(template))
        group = (self._group(fields) if self._group else None) or name
        return _Draft(Case(name, tuple(images), label, group, None, self._resample), fields, masks)

    def _filled(self, tree: Tree, templates: Sequence[Template], fields: Mapping[str, str]) -> list[str]:
        """The files that any of the templates matches once the fields are filled in."""
        usable = [template for template in templates if set(template.fields) & self._fields <= fields.keys()]
        return list(dict.fromkeys(path for template in usable for path, _ in tree.match(template.fill(fields))))

    def _strays(self, tree: Tree, used: set[str]) -> list[Fault]:
        """What belongs to no case."""
        others = [template for channel, templates in self._channels.items() if channel != self._finder for template in templates]
        return strays(tree, self._finder, self._finders, others, self._plan.templates, used)

    def _no_mask(self, tree: Tree, draft: _Draft) -> str:
        templates = self._plan.templates
        expected = templates[0].fill(draft.fields)
        return (
            f"{tree.root}: no mask belongs to an image; case '{draft.case.id}' needs {expected} ({templates[0].text}), "
            f"{some_files(tree.root)}; correct data.format.params.masks, or add the masks"
        )


def _image_templates(images: Any, channels: list[str] | None) -> tuple[str, tuple[Template, ...], dict[str, tuple[Template, ...]]]:
    """The channel that finds the cases, its templates, and those of each channel ("" for files that hold all)."""
    key = f"{_KEY}.images"
    if not isinstance(images, Mapping):
        finders = _templates(images, key)
        return "", finders, {"": finders}
    if not images:
        raise DataError(f"{key}: names no channel; give {{name: template}}")
    problems: list[str] = []
    named: dict[str, tuple[Template, ...]] = {}
    for name, given in images.items():
        named[str(name)] = ()
        with kept(problems):
            named[str(name)] = _templates(given, f"{key}.{name}")
    problems += [unknown(f"{_KEY}.channels", "channel", name, named) for name in channels or [] if name not in named]
    raise_all(problems)
    first, finders = next(iter(named.items()))
    return first, finders, {name: named[name] for name in dict.fromkeys(channels)} if channels else named


def _templates(given: Any, key: str) -> tuple[Template, ...]:
    problems: list[str] = []
    templates: list[Template] = []
    for text in given if isinstance(given, list) else [given]:
        with kept(problems):
            templates.append(Template.parse(text, key))
    raise_all(problems)
    if not templates:
        raise DataError(f"{key}: lists no template; give one")
    return tuple(templates)


def _no_test(table: Path) -> Fault:
    """What to say where a table should name test cases and names none that is there."""
    problem = "names none of the cases" if table.is_file() else "does not exist"
    message = f"{problem}, so that no case is held out for the test"
    return Fault("warning", "", table, message, "add it or correct data.format.params.test, unless you lack the test cases")


def _mask_suffixes(cases: Iterable[Case]) -> list[str]:
    """That of one mask of each case."""
    labels = (case.label for case in cases)
    return [suffix_of(file) for label in labels if label is not None and not isinstance(label, Path) for file in label.files[:1]]
