"""Choose post-processing on validation cases: greedily, class by class, and only what earns its place."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy import ndimage

from medseg.config import load_config
from medseg.data import DATA_MODULES
from medseg.data.labels import Activation, LabelSchema
from medseg.data.modules import SegmentationDataModule
from medseg.errors import RunError
from medseg.evaluation.options import metric_options
from medseg.inference.load import load_predictor
from medseg.inference.postprocessing import FILE, Postprocessing
from medseg.inference.predictor import Predictor
from medseg.metrics.options import MetricOptions
from medseg.training.held_cases import HeldCase, Scorer
from medseg.training.run_folder import RunFolder

MINIMUM_GAIN = 0.001
"""What a step must add to its class's mean: of 1, or of the mean itself where that is larger (distances, volumes). Less is noise."""

THRESHOLDS = (0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9)
"""Those that are tried, the mildest first: of equally good ones the first is kept."""

FEW = 20
"""Cases below which a choice is called uncertain."""

MOST_SIZES = 12
"""Smallest sizes tried for a class, in the series 1, 2, 5, 10, ..., from below its smallest component upwards."""

PredictedCase = tuple[Any, np.ndarray, Sequence[float], str, str]
"""Probabilities (C', *spatial), reference ids uint8 (*spatial), spacing in mm, case id, group."""


@dataclass(frozen=True)
class Trial:
    """One step that was tried for one class, on top of what had been kept before."""

    class_name: str
    step: str
    """`thresholds`, `minimum_size`, `largest_component` or `fill_holes`."""
    value: float | None
    """The threshold, or the size in mm^3 (mm^2 in 2-D)."""
    before: float | None
    """The class's mean without it; for a metric that should be low or 0, minus it. None where no case counts."""
    after: float | None
    gain: float | None
    lowers: tuple[str, ...]
    """Other classes whose mean falls."""
    better: int
    """Cases whose score of the class rises, or that leave nothing to score any more."""
    worse: int
    """Cases whose score of the class falls."""
    rests_on: str | None
    """A patient (group; a case where none is known) without whom the mean would not rise."""
    kept: bool


def choose(
    cases: Iterable[PredictedCase],
    labels: LabelSchema,
    activation: Activation,
    metric: str = "dice",
    options: MetricOptions | None = None,
    *,
    minimum_gain: float = MINIMUM_GAIN,
    folder: Path | None = None,
) -> tuple[Postprocessing, list[Trial]]:
    """Choose thresholds, smallest sizes, largest components and hole filling on cases that trained nothing.

    For each class in turn each kind of step is tried, with all values it may take, on top of what was kept before; the best value is kept
    if it raises the class's mean of the metric over the cases by the least gain, lowers no other class's mean, raises the score of most of
    the cases whose score it changes, and raises the mean whichever single patient (group; a case where none is known) is left out. Ties
    are not kept, and of a single patient nothing is learnt.

    Args:
        cases: Predicted cases; each is held on disk, its probabilities in float16, and memory holds one at a time.
        labels: The classes.
        activation: `softmax` or `sigmoid`.
        metric: A key of `METRICS`, with its tolerance where it has one.
        options: The metric's rules.
        minimum_gain: What a step must add: of 1, or of the class's mean where that is larger.
        folder: Where the cases are held meanwhile; None: where the system keeps temporary files.

    Returns:
        What was chosen, and everything that was tried.

    Raises:
        RunError: There is no case.
    """
    plain = Postprocessing(labels, activation)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".choosing.") as place:
        held = [HeldCase.hold(Path(place), plain, *case, number=number) for number, case in enumerate(cases)]
        if not held:
            raise RunError("there is no validation case to choose post-processing on; give the run one, or state the steps in the config")
        search = _Search(plain, held, Scorer(labels, metric, options or MetricOptions()), minimum_gain)
        for index in range(labels.num_classes):
            for step in ("thresholds", "largest_component", "minimum_size", "fill_holes"):
                search.improve(index, step)
    return search.chosen, search.trials


