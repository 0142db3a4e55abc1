"""Draw the figures of medseg/losses/GUIDE.md, of the numbers in `loss_curves.py`.

python scripts/plot_losses.py                    # rewrites medseg/losses/figures/*.svg, byte for byte the same for the same libraries
python scripts/plot_losses.py --folder /tmp/look --format png
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from loss_curves import CONFIDENCE, FRACTIONS, LARGE, MAIN, MEASURES, PARTNER, SIZE, Panel
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FOLDER = Path(__file__).resolve().parents[1] / "medseg/losses/figures"

INK = "#222222"
COLOURS = {
    "bce": "#222222",
    "cross_entropy": "#222222",
    "focal": "#e69f00",
    "dice": "#0072b2",
    "tversky": "#009e73",
    "focal_tversky": "#d55e00",
    "lovasz_hinge": "#56b4e9",
    "blob": "#aa4499",
    "component": "#882255",
    "generalized_dice": "#009e73",
    "squared_dice": "#56b4e9",
    "jaccard": "#222222",
    "log_cosh_dice": "#aa4499",
    "exp_log": "#882255",
    "mcc": "#8a8a8a",
    "poly": "#009e73",
    "topk": "#0072b2",
    "hinge": "#56b4e9",
    "mse": "#d55e00",
    "mae": "#009e73",
    "kl_divergence": "#aa4499",
}
"""By the first word of a line's name; in one figure a term has one colour."""
STYLE = {
    "svg.hashsalt": "medseg",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "path.simplify": True,
}


def canvas(columns: int, rows: int, *, names: float, title: str) -> tuple[Figure, list[Axes]]:
    """A figure of panels, each with room for `names` inches of text at its right."""
    width, height, left, gap = 10.6, 3.7, 0.72, 0.95
    inner = (width - left - columns * names - (columns - 1) * gap) / columns
    figure = Figure(figsize=(width, rows * height + 0.35))
    axes = figure.subplots(rows, columns, squeeze=False)
    tall = figure.get_figheight()
    figure.subplots_adjust(left=left / width, right=1 - names / width, wspace=(names + gap) / inner)
    figure.subplots_adjust(top=1 - 0.75 / tall, bottom=0.55 / tall, hspace=0.38)
    figure.text(left / width - 0.04, 1 - 0.22 / tall, title, fontsize=12, fontweight="bold", va="center")
    return figure, list(axes.flat)


def draw(axis: Axes, panel: Panel, names: Mapping[str, str] | None = None, *, write: bool = True, **styles: dict[str, Any]) -> None:
    """Lines, each with its name at its right end; `names` says which to draw, and what to write if not their labels."""
    ends: list[tuple[float, str, str]] = []
    for label in names or panel.lines:
        style = {"color": COLOURS.get(label.replace(",", " ").replace(":", " ").split()[0], INK), "linewidth": 1.9, **styles.get(label, {})}
        axis.plot(panel.x, panel.lines[label], **style)
        ends.append((panel.lines[label][-1], (names or {}).get(label, label), style["color"]))
    if write:
        write_at_ends(axis, [end for end in ends if end[1]])


def write_at_ends(axis: Axes, ends: list[tuple[float, str, str]], x: float = 1.02, line: float = 0.052) -> None:
    """Names beside the right edge at their lines' heights, pushed apart where they would overlap."""

    def height(value: float) -> float:
        return float(min(1.0, max(0.0, axis.transAxes.inverted().transform(axis.transData.transform((axis.get_xlim()[1], value)))[1])))

    placed = sorted(([height(value), text, colour] for value, text, colour in ends), key=lambda row: row[0])
    rooms = [line * (text.count("\n") + 1) for _, text, _ in placed]
    for index in range(1, len(placed)):
        placed[index][0] = max(placed[index][0], placed[index - 1][0] + (rooms[index] + rooms[index - 1]) / 2)
    limit = 1.0
    for index in reversed(range(len(placed))):
        placed[index][0] = min(placed[index][0], limit - rooms[index] / 2)
        limit = placed[index][0] - rooms[index] / 2
    for y, text, colour in placed:
        axis.text(x, y, text, color=colour, transform=axis.transAxes, va="center", fontsize=8.5, linespacing=1.05)


