"""`medseg prepare`: look at the data set, plan, and store the prepared cases."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from medseg.config import load_config
from medseg.config.find import find_config
from medseg.config.read import shown_path
from medseg.config.schema import Config
from medseg.data.case import DataSet
from medseg.data.modules import read_dataset, split_cases
from medseg.data.planning.fingerprint import take_fingerprint
from medseg.data.planning.plan import Plan, make_plan
from medseg.data.planning.report import write_report
from medseg.data.planning.write import is_plan, write_plan
from medseg.data.preparation import Preparer
from medseg.errors import DataError


def prepare(config: Config, source: str, out: Path | None, memory_gib: float, console: Console, *, replan: bool = False) -> Path:
    """Plans the training of a data set and stores its prepared cases; what is already there is kept.

    Args:
        config: The config to plan for, overrides included.
        source: Its file, by name or path. A plan is taken as it is.
        out: The plan to write; None: `<name>.plan.yaml` in the working directory. Where it exists, its edits win.
        memory_gib: Memory of the device that will train.
        console: Where progress and results are shown.
        replan: Whether an existing plan is written anew.

    Returns:
        The plan.

    Raises:
        DataError: The data set cannot be read, or a plan is to be planned anew.
        ConfigError: An edited plan is not valid.
    """
    given = is_plan(find_config(source))
    if given and replan:
        raise DataError(f"{source}: is a plan itself; give --replan with the config that its `extends` names")
    path = find_config(source) if given else out or Path(f"{config.name}.plan.yaml")
    if given or (path.exists() and not replan):
        again = "" if given else "; --replan writes it anew"
        console.print(f"[bold]{shown_path(path)}[/] is kept as it is{again}", highlight=False)
        planned = config if given else load_config(str(path))
        dataset = read_dataset(planned.data)
    else:
        dataset = read_dataset(config.data)
        plan = _plan(dataset, config, source, path, memory_gib, console)
        _show(plan, path, console)
        planned = load_config(str(path))
    _store(dataset, planned, console)
    console.print(f"train with  [bold]{train_command(path)}[/]", highlight=False)
    return path


def train_command(path: Path) -> str:
    """The command that trains a plan."""
    shown = shown_path(path)
    return f"medseg train {shown if not re.search(r'[^-.+=/_A-Za-z0-9]', shown) else repr(shown)}"


def fingerprint_path(config: Config, dataset: DataSet) -> Path:
    """The file that keeps the fingerprint, beside the stores."""
    return Path(config.data.store).expanduser() / f"{re.sub(r'[^-_.A-Za-z0-9]+', '-', dataset.name)}.fingerprint.json"


def _plan(dataset: DataSet, config: Config, source: str, path: Path, memory_gib: float, console: Console) -> Plan:
    dataset = _without_held_out(dataset, config)
    with _progress(console) as progress:
        update = _task(progress, f"looking at {dataset.name}", len(dataset.cases))
        fingerprint = take_fingerprint(dataset, fingerprint_path(config, dataset), progress=update)
    plan = make_plan(fingerprint, config, memory_gib)
    write_plan(plan, config, source, len(fingerprint.cases), path)
    write_report(fingerprint, plan, report_path(path), train_command(path))
    return plan


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
        console.print(f"  {decision.key}: {decision.value}  [dim]{decision.reason}[/]", highlight=False, soft_wrap=True)
    for warning in plan.warnings:
        console.print(f"[yellow]warning[/] {warning}", highlight=False, soft_wrap=True)
    console.print(f"plan [bold]{shown_path(path)}[/], report [bold]{shown_path(report_path(path))}[/]", highlight=False)


def _store(dataset: DataSet, config: Config, console: Console) -> None:
    from medseg.data.store import PreparedStore

    preparer = Preparer(config.data.normalisation, config.data.spacing)
    cases = [*dataset.cases, *(case for case in dataset.test_cases if case.label is not None)]
    store = PreparedStore(Path(config.data.store), dataset, preparer)
    missing = store.missing(cases)
    if not missing:
        console.print(f"all {len(cases)} cases are prepared: nothing to do", highlight=False)
        return
    with _progress(console) as progress:
        store.build(missing, progress=_task(progress, f"preparing {dataset.name}", len(missing)))
    console.print(f"{len(missing)} cases prepared, {len(cases) - len(missing)} were there already", highlight=False)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _task(progress: Progress, text: str, total: int) -> Callable[[int, int], None]:
    task = progress.add_task(text, total=total)
    return lambda done, of: progress.update(task, completed=done, total=of)