def postprocess_run(run: Path, console: Console | None = None, *, data: SegmentationDataModule | None = None) -> Path:
    """Choose the post-processing of a finished run on its validation cases by `evaluation.primary`, and store it in the run.

    Args:
        run: The run folder.
        console: Where progress and what was kept are shown; None shows nothing.
        data: The run's data module, where it is open already.

    Returns:
        `<run>/postprocessing.json`, with the table of what was tried; it holds no step where none earned its place.

    Raises:
        RunError: No such run, no checkpoint, or no validation case.
        DataError: Its data set cannot be read any more.
    """
    folder, console = RunFolder.open(run), console or Console(quiet=True)
    config = load_config(str(folder.config))
    data = data or DATA_MODULES[config.data.module](config.data, config.seed)
    predictor = load_predictor(folder.path, config.trainer.accelerator)
    metric, options = config.evaluation.primary, metric_options(config.evaluation)
    cases = _predicted(data, predictor, console)
    chosen, trials = choose(cases, data.dataset.labels, predictor.activation, metric, options, folder=folder.path)
    kept, used = [trial for trial in trials if trial.kept], data.case_ids("val")
    size_unit = f"mm^{len(config.data.patch_size)}"
    chosen.write(
        folder.path / FILE,
        chosen_by={"metric": metric, "minimum_gain": MINIMUM_GAIN, "cases": used, "options": options.to_dict(), "size_unit": size_unit},
        tried=[asdict(trial) for trial in trials],
    )
    lines = [_line(trial, metric, size_unit) for trial in kept]
    lines.append(f"post-processing: {len(kept)} of {len(trials)} steps kept, by {len(used)} validation cases: {folder.path / FILE}")
    if len(used) < FEW:
        lines.append(f"warning: {len(used)} validation cases are few (fewer than {FEW}): what helps on them may not help on others")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return folder.path / FILE


def chosen_on(run: Path) -> set[str]:
    """Ids of the cases that chose a run's post-processing; none where it was not chosen, but stated."""
    if not (run / FILE).is_file():
        return set()
    return set(json.loads((run / FILE).read_text(encoding="utf-8")).get("chosen_by", {}).get("cases", []))


def _line(trial: Trial, metric: str, size_unit: str) -> str:
    value = "" if trial.value is None else f" {trial.value:g}" + (f" {size_unit}" if trial.step == "minimum_size" else "")
    scores = f"{abs(trial.before or 0):.4f} -> {abs(trial.after or 0):.4f}"
    return f"{trial.class_name}: {trial.step}{value}: {metric} {scores}; {trial.better} cases better, {trial.worse} worse"


def _predicted(data: SegmentationDataModule, predictor: Predictor, console: Console) -> Iterator[PredictedCase]:
    data.statistics = predictor.preparer.statistics  # the run's own, whatever the data module would measure
    stored = data.stored("val")
    for number in track(range(len(stored)), description="predicting val cases", console=console):
        prepared = stored.whole(number)
        assert prepared.reference is not None, "validation cases have labels"
        case = prepared.case
        yield predictor.predict_probabilities(prepared), prepared.reference, prepared.original.spacing, case.id, case.group


