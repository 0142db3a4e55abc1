"""Which post-processing the scores include, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.evaluation.report.source import Source

STEPS = ("thresholds", "minimum_size", "largest_component", "fill_holes")
"""Keys of summary.json's `postprocessing` and of a run's postprocessing.json."""


def included(source: Source) -> str:
    """What was done to the network's outputs before they were scored; empty where summary.json does not know."""
    if "postprocessing" not in source.summary:
        return ""
    scored = source.summary["postprocessing"]
    said = in_words(source, scored)
    if said == "none":
        return said
    chosen = source.postprocessing is not None and _steps(scored) == _steps(source.postprocessing)
    return f"the scores include {said}" + ("; chosen on the validation cases" if chosen else "")


def outdated(source: Source) -> str:
    """A warning where the run has another post-processing than the one that was scored."""
    if source.config is None or source.postprocessing is None:
        return ""
    scored = source.summary.get("postprocessing")
    if _steps(scored) == _steps(source.postprocessing):
        return ""
    return (
        f"The scores are from before the run's postprocessing.json was chosen: they include {_named(source, scored)}, "
        f"while the run now predicts with {_named(source, source.postprocessing)}. "
        f"Score it anew with `medseg evaluate {source.folder}`."
    )


def in_words(source: Source, given: Mapping[str, Any] | None) -> str:
    """The steps that do anything: `probability from 0.9 on (lesion)`; `none` without any."""
    steps = _steps(given)
    said = [f"probability from {value:g} on ({name})" for name, value in steps["thresholds"].items()]
    said += [f"components below {value:g} {source.size_unit} removed ({name})" for name, value in steps["minimum_size"].items()]
    if steps["largest_component"]:
        said.append(f"largest component only ({', '.join(steps['largest_component'])})")
    if steps["fill_holes"]:
        said.append(f"holes filled ({', '.join(steps['fill_holes'])})")
    return "; ".join(said) or "none"


def _named(source: Source, given: Mapping[str, Any] | None) -> str:
    said = in_words(source, given)
    return "no post-processing" if said == "none" else said


def _steps(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The steps alone, without how they were chosen."""
    given = given or {}
    return {name: given.get(name) or ([] if name in ("largest_component", "fill_holes") else {}) for name in STEPS}