def percent(axis: Axes) -> None:
    """A y axis of shares."""
    axis.set_ylim(-0.02, 1.02)
    axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.7)


def counts(axis: Axes, ticks: Sequence[int], label: str) -> None:
    """A logarithmic x axis of voxels."""
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{tick:,}".replace(",", " ") for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel(label)


SAME = "bce, focal, dice,\ntversky, focal_tversky,\nlovasz_hinge"


def decades(axis: Axes, exponents: Sequence[int]) -> None:
    """A logarithmic y axis with these powers of ten, as plain text: mathematical text names one font only."""
    axis.set_yscale("log")
    axis.set_yticks([10.0**exponent for exponent in exponents], ["1" if exponent == 0 else f"1e{exponent}" for exponent in exponents])
    axis.minorticks_off()
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.7)


def draw_small_lesions(panels: Mapping[str, Panel]) -> Figure:
    figure, (alone, half, missed, classes) = canvas(2, 2, names=1.75, title="Who sees a small lesion?")
    ticks = (1, 10, 100, 500)
    for axis in (alone, half, missed, classes):
        counts(axis, ticks, "voxels of the small lesion")
        percent(axis)
    classes.set_xlabel("voxels of the small structure")
    alone.set_title(f"A  alone, half found: its share of all gradient\n     ({SIZE}² image, 1 % left in the background)")
    half.set_title(f"B  beside a lesion of {LARGE} voxels, both half found:\n     its share of the gradient on the two")
    missed.set_title("C  the same, small one missed (p = 0.1),\n     large one found (p = 0.9)")
    classes.set_title("D  as B, but each has a class of its own\n     (softmax)")
    weighted = {"bce + inverse_component": {"linestyle": "--"}}
    weights = {"bce + inverse_component": "bce with\ninverse_component"}
    draw(alone, panels["background"], {name: name for name in panels["background"].lines} | weights, **weighted)
    draw(
        half,
        panels["half found"],
        {"bce": SAME, "component": "component", "blob": "blob"} | weights,
        **weighted,
    )
    draw(
        missed,
        panels["missed"],
        {name: name for name in ("lovasz_hinge", "focal", "bce", "component", "blob")}
        | weights
        | {"dice": "dice, tversky,\nfocal_tversky"},
        **weighted,
    )
    draw(
        classes,
        panels["classes"],
        {
            "generalized_dice, square": "generalized_dice,\nsquare",
            "generalized_dice, simple": "generalized_dice,\nsimple",
            "dice": "dice",
            "cross_entropy": "cross_entropy;\ngeneralized_dice,\nuniform",
        },
        **{"generalized_dice, simple": {"linestyle": "--"}},
    )
    return figure


def draw_lesion_free(panels: Mapping[str, Panel]) -> Figure:
    figure, (smooth, empty) = canvas(2, 1, names=1.7, title="An image without lesions: who minds false positives?")
    for axis in (smooth, empty):
        counts(axis, (1, 10, 100, 1000, 16384), f"false positive voxels (p = {CONFIDENCE:g}) in a {SIZE}² image")
        decades(axis, range(-10, 1, 2))
        axis.set_ylim(3e-11, 4)
        axis.set_ylabel("gradient on all of them together")
    smooth.set_title("A  the image alone, empty: smooth (the default):\n     most where their number is about smooth")
    empty.set_title("B  dice with smooth 1e-5 in other settings, and\n     voxelwise losses (empty: skip has no gradient)")
    colours = {"1e-05": "#0072b2", "1": "#e69f00", "100": "#aa4499"}
    styles = {
        name: {"color": colours[name.split()[-1]], "linestyle": "--" if name.startswith("tversky") else "-"}
        for name in panels["smooth"].lines
    }
    draw(smooth, panels["smooth"], {name: name.replace("1e-05", "1e-5") for name in panels["smooth"].lines}, **styles)
    names = {"bce": "bce", "focal": "focal", "dice, empty: volume": "dice, empty: volume", "dice, empty: smooth": "dice, empty: smooth"}
    names[PARTNER] = "dice in a batch with\na lesion of 200 voxels\n(reduce_over: batch)"
    draw(empty, panels["empty"], names, **{"dice, empty: volume": {"color": "#009e73"}, PARTNER: {"color": "#aa4499"}})
    return figure


