from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from medseg.config import Config, load_config, to_dict, to_yaml
from medseg.data import DATA_MODULES
from medseg.data.labels import LabelSchema
from medseg.data.modules import SegmentationDataModule, read_dataset
from medseg.errors import RunError
from medseg.inference.load import load_predictor
from medseg.inference.postprocessing import Postprocessing
from medseg.metrics import score_case
from medseg.metrics.options import MetricOptions
from medseg.training import postprocess
from medseg.training.held_cases import HeldCase, Scorer
from medseg.training.postprocess import PredictedCase, choose, chosen_on, postprocess_run
from medseg.training.run_folder import RunFolder
from tests.inference.runs import checkpoint

LABELS = LabelSchema.exclusive({"background": 0, "organ": 1, "lesion": 2})


def blocks(shape: tuple[int, ...] = (24, 24)) -> np.ndarray:
    """Reference: an organ, and two lesions beside it."""
    reference = np.zeros(shape, np.uint8)
    reference[2:12, 2:12] = 1
    reference[16:20, 4:8] = 2
    reference[16:20, 14:18] = 2
    return reference


def sure(ids: np.ndarray, activation: str = "softmax", certainty: float = 0.9) -> np.ndarray:
    """Probabilities that decide for `ids`."""
    rest = (1 - certainty) / 2
    prob = np.where(np.arange(3).reshape(3, *(1,) * ids.ndim) == ids, certainty, rest).astype(np.float32)
    return prob if activation == "softmax" else prob[1:]


def cases(*predictions: np.ndarray, reference: np.ndarray | None = None) -> list[PredictedCase]:
    reference = blocks() if reference is None else reference
    return [(prob, reference, (1.0,) * reference.ndim, f"case{number}", "") for number, prob in enumerate(predictions)]


def kept(trials: list[postprocess.Trial]) -> list[tuple[str, str]]:
    return [(trial.class_name, trial.step) for trial in trials if trial.kept]


