"""Several networks against the mean of what each says, computed the long way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.images import write_label
from medseg.data.labels import LabelSchema
from medseg.data.preparation import Preparer
from medseg.errors import RunError
from medseg.inference import Ensemble, Postprocessing, Predictor, read_run
from medseg.inference.members import make_ensemble, postprocessing_of, require_alike
from tests.inference.runs import LABELS, LAS, config, save_run

SHAPE = (13, 11, 9)


def runs(folder: Path, *changes: dict[str, Any], activation: str = "softmax") -> list[Path]:
    """Runs of different weights, each with its own changes of the data section."""
    return [save_run(folder / str(seed), config=config(activation=activation, **change), seed=seed) for seed, change in enumerate(changes)]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    values = np.random.default_rng(0).integers(0, 100, SHAPE).astype(np.uint8)
    write_label(tmp_path / "a.nii.gz", values, Geometry(SHAPE, LAS))
    return Case("a", (tmp_path / "a.nii.gz",), None, "a")


def long_way(ensemble: Ensemble, case: Case, average: str) -> torch.Tensor:
    """Mean of whole maps in the grid of the file."""
    maps = []
    for member in ensemble.members:
        prepared = member.preparer.prepare(case, LABELS)
        probabilities = member.probabilities(prepared)
        if average == "logits":  # any logits that give these probabilities do, before resampling; here nothing is resampled
            probabilities = probabilities.log() if member.activation == "softmax" else probabilities.logit()
        maps.append(member.preparer.restore(probabilities, prepared).double())
    mean = torch.stack(maps).mean(dim=0)
    if average == "logits":
        mean = mean.softmax(dim=0) if ensemble.members[0].activation == "softmax" else mean.sigmoid()
    return mean


class TestMean:
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    @pytest.mark.parametrize("average", ["probabilities", "logits"])
    def test_is_that_of_the_members(self, tmp_path: Path, case: Case, activation: str, average: Any) -> None:
        folders = runs(tmp_path, {}, {"normalisation": "zscore"}, {"patch_size": [16, 8, 8]}, activation=activation)
        ensemble = make_ensemble([read_run(run) for run in folders], "cpu", average)
        found = ensemble.predict(ensemble.prepare(case), probabilities=True)
        expected = long_way(ensemble, case, average)
        assert found.probabilities is not None
        assert found.probabilities.dtype == np.float16
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)
        np.testing.assert_array_equal(found.ids, LABELS.ids_from_probabilities(expected, activation))  # type: ignore[arg-type]
        np.testing.assert_array_equal(ensemble.predict(ensemble.prepare(case)).ids, found.ids)

    def test_of_members_that_see_other_grids_is_taken_in_that_of_the_file(self, tmp_path: Path, case: Case) -> None:
        folders = runs(tmp_path, {}, {"spacing": [1.0, 1.0, 2.0]}, {"spacing": [3.0, 3.0, 3.0], "normalisation": "unit"})
        ensemble = make_ensemble([read_run(run) for run in folders], "cpu")
        found = ensemble.predict(ensemble.prepare(case), probabilities=True)
        expected = long_way(ensemble, case, "probabilities")
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)
        np.testing.assert_array_equal(found.ids, LABELS.ids_from_probabilities(expected, "softmax"))

    def test_of_one_is_itself(self, tmp_path: Path, case: Case) -> None:
        [run] = runs(tmp_path, {"spacing": [1.0, 1.0, 2.0]})
        for average in ("probabilities", "logits"):
            ensemble = make_ensemble([read_run(run)], "cpu", average)  # type: ignore[arg-type]
            member = ensemble.members[0]
            found = ensemble.predict(ensemble.prepare(case), probabilities=True)
            np.testing.assert_array_equal(found.ids, member.predict(member.preparer.prepare(case, LABELS)))

    def test_logits_and_probabilities_differ(self, tmp_path: Path, case: Case) -> None:
        saved = [read_run(run) for run in runs(tmp_path, {}, {"normalisation": "zscore"})]
        first, second = (make_ensemble(saved, "cpu", average) for average in ("probabilities", "logits"))  # type: ignore[arg-type]
        maps = [one.predict(one.prepare(case), probabilities=True).probabilities for one in (first, second)]
        assert np.abs(maps[0] - maps[1]).max() > 1e-3  # type: ignore[operator]

    def test_postprocessing_follows_it(self, tmp_path: Path, case: Case) -> None:
        saved = [read_run(run) for run in runs(tmp_path, {}, {"normalisation": "zscore"})]
        everything = Postprocessing(LABELS, "softmax", thresholds={"high": 0.0}, minimum_size={"high": 1e9})
        plain, never = (make_ensemble([replace(one, postprocessing=what) for one in saved], "cpu") for what in (None, everything))
        assert (plain.predict(plain.prepare(case)).ids == 2).any()
        assert not (never.predict(never.prepare(case)).ids == 2).any()


class TestPreparation:
    def test_is_shared_by_members_that_need_the_same(self, tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        reads: list[object] = []
        arrays = Preparer.arrays
        monkeypatch.setattr(Preparer, "arrays", lambda self, *args: reads.append(self.spacing) or arrays(self, *args))
        folders = runs(tmp_path, {}, {}, {"normalisation": "zscore"}, {"spacing": [3.0, 3.0, 3.0]})
        prepared = make_ensemble([read_run(run) for run in folders], "cpu").prepare(case)
        assert reads == [None, (3.0, 3.0, 3.0)]
        assert prepared[0] is prepared[1]
        assert prepared[2].image is not prepared[0].image


class TestRefusals:
    def saved(self, folder: Path, **changes: Any) -> list[Any]:
        return [read_run(save_run(folder / "0")), read_run(save_run(folder / "1", **changes))]

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"labels": LabelSchema.exclusive({"low": 3, "other": 7})}, r"classes \(low, other\).*classes|classes \(low, other\)"),
            ({"labels": LabelSchema.exclusive({"low": 3, "high": 8})}, "label values"),
            ({"channels": 2}, "image channels"),
            ({"config": config(2)}, "spatial axes 2"),
            ({"config": config(activation="sigmoid")}, "loss.activation sigmoid"),
        ],
    )
    def test_runs_that_do_not_fit_are_named(self, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(RunError, match=words) as caught:
            require_alike(self.saved(tmp_path, **changes), "probabilities")
        assert str(tmp_path / "0") in str(caught.value)
        assert str(tmp_path / "1") in str(caught.value)

    def test_no_run_and_no_such_average(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="no run"):
            require_alike([], "probabilities")
        with pytest.raises(RunError, match="votes"):
            require_alike(self.saved(tmp_path), "votes")  # type: ignore[arg-type]

    def test_predictors_of_other_classes_are_no_ensemble(self) -> None:
        labels = LabelSchema.exclusive({"one": 1, "two": 2})
        members = [Predictor(torch.nn.Identity(), Preparer("none"), each, "softmax", window=(8, 8, 8)) for each in (LABELS, labels)]
        with pytest.raises(ValueError, match="same labels"):
            Ensemble(members)
        with pytest.raises(ValueError, match="needs members"):
            Ensemble([])

    def test_postprocessing_is_applied_where_all_have_the_same(self, tmp_path: Path) -> None:
        first, second = self.saved(tmp_path)
        fills, keeps = (Postprocessing(LABELS, "softmax", **{step: ["low"]}) for step in ("fill_holes", "largest_component"))  # type: ignore[arg-type]
        assert postprocessing_of([replace(first, postprocessing=fills), replace(second, postprocessing=fills)]) == fills
        assert postprocessing_of([replace(first, postprocessing=fills), replace(second, postprocessing=keeps)]) is None
        assert postprocessing_of([replace(first, postprocessing=fills), second]) is None
