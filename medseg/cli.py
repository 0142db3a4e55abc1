"""The command line: one verb a command, no logic of its own; heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.arguments import build_parser
from medseg.errors import MedsegError

if TYPE_CHECKING:
    from medseg.training.run_folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong config or command line, 130 interrupted."""
    options = parse(arguments)
    try:
        return VERBS[options.verb](options)
    except MedsegError as error:
        if options.debug:
            raise
        print(f"medseg: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("medseg: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `medseg config x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if options.debug:
            raise
        print(f"medseg: {error}", file=sys.stderr)
        return 1


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line; `key=value` may stand anywhere, also behind options."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not (hasattr(options, "overrides") and all("=" in word and not word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def train(options: argparse.Namespace) -> int:
    """`medseg train`."""
    from medseg.config import load_config

    config = load_config(options.config, options.overrides)

    from medseg.training.run import train

    return _close(train(config))


def resume(options: argparse.Namespace) -> int:
    """`medseg resume`."""
    from medseg.training.run import resume

    return _close(resume(options.folder, options.overrides))


def finetune(options: argparse.Namespace) -> int:
    """`medseg finetune`."""
    from medseg.config import load_config

    config = load_config(options.config, options.overrides)

    from medseg.training.run import train

    return _close(train(config, source=options.source))


def _close(run: RunFolder) -> int:
    """Print the closing table of a run, on the first process only."""
    from lightning.pytorch.utilities import rank_zero_only

    from medseg.training.closing import print_closing

    if rank_zero_only.rank == 0:
        print_closing(run)
    return 0


def sweep(options: argparse.Namespace) -> int:
    """`medseg sweep`."""
    from medseg.config import load_sweep

    plan = load_sweep(options.config, options.overrides)

    from medseg.training.sweep import run_sweep

    run_sweep(plan)
    return 0


def show_config(options: argparse.Namespace) -> int:
    """`medseg config`."""
    from medseg.config import load_config, to_yaml

    print(to_yaml(load_config(options.config, options.overrides)), end="")
    return 0


def check(options: argparse.Namespace) -> int:
    """`medseg check`: 0 without errors (warnings may remain), 1 with errors."""
    from medseg.config import load_config

    config = load_config(options.config, options.overrides)

    from rich.console import Console
    from rich.progress import Progress

    from medseg.data.check import inspect_dataset
    from medseg.data.check_report import print_inspection, to_json, write_json
    from medseg.data.check_split import split_of
    from medseg.data.modules import read_dataset

    console = Console(stderr=options.json == "-")
    dataset = read_dataset(config.data)
    splits, faults = split_of(config.data, dataset)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"checking {dataset.name}")
        inspection = inspect_dataset(
            dataset,
            splits=splits,
            known=faults,
            workers=options.workers,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    if options.json == "-":
        print(to_json(inspection), end="")
    elif options.json is not None:
        write_json(inspection, Path(options.json))
    return print_inspection(inspection, console)


def prepare(options: argparse.Namespace) -> int:
    """`medseg prepare`."""
    from medseg.config import load_config

    config = load_config(options.config, options.overrides)

    from rich.console import Console

    from medseg.data.planning.prepare import prepare

    console = Console()
    prepare(config, options.config, options.out, options.memory, console, overrides=options.overrides, replan=options.replan)
    return 0


def show(options: argparse.Namespace) -> int:
    """`medseg show`."""
    from medseg.config import load_config

    config = load_config(options.config, options.overrides)

    from rich.console import Console

    from medseg.data.show import show_patches

    show_patches(config, options.out, options.patches, Console(), planes=options.planes, channel=options.channel)
    return 0


def predict(options: argparse.Namespace) -> int:
    """`medseg predict`: 1 when a case failed, after predicting the others."""
    from medseg.errors import DataError, RunError

    runs = [*options.runs, *options.model]
    if not runs:
        raise RunError("which run? give a run folder, a checkpoint or a package: medseg predict RUN --input ... --output ...")
    for run in runs:  # typos are answered before torch is imported
        if not run.exists():
            raise RunError(f"{run}: no such run folder or checkpoint; runs lie in runs/<name>/<timestamp>-<id>")
    if not options.input.exists():
        raise DataError(f"{options.input}: does not exist; give a folder of images, or one image")

    from rich.console import Console

    from medseg.inference import predict_run

    result = predict_run(
        runs,
        options.input,
        options.output,
        overwrite=options.overwrite,
        device=options.device,
        average=options.average,
        probabilities=options.probabilities,
        format=options.format,
        console=Console(),
    )
    print(f"{len(result.written)} predicted, {len(result.kept)} kept, {len(result.failed)} failed: {options.output}")
    return result.exit_code


def evaluate(options: argparse.Namespace) -> int:
    """`medseg evaluate`: 1 when a prediction is missing or unusable or a case cannot be scored, after scoring the others."""
    from medseg.errors import DataError

    overrides, folder = split_overrides(options)
    if folder is not None:
        names = ("pred", "ref", "dataset", "part", "out", "classes", "labels", "ignore", "partial", "images", "workers")
        given = [f"--{'config' if name == 'dataset' else name}" for name in names if getattr(options, name) not in (None, False, [])]
        if given:
            raise DataError(
                f"{', '.join(given)} and a RUN do not go together: a run is scored on its own cases, into its own folder; "
                f"leave {given[0]} away, or give --pred with --ref or --config instead of {folder}"
            )
        from medseg.training.rescore import rescore

        return _close(rescore(folder, overrides))
    if options.pred is None or options.out is None or (options.ref is None and options.dataset is None):
        raise DataError("what to score? give a RUN, or --pred FOLDER --out FOLDER with --ref FOLDER or --config CONFIG")
    for place, what in ((options.pred, "predictions"), (options.ref, "references"), (options.images, "images")):
        if place is not None and not place.is_dir():  # said at once, before the libraries are loaded
            raise DataError(f"{place}: the folder of {what} {'is a file' if place.exists() else 'does not exist'}; give an existing folder")
    return _evaluate_folders(options, overrides)


def split_overrides(options: argparse.Namespace) -> tuple[list[str], Path | None]:
    """The `key=value` words of `medseg evaluate`, also those that follow `--classes` or `--labels` or stand in RUN's place, and RUN."""
    words = [word for word in (options.run_folder, *(options.classes or ())) if word is not None and "=" in word]
    if options.classes:
        options.classes = [word for word in options.classes if "=" not in word]
    if options.labels:  # beside --ref there are no other settings
        words += [word for word in options.labels if word.startswith("evaluation.")]
        options.labels = [word for word in options.labels if not word.startswith("evaluation.")]
    run = options.run_folder
    runs = [word for word in (run, *options.overrides) if word is not None and ("=" not in word or Path(word).exists())]
    overrides = [word for word in (*words, *options.overrides) if word not in runs]
    return overrides, Path(runs[0]) if runs else None


def _evaluate_folders(options: argparse.Namespace, overrides: list[str]) -> int:
    from medseg.config import load_config, load_evaluation, to_dict
    from medseg.errors import DataError

    if options.dataset is None:
        if options.part:
            raise DataError("--part belongs to --config, not to --ref; remove it")
        section, data = load_evaluation(overrides), None
    else:
        if options.ignore is not None:
            raise DataError("--ignore belongs to --ref; the data set of --config knows its own ignore value")
        if options.labels:
            raise DataError("--labels belongs to --ref; the data set of --config knows its own labels")
        config = load_config(options.dataset, overrides)
        section, data = config.evaluation, to_dict(config)["data"]

    from rich.console import Console
    from rich.progress import Progress

    from medseg.data.modules import read_dataset
    from medseg.evaluation import Settings, evaluate_dataset, evaluate_folders, metric_options, named_labels, print_evaluation

    labels = named_labels(options.labels) if options.labels else None
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("scoring")
        settings = Settings(
            options.out,
            classes=options.classes,
            options=metric_options(section),
            primary=section.primary,
            partial=options.partial,
            images=options.images,
            data=data,
            workers=options.workers,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
        if options.dataset is None:
            result = evaluate_folders(options.pred, options.ref, settings, labels, options.ignore)
        else:
            result = evaluate_dataset(options.pred, read_dataset(config.data), settings, options.part or "all")
    print_evaluation(result, options.out, console)
    return result.exit_code


def postprocess(options: argparse.Namespace) -> int:
    """`medseg postprocess`."""
    from rich.console import Console

    from medseg.training.rescore import postprocess_and_rescore

    return _close(postprocess_and_rescore(options.folder, Console()))


def report(options: argparse.Namespace) -> int:
    """`medseg report`."""
    from rich.console import Console

    from medseg.evaluation.report import write_report

    console = Console()
    path = write_report(options.folder, options.out, console=console)
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def compare(options: argparse.Namespace) -> int:
    """`medseg compare`."""
    from rich.console import Console

    from medseg.evaluation.compare import compare_runs

    compare_runs(options.runs, options.out, metric=options.metric, margin=options.margin, baseline=options.baseline, console=Console())
    return 0


def export(options: argparse.Namespace) -> int:
    """`medseg export`."""
    from rich.console import Console

    from medseg.inference.export import export_run

    console = Console()
    path = export_run(options.folder, options.out, options.to, licence=options.licence, overwrite=options.overwrite, console=console)
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def losses(options: argparse.Namespace) -> int:
    """`medseg losses`."""
    from medseg.losses.describe import description, listing

    print(listing() if options.name is None else description(options.name))
    return 0


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "config": show_config,
    "check": check,
    "prepare": prepare,
    "show": show,
    "resume": resume,
    "finetune": finetune,
    "sweep": sweep,
    "predict": predict,
    "evaluate": evaluate,
    "postprocess": postprocess,
    "report": report,
    "compare": compare,
    "export": export,
    "losses": losses,
}
"""The commands of `medseg.arguments`."""
