"""From the config's `evaluation:` section to the rules of the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from medseg.config.errors import did_you_mean
from medseg.config.schema import EvaluationConfig
from medseg.metrics.options import MetricOptions


def metric_options(section: EvaluationConfig) -> MetricOptions:
    """The metrics and rules that a config asks for."""
    given = section.tolerances
    tolerances = {name: tuple(values) for name, values in given.items()} if isinstance(given, dict) else tuple(given)
    return MetricOptions(
        metrics=tuple(section.metrics),
        tolerances=tolerances,
        both_empty=section.both_empty,
        penalty=section.penalty,
        beta=section.beta,
        connectivity=section.connectivity,
        lesion_iou=section.lesion_iou,
        minimum_lesion=section.minimum_lesion,
        brats=section.brats,
    )


def check_tolerances(options: MetricOptions, classes: Sequence[str]) -> None:
    """Refuse tolerances by class that leave a class out, or name one that is not there.

    Raises:
        ValueError: They do; the message says which.
    """
    if isinstance(options.tolerances, Mapping):
        check_names(options.tolerances, classes)
        missing = [name for name in classes if name not in options.tolerances]
        if missing:
            raise ValueError(f"says nothing of class {', '.join(missing)}; give every class its tolerances in mm")


def check_names(names: Iterable[str], classes: Sequence[str]) -> None:
    """Refuse the names of classes that the data set does not have.

    Raises:
        ValueError: There is one; the message has what was probably meant.
    """
    for name in names:
        if name not in classes:
            raise ValueError(f"there is no class {name!r}; {did_you_mean(name, classes) or 'the classes are ' + ', '.join(classes)}")
