"""Predict files: a folder of images in, label maps in their own grid out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medseg.data import FORMATS
from medseg.data.case import Case
from medseg.data.images import lossless_suffix, write_label
from medseg.data.preparation import PreparedCase
from medseg.errors import DataError
from medseg.files import write_text
from medseg.inference.load import make_predictor, read_run
from medseg.inference.predictor import Predictor


class Format(Protocol):
    """The part of a data format that prediction needs."""

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder, or one image file, as cases without labels."""


@dataclass
class Predictions:
    """What became of each case."""

    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Label maps that were there already."""
    failed: dict[str, str] = field(default_factory=dict)
    """Case id -> why it could not be predicted."""

    @property
    def exit_code(self) -> int:
        """1 when a case failed, else 0."""
        return 1 if self.failed else 0


def predict_run(
    run: Path, input: Path, output: Path, *, overwrite: bool = False, device: str = "auto", console: Console | None = None, **overrides: Any
) -> Predictions:
    """Predict a folder of images, or one, with a trained run: `read_run`, its data format, `predict_folder`.

    Args:
        run: Run folder or checkpoint file.
        input: Images named as in the run's data set; a single file is one case.
        output: Folder for the label maps.
        overwrite: Whether to predict again what is there already.
        device: As in `load_predictor`.
        console: Where progress and failures are shown; None shows nothing.
        overrides: As in `load_predictor`.

    Raises:
        RunError: When the run cannot be loaded.
        DataError: When the input cannot be used as a whole.
    """
    saved = read_run(run)
    layout = FORMATS[saved.config.data.format.name](**saved.config.data.format.params)
    cases = find_cases(layout, input, len(saved.channels), output)  # before the network is built: a typo answers at once
    predictor = make_predictor(saved, device, **overrides)
    _claim(output, saved.path, [f"{case.id}{saved.suffix}" for case in cases], overwrite)  # last: it may remove old label maps
    return predict_cases(predictor, cases, output, saved.suffix, overwrite=overwrite, console=console)


def predict_folder(
    predictor: Predictor,
    layout: Format,
    input: Path,
    output: Path,
    *,
    channels: int,
    suffix: str,
    overwrite: bool = False,
    console: Console | None = None,
) -> Predictions:
    """Predict every case of a folder, or the one of a file, into `<output>/<case><suffix>`.

    Label maps lie in the grid of the images' own files and hold the data set's label values. A case that fails is reported, and the others
    go on. A label map that is there already, from an interrupted run, is kept: each was written whole.

    Args:
        predictor: The trained network.
        layout: The format of the data set it was trained on, which knows the files' naming.
        input: Folder of images, or one image.
        output: Folder for the label maps; made if need be.
        channels: Image channels of the network.
        suffix: Suffix of the label maps; lossless PNG is written for JPEG.
        overwrite: Whether to predict again what is there already.
        console: Where progress and failures are shown; None shows nothing.

    Raises:
        DataError: When `input` is missing or holds no image, or `output` is the folder of the images or a file.
    """
    cases = find_cases(layout, input, channels, output)
    return predict_cases(predictor, cases, output, lossless_suffix(suffix), overwrite=overwrite, console=console)


def find_cases(layout: Format, input: Path, channels: int, output: Path) -> tuple[Case, ...]:
    """List the cases to predict, and refuse an output folder that cannot be one."""
    if not input.exists():
        raise DataError(f"{input}: does not exist; give a folder of images, or one image")
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: is a file; give a folder for the label maps")
    folder = input if input.is_dir() else input.parent
    if output.resolve() == folder.resolve():
        raise DataError(f"{output}: holds the images, which label maps of the same names would replace; give another output folder")
    cases = layout.find(input, channels)
    if not cases:
        raise DataError(f"{input}: no images here; give the folder that holds the images to predict")
    names = [case.id for case in cases]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{input}: two images are called '{twice}', and would be predicted into one file; rename one")
    return cases


def predict_cases(
    predictor: Predictor, cases: Sequence[Case], output: Path, suffix: str, *, overwrite: bool = False, console: Console | None = None
) -> Predictions:
    """Predict cases one by one; arguments as in `predict_folder`."""
    result = Predictions()
    console = console or Console(quiet=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("predict", total=len(cases))
        for case in cases:
            progress.update(task, description=case.id)
            path = output / f"{case.id}{suffix}"
            if path.is_file() and not overwrite:
                result.kept.append(path)
            else:
                try:
                    predict_case(predictor, case, path)
                except Exception as error:  # whatever is wrong with one case, the others are predicted
                    reason = str(error) if isinstance(error, DataError) else f"{case.images[0]}: {type(error).__name__}: {error}"
                    result.failed[case.id] = reason
                    console.print(f"failed: {reason}", markup=False, highlight=False, soft_wrap=True)
                else:
                    result.written.append(path)
            progress.advance(task)
        progress.update(task, description="predicted")
    return result


def predict_case(predictor: Predictor, case: Case, path: Path) -> tuple[np.ndarray, PreparedCase]:
    """Predict one case into a label file, in the grid of its images and in the data set's label values.

    Returns:
        The predicted ids in that grid, and the prepared case.
    """
    prepared = predictor.preparer.prepare(case, predictor.labels)
    return predict_prepared(predictor, prepared, path), prepared


def predict_prepared(predictor: Predictor, prepared: PreparedCase, path: Path) -> np.ndarray:
    """Predict a case that is prepared already, as `predict_case` does; returns the predicted ids in the grid of its images."""
    ids = predictor.predict(prepared)
    write_label(path, predictor.labels.decode(ids), prepared.original)
    return ids


def _claim(output: Path, checkpoint: Path, names: Sequence[str], overwrite: bool) -> None:
    """Note in the output folder whose predictions it holds, so that another run's are never taken for this one's.

    Raises:
        DataError: Label maps of other weights are there already, or of unknown ones.
    """
    note = output / "predictions.json"
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    present = [name for name in names if (output / name).is_file()]
    known = json.loads(note.read_text()).get("checkpoint_sha256") if note.is_file() else None
    if present and known != digest and not overwrite:
        raise DataError(f"{output}: holds {present[0]}, predicted by another checkpoint; give another folder, or --overwrite")
    for name in present if known != digest else ():
        (output / name).unlink()  # an interrupted overwrite must not leave a mixture
    write_text(note, json.dumps({"checkpoint": str(checkpoint), "checkpoint_sha256": digest}, indent=1) + "\n")
