"""Shares of the gradient in a run: logged, warned of, balanced, and the same after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medseg.config import Config
from medseg.config.schema import WeightSchedule
from medseg.inference import load_predictor
from medseg.training.gradient_shares import GradientShares
from medseg.training.run import InterruptedRunError, resume, train
from tests.training.test_run import assert_same_weights, read_csv, stop_in_epoch

Tiny = Callable[..., Config]
BALANCED = ("loss.balance=gradient", "loss.terms[1].weight=3.0", "loss.share_every=1")


class Epochs:
    """A trainer and a task of which only what the callback sees is there."""

    def __init__(self, **weights: float) -> None:
        self.callback = GradientShares()
        self.current_epoch = -1
        self.is_global_zero = True
        self.logged: list[dict[str, float]] = []
        self.loss = SimpleNamespace(
            weights=weights, terms=weights, balance=None, schedules={}, effective_weights=lambda: [0.25] * len(weights)
        )

    def log_dict(self, values: dict[str, float], **_: Any) -> None:
        self.logged.append(values)

    def run(self, *steps: dict[str, float]) -> None:
        self.current_epoch += 1
        self.callback.on_train_epoch_start(self, self)  # type: ignore[arg-type]
        for index, shares in enumerate(steps):
            outputs = {"loss": torch.zeros(()), "shares": {name: torch.tensor(share) for name, share in shares.items()}}
            self.callback.on_train_batch_end(self, self, outputs, None, index)  # type: ignore[arg-type]
        self.callback.on_train_epoch_end(self, self)  # type: ignore[arg-type]


class TestEpochs:
    def test_the_mean_over_measured_steps_is_logged(self) -> None:
        epochs = Epochs(bce=1, dice=1)
        epochs.run({"bce": 0.25, "dice": 0.75}, {}, {"bce": 0.5, "dice": 0.5}, {})
        epochs.run({"bce": 1.0, "dice": 0.0})
        assert epochs.logged == [{"train/share/bce": 0.375, "train/share/dice": 0.625}, {"train/share/bce": 1.0, "train/share/dice": 0.0}]

    def test_an_epoch_without_a_measurement_logs_nothing(self) -> None:
        epochs = Epochs(bce=1, dice=1)
        epochs.run({}, {})
        epochs.run({"bce": 0.0, "dice": 0.0}, {"bce": float("nan"), "dice": float("nan")})
        assert epochs.logged == []

    def test_steps_without_gradient_or_with_an_overflow_do_not_count(self, capsys: pytest.CaptureFixture[str]) -> None:
        epochs = Epochs(bce=1, dice=1)
        epochs.run({"bce": 0.0, "dice": 0.0}, {"bce": 0.5, "dice": 0.5}, {"bce": float("nan"), "dice": float("nan")})
        assert epochs.logged == [{"train/share/bce": 0.5, "train/share/dice": 0.5}]
        assert capsys.readouterr().out == ""


class TestWarning:
    def test_names_term_share_epoch_and_remedy_on_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        epochs = Epochs(dice=1, bce=1)
        epochs.run({"dice": 0.9, "bce": 0.1})
        assert capsys.readouterr().out == ""
        epochs.run({"dice": 0.996, "bce": 0.004})
        assert capsys.readouterr().out == (
            "warning: bce had 0.4 % of the gradient in epoch 2, so it hardly trains: "
            "raise loss.terms[1].weight, or set loss.balance: gradient\n"
        )

    def test_once_a_term(self, capsys: pytest.CaptureFixture[str]) -> None:
        epochs = Epochs(dice=1, bce=1, focal=1)
        for _ in range(3):
            epochs.run({"dice": 0.99, "bce": 0.001, "focal": 0.009})
        assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["bce", "focal"]

    def test_and_run_also_after_an_interruption(self, capsys: pytest.CaptureFixture[str]) -> None:
        epochs, resumed = Epochs(dice=1, bce=1), Epochs(dice=1, bce=1)
        epochs.run({"dice": 1.0, "bce": 0.0})
        resumed.callback.load_state_dict(epochs.callback.state_dict())
        capsys.readouterr()
        resumed.run({"dice": 1.0, "bce": 0.0})
        assert capsys.readouterr().out == ""

    def test_not_of_a_term_that_is_switched_off(self, capsys: pytest.CaptureFixture[str]) -> None:
        Epochs(dice=1, bce=0).run({"dice": 1.0, "bce": 0.0})
        assert capsys.readouterr().out == ""

    def test_not_of_a_scheduled_term_before_its_schedule_has_ended(self, capsys: pytest.CaptureFixture[str]) -> None:
        """And then it is, as if it had never been small."""
        epochs = Epochs(dice=1, boundary=0.01)
        epochs.loss.schedules = {"boundary": WeightSchedule("linear", start=0.0, end=0.2, epochs=3)}
        for _ in range(3):
            epochs.run({"dice": 0.999, "boundary": 0.001})
        assert capsys.readouterr().out == ""
        epochs.run({"dice": 0.9, "boundary": 0.1})
        assert capsys.readouterr().out == ""
        for _ in range(2):
            epochs.run({"dice": 0.999, "boundary": 0.001})
        assert capsys.readouterr().out == (
            "warning: boundary had 0.1 % of the gradient in epoch 5, so it hardly trains: "
            "raise loss.terms[1].weight.end, or set loss.balance: gradient\n"
        )

    def test_other_terms_are_judged_beside_a_scheduled_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        epochs = Epochs(dice=1, boundary=0.01)
        epochs.loss.schedules = {"boundary": WeightSchedule("linear", start=0.0, end=0.2, epochs=3)}
        epochs.run({"dice": 0.001, "boundary": 0.999})
        assert "warning: dice" in capsys.readouterr().out

    def test_with_balance_only_the_weight_can_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        epochs = Epochs(dice=1, bce=0.001)
        epochs.loss.balance = object()
        epochs.run({"dice": 0.999, "bce": 0.001})
        assert "balance" not in capsys.readouterr().out


class TestRuns:
    def test_shares_stand_in_metrics_csv_for_the_epochs_that_measured(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=3", "loss.share_every=4"))  # two steps an epoch: steps 0 and 4
        rows = read_csv(run.metrics)
        assert [row["train/share/dice"] != "" for row in rows] == [True, False, True]
        for row in rows[::2]:
            assert float(row["train/share/dice"]) + float(row["train/share/cross_entropy"]) == pytest.approx(1)

    @pytest.mark.parametrize("override", ["loss.share_every=0", "loss.terms=[{name: dice}]"])
    def test_nothing_is_measured_where_there_is_nothing_to_share(self, tiny: Tiny, override: str) -> None:
        run = train(tiny("trainer.max_epochs=1", override))
        assert not any("share" in column for column in read_csv(run.metrics)[0])

    def test_measuring_leaves_the_weights_alone(self, tiny: Tiny) -> None:
        one, other = (train(tiny("trainer.max_epochs=1", f"loss.share_every={every}")) for every in (0, 1))
        assert_same_weights(one.last, other.last)

    def test_with_accumulation_a_step_is_measured_once(self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        from medseg.losses import WeightedLoss

        calls = []
        measure = WeightedLoss.with_shares
        monkeypatch.setattr(WeightedLoss, "with_shares", lambda self, *a, **k: (calls.append(1), measure(self, *a, **k))[1])
        train(tiny("trainer.max_epochs=1", "trainer.accumulate=2", "data.patches_per_epoch=8", "loss.share_every=1"))
        assert len(calls) == 2  # four batches, two steps

    def test_a_scheduled_term_is_judged_by_its_schedule(self, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
        schedule = "loss.terms[0].weight={schedule: linear, start: 1.0e-6, end: 1.0e-5, epochs: 1}"
        train(tiny(schedule, "loss.share_every=1"))
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: cross_entropy")]
        assert "epoch 2" in line
        assert "loss.terms[0].weight.end" in line

    def test_a_silent_term_is_warned_of(self, tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
        train(tiny("loss.terms[0].weight=1e-5"))
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: cross_entropy")]
        assert "epoch 1" in line


class TestBalancedRuns:
    def test_the_shares_are_the_wanted_ones(self, tiny: Tiny) -> None:
        run = train(tiny("trainer.max_epochs=1", *BALANCED))
        assert float(read_csv(run.metrics)[0]["train/share/dice"]) == pytest.approx(0.75, abs=0.05)

    @pytest.mark.parametrize("epoch", [0, 1])
    def test_an_interrupted_run_ends_as_an_unbroken_one(self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
        whole = train(tiny(*BALANCED[:2], "loss.share_every=3"))  # two steps an epoch: the first of epoch 0, the second of epoch 1
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, epoch)
            with pytest.raises(InterruptedRunError) as caught:
                train(tiny(*BALANCED[:2], "loss.share_every=3"))
        run = resume(Path(str(caught.value).split("medseg resume ")[1]))
        states = [torch.load(path, weights_only=True)["state_dict"] for path in (whole.last, run.last)]
        assert "loss.balance.average" in states[0]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert run.metrics.read_text() == whole.metrics.read_text()

    def test_its_weights_predict_and_start_other_runs_with_and_without_balance(self, tiny: Tiny) -> None:
        balanced = train(tiny("trainer.max_epochs=1", *BALANCED))
        plain = train(tiny("trainer.max_epochs=1"))
        assert load_predictor(balanced.path, "cpu").network is not None
        for source, overrides in ((balanced, ()), (plain, BALANCED)):
            tuned = train(tiny("trainer.max_epochs=1", *overrides), source=source.path)
            assert {row["outcome"] for row in read_csv(tuned.transfer)} == {"loaded"}
