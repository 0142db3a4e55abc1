"""How the run was trained: losses, shares of the gradient, validation scores by epoch."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.evaluation.report.source import Source
from medseg.html import Axis, Line, figure, figures, plot, section


def curves(source: Source) -> str:
    """One chart for what can share an axis."""
    epochs = source.epochs
    names = list(dict.fromkeys(name for row in epochs for name in row))
    train = [name for name in names if name.startswith("train/")]
    terms = [name for name in train if name.count("/") == 1 and name != "train/loss"]
    metric = source.config.validation.monitor if source.config is not None else None
    monitored = f"val/{metric or source.primary}"
    scores = [name for name in names if name == monitored or name.startswith(f"{monitored}/")]
    if monitored in scores and len(scores) == 2:
        scores = [monitored]  # one class: its mean is the same
    drawn = [
        _chart(source, "Training loss", ["train/loss"], "loss"),
        _chart(source, "Loss terms, unweighted", terms, "loss"),
        _chart(source, "Share of the gradient", [name for name in train if name.startswith("train/share/")], "share", whole=True),
        _chart(source, "Weights of the terms", [name for name in train if name.startswith("train/weight/")], "weight"),
        _chart(source, f"Validation: {source.title(monitored.removeprefix('val/'))}", scores, source.title(monitored.removeprefix("val/"))),
        _chart(
            source, "Patches that showed a lesion, by its size", [name for name in train if name.startswith("train/seen/")], "mean a lesion"
        ),
        _chart(source, "Learning rate", [name for name in names if name.startswith("lr")], "learning rate"),
    ]
    note = (
        "By epoch. A term's share is that of its gradient at the network's outputs, weighted as it was trained: a term with hardly any "
        "share hardly trains, whatever its value."
    )
    return section("Training", figures(*drawn), note=note)


def _chart(source: Source, title: str, names: Sequence[str], unit: str, whole: bool = False) -> str:
    layers = []
    for name in names:
        points = [(row["epoch"] + 1, row[name]) for row in source.epochs if name in row and "epoch" in row]
        if points:
            x, y = zip(*points, strict=True)
            layers.append(Line(_name(name), x, y, dots=len(points) < 12))
    if not layers:
        return ""
    y_axis = Axis(unit, low=0.0, high=1.0) if whole else Axis(unit)
    return figure(plot(title, layers, Axis("epoch", whole=True), y_axis))


def _name(column: str) -> str:
    """`train/share/dice` -> dice; `train/seen/below_100mm3` -> below 100 mm³."""
    return column.rpartition("/")[2].replace("_", " ").replace("mm3", " mm³").replace("mm2", " mm²").replace("  ", " ")
