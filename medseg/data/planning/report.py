"""The report of a plan: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

import numpy as np

from medseg.data.planning.fingerprint import PERCENTILES, CaseFacts, Fingerprint
from medseg.data.planning.given import shown
from medseg.data.planning.plan import Plan
from medseg.files import write_text
from medseg.html import bars, folded, histogram, page

MOST_CLASSES = 30
"""Classes whose lesions are drawn one by one."""


def write_report(fingerprint: Fingerprint, plan: Plan, path: Path, train: str, groups: Mapping[str, str]) -> None:
    """Writes the report: the plan with its reasons, warnings, the distributions that led to it, and the cases.

    Args:
        fingerprint: What the cases look like.
        plan: The plan.
        path: The HTML file.
        train: The command that trains it, as the page shows it.
        groups: Id -> group (patient) of each case.
    """
    cases = fingerprint.cases
    facts = [
        f"{len(cases)} cases",
        f"{sum(case.labelled for case in cases)} labelled",
        plan.dimensions.split(":")[0],
        f"channels {', '.join(fingerprint.channels)}",
        f"classes {', '.join(fingerprint.classes)}",
    ]
    orientations = sorted({case.orientation for case in cases} - {""})
    if orientations:
        facts.append(f"files oriented {', '.join(orientations)}")
    body = [
        f"<h1>{escape(fingerprint.name)}</h1>",
        f'<p class="sub">{escape("; ".join(facts))}</p>',
        f"<p>Train with <code>{escape(train)}</code></p>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in plan.warnings),
        "<h2>Plan</h2>",
        _decisions(plan),
        "<h2>Network</h2>",
        _levels(plan),
        *_section("Grid", _grid(fingerprint)),
        *_section("Intensities", _intensities(fingerprint)),
        *_section("Classes", _classes(fingerprint)),
        *_section("Lesions", _lesions(fingerprint)),
        "<h2>Cases</h2>",
        _cases(fingerprint, groups),
    ]
    write_text(path, page(f"{fingerprint.name}: plan", body, interactive=False))


def _decisions(plan: Plan) -> str:
    rows = [f"<tr><td>axes</td><td></td><td>{escape(plan.dimensions)}</td></tr>"]
    for decision in plan.decisions:
        rows.append(
            f"<tr><td><code>{escape(decision.key)}</code></td><td><code>{escape(shown(decision.value))}</code></td>"
            f"<td>{escape(decision.note)}. {escape(decision.reason[:1].upper() + decision.reason[1:])}.</td></tr>"
        )
    return f"<table><tr><th>key</th><th>value</th><th>why</th></tr>{''.join(rows)}</table>"


def _levels(plan: Plan) -> str:
    maps = "16-bit" if plan.half else "32-bit"
    rows = [
        f"<tr><td>{number}</td><td>{_by(level.size)}</td><td>{_by(level.stride)}</td><td>{_by(level.kernel)}</td><td>{level.features}</td></tr>"
        for number, level in enumerate(plan.levels)
    ]
    head = "<tr><th>level</th><th>voxels</th><th>stride</th><th>kernel</th><th>features</th></tr>"
    memory = f"about {plan.memory / 2**30:.1f} of {plan.memory_gib:g} GiB a training step with {maps} maps"
    return f"<table>{head}{''.join(rows)}</table><p>{memory}</p>"


def _grid(fingerprint: Fingerprint) -> Iterator[str]:
    names = ("right-left", "anterior-posterior", "superior-inferior") if fingerprint.spatial_dims == 3 else ("rows", "columns")
    for axis, name in enumerate(names):
        yield histogram(f"Voxels, {name}", fingerprint.shapes[:, axis])
    if not all(case.picture for case in fingerprint.cases):
        for axis, name in enumerate(names):
            yield histogram(f"Spacing, {name}", fingerprint.spacings[:, axis], "mm")


def _intensities(fingerprint: Fingerprint) -> Iterator[str]:
    names = {"median": 50.0, "0.5 %": 0.5, "99.5 %": 99.5}
    for number, channel in _distinct_channels(fingerprint):
        for name, percentile in names.items():
            place = PERCENTILES.index(percentile)
            yield histogram(f"{channel}: {name} of the image", [case.image[number][place] for case in fingerprint.cases])
        place = PERCENTILES.index(50.0)
        inside = [case.foreground[number][place] for case in fingerprint.cases if case.foreground is not None]
        yield histogram(f"{channel}: median of the foreground", inside)


def _distinct_channels(fingerprint: Fingerprint) -> Iterator[tuple[int, str]]:
    """Channels that differ in some case, with the names of those that are the same: grey pictures in colour files have three alike."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number in range(len(fingerprint.channels)):
        look = tuple((case.image[number], case.foreground and case.foreground[number], case.std[number]) for case in fingerprint.cases)
        alike.setdefault(look, []).append(number)
    for numbers in alike.values():
        yield numbers[0], " = ".join(fingerprint.channels[number] for number in numbers)


def _classes(fingerprint: Fingerprint) -> Iterator[str]:
    voxels = sum(case.voxels for case in fingerprint.cases if case.labelled)
    counts = {name: sum(case.counts[k] for case in fingerprint.cases) for k, name in enumerate(fingerprint.classes)}
    yield bars("Share of all voxels", {name: count / max(voxels, 1) for name, count in counts.items()}, log=True)
    shown = {name: float(sum(case.counts[k] > 0 for case in fingerprint.cases)) for k, name in enumerate(fingerprint.classes)}
    yield bars("Cases that show it", shown)


def _lesions(fingerprint: Fingerprint) -> Iterator[str]:
    unit = "mm^3" if fingerprint.spatial_dims == 3 else "mm^2"
    pixels = all(case.picture for case in fingerprint.cases)
    for k, name in enumerate(fingerprint.classes[:MOST_CLASSES]):
        if pixels:
            yield histogram(f"{name}: size", fingerprint.lesion_voxels(k), "pixels", log=True)
        else:
            yield histogram(f"{name}: size", fingerprint.lesion_volumes(k), unit, log=True)
        yield histogram(f"{name}: components a case", np.array([case.lesions[k] for case in fingerprint.cases if case.labelled]))


def _cases(fingerprint: Fingerprint, groups: Mapping[str, str]) -> str:
    pixels = all(case.picture for case in fingerprint.cases)
    unit = "pixels" if pixels else "mm^3" if fingerprint.spatial_dims == 3 else "mm^2"
    names = ["case", "group", "shape", *([] if pixels else ["spacing (mm)"]), "lesions", f"volume ({unit})"]
    head = "<tr>" + "".join(f"<th>{name}</th>" for name in names) + "</tr>"
    rows = "\n".join(_case(case, groups[case.id], pixels) for case in fingerprint.cases)
    return folded(f"{len(fingerprint.cases)} cases", f"<table>{head}\n{rows}</table>")


def _case(case: CaseFacts, group: str, pixels: bool) -> str:
    """A row: lesions and their volume of all classes together; a case without label has neither."""
    cells = [case.id, group, _by(case.shape), *([] if pixels else [" x ".join(f"{size:.4g}" for size in case.spacing)])]
    volume = sum(case.counts) * (1.0 if pixels else case.voxel_volume)
    cells += [str(sum(case.lesions)), f"{volume:.6g}"] if case.labelled else ["no label", ""]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _section(title: str, figures: Iterator[str]) -> list[str]:
    return [f"<h2>{title}</h2>", '<div class="figures">', *figures, "</div>"]


def _by(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))