class TestChoose:
    def test_a_perfect_prediction_is_left_alone(self) -> None:
        chosen, trials = choose(cases(sure(blocks()), sure(blocks())), LABELS, "softmax")
        assert not chosen.active
        assert trials
        assert not kept(trials)

    def test_specks_give_a_smallest_size_between_them_and_the_lesions(self) -> None:
        ids = blocks()
        ids[22, 2:22:4] = 2
        chosen, trials = choose(cases(sure(ids), sure(ids)), LABELS, "softmax")
        assert set(chosen.minimum_size) == {"lesion"}
        assert 1 < chosen.minimum_size["lesion"] <= 16
        assert kept(trials) == [("lesion", "minimum_size")]

    def test_sizes_are_in_millimetres(self) -> None:
        ids = blocks()
        ids[22, 2:22:4] = 2
        chosen, _ = choose([(sure(ids), blocks(), (2.0, 5.0), name, "") for name in "ab"], LABELS, "softmax")
        assert 10 < chosen.minimum_size["lesion"] <= 160

    def test_a_second_organ_gives_the_largest_component(self) -> None:
        ids = blocks()
        ids[2:10, 14:22] = 1
        chosen, trials = choose(cases(sure(ids), sure(ids)), LABELS, "softmax")
        assert chosen.largest_component == ("organ",)
        assert not chosen.minimum_size  # it would add nothing any more
        assert kept(trials) == [("organ", "largest_component")]

    def test_holes_are_filled_where_that_helps(self) -> None:
        ids = blocks()
        ids[5:8, 5:8] = 0
        chosen, trials = choose(cases(sure(ids), sure(ids)), LABELS, "softmax")
        assert chosen.fill_holes == ("organ",)
        assert kept(trials) == [("organ", "fill_holes")]

    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_timid_probabilities_give_a_lower_threshold(self, activation: Any) -> None:
        prob = sure(blocks(), activation)
        lesion = prob[-1]
        lesion[blocks() == 2] = 0.35
        if activation == "softmax":
            prob[0, blocks() == 2] = 0.6
        chosen, _ = choose(cases(prob, prob), LABELS, activation)
        assert chosen.thresholds == {"lesion": 0.3}

    def test_a_step_that_lowers_another_class_is_not_kept(self) -> None:
        prob = sure(blocks())
        prob[:, :, 21:] = np.array([0.2, 0.25, 0.55]).reshape(3, 1, 1)  # no lesion; and without it, no organ either
        chosen, trials = choose(cases(prob, prob), LABELS, "softmax")
        raising = next(trial for trial in trials if (trial.class_name, trial.step, trial.value) == ("lesion", "thresholds", 0.6))
        assert raising.gain is not None
        assert raising.gain > 0.1
        assert raising.lowers == ("organ",)
        assert not raising.kept
        assert not chosen.thresholds

    def test_a_gain_below_the_least_is_noise(self) -> None:
        ids = blocks()
        ids[22, 2] = 2
        given = cases(sure(ids), sure(ids))
        assert choose(given, LABELS, "softmax", minimum_gain=0.001)[0].active
        assert not choose(given, LABELS, "softmax", minimum_gain=0.05)[0].active

    def test_it_follows_the_metric_that_is_asked_for(self) -> None:
        ids = blocks()
        ids[22, 2] = 2  # a false lesion of one pixel: nothing in Dice, much in lesions and in millimetres
        given = cases(sure(ids), sure(ids))
        assert not choose(given, LABELS, "softmax", "dice", minimum_gain=0.05)[0].active
        assert choose(given, LABELS, "softmax", "lesion_f1", minimum_gain=0.05)[0].active
        assert choose(given, LABELS, "softmax", "hd", MetricOptions(), minimum_gain=0.05)[0].minimum_size

    def test_the_mildest_of_equally_good_values_is_kept(self) -> None:
        prob = sure(blocks())
        prob[0, blocks() == 2], prob[2, blocks() == 2] = 0.55, 0.45
        assert choose(cases(prob, prob), LABELS, "softmax")[0].thresholds == {"lesion": 0.4}

    def test_volumes_work_too(self) -> None:
        reference = np.repeat(blocks()[..., None], 4, axis=2)
        ids = reference.copy()
        ids[22, 2:22:4, 1] = 2
        assert choose(cases(sure(ids), sure(ids), reference=reference), LABELS, "softmax")[0].minimum_size

    def test_regions_that_overlap(self) -> None:
        labels = LabelSchema(("whole", "core"), ((1, 2), (2,)))
        reference = np.zeros((24, 24), np.uint8)
        reference[4:16, 4:16], reference[8:12, 8:12] = 1, 2
        predicted = labels.masks(reference).astype(np.float32) * 0.9
        predicted[:, 20, 2:22:4] = 0.9
        chosen, _ = choose([(predicted, reference, (1.0, 1.0), name, "") for name in "ab"], labels, "sigmoid")
        assert np.array_equal(chosen.clean(chosen.decide(torch.from_numpy(predicted)).numpy(), (1, 1)), reference)

    def test_a_step_that_rests_on_a_single_case_is_not_kept(self) -> None:
        outlier = blocks()
        outlier[21:24:2, 1:23:2] = 2  # specks in one case of eight: the mean gains by their removal, and nobody else does
        chosen, trials = choose(cases(sure(outlier), *[sure(blocks())] * 7), LABELS, "softmax")
        helping = [trial for trial in trials if (trial.gain or 0) > 0.01 and not trial.lowers]
        assert helping
        assert all(trial.rests_on == "case0" and (trial.better, trial.worse) == (1, 0) for trial in helping)
        assert not chosen.active

    def test_the_same_step_is_kept_where_a_second_case_gains(self) -> None:
        outlier = blocks()
        outlier[21:24:2, 1:23:2] = 2
        assert choose(cases(sure(outlier), sure(outlier), *[sure(blocks())] * 6), LABELS, "softmax")[0].active

    def test_cases_of_one_patient_are_one(self) -> None:
        outlier = blocks()
        outlier[21:24:2, 1:23:2] = 2
        given = cases(sure(outlier), sure(outlier), *[sure(blocks())] * 6)
        grouped = [(*case[:4], "anna" if number < 2 else str(number)) for number, case in enumerate(given)]
        chosen, trials = choose(grouped, LABELS, "softmax")
        assert {trial.rests_on for trial in trials if (trial.gain or 0) > 0.01} == {"anna"}
        assert not chosen.active

    def test_a_step_that_harms_more_cases_than_it_helps_is_not_kept(self) -> None:
        reference = np.zeros((24, 24), np.uint8)
        reference[2:12, 2:12], reference[2:12, 14], reference[20, 2] = 1, 2, 2
        missing, false = reference.copy(), reference.copy()
        missing[2:12, 14] = 0  # only the lesion of one pixel is found: any smallest size loses it
        missing[2:12, 16] = 2
        false[20:24:2, 4:24:2] = 2
        chosen, trials = choose(cases(*[sure(false)] * 2, *[sure(missing)] * 3, reference=reference), LABELS, "softmax")
        sizes = [trial for trial in trials if trial.step == "minimum_size" and (trial.gain or 0) > 0.01]
        assert sizes
        assert all((trial.better, trial.worse, trial.rests_on) == (2, 3, None) for trial in sizes)
        assert not chosen.minimum_size

    def test_nothing_is_learnt_from_one_case(self) -> None:
        ids = blocks()
        ids[22, 2:22:4] = 2
        assert not choose(cases(sure(ids)), LABELS, "softmax")[0].active

    def test_no_case_is_refused(self) -> None:
        with pytest.raises(RunError, match="no validation case"):
            choose([], LABELS, "softmax")

    def test_nothing_stays_on_disk_and_cases_are_taken_one_by_one(self, tmp_path: Path) -> None:
        held: list[int] = []

        def stream() -> Iterator[PredictedCase]:
            for case in cases(sure(blocks()), sure(blocks())):
                held.append(len(list(tmp_path.glob(".choosing.*/*.prob.npy"))))
                yield case

        choose(stream(), LABELS, "softmax", folder=tmp_path)
        assert held == [0, 1]
        assert not list(tmp_path.iterdir())


