"""What may be said of a comparison, in words.

The word "significant" is said of methods whose training was repeated, and of nothing else.
"""

from __future__ import annotations

from medseg.evaluation.compare.cells import ends, p_text, usable, with_interval
from medseg.evaluation.compare.comparison import FEW_PATIENTS, FEW_RUNS, Comparison, Pair
from medseg.evaluation.statistics import Interval
from medseg.html import number
from medseg.metrics import metric_of


def ahead(comparison: Comparison, pair: Pair) -> tuple[int, int]:
    """The better method of a pair and the other."""
    if pair.difference.estimate == 0:
        return pair.first, pair.second
    better = (pair.difference.estimate > 0) == (metric_of(pair.metric).better == "higher")
    return (pair.first, pair.second) if better else (pair.second, pair.first)


def by_p(comparison: Comparison) -> list[Pair]:
    """The tests, surest first."""
    return sorted(comparison.tests, key=lambda pair: (pair.p_holm, pair.p))


def towards(pair: Pair, first: int) -> Interval:
    """The difference with the given method first."""
    if pair.first == first:
        return pair.difference
    return Interval(0 - pair.difference.estimate, 0 - pair.difference.high, 0 - pair.difference.low)  # -0.0 would be shown


def signed(comparison: Comparison, pair: Pair) -> str:
    """`A - B: 0.020 [0.010, 0.030]`, the better one first."""
    first, second = ahead(comparison, pair)
    return f"{comparison.names[first]} - {comparison.names[second]}: {with_interval(pair, towards(pair, first))}"


def verdict(comparison: Comparison, pair: Pair) -> str:
    """A pair in a few words."""
    best, other = (comparison.names[at] for at in ahead(comparison, pair))
    equal = f"practically equal (90 % interval within the margin of {number(comparison.margin)})" if pair.equal else ""
    if pair.identical:
        return "identical in every case" + (f", and {equal}" if equal else "")
    things = things_of(comparison, pair.first, pair.second)
    if pair.claimed:
        return f"{best} is significantly better than {other}" + (f", yet they are {equal}" if equal else "")
    if pair.differs:
        said = f"{best} scored higher" if metric_of(pair.metric).better == "higher" else f"{best} scored lower, which is better"
        return f"{said}: a difference between two {things}, not between {comparison.what}" + (f"; {equal}" if equal else "")
    if equal:
        return equal if pair.repeated else f"two {things} that are {equal}"
    return "no difference shown, nor equality"


def things_of(comparison: Comparison, *methods: int) -> str:
    """What a method without repetitions is, in words: `trained models`, or `folders`, of which nothing is known but the scores."""
    return "trained models" if comparison.trained(*methods) else "folders"


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
    """`3 runs`, `5 folds`, `5 folds x 3 runs`; `a folder` for scores of which no training is known."""
    if not comparison.trained(method):
        return "a folder"
    folds, runs = comparison.folds, len(comparison.methods[method].runs) // comparison.folds
    parts = [f"{folds} folds"] if folds > 1 else []
    return " x ".join([*parts, *([] if parts and runs == 1 else [f"{runs} run{'s' * (runs > 1)}"])])


def cautions(comparison: Comparison) -> list[str]:
    """What a reader must know before believing the numbers."""
    result = []
    least = min(len(method.runs) for method in comparison.methods)
    folders = [method.name for at, method in enumerate(comparison.methods) if not comparison.trained(at)]
    single = [method.name for method in comparison.methods if len(method.runs) == 1 and method.name not in folders]
    if folders:
        result.append(
            f"{', '.join(folders)}: folder{'s' * (len(folders) > 1)} of scores, of which no training is known: "
            f"a difference to {'them' if len(folders) > 1 else 'it'} is a difference between two folders, not between {comparison.what}."
        )
    if single:
        result.append(
            f"One training run of {', '.join(single)}: a difference to it is a difference between two trained models, "
            f"not between {comparison.what}. Another seed alone moves scores as well; train at least {FEW_RUNS} seeds of each."
        )
    elif least < FEW_RUNS and not folders:
        result.append(f"Only {least} runs of a method: intervals are wide, and {FEW_RUNS} or more tell more.")
    unusable = sorted({pair.basis for pair in comparison.tests if not usable(pair.difference, pair.metric, -1.0)})
    result += [f"{basis} of a method are too few to give an interval of the difference." for basis in unusable]
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
        t_ends = ends(one, one.t)
        t_interval = f"t interval {t_ends}; " if t_ends.startswith("[") else ""
        result.append(
            f"{comparison.names[at]}: mean {metric}{f' in {unit}' if unit else ''}{_said(with_interval(one, one.interval))} "
            f"({t_interval}n = {one.cases} cases{people}, {repetitions(comparison, at)}; "
            f"{one.missed} structures missed and {one.invented} invented among {one.values} values)."
        )
    for pair in by_p(comparison):
        first, second = ahead(comparison, pair)
        shown = _said(with_interval(pair, towards(pair, first)))
        test = "test over training runs and patients" if pair.repeated else "sign-flip permutation test over patients"
        said = verdict(comparison, pair)
        result.append(
            f"{comparison.names[first]} against {comparison.names[second]}: difference of {metric}{shown} ("
            f"{test}, Holm-corrected over {len(comparison.tests)} pair{'s' * (len(comparison.tests) > 1)}: {p_text(pair.p_holm)}; "
            f"rank-biserial {abs(pair.effect):.2f}): {said}."
        )
    return result


def _said(shown: str) -> str:
    return f" with 95 % CI {shown}" if "[" in shown else f" {shown}"