def draw_easy_and_hard(panels: Mapping[str, Panel]) -> Figure:
    figure, axes = canvas(2, 1, names=1.55, title="Which voxels pull: the hard ones, the easy ones, or all?")
    for axis, panel, title in zip(
        axes,
        panels.values(),
        (
            "A  the cross entropy and its relatives: who still\n     minds voxels that are nearly right (right edge)?",
            "B  others: who gives up on voxels that are\n     confidently wrong (left edge)?",
        ),
        strict=True,
    ):
        axis.set_xlabel("probability that the true label has already")
        axis.set_ylabel("pull on the logit towards the label")
        axis.set_ylim(-0.25, 1.15)
        axis.set_xlim(0, 1)
        axis.axhline(0, color="#bbbbbb", linewidth=0.8)
        axis.set_title(title)
        draw(axis, panel, {name: name.replace(", ", ",\n") for name in panel.lines}, **{"focal, gamma 0.5": {"linestyle": "--"}})
    return figure


def draw_near_the_optimum(panels: Mapping[str, Panel]) -> Figure:
    figure, (value, slope) = canvas(2, 1, names=1.2, title="Region losses near the optimum: who goes on pulling?")
    styles = {"focal_tversky, exponent 4/3": {"linestyle": "--"}, "mcc": {"linestyle": ":"}}
    value.set_xlabel("soft Dice")
    value.set_title("A  value (colours as in B)")
    value.set_ylim(-0.02, 1.3)
    slope.set_title("B  slope: what a further gain of soft Dice is worth")
    slope.set_xscale("log")
    decades(slope, range(-4, 3))
    slope.set_ylim(3e-5, 4e2)
    slope.invert_xaxis()
    slope.set_xticks([0.5, 0.1, 1e-2, 1e-3, 1e-4], ["0.5", "0.9", "0.99", "0.999", "0.9999"])
    slope.minorticks_off()
    slope.set_xlabel("soft Dice")
    draw(slope, panels["slope"], {name: name.replace(", ", ",\n") for name in panels["slope"].lines}, **styles)
    draw(value, panels["value"], write=False, **styles)
    return figure


def draw_ce_and_dice(panels: Mapping[str, Panel]) -> Figure:
    figure, (values, shares) = canvas(2, 1, names=1.45, title="bce + dice, weights 1 and 1: what drives the training?")
    for axis in (values, shares):
        axis.set_xlim(0, 1)
        axis.set_xlabel("soft Dice of the prediction")
    decades(values, range(-5, 1))
    values.set_title(f"A  values, lesion {MAIN} of the image")
    draw(values, panels["values"])
    percent(shares)
    shares.set_title(
        "B  Dice's share of the gradient, by the lesion's share of\n     the image; balance: gradient brings it back to a half"
    )
    shades = {"10 %": "#56b4e9", "1 %": "#0072b2", "0.1 %": "#332288"}
    ends = []
    for label in FRACTIONS.values():
        draw(
            shares,
            panels[label],
            write=False,
            **{label: {"color": shades[label]}, "balance: gradient": {"color": "#d55e00", "linestyle": "--"}},
        )
        ends.append((panels[label].lines[label][-1], f"lesion {label}", shades[label]))
    ends.append((panels[MAIN].lines["balance: gradient"][-1], "lesion 1 %, with\nbalance: gradient", "#d55e00"))
    write_at_ends(shares, ends)
    return figure


DRAWINGS: dict[str, Callable[[Mapping[str, Panel]], Figure]] = {
    "small_lesions": draw_small_lesions,
    "lesion_free": draw_lesion_free,
    "easy_and_hard": draw_easy_and_hard,
    "near_the_optimum": draw_near_the_optimum,
    "ce_and_dice": draw_ce_and_dice,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--format", choices=("svg", "png"), default="svg")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in DRAWINGS.items():
        with mpl.rc_context(STYLE):
            path = args.folder / f"{name}.{args.format}"
            drawing(MEASURES[name]()).savefig(path, dpi=110, metadata={"Date": None} if args.format == "svg" else None)
        print(path, f"{path.stat().st_size / 1000:.0f} KB")


if __name__ == "__main__":
    main()
