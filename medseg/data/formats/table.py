"""A table that lists every file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.config.errors import closest
from medseg.data.case import Case, DataSet, Fault
from medseg.data.formats import layout
from medseg.data.formats.fields import unknown
from medseg.data.formats.problems import kept, raise_all
from medseg.data.formats.rows import Row, read_rows
from medseg.data.images import stem_of, suffix_of
from medseg.errors import DataError

_NAMES = ("cases.csv", "cases.json")
_CHANNEL = "image_"
_COLUMNS = ("case", "image", "label", "group", "split")
_SPLITS = {"": False, "train": False, "training": False, "test": True, "testing": True}


class Table:
    """A CSV file with a header line, or a JSON list of objects, with one row per case.

        case,image_T1,image_FLAIR,label,group,split
        a1,a1/t1.nii.gz,a1/flair.nii.gz,a1/mask.nii.gz,patient a,train

    `image` is a file with all channels; `image_<channel>` the file of one. `case` is the id, by default the image's name. `group` is what
    is never split between training and validation, by default the case. `split` is train or training (also where it is empty), test or
    testing, in upper or lower case; only test cases may lack a label. Paths count from the table's folder and stay within the data set's
    folder. Other columns are refused: a misspelled `group` would split patients between training and validation.

    Args:
        file: The table, below the data set's folder. None: cases.csv or cases.json there.
        labels: Name -> value of the classes; "background" (0) and "ignore" are special names. None: a single class "foreground", which is
            every value above 0.
        threshold: For grey masks of one class (0 and 255, or JPEG): values above it are the class.
        channels: Channels to use of the columns `image_<channel>`, in this order; or, for a column `image`, the names of the files'
            channels. None: all.
        groups: CSV file with columns case,group, or a regular expression on ids, in place of the column `group`.
        classes: The classes to segment; the others become background. None: all.
    """

    def __init__(
        self,
        *,
        file: str | None = None,
        labels: Mapping[str, int] | None = None,
        threshold: int | None = None,
        channels: list[str] | None = None,
        groups: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        self.file = file
        self.channels = channels
        self.groups = groups
        self._labels = layout.schema_from_params(labels, threshold, classes)

    def read(self, root: Path) -> DataSet:
        """Read the table; of the files only headers are opened.

        Raises:
            DataError: When the table cannot be used, with all lines that are wrong. Files that are not there or damaged are
                `check_dataset`'s business where nothing else is wrong.
        """
        layout.require_folder(root, "the data set's folder", "set data.root to the folder that holds the table")
        source = self._source(root)
        cases, images, grouped = self._table(source, root)
        files = [path for case, _ in cases for path in case.images]
        spatial_dims = layout.spatial_dims(files)
        if images == ["image"]:
            count = len(self.channels) if self.channels else layout.most_channels(files, spatial_dims)
            names = tuple(self.channels or layout.names_of_channels(count, spatial_dims))
        else:
            names = tuple(column.removeprefix(_CHANNEL) for column in images)
        made = [(Case(case.id, case.images, case.label, case.group, len(names)), test) for case, test in cases]
        trained: Sequence[Case] = [case for case, test in made if not test]
        tests: Sequence[Case] = [case for case, test in made if test]
        faults: list[Fault] = []
        if self.groups is not None or not grouped:
            trained, faults = layout.assign_groups(trained, root, self.groups)
            tests, _ = layout.assign_groups(tests, root, self.groups)
        suffixes = (suffix_of(case.label) for case, _ in made if isinstance(case.label, Path))
        return DataSet(
            name=root.name,
            root=root,
            cases=tuple(trained),
            channels=names,
            labels=self._labels,
            spatial_dims=spatial_dims,
            suffix=layout.label_suffix(suffixes, spatial_dims),
            test_cases=tuple(tests),
            faults=tuple(faults),
        )

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images to predict: those of a table in the folder (or of the table given), else its files, one a case."""
        tables = [folder] if folder.is_file() else [folder / name for name in ((self.file,) if self.file else _NAMES)]
        source = next((path for path in tables if path.is_file() and path.suffix.lower() in (".csv", ".json")), None)
        if source is None:
            if self.channels is not None and len(self.channels) != channels:
                raise DataError(f"{folder}: holds no table; list the files of the {channels} channels in {_NAMES[0]}")
            return tuple(Case(stem_of(path), (path,), None, stem_of(path), channels) for path in layout.images_in(folder))
        cases, _, _ = self._table(source, source.parent)
        return tuple(Case(case.id, case.images, None, case.group, channels) for case, _ in cases)

    def _source(self, root: Path) -> Path:
        """The table's file."""
        if self.file is not None:
            path = layout.inside(root, self.file, Path("data.format.params.file"))
            if not path.is_file():
                raise DataError(f"{path}: there is no such table; correct data.format.params.file")
            return path
        found = [root / name for name in _NAMES if (root / name).is_file()]
        if len(found) != 1:
            problem = f"holds both {' and '.join(_NAMES)}" if found else f"holds neither {' nor '.join(_NAMES)}"
            raise DataError(f"{root}: {problem}; set data.format.params.file to the table")
        return found[0]

    def _table(self, source: Path, root: Path) -> tuple[list[tuple[Case, bool]], list[str], bool]:
        """The cases of a table and whether each is for the test, the columns of images, and whether there are groups."""
        problems: list[str] = []
        rows, columns = read_rows(source, problems)
        images: list[str] = []
        with kept(problems):
            images = self._image_columns(source, columns)
        problems += [f"{source}: {_unknown_column(column)}" for column in columns if not _is_known(column)]
        cases = _cases(rows, images, root, source, problems)
        raise_all(problems)
        if not cases:
            raise DataError(f"{source}: the table lists no case; add a line for each")
        return cases, images, "group" in columns

    def _image_columns(self, source: Path, columns: Sequence[str]) -> list[str]:
        """The columns that hold image files, in the order of channels."""
        named = [column for column in columns if column.startswith(_CHANNEL) and column != _CHANNEL]
        if "image" in columns:
            if named:
                raise DataError(f"{source}: has a column image and a column {named[0]}; keep one file with all channels, or one for each")
            return ["image"]
        if not named:
            near = [column for column in columns if column.lower() in ("images", "img", "path", "file", "filename")]
            hint = f"rename the column '{near[0]}'" if near else f"its columns are {', '.join(columns)}"
            raise DataError(f"{source}: has no column image or image_<channel>; {hint}")
        for channel in self.channels or []:
            if _CHANNEL + channel not in named:
                raise DataError(unknown("data.format.params.channels", "channel", channel, [name.removeprefix(_CHANNEL) for name in named]))
        return [_CHANNEL + channel for channel in self.channels] if self.channels else named


