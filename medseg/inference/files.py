"""Predict files: images in, label maps in their own grid out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medseg.data import FORMATS
from medseg.data.case import Case
from medseg.data.images import lossless_suffix, write_label
from medseg.data.preparation import PreparedCase
from medseg.errors import DataError
from medseg.inference import note
from medseg.inference.cases import InputCase
from medseg.inference.claims import Claims
from medseg.inference.ensemble import Average, Ensemble
from medseg.inference.inputs import Format, find_cases, label_suffix, read_suffix
from medseg.inference.interruption import remembered_interrupt
from medseg.inference.load import read_run
from medseg.inference.members import make_ensemble, postprocessing_of, require_alike
from medseg.inference.predictor import Predictor
from medseg.inference.probabilities import SUFFIX as PROBABILITIES
from medseg.inference.probabilities import write_probabilities
from medseg.inference.remarks import Remarks

POLL = 0.5
"""Seconds between two looks at what other processes work on."""

EACH = 50
"""Cases up to which a log that is no terminal names each; of more, each tenth."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Predictions:
    """What became of each case."""

    written: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    """Label maps that were there already, or that another process made meanwhile."""
    failed: dict[str, str] = field(default_factory=dict)
    """Case id -> why it could not be predicted."""

    @property
    def exit_code(self) -> int:
        """1 when a case failed, else 0."""
        return 1 if self.failed else 0


@dataclass
class _Job:
    """A case on its way."""

    case: Case
    label: Path
    probabilities: Path | None
    claimed: bool = False
    prepared: tuple[PreparedCase, ...] = ()
    error: Exception | None = None


