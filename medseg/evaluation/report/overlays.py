"""Pictures: of each class the best, the median, the worst and an empty case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.data.labels import IGNORE, LabelSchema
from medseg.errors import DataError, MedsegError
from medseg.evaluation.report.choose import MOST_CLASSES, Pick, choose
from medseg.evaluation.report.reader import Reader, Shown
from medseg.evaluation.report.slices import MOST_SLICES, Opens, View
from medseg.evaluation.report.source import Source
from medseg.evaluation.report.viewer import Made, best_channel, make_viewer
from medseg.html import Markup, html_of, number, section

BUDGET = 10_500_000
"""Bytes of all pictures together."""
MOST_BYTES = 1_500_000
"""Bytes of one viewer."""

_LEGEND = (
    '<div class="legend"><label><input type="checkbox" checked data-layer="colours">'
    '<i class="tp"></i>found (TP) <i class="fp"></i>invented (FP) <i class="fn"></i>missed (FN)</label>'
    '<label><input type="checkbox" checked data-layer="reference"><i class="line"></i>reference</label>'
    '<label><input type="checkbox" checked data-layer="prediction"><i class="dash"></i>prediction</label>'
    '<label>brightness <input type="range" min="0.3" max="2.5" step="0.05" value="1" data-look="brightness"></label>'
    '<label>contrast <input type="range" min="0.3" max="3" step="0.05" value="1" data-look="contrast"></label></div>'
)


@dataclass
class Overlays:
    """The section, and where in it a case is shown."""

    html: Markup = field(default_factory=lambda: Markup(""))
    anchors: dict[str, str] = field(default_factory=dict)


def overlays(source: Source, said: Callable[[int, int], None] = lambda done, total: None) -> Overlays:
    """Draw the cases that are worth a look. What cannot be read is named in place of its picture.

    Args:
        source: The evaluation.
        said: Told the number of cases drawn and of all.
    """
    picks = choose(source)
    if not picks:
        return _without("no case has a class to show.")
    try:
        reader = Reader(source)
    except (MedsegError, OSError) as error:
        return _without(f"{error}. {_remedy(source)}")
    studio = _Studio(source, reader, min(MOST_BYTES, BUDGET // len(picks)))
    # Case by case, each read once.
    for done, case in enumerate(cases := list(dict.fromkeys(pick.case for pick in picks))):
        studio.draw(case, [pick for pick in picks if pick.case == case])
        said(done + 1, len(cases))
    if not studio.anchors:
        return _without(f"none of the {len(cases)} cases to show could be read: {next(iter(studio.faults.values()))}. {_remedy(source)}")
    masks = f'<p class="warning">{html_of(f"Masks without images: {reader.no_images}.")}</p>' if reader.no_images else ""
    return Overlays(section("Pictures", masks, _LEGEND, *_by_class(picks, studio.made), note=_note(source, studio)), studio.anchors)


def _without(reason: str) -> Overlays:
    return Overlays(section("Pictures", f'<p class="warning">{html_of(f"No pictures: {reason}")}</p>'))


def _remedy(source: Source) -> str:
    """What brings the pictures back."""
    folder, again = source.folder, f"`medseg report {source.folder}`"
    if source.config is None:
        ways = "Put the files back, or score them where they are now with `medseg evaluate` (relative paths count from the current folder)"
    elif not source.predictions.is_dir():
        ways = f"Put the predictions back, or make them again with `medseg evaluate {folder}`"
    else:
        ways = f"Put the files back, or set data.root in {folder / 'config.yaml'} to where they are now"
    return f"{ways}, then run {again} again. No number depends on it."


class _Studio:
    """Draws cases and remembers what it did."""

    def __init__(self, source: Source, reader: Reader, budget: int) -> None:
        self.source, self.reader, self.budget = source, reader, budget
        self.made: dict[tuple[str, str], str] = {}
        self.anchors: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        self.rules: set[str] = set()
        self.planes: set[str] = set()
        self.thinned = False
        self.channels: tuple[int, ...] | None = None

    def draw(self, case: str, picks: Sequence[Pick]) -> None:
        """Draw one case for the classes that it was picked for."""
        try:
            shown = self.reader.read(case)
        except (DataError, OSError) as error:
            self.faults[case] = str(error)
            for pick in picks:
                self.made[pick.class_name, case] = f'<p class="warning">{html_of(f"{pick.kind}: {case}: {error}")}</p>'
            return
        for pick in picks:
            prediction, reference = (_mask(ids, shown, self.reader.labels, pick.class_name) for ids in (shown.prediction, shown.reference))
            channels = self._channels(shown, reference)
            view = View.of(shown.image, prediction, reference, shown.geometry)
            key = f"picture-{len(self.made)}"
            opens: Opens = "reference" if pick.kind in ("best", "median") else "error"
            self._keep(pick, key, make_viewer(view, key, _caption(self.source, pick, shown), channels, self.budget, opens), view)

    def _keep(self, pick: Pick, key: str, made: Made, view: View) -> None:
        self.made[pick.class_name, pick.case] = made.html
        self.anchors.setdefault(pick.case, key)
        self.rules |= {made.window} - {""}
        self.planes |= {view.plane} - {""}
        self.thinned = self.thinned or made.slices < made.of

    def _channels(self, shown: Shown, reference: np.ndarray) -> tuple[int, ...]:
        """The same for all cases: colours of pictures, else the channel that shows the first case's class best."""
        if shown.image is None:
            return (0,)
        if self.channels is None or max(self.channels) >= len(shown.image):
            if self.source.flat and len(shown.image) == 3:
                self.channels = (0, 1, 2)
            else:
                self.channels = (best_channel(shown.image, reference),)
        return self.channels