def _cases(rows: Sequence[Row], images: Sequence[str], root: Path, source: Path, problems: list[str]) -> list[tuple[Case, bool]]:
    """The cases of a table, and whether each is for the test. Where anything is wrong, files that are not there are problems as well."""
    cases: list[tuple[Case, bool]] = []
    places: dict[str, tuple[str, str]] = {}
    missing: list[str] = []
    for place, row in rows:
        here = f"{source}: {place}"
        empty = [column for column in images if not row[column]]
        problems += [f"{here} has nothing in the column {column}; give the file's path" for column in empty]
        paths: dict[str, Path] = {}
        for column in (*images, "label"):
            if row.get(column):
                with kept(problems):
                    paths[column] = _path(row[column], root, source, place)
        missing += [f"{here} names {path}, which does not exist; correct the path" for path in paths.values() if not path.exists()]
        split = row.get("split", "").lower()
        if split not in _SPLITS:
            problems.append(f"{here} has the split '{row['split']}'; write train or test")
        files = tuple(paths[column] for column in images if column in paths)
        case = row.get("case") or (stem_of(files[0]) if files else "")
        if case in (".", "..") or "/" in case or "\\" in case:  # it becomes the name of a prediction's file
            problems.append(f"{here} names the case '{case}', which cannot be a file's name; leave the folders out")
        elif case:
            first, other = places.setdefault(case.casefold(), (place, case))
            if first != place:
                problems.append(_same_name(here, case, first, other))
        cases.append((Case(case, files, paths.get("label"), row.get("group") or case), _SPLITS.get(split, False)))
    if problems:
        problems += missing
    return cases


def _same_name(here: str, case: str, first: str, other: str) -> str:
    if case == other:
        return f"{here} and {first} are both case '{case}'; give each a name of its own in the column case"
    return f"{here} and {first} are cases '{case}' and '{other}', files of which are one where letter case does not count; rename one"


def _is_known(column: str) -> bool:
    return column in _COLUMNS or (column.startswith(_CHANNEL) and column != _CHANNEL)


def _unknown_column(column: str) -> str:
    """What to say of a column that would not be read."""
    head, _, channel = column.partition("_")
    near = _CHANNEL + channel if channel and closest(head, ("image",)) else closest(column, _COLUMNS)
    likely = f"did you mean {near}? Otherwise" if near else "rename it, or"
    return f"unknown column '{column}'; {likely} remove it (a table takes {', '.join(_COLUMNS)} and {_CHANNEL}<channel>)"


def _path(relative: str, root: Path, source: Path, place: str) -> Path:
    """A path that counts from the table's folder, within the data set's."""
    try:
        below = (source.parent / relative).relative_to(root) if not Path(relative).is_absolute() else Path(relative)
        return layout.inside(root, str(below), source)
    except (DataError, ValueError) as error:
        raise DataError(
            f"{source}: {place} names the path '{relative}', which leads out of {root}; give paths below the data set's folder"
        ) from error
