"""Runs with auxiliary heads: trained, saved, resumed, predicted from, and fine-tuned into other heads and classes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medseg.config import Config, load_config
from medseg.inference.load import load_predictor, read_run
from medseg.training.run import InterruptedRunError, resume, train
from medseg.training.run_folder import RunFolder
from tests.training.conftest import TINY
from tests.training.test_run import assert_same_weights, read_csv, stop_in_epoch, weights

Tiny = Callable[..., Config]
HEADS = [
    "network.heads={d: {name: signed_distance}, b: {name: boxes}, e: {name: embedding, params: {dimensions: 3}}}",
    "loss.terms=[{name: dice}, {name: mae, head: d}, {name: giou, head: b}, {name: center, head: e, params: {margin: 1.0}}]",
]
SHIPPED = ["distance_head", "box_head", "embedding_head"]


def loss_state(path: Path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if name.startswith("loss.")}


def outcomes(run: RunFolder) -> set[str]:
    with run.transfer.open(newline="") as file:
        return {row["outcome"] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, phantom_root: Path) -> RunFolder:
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(TINY.replace("ROOT", str(phantom_root)).replace("RUNS", str(folder / "runs")))
    return train(load_config(str(folder / "tiny.yaml"), HEADS))


class TestTrain:
    def test_every_term_is_logged_and_the_run_predicts(self, finished: RunFolder) -> None:
        rows = read_csv(finished.metrics)
        assert all(float(row[f"train/{name}"]) > 0 for row in rows for name in ("dice", "mae", "giou", "center"))
        assert len(list((finished.path / "predictions").iterdir())) == 2

    def test_the_checkpoint_says_what_each_channel_is(self, finished: RunFolder) -> None:
        saved = torch.load(finished.last, weights_only=True)["medseg"]["heads"]
        assert saved == {"d": ["lesion"], "b": ["low 0", "low 1", "high 0", "high 1"], "e": ["feature 0", "feature 1", "feature 2"]}

    def test_prediction_leaves_the_heads_out(self, finished: RunFolder) -> None:
        saved = read_run(finished.path)
        assert saved.heads == {"d": 1, "b": 4, "e": 3}
        network = saved.network()
        assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)
        assert load_predictor(finished.path, "cpu").network(torch.zeros(1, 1, 32, 32)).shape == (1, 2, 32, 32)

    def test_the_centres_have_moved_and_are_saved(self, finished: RunFolder) -> None:
        (centres,) = loss_state(finished.last).values()
        assert centres.shape == (2, 3)
        assert (centres != 0).any()

    def test_a_resumed_run_repeats_an_unbroken_one_centres_included(
        self, tiny: Tiny, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, 1)
            with pytest.raises(InterruptedRunError) as caught:
                train(tiny(*HEADS))
        run = resume(Path(str(caught.value).split("medseg resume ")[1]))
        assert_same_weights(finished.last, run.last)
        for name, centres in loss_state(finished.last).items():
            assert torch.equal(loss_state(run.last)[name], centres)

    def test_deep_supervision_and_heads_go_together(self, tiny: Tiny) -> None:
        network = "network.name=dynunet", "network.params={channels: [4, 4, 4, 4], deep_supervision: 1}"
        run = train(tiny(*network, *HEADS, "trainer.max_epochs=1"))
        assert run.best.is_file()

    @pytest.mark.parametrize("name", SHIPPED)
    def test_the_shipped_configs_train(self, name: str, tmp_path: Path) -> None:
        axes = len(load_config(name).data.patch_size)
        small = "48, 48" if axes == 2 else "32, 32, 32"
        overrides = [
            f"data.format.params={{kind: lesions_{axes}d, cases: 5, test_cases: 1, size: [{small}]}}", f"data.root={tmp_path / 'set'}",
            f"data.store={tmp_path / 'prepared'}",
            f"data.patch_size=[{'32, 32' if axes == 2 else '16, 16, 16'}]", "data.batch_size=2", "data.patches_per_epoch=2",
            "trainer.max_epochs=1", "trainer.precision=32-true", "trainer.accelerator=cpu", f"runs_dir={tmp_path / 'runs'}",
        ]  # fmt: skip
        config = load_config(name, overrides)
        run = train(config)
        (row,) = read_csv(run.metrics)
        assert float(row["train/loss"]) > 0
        assert all(f"train/{term.name}" in row for term in config.loss.terms)


class TestFinetune:
    TUNE = ("trainer.max_epochs=1", "optimizer.params.lr=0")

    def test_the_same_heads_are_loaded(self, tiny: Tiny, finished: RunFolder) -> None:
        run = train(tiny(*HEADS, *self.TUNE), source=finished.last)
        assert outcomes(run) == {"loaded"}
        assert_same_weights(finished.last, run.last)

    def test_heads_can_be_dropped(self, tiny: Tiny, finished: RunFolder) -> None:
        run = train(tiny(*self.TUNE), source=finished.last)
        old, new = weights(finished.last), weights(run.last)
        changed = [name for name in new if new[name].shape != old[name].shape]
        assert changed
        assert all(torch.equal(tensor, old[name][:2]) for name, tensor in new.items() if name in changed)
        assert all(torch.equal(tensor, old[name]) for name, tensor in new.items() if name not in changed)

    def test_heads_can_be_added_and_others_keep_their_weights_by_name(self, tiny: Tiny, finished: RunFolder) -> None:
        heads = "network.heads={n: {name: embedding, params: {dimensions: 2}}, d: {name: signed_distance}}"
        terms = "loss.terms=[{name: cross_entropy}, {name: mae, head: d}, {name: center, head: n}]"
        run = train(tiny(heads, terms, *self.TUNE), source=finished.last)
        assert outcomes(run) == {"loaded", "adapted"}
        old, new = weights(finished.last), weights(run.last)
        for name in (name for name in new if new[name].shape != old[name].shape):
            assert torch.equal(new[name][[0, 1, 4]], old[name][[0, 1, 2]])  # the logits, and the distance behind two new features
            assert not torch.equal(new[name][2:4], old[name][3:5])

    def test_another_activation_keeps_the_heads(self, tiny: Tiny, finished: RunFolder) -> None:
        run = train(tiny(*HEADS, "loss.activation=sigmoid", *self.TUNE), source=finished.last)
        old, new = weights(finished.last), weights(run.last)
        changed = [name for name in new if new[name].shape != old[name].shape]
        assert changed
        assert all(torch.equal(new[name], old[name][1:]) for name in changed)
