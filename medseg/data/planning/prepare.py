"""`medseg prepare`: look at the data set, plan, and store the prepared cases."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medseg.config import load_config
from medseg.config.find import find_config
from medseg.config.read import shown_path
from medseg.config.schema import Config
from medseg.data.case import Case, DataSet
from medseg.data.modules import read_dataset, split_cases
from medseg.data.planning.existing import existing_plan, fingerprint_of, refuse_to_overwrite
from medseg.data.planning.fingerprint import Fingerprint, take_fingerprint
from medseg.data.planning.given import Given, shown
from medseg.data.planning.plan import Plan, make_plan
from medseg.data.planning.report import write_report
from medseg.data.planning.snapshot import Snapshot
from medseg.data.planning.write import is_plan, write_plan
from medseg.data.preparation import Preparer
from medseg.data.store import PreparedStore
from medseg.data.store.lost import lost_lesions
from medseg.errors import DataError

MEMORY_GIB = 8.0

VERIFIED_AT_ONCE = 8


def prepare(
    config: Config,
    source: str,
    out: Path | None,
    memory_gib: float | None,
    console: Console,
    *,
    overrides: Sequence[str] = (),
    replan: bool = False,
) -> Path:
    """Plans the training of a data set and stores its prepared cases; what is already there is kept.

    Args:
        config: The config to plan for, overrides included. Given a plan, they count for its cases and for the command that trains it.
        source: Its file, by name or path. A plan is taken as it is.
        out: The plan to write; None: `<name>.plan.yaml` in the working directory. Where it exists, its edits win, as far as it is a plan
            for what is asked for.
        memory_gib: Memory of the device that will train; None: that of an existing plan, or `MEMORY_GIB`.
        console: Where progress and results are shown.
        overrides: The `key=value` pairs of the command line. A plan keeps what they say.
        replan: Whether an existing plan is written anew.

    Returns:
        The plan.

    Raises:
        DataError: The data set cannot be read, an existing plan is for something else, a plan is to be planned anew, or an argument
            makes no sense.
        ConfigError: An edited plan is not valid.
    """
    _check_arguments(out, memory_gib)
    taken = is_plan(find_config(source))
    if taken and (replan or out is not None):
        raise DataError(f"{source}: is a plan itself; give {'--replan' if replan else '--out'} with the config that its `extends` names")
    path = find_config(source) if taken else out or Path(f"{config.name}.plan.yaml")
    if taken or (path.exists() and not replan):
        planned = config if taken else existing_plan(path, Given.of(config, source, overrides), source, memory_gib)
        console.print(f"[bold]{shown_path(path)}[/] is kept as it is{'' if taken else '; --replan writes it anew'}", highlight=False)
        dataset = read_dataset(planned.data)
        _compare(path, dataset, planned, console)
        _warn(_store(dataset, planned, console), console)
    else:
        refuse_to_overwrite(path)
        dataset = read_dataset(config.data)
        look = _look_at(dataset, config, console)
        given = Given.of(config, source, overrides)
        plan = make_plan(look, given, memory_gib or MEMORY_GIB)
        _write(plan, given, source, dataset, look, path)
        _show(plan, path, console)
        lost = _store(dataset, load_config(str(path)), console)
        if lost:
            _warn(lost, console)
            plan = replace(plan, warnings=(*plan.warnings, *lost))
            write_report(look, plan, report_path(path), train_command(path), _groups(dataset))
    console.print(f"train with  [bold]{train_command(path, overrides if taken else ())}[/]", highlight=False, soft_wrap=True)
    return path


def train_command(path: Path, overrides: Sequence[str] = ()) -> str:
    """The command that trains a plan with some settings replaced."""
    return " ".join(["medseg train", *(shlex.quote(word) for word in (shown_path(path), *overrides))])


def fingerprint_path(config: Config, dataset: DataSet) -> Path:
    """The file that keeps the fingerprint, beside the stores."""
    return _folder(config) / f"{re.sub(r'[^-_.A-Za-z0-9]+', '-', dataset.name)}.fingerprint.json"


def _check_arguments(out: Path | None, memory_gib: float | None) -> None:
    if memory_gib is not None and not (math.isfinite(memory_gib) and memory_gib > 0):
        raise DataError(f"--memory {memory_gib:g}: must be a number of GiB above 0, such as 8")
    if out is None:
        return
    if out.suffix not in (".yaml", ".yml"):
        raise DataError(f"--out {out}: a plan is a config; let its name end in .yaml")
    if not out.parent.is_dir():
        raise DataError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.is_dir():
        raise DataError(f"--out {out}: is a folder; name a file")


def _look_at(dataset: DataSet, config: Config, console: Console) -> Fingerprint:
    with _progress(console) as progress:
        training = _without_held_out(dataset, config)
        update = _task(progress, f"looking at {dataset.name}", len(training.cases))
        return take_fingerprint(training, fingerprint_path(config, dataset), progress=update)


def _compare(path: Path, dataset: DataSet, planned: Config, console: Console) -> None:
    """Says what has changed in the data since the plan was made; nothing where the plan does not say what that was."""
    digest = fingerprint_of(path)
    if digest is None:
        return
    look = _look_at(dataset, planned, console)
    changes = Snapshot.of(dataset, look).changes(_folder(planned), dataset.name, digest)
    if changes is not None:
        remedy = "--replan, with the config that it extends, plans anew"
        _warn([f"the data have changed since the plan was made: {changes}; {remedy}"], console)


def _write(plan: Plan, given: Given, source: str, dataset: DataSet, look: Fingerprint, path: Path) -> None:
    snapshot = Snapshot.of(dataset, look)
    snapshot.write(_folder(given.config), dataset.name)
    write_plan(plan, given, source, len(look.cases), snapshot.digest, path)
    write_report(look, plan, report_path(path), train_command(path), _groups(dataset))


def _groups(dataset: DataSet) -> dict[str, str]:
    return {case.id: case.group for case in dataset.cases}


def _folder(config: Config) -> Path:
    return Path(config.data.store).expanduser()


def _without_held_out(dataset: DataSet, config: Config) -> DataSet:
    """The data set without the cases that the config keeps for the closing test, of which nothing may be learnt."""
    if config.data.split_file is None and not config.data.test_fraction:
        return dataset
    held_out = set(split_cases(config.data, dataset.cases).test)
    return replace(dataset, cases=tuple(case for case in dataset.cases if case.id not in held_out))


def report_path(plan: Path) -> Path:
    """The report of a plan: beside it."""
    return plan.with_suffix(".html")


def _show(plan: Plan, path: Path, console: Console) -> None:
    for decision in plan.decisions:
        console.print(
            f"  {decision.key}: {escape(shown(decision.value))}  [dim]{escape(decision.reason)}[/]", highlight=False, soft_wrap=True
        )
    _warn(plan.warnings, console)
    console.print(f"plan [bold]{shown_path(path)}[/], report [bold]{shown_path(report_path(path))}[/]", highlight=False)


def _warn(warnings: Iterable[str], console: Console) -> None:
    for warning in warnings:
        console.print(f"[yellow]warning[/] {escape(warning)}", highlight=False, soft_wrap=True)


def _store(dataset: DataSet, config: Config, console: Console) -> list[str]:
    """Brings all cases into the store, damaged ones anew, and says which lesions resampling has lost."""
    preparer = Preparer(config.data.normalisation, config.data.spacing)
    cases = [*dataset.cases, *(case for case in dataset.test_cases if case.label is not None)]
    store = PreparedStore(Path(config.data.store), dataset, preparer)
    known = {case.id for case in store.known(cases)}
    with _progress(console) as progress:
        missing = _verified(store, cases, _task(progress, f"verifying {dataset.name}", len(cases)))
    if missing:
        with _progress(console) as progress:
            store.build(missing, progress=_task(progress, f"preparing {dataset.name}", len(missing)))
        mended = sum(case.id in known for case in missing)
        if mended:
            words = "1 case was damaged or changed and is" if mended == 1 else f"{mended} cases were damaged or changed and are"
            console.print(f"{words} prepared again", highlight=False)
        console.print(f"{len(missing)} cases prepared, {len(cases) - len(missing)} were there already", highlight=False)
    else:
        console.print(f"all {len(cases)} cases are prepared: nothing to do", highlight=False)
    return _lost(store, dataset, config)


def _verified(store: PreparedStore, cases: Sequence[Case], progress: Callable[[int, int], None]) -> list[Case]:
    """The cases that are not stored or whose stored files are damaged, in whatever way."""
    missing: list[Case] = []
    for first in range(0, len(cases), VERIFIED_AT_ONCE):
        missing += store.verify(cases[first : first + VERIFIED_AT_ONCE])
        progress(min(first + VERIFIED_AT_ONCE, len(cases)), len(cases))
    return missing


def _lost(store: PreparedStore, dataset: DataSet, config: Config) -> list[str]:
    """Which lesions of the training cases resampling has lost."""
    if config.data.spacing is None:
        return []
    cases = store.open(_without_held_out(dataset, config).cases)
    return lost_lesions(dataset.labels.classes, [cases.index(number) for number in range(len(cases))], config.data.spacing)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _task(progress: Progress, text: str, total: int) -> Callable[[int, int], None]:
    task = progress.add_task(text, total=total)
    return lambda done, of: progress.update(task, completed=done, total=of)