def predict_run(
    runs: Path | Sequence[Path],
    input: Path,
    output: Path,
    *,
    overwrite: bool = False,
    device: str = "auto",
    average: Average = "probabilities",
    probabilities: bool = False,
    format: str | None = None,
    console: Console | None = None,
    **overrides: Any,
) -> Predictions:
    """Predict images with a trained run, or with several as an ensemble.

    Several processes may share an output folder: each predicts the cases that no other has claimed, and returns when all are done. So does
    a second call after an interruption, which keeps what is there.

    Args:
        runs: Run folder, checkpoint file or model package; or several of the same classes and channels.
        input: What `find_cases` knows: an image, a folder of images in the run's own format or another, DICOM series.
        output: Folder for the label maps `<case><suffix>`, and `predictions.json`, which says what made them.
        overwrite: Whether to predict again what is there already.
        device: As in `load_predictor`.
        average: What an ensemble averages, as in `Ensemble`.
        probabilities: Whether to write `<case>.probabilities.npz` as well: see `ProbabilityMaps`.
        format: Suffix of the label maps (`.nii.gz`, `.nii`, `.nrrd`, `.mha`, `.png`, `.tif`); None: as the labels of the data set, and
            .nii.gz for scans of a data set of pictures.
        console: Where progress and failures are shown; None shows nothing.
        overrides: As in `load_predictor`, for each run.

    Raises:
        RunError: When a run cannot be loaded, or the runs do not fit together.
        DataError: When the input or the output cannot be used as a whole.
    """
    saved = [read_run(Path(run)) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    require_alike(saved, average)
    first, wanted = saved[0], None if format is None else read_suffix(format, saved[0].spatial_dims)
    layout = FORMATS[first.config.data.format.name](**first.config.data.format.params)
    cases = find_cases(layout, Path(input), len(first.channels), Path(output))  # before networks are built: a typo answers at once
    model = make_ensemble(saved, device, average, **overrides)
    if console is not None and postprocessing_of(saved) is None and any(one.postprocessing for one in saved):
        console.print("The runs' post-processing differs: none is applied.")
    cases = tuple(InputCase.of(case, first.channels, first.spatial_dims) for case in cases)
    jobs = [_job(case, Path(output), label_suffix(case, first.suffix, wanted), probabilities) for case in cases]
    names = [path.name for job in jobs for path in (job.label, job.probabilities) if path is not None]
    note.sign(Path(output), note.describe([one.path for one in saved], model), names, overwrite)  # last: it may remove old label maps
    return _predict(model, jobs, Path(output), overwrite, console)


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
        input: As in `find_cases`.
        output: Folder for the label maps; made if need be.
        channels: Image channels of the network.
        suffix: Suffix of the label maps; lossless PNG is written for JPEG.
        overwrite: Whether to predict again what is there already.
        console: Where progress and failures are shown; None shows nothing.

    Raises:
        DataError: As `find_cases`.
    """
    cases = find_cases(layout, input, channels, output)
    cases = tuple(InputCase.of(case, (), predictor.spatial_dims) for case in cases)
    jobs = [_job(case, output, lossless_suffix(suffix), probabilities=False) for case in cases]
    return _predict(Ensemble([predictor], postprocessing=predictor.postprocessing), jobs, output, overwrite, console)


def _job(case: Case, output: Path, suffix: str, probabilities: bool) -> _Job:
    return _Job(case, output / f"{case.id}{suffix}", output / f"{case.id}{PROBABILITIES}" if probabilities else None)


def _predict(model: Ensemble, jobs: Sequence[_Job], output: Path, overwrite: bool, console: Console | None) -> Predictions:
    """Predict cases one by one, those that other processes have claimed last; the next is read while a GPU predicts."""
    result, console, seen = Predictions(), console or Console(quiet=True), Remarks()
    lines = not (console.is_terminal or console.is_jupyter)  # a bar that moves would leave a log empty until the end
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with remembered_interrupt() as interrupted, Claims(output) as claims, Progress(*columns, console=console, disable=lines) as progress:
        task = progress.add_task("predict", total=len(jobs))
        since = claims.now() if overwrite else None
        claims.others()  # removes those that killed processes left
        waiting = list(jobs)
        while waiting:
            busy = []
            threaded = model.members[0].device.type != "cpu"
            # Closed before the claims are, also when interrupted: what is read ahead claims its case.
            with closing(_ahead(lambda job: _begin(model, job, claims, since), waiting, threaded)) as coming:
                for job in coming:
                    progress.update(task, description=job.case.id)
                    if job.claimed:
                        try:
                            _finish(model, job, result, console, seen, interrupted)
                        finally:
                            claims.release(job.case.id)
                        interrupted()
                    elif _done(job, since):
                        result.kept.append(job.label)
                    else:
                        busy.append(job)
                        continue
                    progress.advance(task)
                    if lines:
                        _log(console, result, job.case, len(jobs))
            if len(busy) == len(waiting):
                progress.update(task, description="waiting for other processes")
                time.sleep(POLL)
            waiting = busy
        progress.update(task, description="predicted")
    return result


def _log(console: Console, result: Predictions, case: Case, total: int) -> None:
    """A line for each case, or each tenth of many."""
    done = len(result.written) + len(result.kept) + len(result.failed)
    if total <= EACH or done % 10 == 0 or done == total:
        console.print(f"{done} of {total}: {case.id}", markup=False, highlight=False, soft_wrap=True)


def _begin(model: Ensemble, job: _Job, claims: Claims, since: int | None) -> _Job:
    """Claim and prepare a case, unless it is done or another process has it."""
    if _done(job, since) or not claims.take(job.case.id):
        return job
    if _done(job, since):  # between the two looks
        claims.release(job.case.id)
        return job
    job.claimed = True
    try:
        job.prepared = model.prepare(job.case)
    except Exception as error:  # reported when its turn comes
        job.error = error
    return job


def _finish(model: Ensemble, job: _Job, result: Predictions, console: Console, seen: Remarks, interrupted: Callable[[], None]) -> None:
    """Predict and write a prepared case; whatever is wrong with it is reported, and the others are predicted."""
    try:
        if job.error is not None:
            raise job.error
        for remark in seen.of(job.prepared[0]):
            console.print(remark, markup=False, highlight=False, soft_wrap=True)
        found = model.predict(job.prepared, probabilities=job.probabilities is not None)
        if job.probabilities is not None and found.probabilities is not None:
            write_probabilities(job.probabilities, found.probabilities, model.labels.classes, found.original)
        write_label(job.label, model.labels.decode(found.ids), found.original)  # last: it says that the case is done
    except Exception as error:
        interrupted()  # which may have turned into this error
        reason = str(error) if isinstance(error, DataError) else f"{job.case.images[0]}: {type(error).__name__}: {error}"
        result.failed[job.case.id] = reason
        console.print(f"failed: {reason}", markup=False, highlight=False, soft_wrap=True)
    else:
        result.written.append(job.label)
    finally:
        job.prepared = ()


def _done(job: _Job, since: int | None) -> bool:
    """Whether a case's files are there; where everything is predicted again, whether they are newer than the start."""
    for path in (job.label, job.probabilities):
        try:
            if path is not None and (not path.is_file() or (since is not None and path.stat().st_mtime_ns <= since)):
                return False
        except FileNotFoundError:
            return False
    return True


def _ahead(begin: Callable[[Item], Result], items: Iterable[Item], threaded: bool) -> Generator[Result, None, None]:
    """`begin` of each item; threaded, that of the next one goes on in the background while the caller works."""
    if not threaded:
        yield from map(begin, items)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        rest = iter(items)
        coming = [pool.submit(begin, item) for item in (next(rest, None),) if item is not None]
        while coming:
            result = coming.pop().result()
            coming = [pool.submit(begin, item) for item in (next(rest, None),) if item is not None]
            yield result