def _mask(ids: np.ndarray, shown: Shown, labels: LabelSchema, name: str) -> np.ndarray:
    """Voxels of a class, less those that are ignored."""
    belongs = np.zeros(256, dtype=np.bool_)
    belongs[: len(labels.values)] = labels.membership[labels.classes.index(name)]
    mask: np.ndarray = belongs[ids] & (shown.reference != IGNORE)
    return mask


def _caption(source: Source, pick: Pick, shown: Shown) -> str:
    row = pick.row
    metrics = [source.primary, *(name for name in ("dice", "lesion_f1") if name in source.metrics and name != source.primary)]
    said = [f"{source.title(name)} {_score(source, name, pick)}" for name in metrics]
    unit = source.volume_unit
    said.append(f"reference {number(source.volume(row, 'ref'))} {unit}, predicted {number(source.volume(row, 'pred'))} {unit}")
    said.append(f"lesions {row.ref_lesions}, predicted {row.pred_lesions}")
    fault = f'<br><span class="worse">{html_of(shown.fault)}</span>' if shown.fault else ""
    return f"<b>{pick.kind}: {html_of(pick.case)}</b><br>{html_of(' · '.join(said))}{fault}"


def _score(source: Source, metric: str, pick: Pick) -> str:
    row = source.table.get((metric, pick.class_name), {}).get(pick.case)
    return "-" if row is None else number(row.value, source.digits(metric))


def _by_class(picks: Sequence[Pick], made: dict[tuple[str, str], str]) -> list[str]:
    parts = []
    for name in dict.fromkeys(pick.class_name for pick in picks):
        viewers = "\n".join(made[name, pick.case] for pick in picks if pick.class_name == name)
        parts.append(f'<h3>{html_of(name)}</h3><div class="viewers">{viewers}</div>')
    return parts


def _note(source: Source, studio: _Studio) -> str:
    said = [
        f"Best, median and worst case of each class by {source.title(source.primary)} among those whose reference has it; empty: of the "
        "cases without it the one with the most invented voxels."
    ]
    if studio.planes:
        said.append(
            f"{' and '.join(sorted(studio.planes)).capitalize()} slices along the coarsest axis, upright, the patient's right at the left "
            "(letters: nearest anatomical direction), sides as long as in mm, slice numbers as in the file."
        )
        if studio.thinned:
            said.append(f"Only slices that hold the class are shown, at most {MOST_SLICES} evenly chosen.")
        said.append("Best and median cases open at the largest area of the reference, worst and empty ones at the largest area of error.")
        said.append("Arrow keys move through the slices of a picture in focus.")
    said.append("Space hides the overlay of a picture in focus. Outlines follow the edges of voxels.")
    if studio.rules:
        said.append(f"Shown intensities: {'; '.join(sorted(studio.rules))}.")
    if studio.channels is not None and len(studio.channels) == 1 and len(studio.reader.channels) > 1:
        name = studio.reader.channels[studio.channels[0]]
        said.append(f"Channel {name}: the one in which the first class drawn stands out most from its surroundings.")
    if len(source.classes) > MOST_CLASSES:
        said.append(f"The {MOST_CLASSES} classes with the worst means.")
    return " ".join(said)
