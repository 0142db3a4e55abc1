"""The command line: one verb a command, no logic of its own; heavy imports happen inside the commands."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import medseg
from medseg.errors import MedsegError

if TYPE_CHECKING:
    from medseg.data.case import Case
    from medseg.training.run_folder import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 wrong config or command line, 130 interrupted."""
    options = parse(arguments)
    try:
        return options.run(options)
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


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands."""
    parser = argparse.ArgumentParser(prog="medseg", description=medseg.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"medseg {medseg.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: object, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
        return sub

    def takes_config(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("config", metavar="CONFIG", help="a name (focal_tversky), a file name or a path")
        sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings that replace the file's: loss.terms[0].weight=0.5")

    takes_config(command("train", train, "train, then score the best checkpoint"))
    takes_config(command("config", show_config, "print the resolved config as YAML"))
    sub = command("check", check, "report every fault of the config's data set at once, and how frequent its classes are")
    sub.add_argument("--json", metavar="FILE", help="also write the report as JSON; -: to the standard output, and nothing else there")
    sub.add_argument("--workers", metavar="N", type=int, help="threads that read files; all processors by default")
    takes_config(sub)

    sub = command("prepare", prepare, "measure a data set, plan the training of it, and store its prepared cases")
    takes_config(sub)
    sub.add_argument("--memory", metavar="GIB", type=float, help="memory of the device that will train, 8 by default")
    sub.add_argument("--out", metavar="PLAN", type=Path, help="the plan, a config to edit and to train; <name>.plan.yaml by default")
    sub.add_argument("--replan", action="store_true", help="write an existing plan anew")

    sub = command("show", show, "draw training patches, as read and as the network sees them")
    takes_config(sub)
    sub.add_argument("--out", metavar="PNG", type=Path, default=Path("patches.png"), help="the picture, patches.png by default")
    sub.add_argument("--patches", metavar="N", type=int, default=24, help="how many, 24 by default")
    sub.add_argument("--planes", type=int, choices=(1, 2, 3), default=1, help="of volumes: axial, coronal and sagittal cuts")
    sub.add_argument("--channel", metavar="NAME", help="which channel; colours, or the first one, by default")

    sub = command("resume", resume, "go on with an interrupted run, in its own folder")
    sub.add_argument("folder", metavar="RUN", type=Path, help="runs/<name>/<timestamp>-<id>")
    sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings that replace the run's")

    sub = command("finetune", finetune, "train from the weights of another run")
    sub.add_argument("--from", dest="source", metavar="RUN", type=Path, required=True, help="run folder or checkpoint with the weights")
    takes_config(sub)

    sub = command("sweep", sweep, "train losses x seeds; a rerun skips what is finished")
    sub.add_argument("config", metavar="SWEEP", help="a sweep file, such as configs/sweeps/small_lesion.yaml")
    sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings that replace the sweep file's: seeds=[0,1]")

    sub = command("predict", predict, "write label maps in the images' own geometry")
    sub.add_argument("folder", metavar="RUN", type=Path, help="run folder or checkpoint")
    sub.add_argument("--input", type=Path, required=True, help="folder of images, or one image")
    sub.add_argument("--output", type=Path, required=True, help="folder for the label maps")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    sub.add_argument("--overwrite", action="store_true", help="predict cases again whose label map exists")

    sub = command("evaluate", evaluate, "score label maps against references, case by case")
    sub.add_argument("--pred", type=Path, required=True, help="folder of predicted label maps")
    against = sub.add_mutually_exclusive_group(required=True)
    against.add_argument("--ref", type=Path, help="folder of reference label maps, named as the predictions")
    against.add_argument(
        "--config", dest="dataset", metavar="CONFIG", help="take the references of this config's data set; key=value may follow"
    )
    sub.add_argument("--part", choices=("all", "train", "test"), help="with --config: which of its cases, all by default")
    sub.add_argument("overrides", metavar="key=value", nargs="*", help="with --config: settings that replace the file's")
    sub.add_argument("--out", type=Path, required=True, help="folder for cases.csv, lesions.csv and summary.json")
    sub.add_argument("--classes", nargs="+", metavar="NAME", help="classes to score, the others count as background; all by default")

    sub = command("losses", losses, "list the loss terms, heads and weight maps, or explain one")
    sub.add_argument(
        "name", metavar="NAME", nargs="?", help="a loss term, head or weight map: focal_tversky, signed_distance, inverse_component"
    )
    return parser


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
    from rich.console import Console

    from medseg.inference import predict_run

    result = predict_run(
        options.folder, options.input, options.output, overwrite=options.overwrite, device=options.device, console=Console()
    )
    print(f"{len(result.written)} predicted, {len(result.kept)} kept, {len(result.failed)} failed: {options.output}")
    return result.exit_code


def evaluate(options: argparse.Namespace) -> int:
    """`medseg evaluate`: 1 when a prediction is missing or a case cannot be scored, after scoring the others."""
    from rich.console import Console
    from rich.progress import track

    from medseg.errors import DataError
    from medseg.evaluation import evaluate_dataset, evaluate_folders, print_evaluation

    def progress(cases: Iterable[Case], total: int) -> Iterable[Case]:
        return track(cases, "scoring", total=total, transient=True)

    if options.dataset is None:
        if options.part or options.overrides:
            raise DataError("--part and key=value belong to --config, not to --ref; remove them")
        result = evaluate_folders(options.pred, options.ref, options.out, classes=options.classes, progress=progress)
    else:
        from medseg.config import load_config
        from medseg.data.modules import read_dataset

        dataset = read_dataset(load_config(options.dataset, options.overrides).data)
        result = evaluate_dataset(options.pred, dataset, options.out, options.part or "all", options.classes, progress)
    print_evaluation(result, options.out, Console())
    return result.exit_code


def losses(options: argparse.Namespace) -> int:
    """`medseg losses`."""
    from medseg.losses.describe import description, listing

    print(listing() if options.name is None else description(options.name))
    return 0
