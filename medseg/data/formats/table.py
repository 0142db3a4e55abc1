"""A table that lists every file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medseg.data.case import Case, DataSet, Fault
from medseg.data.formats import layout
from medseg.data.formats.fields import unknown
from medseg.data.formats.rows import Row, read_rows
from medseg.data.images import stem_of, suffix_of
from medseg.errors import DataError

_NAMES = ("cases.csv", "cases.json")
_CHANNEL = "image_"
_SPLITS = {"": False, "train": False, "training": False, "test": True, "testing": True}


class Table:
    """A CSV file with a header line, or a JSON list of objects, with one row per case.

        case,image_T1,image_FLAIR,label,group,split
        a1,a1/t1.nii.gz,a1/flair.nii.gz,a1/mask.nii.gz,patient a,train

    `image` is a file with all channels; `image_<channel>` the file of one. `case` is the id, by default the image's name. `group` is what
    is never split between training and validation, by default the case. `split` is train (also where it is empty) or test; only test cases
    may lack a label. Paths count from the table's folder and stay within the data set's folder. Further columns are not read.

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
            DataError: When the table cannot be used, with the line that is wrong. What is wrong with single files is `check_dataset`'s
                business.
        """
        layout.require_folder(root, "the data set's folder", "set data.root to the folder that holds the table")
        source = self._source(root)
        rows, columns = read_rows(source)
        images = self._image_columns(source, columns)
        cases = _cases(rows, images, root, source)
        if not cases:
            raise DataError(f"{source}: the table lists no case; add a line for each")
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
        if self.groups is not None or "group" not in columns:
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
        rows, columns = read_rows(source)
        cases = _cases(rows, self._image_columns(source, columns), source.parent, source)
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


def _cases(rows: Sequence[Row], images: Sequence[str], root: Path, source: Path) -> list[tuple[Case, bool]]:
    """The cases of a table, and whether each is for the test."""
    cases: list[tuple[Case, bool]] = []
    places: dict[str, str] = {}
    for place, row in rows:
        files = []
        for column in images:
            if not row[column]:
                raise DataError(f"{source}: {place} has nothing in the column {column}; give the file's path")
            files.append(_path(row[column], root, source, place))
        case = row.get("case") or stem_of(files[0])
        if case in (".", "..") or "/" in case or "\\" in case:  # it becomes the name of a prediction's file
            raise DataError(f"{source}: {place} names the case '{case}', which cannot be a file's name; leave the folders out")
        if case in places:
            raise DataError(f"{source}: {place} and {places[case]} are both case '{case}'; give each a name of its own in the column case")
        places[case] = place
        split = row.get("split", "").lower()
        if split not in _SPLITS:
            raise DataError(f"{source}: {place} has the split '{row['split']}'; write train or test")
        label = _path(row["label"], root, source, place) if row.get("label") else None
        cases.append((Case(case, tuple(files), label, row.get("group") or case), _SPLITS[split]))
    return cases


def _path(relative: str, root: Path, source: Path, place: str) -> Path:
    """A path that counts from the table's folder, within the data set's."""
    try:
        below = (source.parent / relative).relative_to(root) if not Path(relative).is_absolute() else Path(relative)
        return layout.inside(root, str(below), source)
    except (DataError, ValueError) as error:
        raise DataError(
            f"{source}: {place} names the path '{relative}', which leads out of {root}; give paths below the data set's folder"
        ) from error
