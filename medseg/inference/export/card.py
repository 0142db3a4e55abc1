"""The model card: what a network is for, what it was trained on, how well it did, and where it ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import medseg
from medseg.errors import RunError
from medseg.inference.load import SavedRun

NOT_STATED = "not stated"

SHOWN = ("dice", "lesion_f1", "hd95", "nsd_1mm", "volume_difference_ml", "absolute_volume_difference_ml")
"""Metrics of the card besides the primary one, where the run computed them."""

FEW = 30
"""Patients below which a bootstrap's interval is too narrow."""

UNSCORED = "Not scored with this post-processing; run `medseg evaluate RUN`, then export again."

_SPLITS = {
    "test": "test cases, which neither trained the network nor chose anything",
    "val": "validation cases, which also chose the checkpoint and any post-processing: the figures are optimistic",
}


def read_evaluation(run: Path) -> dict[str, Any] | None:
    """The run's `evaluation/summary.json`; None where the run has none.

    Raises:
        RunError: The file is damaged.
    """
    path = run / "evaluation" / "summary.json"
    if not path.is_file():
        return None
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict) or not isinstance(summary.get("metrics"), dict):
            raise ValueError("no 'metrics' in it")
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as a summary ({error}); run `medseg evaluate` again, or remove it") from error
    return summary


def is_of(summary: Mapping[str, Any], saved: SavedRun) -> bool:
    """Whether a summary's scores are those of the network with the post-processing that it has now."""
    return summary.get("postprocessing") == (None if saved.postprocessing is None else saved.postprocessing.to_dict())


def model_card(saved: SavedRun, summary: Mapping[str, Any] | None, licence: str | None) -> str:
    """A model card in Markdown, from what the run remembers and how it was scored.

    Args:
        saved: The run.
        summary: Its `evaluation/summary.json`; None: not evaluated. Scores with another post-processing than the run's are not printed.
        licence: Its licence; None: not stated.
    """
    config = saved.config
    scored = summary is not None and is_of(summary, saved)
    parts = [
        f"# {config.name}",
        f"A {saved.spatial_dims}-D segmentation network, trained and packed with medseg {medseg.__version__}.",
        _section("Intended use", _intended_use(saved)),
        _section("Data", _data(saved)),
        _section("Classes", _classes(saved)),
        _section("Network and training", _training(saved)),
        _section("Performance", _performance(summary) if summary is None or scored else [UNSCORED]),
        _section("Limits", _limits(saved, summary if scored else None)),
        _section("Licence", [licence.strip() if licence else NOT_STATED]),
    ]
    return "\n\n".join(parts) + "\n"


def _intended_use(saved: SavedRun) -> list[str]:
    classes = ", ".join(saved.labels.classes)
    return [
        f"Research: delineation of {classes} in images like those of its training data (channels {', '.join(saved.channels)}).",
        "It is no medical device, and was not assessed as one. Whoever uses it for patients answers for its validation and its approval.",
    ]


def _data(saved: SavedRun) -> list[str]:
    data = saved.config.data
    spacing = "as in each image" if data.spacing is None else f"{_times(data.spacing)} mm"
    folds = f"0 to {data.folds - 1}" if data.split_file is None else "the split file"
    normalisation = data.normalisation if isinstance(data.normalisation, str) else ", ".join(data.normalisation)
    return _list(
        {
            "Format of the data set": data.format.name,
            "Channels, in this order": ", ".join(saved.channels),
            "Voxel size that the network sees": spacing,
            "Intensities": normalisation,
            "Fold that validated": f"fold {data.fold} of {folds}",
            "Held out for the test": f"{data.test_fraction:.0%} of the patients, and whatever the data set itself sets apart",
        }
    )


def _classes(saved: SavedRun) -> list[str]:
    labels = saved.labels
    lines = ["| class | label values | written as |", "| --- | --- | --- |"]
    for name, members, paint in zip(labels.classes, labels.members, labels.paint, strict=True):
        lines.append(f"| {_cell(name)} | {', '.join(map(str, members))} | {paint} |")
    lines += ["", f"Background is {labels.background[0]}; classes {'may overlap' if labels.overlapping else 'exclude each other'}."]
    return lines


def _training(saved: SavedRun) -> list[str]:
    config = saved.config
    chosen = saved.postprocessing
    return _list(
        {
            "Network": f"{config.network.name}, {sum(tensor.numel() for tensor in saved.weights.values()):,} numbers",
            "Loss": " + ".join(term.name for term in config.loss.terms) + f" ({config.loss.activation})",
            "Patch": f"{_times(config.data.patch_size)} voxels, {config.data.batch_size} a step",
            "Epochs": str(config.trainer.max_epochs),
            "Seed": str(config.seed),
            "Post-processing": "none" if chosen is None else json.dumps(chosen.to_dict()),
        }
    )


def _performance(summary: Mapping[str, Any] | None) -> list[str]:
    if summary is None:
        return ["Not evaluated."]
    metrics, primary = summary["metrics"], summary.get("primary", "dice")
    cases, groups, split = summary.get("cases"), summary.get("groups"), summary.get("split")
    computed = {one["metric"] for one in metrics.values()}
    shown = [name for name in dict.fromkeys((primary, *SHOWN)) if name in computed]
    lines = [f"On {cases} cases of {groups} patients (groups): {_SPLITS.get(str(split), 'cases that were given')}. Primary: {primary}.", ""]
    lines += ["| class | metric | mean | 95 % interval | n | both empty |", "| --- | --- | --- | --- | --- | --- |"]
    for name in shown:
        for one in (one for one in metrics.values() if one["metric"] == name):
            low, high = one.get("low"), one.get("high")
            interval = NOT_STATED if low is None or high is None else f"{_number(low)} to {_number(high)}"
            of_class = "all classes" if one["class_name"] is None else _cell(one["class_name"])
            lines.append(f"| {of_class} | {name} | {_number(one['mean'])} | {interval} | {one['n_valid']} | {one['n_both_empty']} |")
    definitions = summary.get("definitions", {})
    explained = [f"- {key}: {definitions[key]}" for key in ("empty", *shown) if key in definitions]
    few = "" if groups is None or groups >= FEW else f"; of fewer than {FEW} it is too narrow"
    return [*lines, "", *explained, f"- interval: percentile bootstrap of the mean, patients (groups) resampled{few}"]


def _limits(saved: SavedRun, summary: Mapping[str, Any] | None) -> list[str]:
    lines = [
        "- Other scanners, protocols, populations or channels than those of the training data: not tested; expect worse.",
        f"- It knows the classes {', '.join(saved.labels.classes)} and no other; whatever else is in an image is called one of them "
        "or background.",
        f"- It looks at windows of {_times(saved.config.inference.window or saved.config.data.patch_size)} voxels.",
    ]
    if summary is not None and summary.get("split") != "test":
        lines.append("- There was no independent test set.")
    failed = sum(one.get("n_failed") or 0 for one in (summary or {}).get("metrics", {}).values() if one["class_name"] is not None)
    if failed:
        lines.append(f"- It failed (Dice below 0.1) in {failed} pairs of case and class.")
    return lines


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"## {title}", "", *lines])


def _list(facts: Mapping[str, str]) -> list[str]:
    return [f"- {name}: {value}" for name, value in facts.items()]


def _times(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def _number(value: Any) -> str:
    return "undefined" if value is None else f"{float(value):.4g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