class TestHeldCase:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_its_maps_are_those_of_the_probabilities(self, tmp_path: Path, activation: Any) -> None:
        logits = 2 * torch.randn(LABELS.num_outputs(activation), 9, 8, 7, generator=torch.Generator().manual_seed(0))
        logits[-2:, 6:] = -30.0
        prob = (logits.softmax(0) if activation == "softmax" else logits.sigmoid()).half().float()
        plain = Postprocessing(LABELS, activation)
        held = HeldCase.hold(tmp_path, plain, prob, np.zeros((9, 8, 7), np.uint8), (1, 1, 1), "a", "", 0)
        assert held.box[0] == slice(0, 6)
        assert set(held.boxes) == {"organ", "lesion"}
        assert np.array_equal(held.predict(plain), plain.decide(prob).numpy())
        low = Postprocessing(LABELS, activation, thresholds={"lesion": 0.2}, minimum_size={"lesion": 3.0})
        assert np.array_equal(held.predict(low, "lesion"), low.clean(low.decide(prob).numpy(), (1, 1, 1)))
        assert np.array_equal(held.predict(plain), plain.decide(prob).numpy())
        held.keep(low, "lesion")
        both = Postprocessing(LABELS, activation, thresholds={"lesion": 0.2, "organ": 0.7})
        assert np.array_equal(held.predict(both, "organ"), both.decide(prob).numpy())