class _Search:
    """What was kept so far, what it scores on each case, and everything that was tried."""

    def __init__(self, plain: Postprocessing, held: Sequence[HeldCase], scorer: Scorer, minimum_gain: float) -> None:
        self.chosen, self.held, self.scorer, self.minimum_gain = plain, held, scorer, minimum_gain
        self.trials: list[Trial] = []
        self.groups = np.array([case.group or case.case_id for case in held])
        self.scores = np.array([list(scorer.of(case, case.predict(plain), case.reference).values()) for case in held])
        """(cases, classes), more is better, NaN where a case does not count."""

    def improve(self, index: int, step: str) -> None:
        """Try all values of a step for one class, and keep the best where one earns its place."""
        candidates = list(_candidates(step, index, self.chosen, self.held))
        threshold_of = self.chosen.labels.classes[index] if step == "thresholds" else None
        scores = self._score([candidate for _, candidate in candidates], threshold_of)
        trials = [self._trial(index, step, value, new) for (value, _), new in zip(candidates, scores, strict=True)]
        gains = [(trial.gain or 0.0) if self._earns_its_place(trial) else 0.0 for trial in trials]
        if any(gain > 0 for gain in gains):
            best = int(np.argmax(np.round(gains, 12)))  # the first of equals, whatever the order of the sums
            trials[best] = replace(trials[best], kept=True)
            self.chosen, self.scores = candidates[best][1], scores[best]
            if threshold_of is not None:
                for case in self.held:
                    case.keep(self.chosen, threshold_of)
        self.trials += trials

    def _score(self, candidates: Sequence[Postprocessing], threshold_of: str | None) -> np.ndarray:
        """(candidates, cases, classes): only classes whose mask changes are scored anew."""
        scores = np.repeat(self.scores[None], len(candidates), axis=0)
        for number, case in enumerate(self.held):
            before, reference = case.predict(self.chosen), case.reference
            for place, candidate in enumerate(candidates):
                ids = case.predict(candidate, threshold_of)
                for index, value in self.scorer.of(case, ids, reference, self.scorer.changed(ids, before)).items():
                    scores[place, number, index] = value
        return scores

    def _trial(self, index: int, step: str, value: float | None, scores: np.ndarray) -> Trial:
        old, new = _means(self.scores), _means(scores)
        names = self.chosen.labels.classes
        undefined = np.isnan(new) & ~np.isnan(old)
        lowers = tuple(name for other, name in enumerate(names) if other != index and (new[other] < old[other] - 1e-9 or undefined[other]))
        gain = new[index] - old[index] if new[index] != old[index] else 0.0  # equal infinite penalties: nothing gained
        better, worse = _changed(self.scores[:, index], scores[:, index])
        rests_on = self._rests_on(self.scores[:, [index]], scores[:, [index]]) if gain > 0 else None
        numbers = _number(old[index]), _number(new[index]), _number(gain)
        return Trial(names[index], step, value, *numbers, lowers, better, worse, rests_on, kept=False)

    def _rests_on(self, old: np.ndarray, new: np.ndarray) -> str | None:
        """The first group without whom the mean of a class, (cases, 1), would not rise."""
        for group in dict.fromkeys(self.groups.tolist()):
            others = self.groups != group
            if not _means(new[others]) > _means(old[others]):
                return group
        return None

    def _earns_its_place(self, trial: Trial) -> bool:
        if trial.gain is None or trial.before is None or trial.lowers or trial.rests_on is not None or trial.better <= trial.worse:
            return False
        return trial.gain >= self.minimum_gain * max(1.0, abs(trial.before)) and trial.gain > 0


def _candidates(step: str, index: int, chosen: Postprocessing, held: Sequence[HeldCase]) -> Iterator[tuple[float | None, Postprocessing]]:
    """The values that a step of a class may take, and the post-processing with each."""
    name = chosen.labels.classes[index]
    if step == "thresholds":
        for value in THRESHOLDS:
            yield value, replace(chosen, thresholds={**chosen.thresholds, name: value})
    elif step == "minimum_size":
        for size in _sizes(index, chosen, held):
            yield size, replace(chosen, minimum_size={**chosen.minimum_size, name: size})
    elif step == "largest_component":
        yield None, replace(chosen, largest_component=(*chosen.largest_component, name))
    else:
        yield None, replace(chosen, fill_holes=(*chosen.fill_holes, name))


def _sizes(index: int, chosen: Postprocessing, held: Sequence[HeldCase]) -> list[float]:
    """Sizes in mm^3 that part the class's components: above the smallest, and up to the largest."""
    smallest, largest = math.inf, 0.0
    for case in held:
        mask = chosen.labels.masks(case.predict(chosen))[index]
        components, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
        if count:
            sizes = np.bincount(components.ravel())[1:] * math.prod(case.spacing)
            smallest, largest = min(smallest, float(sizes.min())), max(largest, float(sizes.max()))
    if not largest:
        return []
    power = math.floor(math.log10(smallest))
    series = [float(f"{digit}e{power + place}") for place in range(MOST_SIZES) for digit in (1, 2, 5)]
    return [size for size in series if smallest < size <= largest][:MOST_SIZES]


def _means(scores: np.ndarray) -> np.ndarray:
    """Mean of each class over the cases that count; NaN where none does."""
    counts = ~np.isnan(scores)
    sums = np.where(counts, scores, 0.0).sum(axis=0)
    return np.divide(sums, counts.sum(axis=0), out=np.full(scores.shape[1], np.nan), where=counts.any(axis=0))


def _changed(old: np.ndarray, new: np.ndarray) -> tuple[int, int]:
    """How many cases get better, and how many worse; with nothing left to score, a case is as good as it can be."""
    old, new = (np.where(np.isnan(scores), np.inf, scores) for scores in (old, new))
    return int((new > old).sum()), int((new < old).sum())


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
