"""comparison.md: the same in plain text, for a repository or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.evaluation.compare.cells import COUNTS, OWN, RULES, counts, ends, own_mean, pair_cells, rank_range, with_interval
from medseg.evaluation.compare.comparison import Comparison
from medseg.evaluation.compare.verdicts import cautions, repetitions, sentences, verdict, with_unit
from medseg.files import write_text
from medseg.html import number


def write_markdown(path: Path, comparison: Comparison) -> None:
    """Write the leaderboard, all tests, the rankings and the definitions."""
    names, primary = comparison.names, comparison.primary
    people = f" of {comparison.patients} patients" if comparison.patients < len(comparison.cases.ids) else ""
    margin = "none" if comparison.margin is None else number(comparison.margin)
    lines = [
        f"# {' against '.join(names) if len(names) < 4 else f'{len(names)} {comparison.what}'}",
        "",
        f"Primary metric {with_unit(primary)}; {len(comparison.cases.ids)} cases{people}; margin of practical equality {margin}.",
        *(f"\n> {caution}" for caution in cautions(comparison)),
        "",
        "## Leaderboard",
        "",
        *_table(
            ["method", "repetitions", "rank", f"{with_unit(primary)} [95 % CI]", "own mean (n)", *COUNTS],
            (
                [
                    names[at],
                    repetitions(comparison, at),
                    rank_range(comparison, at),
                    with_interval(comparison.mean(at, primary), comparison.mean(at, primary).interval, comparison.mean(at, primary).t),
                    own_mean(comparison.mean(at, primary)),
                    *counts(comparison.mean(at, primary)),
                ]
                for at in comparison.order()
            ),
        ),
        "",
        f"- own mean (n): {OWN}",
        *(f"- {name}: {text}" for name, text in COUNTS.items()),
        "",
        "## Pairs",
        "",
        *_table(
            [
                "first",
                "second",
                "difference [95 %]",
                "90 %",
                "win / tie / loss",
                "sign-flip",
                "Wilcoxon",
                "hierarchical",
                "Holm",
                "effect",
                "verdict",
            ],
            (
                [
                    names[pair.first],
                    names[pair.second],
                    with_interval(pair, pair.difference, pair.t),
                    ends(pair, pair.narrow),
                    *pair_cells(pair),
                    verdict(comparison, pair),
                ]
                for pair in comparison.tests
            ),
        ),
        "",
        "## Rankings",
        "",
        *_table(
            ["method", *RULES.values()],
            ([names[at], *(rank_range(comparison, at, rule) for rule in RULES)] for at in comparison.order()),
        ),
        "",
        "Kendall tau against 1000 resamples: "
        + ", ".join(f"{name} {number(comparison.rankings[rule].tau)}" for rule, name in RULES.items()),
        "",
        "## All metrics",
        "",
        "Exploratory but for the primary metric: no test stands behind a difference here.",
        "",
        *_table(
            ["metric", "class", *names],
            (
                [with_unit(metric), name or "mean over classes", *(_cell(comparison, at, metric, name) for at in range(len(names)))]
                for metric in comparison.metrics
                for name in (None, *(comparison.cases.classes if len(comparison.cases.classes) > 1 else ()))
            ),
        ),
        "",
        "## Sentences",
        "",
        *(f"- {sentence}" for sentence in sentences(comparison)),
        "",
        "## Definitions",
        "",
        *(f"- {name}: {text}" for name, text in comparison.definitions.items()),
        "",
    ]
    write_text(path, "\n".join(lines))


def _cell(comparison: Comparison, method: int, metric: str, class_name: str | None) -> str:
    one = comparison.mean(method, metric, class_name)
    notes = "".join(
        f", {count} {what}" for count, what in ((one.missed, "missed"), (one.invented, "invented"), (one.both_empty, "both empty")) if count
    )
    return f"{with_interval(one, one.interval)} (n {one.cases}{notes})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
