"""What may be said of a comparison, in words.

The word "significant" is said of methods whose training was repeated, and of nothing else.
"""

from __future__ import annotations

from medseg.evaluation.compare.cells import digits_of, p_text, with_interval
from medseg.evaluation.compare.comparison import FEW_PATIENTS, FEW_RUNS, Comparison, Pair
from medseg.evaluation.statistics import Interval
from medseg.html import interval, number
from medseg.metrics import metric_of


def ahead(comparison: Comparison, pair: Pair) -> tuple[int, int]:
    """The better method of a pair and the other."""
    better = (pair.difference.estimate > 0) == (metric_of(pair.metric).better == "higher")
    return (pair.first, pair.second) if better else (pair.second, pair.first)


def by_p(comparison: Comparison) -> list[Pair]:
    """The tests, surest first."""
    return sorted(comparison.tests, key=lambda pair: (pair.p_holm, pair.p))


def towards(pair: Pair, first: int) -> Interval:
    """The difference with the given method first."""
    if pair.first == first:
        return pair.difference
    return Interval(-pair.difference.estimate, -pair.difference.high, -pair.difference.low)


def signed(comparison: Comparison, pair: Pair) -> str:
    """`A - B: 0.020 [0.010, 0.030]`, the better one first."""
    first, second = ahead(comparison, pair)
    return f"{comparison.names[first]} - {comparison.names[second]}: {with_interval(towards(pair, first), pair.metric)}"


def verdict(comparison: Comparison, pair: Pair) -> str:
    """A pair in a few words."""
    best, other = (comparison.names[at] for at in ahead(comparison, pair))
    equal = f"practically equal (90 % interval within the margin of {number(comparison.margin)})" if pair.equal else ""
    if pair.claimed:
        return f"{best} is significantly better than {other}" + (f", yet they are {equal}" if equal else "")
    if pair.differs:
        said = f"{best} scored higher" if metric_of(pair.metric).better == "higher" else f"{best} scored lower, which is better"
        return f"{said}: a difference between two trained models, not between {comparison.what}" + (f"; {equal}" if equal else "")
    if equal:
        return equal if pair.repeated else f"two trained models that are {equal}"
    return "no difference shown, nor equality"


def title_of(metric: str) -> str:
    """The metric's name for readers, with its tolerance."""
    tolerance = metric.rpartition("_")[2]
    title = metric_of(metric).title
    if metric_of(metric).per_tolerance and tolerance.endswith("mm") and "mm" not in title:
        return f"{title}, {tolerance[:-2]} mm"
    return title


def with_unit(metric: str) -> str:
    """Name and unit."""
    unit = metric_of(metric).unit
    return f"{title_of(metric)} ({unit})" if unit else title_of(metric)


def repetitions(comparison: Comparison, method: int) -> str:
    """`3 runs`, `5 folds`, `5 folds x 3 runs`."""
    folds, runs = comparison.folds, len(comparison.methods[method].runs) // comparison.folds
    parts = [f"{folds} folds"] if folds > 1 else []
    return " x ".join([*parts, *([] if parts and runs == 1 else [f"{runs} run{'s' * (runs > 1)}"])])


def cautions(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the numbers."""
    result = []
    least = min(len(method.runs) for method in comparison.methods)
    single = [method.name for method in comparison.methods if len(method.runs) == 1]
    if single:
        result.append(
            f"One training run of {', '.join(single)}: a difference to it is a difference between two trained models, "
            f"not between {comparison.what}. Another seed alone moves scores as well; train at least {FEW_RUNS} seeds of each."
        )
    elif least < FEW_RUNS:
        result.append(f"Only {least} runs of a method: intervals are wide, and {FEW_RUNS} or more tell more.")
    if comparison.patients < FEW_PATIENTS:
        result.append(
            f"Only {comparison.patients} patients: the bootstrap interval is too narrow below {FEW_PATIENTS}; "
            "the t interval stands beside it."
        )
    if not comparison.declared:
        result.append(
            f"{title_of(comparison.primary)} was not declared as evaluation.primary by all runs before training: "
            "a metric chosen after the scores are known finds differences too easily."
        )
    return [*result, *comparison.warnings]


def sentences(comparison: Comparison) -> list[str]:
    """Ready for a paper."""
    primary, metric, unit = comparison.primary, title_of(comparison.primary), metric_of(comparison.primary).unit
    people = f" of {comparison.patients} patients" if comparison.patients < len(comparison.cases.ids) else ""
    result = []
    for at in comparison.order():
        one = comparison.mean(at, primary)
        t_interval = f"t interval {interval(one.t.low, one.t.high, digits_of(primary))}; " if one.t else ""
        result.append(
            f"{comparison.names[at]}: mean {metric}{f' in {unit}' if unit else ''} with 95 % CI {with_interval(one.interval, primary)} "
            f"({t_interval}n = {one.cases} cases{people}, {repetitions(comparison, at)}; "
            f"{one.missed} structures missed and {one.invented} invented among {one.values} values)."
        )
    for pair in by_p(comparison):
        first, second = ahead(comparison, pair)
        shown = with_interval(towards(pair, first), pair.metric)
        test = "test over training runs and patients" if pair.repeated else "sign-flip permutation test over patients"
        said = verdict(comparison, pair)
        result.append(
            f"{comparison.names[first]} against {comparison.names[second]}: difference of {metric} with 95 % CI {shown} ("
            f"{test}, Holm-corrected over {len(comparison.tests)} pair{'s' * (len(comparison.tests) > 1)}: {p_text(pair.p_holm)}; "
            f"rank-biserial {abs(pair.effect):.2f}): {said}."
        )
    return result
