"""Methods compared by the scores of their runs: paired by case, with patients and training runs as what could have come out otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from medseg.errors import RunError
from medseg.evaluation.compare.analysis import MetricAnalysis, explore
from medseg.evaluation.compare.checks import check_options, check_references, choose_margin, choose_metric, folds_of
from medseg.evaluation.compare.comparison import Comparison, Mean, Pair
from medseg.evaluation.compare.files import write_csv, write_json
from medseg.evaluation.compare.markdown import write_markdown
from medseg.evaluation.compare.methods import Method, group_runs
from medseg.evaluation.compare.page import write_page
from medseg.evaluation.compare.runs import ScoredRun
from medseg.evaluation.compare.tables import Cases, MetricTable
from medseg.evaluation.compare.terminal import print_comparison

__all__ = ["Comparison", "Mean", "Pair", "compare", "compare_runs"]


def compare_runs(
    runs: Sequence[Path],
    out: Path,
    *,
    metric: str | None = None,
    margin: float | None = None,
    baseline: str | None = None,
    console: Console | None = None,
) -> Comparison:
    """Compare finished runs, and write comparison.html, .md, .csv and .json.

    Runs with the same config but for seed, fold, name and machine are one method. All methods must have been scored on the same cases,
    against the same references, by the same rules. One metric is tested, the primary one; all others are exploratory.

    Args:
        runs: Run folders, or folders that `medseg evaluate` wrote.
        out: Folder for the four files.
        metric: The metric that is tested; None: the one that the runs declare.
        margin: The difference in it that does not matter; None: the one that the runs declare.
        baseline: Name of the method that the others are shown against; None: that of the first run.
        console: Prints the leaderboard and the verdicts there.

    Raises:
        RunError: When a run is not finished, or the runs cannot be compared; the message names the run, what differs, and the way out.
        DataError: When a file is damaged, or references differ.
    """
    comparison = compare(runs, metric=metric, margin=margin, baseline=baseline)
    write_json(out / "comparison.json", comparison)
    write_csv(out / "comparison.csv", comparison)
    write_markdown(out / "comparison.md", comparison)
    write_page(out / "comparison.html", comparison)
    if console is not None:
        print_comparison(comparison, out, console)
    return comparison


def compare(runs: Sequence[Path], *, metric: str | None = None, margin: float | None = None, baseline: str | None = None) -> Comparison:
    """`compare_runs` without the files."""
    if len(runs) < 2:
        raise RunError(f"{len(runs)} run given; give at least two to compare")
    read = [ScoredRun.read(Path(run)) for run in runs]
    options = check_options(read)
    check_references(read)
    methods, what = group_runs(read)
    folds = folds_of(methods)
    primary, declared = choose_metric(read, metric)
    chosen_margin = choose_margin(read, primary, margin)
    against = _baseline(methods, baseline)
    cases = Cases.of(methods, folds)
    metrics = (primary, *(name for name in read[0].table.values if name != primary and all(name in run.table.values for run in read)))
    tables = {name: MetricTable.of(name, methods, cases) for name in metrics}
    if not tables[primary].finite:
        raise RunError(f"'{primary}' holds infinite penalties, of which no mean can be compared; score with evaluation.penalty=diagonal")
    if not tables[primary].used.any():
        raise RunError(f"'{primary}' is defined in no case that all runs share; choose another metric with --metric")
    analyses = {name: MetricAnalysis(table, cases.classes) for name, table in tables.items()}
    tests = analyses[primary].tests(chosen_margin)
    return Comparison(
        methods=tuple(methods),
        what=what,
        cases=cases,
        primary=primary,
        declared=declared,
        margin=chosen_margin,
        baseline=against,
        metrics=metrics,
        tables=tables,
        means=tuple(mean for analysis in analyses.values() for mean in analysis.means()),
        tests=tuple(tests),
        explored=tuple(explore(analyses, primary, against, chosen_margin, len(cases.classes))),
        rankings=analyses[primary].rankings(tests),
        options=options,
        definitions=_definitions(read[0].summary.get("definitions", {}), options),
        warnings=tuple(_warnings(read, tables[primary])),
    )


def _baseline(methods: Sequence[Method], name: str | None) -> int:
    if name is None:
        return 0
    names = [method.name for method in methods]
    if name not in names:
        raise RunError(f"there is no method '{name}' to compare with; the methods are {', '.join(names)}")
    return names.index(name)


def _definitions(known: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, str]:
    """Those of the runs, but for empty masks, where a comparison has a rule of its own."""
    said, _, rest = known.get("empty", "").partition(";")
    if options.get("both_empty", "exclude") == "exclude":
        said = (
            "class empty in prediction and reference: excluded only where all compared runs are empty; where another run predicted "
            "something there, rightly predicting nothing counts as the best value, so that false alarms count "
            "(own mean: by the rule of each run's own report)"
        )
    return {**known, "empty": f"{said};{rest}" if rest else said}


def _warnings(runs: Sequence[ScoredRun], table: MetricTable) -> list[str]:
    result = []
    left_out = int(np.count_nonzero(table.left_out))
    if left_out:
        result.append(f"{left_out} pairs of case and class are left out of all methods, since one of them has no value there.")
    faults = [run for run in runs if run.summary.get("faults")]
    if faults:
        result.append(f"Some cases could not be scored and are in no mean: see {faults[0].scores / 'summary.json'}.")
    return result