class TestScorer:
    @pytest.mark.parametrize(("metric", "wanted"), [("dice", 0.9), ("hd95", -0.9), ("volume_difference_ml", -0.9), ("nsd_1mm", 0.9)])
    def test_more_is_better(self, metric: str, wanted: float) -> None:
        assert Scorer(LABELS, metric, MetricOptions()).goodness(0.9) == wanted

    def test_a_surface_dice_is_read_at_its_tolerance(self, tmp_path: Path) -> None:
        ids = np.roll(blocks(), 2, axis=0)
        held = HeldCase.hold(tmp_path, Postprocessing(LABELS, "softmax"), sure(ids), blocks(), (1, 1), "a", "", 0)
        near, far = (Scorer(LABELS, name, MetricOptions()).of(held, ids, blocks()) for name in ("nsd_1mm", "nsd_3mm"))
        assert near[0] < far[0] == 1.0

    def test_only_the_classes_that_changed_are_named(self) -> None:
        scorer, ids = Scorer(LABELS, "dice", MetricOptions()), blocks()
        less = np.where(ids == 2, 0, ids).astype(np.uint8)
        assert scorer.changed(less, ids) == [1]
        assert scorer.changed(np.where(ids == 2, 1, ids).astype(np.uint8), ids) == [0, 1]
        assert scorer.changed(ids, ids) == []


class TestPostprocessRun:
    @pytest.fixture
    def run(self, tiny: Callable[..., Config], tmp_path: Path) -> Path:
        """A run of untrained weights on phantoms."""
        config = tiny("evaluation.primary=lesion_f1")
        dataset = read_dataset(config.data)
        run = RunFolder.create(tmp_path / "runs", config.name, to_yaml(config))
        run.best.parent.mkdir()
        torch.save(checkpoint(to_dict(config), len(dataset.channels), dataset.labels, dataset.suffix), run.best)
        return run.path

    def test_what_was_chosen_is_stored_and_used(self, run: Path) -> None:
        text = io.StringIO()
        path = postprocess_run(run, Console(file=text, width=200))
        assert path == run / "postprocessing.json"
        stored = json.loads(path.read_text())
        assert stored["chosen_by"]["metric"] == "lesion_f1"
        assert len(stored["chosen_by"]["cases"]) == 2
        kept = [trial for trial in stored["tried"] if trial["kept"]]
        assert kept, "an untrained network leaves something to improve"
        assert f"{len(kept)} of {len(stored['tried'])} steps kept, by 2 validation cases" in text.getvalue()
        assert "warning: 2 validation cases are few (fewer than 20)" in text.getvalue()
        assert stored["chosen_by"]["size_unit"] == "mm^2"
        assert chosen_on(run) == set(stored["chosen_by"]["cases"])
        predictor = load_predictor(run, "cpu")
        assert predictor.postprocessing is not None
        assert predictor.postprocessing.to_dict().items() <= stored.items()
        assert not list(run.glob(".choosing.*"))

    def test_sizes_are_shown_with_their_unit(self, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        trials = [postprocess.Trial("lesion", "minimum_size", 500.0, 0.5, 0.6, 0.1, (), better=6, worse=1, rests_on=None, kept=True)]
        monkeypatch.setattr(postprocess, "choose", lambda cases, labels, activation, *_, **__: (Postprocessing(labels, activation), trials))
        text = io.StringIO()
        postprocess_run(run, Console(file=text, width=200))
        assert "lesion: minimum_size 500 mm^2: lesion_f1 0.5000 -> 0.6000; 6 cases better, 1 worse" in text.getvalue()

    def test_the_scores_of_the_run_rise_by_what_the_table_says(self, run: Path) -> None:
        config = load_config(str(run / "config.yaml"))
        data = DATA_MODULES[config.data.module](config.data, config.seed)
        before = self._mean(run, data)
        stored = json.loads(postprocess_run(run, data=data).read_text())
        kept = [trial for trial in stored["tried"] if trial["kept"]]
        assert before == pytest.approx(kept[0]["before"])
        assert self._mean(run, data) == pytest.approx(kept[-1]["after"])

    def _mean(self, run: Path, data: SegmentationDataModule) -> float:
        predictor, labels, values = load_predictor(run, "cpu"), data.dataset.labels, []
        stored = data.stored("val")
        for number in range(len(stored)):
            case = stored.whole(number)
            assert case.reference is not None
            scores = score_case(
                case.case.id, "", predictor.predict(case), case.reference, labels.classes, labels.membership, case.original.spacing
            )
            values += [row.value for row in scores.rows if row.metric == "lesion_f1"]
        return float(np.nanmean(values))
