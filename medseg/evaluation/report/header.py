"""What was evaluated, on what, and by which rules."""

from __future__ import annotations

from pathlib import Path

from medseg.evaluation.report.postprocessing import included, outdated
from medseg.evaluation.report.source import Source
from medseg.html import Column, Markup, facts, folded, html_of, table

SPLITS = {
    "test": "test cases, never used for training or choosing",
    "val": "validation cases, which also chose the checkpoint: expect a new case to score worse",
    "train": "cases that may have been trained on",
}
FEW = 30
"""With fewer units than this, intervals are rough."""


def header(source: Source) -> list[str]:
    """Heading, facts, warnings, and the definitions of all that follows."""
    summary = source.summary
    units = f"{summary['cases']} case{'' if summary['cases'] == 1 else 's'}" + (
        f" of {summary['groups']} patients" if summary["groups"] < summary["cases"] else ""
    )
    split = SPLITS.get(str(summary.get("split")))
    about = units if split is None else f"{units}: {split}"
    parts = [
        f"<h1>{html_of(source.name)}</h1>",
        f'<p class="sub">{html_of(about)}</p>',
        *(f'<p class="warning">{html_of(text)}</p>' for text in warnings(source)),
        facts(_facts(source)),
        folded("How every number here is defined", _definitions(source)),
    ]
    if source.config_text:
        parts.append(folded("The run's config", f"<pre>{html_of(source.config_text)}</pre>"))
    return parts


def warnings(source: Source) -> list[str]:
    """What a reader must know before any number."""
    summary = source.summary
    said = []
    counted = (
        ("missing", "without a prediction: scored as empty predictions"),
        ("unusable", "with a prediction that cannot be used: scored as empty predictions"),
        ("faults", "not scored, since their reference cannot be used"),
    )
    for key, what in counted:
        names = list(summary.get(key) or ())
        if names:
            said.append(f"{len(names)} {'case' if len(names) == 1 else 'cases'} {what} ({_some(names)}).")
    if summary.get("left_out"):
        said.append(f"{summary['left_out']} references without a prediction were left out, as only a part was to be scored.")
    if text := outdated(source):
        said.append(text)
    if summary.get("postprocessing_chosen_on_scored_cases"):
        said.append("The post-processing was chosen on cases that are scored here: expect a new case to score worse.")
    if summary["groups"] < FEW:
        unit = "patient" if summary["groups"] < summary["cases"] else "case"
        said.append(
            f"Only {summary['groups']} independent {unit}{'' if summary['groups'] == 1 else 's'}: "
            "read the intervals, not the means alone; bootstrap intervals of so few are too narrow, the t intervals beside them less so."
        )
    return said


def dataset_name(source: Source) -> str:
    """Of the data set, as far as the folder tells."""
    if source.config is not None:
        data = source.config.data
        if data.format.name == "phantom":
            return f"phantom {data.format.params.get('kind', '')}".strip()
        return Path(data.root).name if data.root else data.format.name
    return Path(str(source.summary.get("references", ""))).name


def _facts(source: Source) -> list[tuple[str, str]]:
    summary, environment, config = source.summary, source.environment, source.config
    voxels = {row.spacing for row in source.rows}
    sides = sorted(size for spacing in voxels for size in spacing)
    spacing = "" if source.pixels else _by(min(voxels)) if len(voxels) == 1 else f"{sides[0]:.3g} to {sides[-1]:.3g}"
    varies = "" if len(voxels) == 1 else ", not the same in all cases"
    said = [
        ("data set", dataset_name(source)),
        ("classes", ", ".join(source.classes)),
        ("voxel size", f"{spacing} mm{varies}" if spacing else "not known: lengths in pixels"),
        ("primary metric", source.title(source.primary)),
        ("predictions", str(summary.get("predictions", ""))),
        ("references", str(summary.get("references", ""))),
        ("label values", str(summary.get("labels_from", ""))),
    ]
    if config is not None:
        terms = [term.name if len(config.loss.terms) == 1 else f"{_weight(term.weight)} {term.name}" for term in config.loss.terms]
        said += [
            ("loss", " + ".join(terms)),
            ("network", config.network.name),
            ("fold", f"{config.data.fold} (of 0-{config.data.folds - 1})"),
            ("seed", str(config.seed)),
        ]
    said += [
        ("checkpoint", str(summary.get("checkpoint", ""))),
        ("post-processing", included(source)),
        ("command", environment.get("command", "")),
        ("git", environment.get("git", "")),
    ]
    versions = [f"{name} {environment[name]}" for name in ("torch", "lightning", "monai") if name in environment]
    said.append(("versions", ", ".join([f"medseg {summary.get('medseg', '')}", *versions])))
    return said


def _definitions(source: Source) -> Markup:
    rows = [[name.replace("_", " "), text] for name, text in source.summary.get("definitions", {}).items()]
    bootstrap = source.summary.get("bootstrap")
    if bootstrap:
        rows.append(["bootstrap", f"{bootstrap['resamples']} resamples, seed {bootstrap['seed']}, level {bootstrap['level']:.0%}"])
    return table([Column("name"), Column("definition", wrap=True)], rows, name="definitions")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def _by(sizes: tuple[float, ...]) -> str:
    return " x ".join(f"{size:.3g}" for size in sizes)


def _weight(weight: object) -> str:
    return f"{weight:g}" if isinstance(weight, int | float) else "scheduled"
