"""What the command line takes: the verbs, their arguments and what each is for. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

import medseg

RUNS = "run folder, checkpoint or package; several are an ensemble, post-processed only where all have the same post-processing"


def build_parser() -> argparse.ArgumentParser:
    """Describe all commands."""
    parser = argparse.ArgumentParser(prog="medseg", description=medseg.__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"medseg {medseg.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(verb=name)
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
        return sub

    def takes_config(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("config", metavar="CONFIG", help="a name (focal_tversky), a file name or a path")
        sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings that replace the file's: loss.terms[0].weight=0.5")

    takes_config(command("train", "train, then score the best checkpoint"))
    takes_config(command("config", "print the resolved config as YAML"))
    sub = command("check", "report every fault of the config's data set at once, and how frequent its classes are")
    sub.add_argument("--json", metavar="FILE", help="also write the report as JSON; -: to the standard output, and nothing else there")
    sub.add_argument("--workers", metavar="N", type=int, help="threads that read files; all processors by default")
    takes_config(sub)

    sub = command("prepare", "measure a data set, plan the training of it, and store its prepared cases")
    takes_config(sub)
    sub.add_argument("--memory", metavar="GIB", type=float, help="memory of the device that will train, 8 by default")
    sub.add_argument("--out", metavar="PLAN", type=Path, help="the plan, a config to edit and to train; <name>.plan.yaml by default")
    sub.add_argument("--replan", action="store_true", help="write an existing plan anew")

    sub = command("show", "draw training patches, as read and as the network sees them")
    takes_config(sub)
    sub.add_argument("--out", metavar="PNG", type=Path, default=Path("patches.png"), help="the picture, patches.png by default")
    sub.add_argument("--patches", metavar="N", type=int, default=24, help="how many, 24 by default")
    sub.add_argument("--planes", type=int, choices=(1, 2, 3), default=1, help="of volumes: axial, coronal and sagittal cuts")
    sub.add_argument("--channel", metavar="NAME", help="which channel; colours, or the first one, by default")

    sub = command("resume", "go on with an interrupted run, in its own folder")
    sub.add_argument("folder", metavar="RUN", type=Path, help="runs/<name>/<timestamp>-<id>")
    sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings that replace the run's")

    sub = command("finetune", "train from the weights of another run")
    sub.add_argument("--from", dest="source", metavar="RUN", type=Path, required=True, help="run folder or checkpoint with the weights")
    takes_config(sub)

    sub = command("sweep", "train losses x seeds; a rerun skips what is finished")
    sub.add_argument("config", metavar="SWEEP", help="a sweep file, such as configs/sweeps/small_lesion.yaml")
    sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings that replace the sweep file's: seeds=[0,1]")

    sub = command("predict", "write label maps in the images' own geometry")
    sub.add_argument("runs", metavar="RUN", type=Path, nargs="*", help=RUNS)
    sub.add_argument("--model", metavar="RUN", type=Path, action="append", default=[], help="the same, by name")
    sub.add_argument("--input", type=Path, required=True, help="one image, a folder of images, or DICOM series")
    sub.add_argument("--output", type=Path, required=True, help="folder for the label maps; several processes may share it")
    sub.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    sub.add_argument("--overwrite", action="store_true", help="predict cases again whose label map exists")
    sub.add_argument("--average", choices=("probabilities", "logits"), default="probabilities", help="what an ensemble averages")
    sub.add_argument("--probabilities", action="store_true", help="also write <case>.probabilities.npz, compressed")
    sub.add_argument(
        "--format",
        metavar="SUFFIX",
        help="of the label maps: .nii.gz, .nii, .mha, .mhd, .nrrd; of pictures .png, .tif, .tiff, .bmp too; the data set's by default",
    )

    sub = command("evaluate", "score label maps against references, case by case; or a run's best checkpoint anew")
    sub.epilog = (
        "exit code: 0 every case was scored; 1 a prediction is missing or unusable, or scoring failed; 2 wrong config or command line"
    )
    sub.add_argument("run_folder", metavar="RUN", nargs="?", help="a run: predict its closing cases again and score them")
    sub.add_argument("--pred", type=Path, help="folder of predicted label maps; nnU-Net's and MONAI's as they are")
    against = sub.add_mutually_exclusive_group()
    against.add_argument("--ref", type=Path, help="folder of reference label maps, named as the predictions")
    against.add_argument(
        "--config", dest="dataset", metavar="CONFIG", help="take the references of this config's data set; key=value may follow"
    )
    sub.add_argument("--part", choices=("all", "train", "test"), help="with --config: which of its cases, all by default")
    sub.add_argument("overrides", metavar="key=value", nargs="*", help="settings: evaluation.tolerances=[2], with --config any other too")
    sub.add_argument("--out", type=Path, help="with --pred: folder for cases.csv, lesions.csv and summary.json")
    sub.add_argument("--classes", nargs="+", metavar="NAME", help="classes to score, the others count as background; all by default")
    sub.add_argument(
        "--labels", nargs="+", metavar="NAME=VALUE", help="with --ref: the classes of its values, lesion=1 edema=2,3; else dataset.json"
    )
    sub.add_argument("--ignore", metavar="VALUE", type=int, help="with --ref: label value of voxels that count as none")
    sub.add_argument("--partial", action="store_true", help="leave references without a prediction out, instead of scoring them as failed")
    sub.add_argument("--images", type=Path, help="folder of the images, for the pictures of `medseg report`")
    sub.add_argument("--workers", metavar="N", type=int, help="cases at a time; all processors by default")

    sub = command("postprocess", "choose what follows the network on a run's validation cases, store it in the run and score it anew")
    sub.add_argument("folder", metavar="RUN", type=Path, help="a finished run")

    sub = command("report", "write one HTML page about a run, or about an evaluation: tables, curves, pictures of cases")
    sub.add_argument("folder", metavar="RUN", type=Path, help="a finished run, or a folder that `medseg evaluate` wrote")
    sub.add_argument("--out", metavar="HTML", type=Path, help="the page; report.html in the folder by default")

    sub = command("compare", "compare runs on the same cases: paired tests, intervals, ranks")
    sub.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="two or more finished runs; seeds of one config are one method")
    sub.add_argument(
        "--out", type=Path, default=Path("comparison"), help="folder for comparison.html, .md, .csv and .json; comparison by default"
    )
    sub.add_argument("--metric", metavar="NAME", help="the primary metric, if it is not the runs' own")
    sub.add_argument("--margin", type=float, help="difference within which two methods are practically equal; the runs' own by default")
    sub.add_argument("--baseline", metavar="NAME", help="the method that the others are set against; the first by default")

    sub = command("export", "turn a run into ONNX, TorchScript, a MONAI bundle or a single-file package")
    sub.add_argument("folder", metavar="RUN", type=Path, help="run folder or checkpoint")
    sub.add_argument("--to", choices=("onnx", "torchscript", "bundle", "package"), required=True, help="what to make")
    out = "the file: .onnx, .ts or .pt (TorchScript), .medseg (package), or an existing folder for it; of a bundle the folder"
    sub.add_argument("--out", type=Path, required=True, help=out)
    sub.add_argument("--overwrite", action="store_true", help="replace a file or bundle that is there already")
    sub.add_argument("--licence", metavar="TEXT", help="of the model, for its card: CC-BY-4.0, or a sentence")

    sub = command("losses", "list the loss terms, heads and weight maps, or explain one")
    sub.add_argument(
        "name", metavar="NAME", nargs="?", help="a loss term, head or weight map: focal_tversky, signed_distance, inverse_component"
    )
    return parser
