from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medseg.config import Config
from medseg.errors import RunError
from medseg.networks import NETWORKS, build_network
from medseg.training.run import InterruptedRunError, resume, train
from medseg.training.run_folder import RunFolder
from medseg.training.transfer import Interface, TransferRow, interface_axes, transfer_weights
from tests.training.test_run import assert_same_weights, stop_in_epoch, weights

PARAMS = {"channels": [4, 8], "residual_units": 1}


def build(inputs: int, outputs: int) -> torch.nn.Module:
    return build_network("unet", PARAMS, inputs, outputs, 2)


def carry(old: Interface, new: Interface) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.nn.Module, list[TransferRow]]:
    torch.manual_seed(0)
    source = build(len(old.channels), len(old.outputs)).state_dict()
    target = build(len(new.channels), len(new.outputs))
    initial = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    axes = interface_axes(build, len(new.channels), len(new.outputs))
    return source, initial, target, transfer_weights(source, target, old, new, axes)


class TestInterfaceAxes:
    @pytest.mark.parametrize("name", sorted(NETWORKS))
    def test_finds_where_inputs_enter_and_outputs_leave(self, name: str) -> None:
        inputs, outputs = interface_axes(lambda i, o: build_network(name, {}, i, o, 2), 2, 3)
        state = build_network(name, {}, 2, 3, 2).state_dict()
        assert inputs
        assert outputs
        assert all(state[tensor].shape[axis] == 2 for tensor, axis in inputs.items())
        assert all(state[tensor].shape[axis] == 3 for tensor, axis in outputs.items())


class TestTransferWeights:
    def test_the_same_interface_loads_everything(self) -> None:
        same = Interface(("T1",), ("background", "lesion"))
        source, _, target, rows = carry(same, same)
        assert {row.outcome for row in rows} == {"loaded"}
        assert all(torch.equal(source[name], tensor) for name, tensor in target.state_dict().items())

    def test_channels_go_by_name_and_new_ones_get_the_mean(self) -> None:
        old, new = Interface(("T1", "T2"), ("a", "b")), Interface(("T2", "FLAIR", "T1"), ("a", "b"))
        source, _, target, rows = carry(old, new)
        adapted = [row for row in rows if row.outcome == "adapted"]
        assert adapted
        for row in adapted:
            given, got = source[row.tensor], target.state_dict()[row.tensor]
            torch.testing.assert_close(got, torch.stack([given[:, 1], given.mean(1), given[:, 0]], 1) * 2 / 3)

    def test_the_first_activation_keeps_its_size_when_one_channel_is_copied_to_three(self) -> None:
        source, _, target, rows = carry(Interface(("grey",), ("a", "b")), Interface(("R", "G", "B"), ("a", "b")))
        for row in rows:
            if row.outcome == "adapted":
                torch.testing.assert_close(target.state_dict()[row.tensor].sum(1), source[row.tensor].sum(1))

    def test_classes_go_by_name_even_when_their_order_changed(self) -> None:
        old, new = Interface(("x",), ("background", "liver", "spleen")), Interface(("x",), ("background", "spleen", "liver"))
        source, _, target, rows = carry(old, new)
        adapted = [row for row in rows if row.outcome == "adapted"]
        assert adapted
        for row in adapted:
            assert torch.equal(target.state_dict()[row.tensor], source[row.tensor][[0, 2, 1]])

    def test_a_new_class_keeps_its_initial_weights(self) -> None:
        old, new = Interface(("x",), ("background", "liver")), Interface(("x",), ("background", "tumour", "liver"))
        source, initial, target, rows = carry(old, new)
        for row in rows:
            if row.outcome == "adapted":
                got = target.state_dict()[row.tensor]
                assert torch.equal(got[0], source[row.tensor][0])
                assert torch.equal(got[1], initial[row.tensor][1])
                assert torch.equal(got[2], source[row.tensor][1])

    def test_every_tensor_of_both_networks_is_listed_once(self) -> None:
        interface = Interface(("x",), ("a", "b"))
        source = build_network("unet", {"channels": [4, 8, 16], "residual_units": 1}, 1, 2, 2).state_dict()
        target = build(1, 2)
        rows = transfer_weights(source, target, interface, interface, interface_axes(build, 1, 2))
        assert sorted(row.tensor for row in rows) == sorted(source.keys() | target.state_dict().keys())
        assert {row.outcome for row in rows} >= {"loaded", "skipped"}

    def test_what_is_skipped_keeps_its_initial_values(self) -> None:
        interface = Interface(("x",), ("a", "b"))
        source = {name: tensor.new_ones((3, *tensor.shape)) for name, tensor in build(1, 2).state_dict().items()}
        target = build(1, 2)
        before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
        rows = transfer_weights(source, target, interface, interface, interface_axes(build, 1, 2))
        assert {row.outcome for row in rows} == {"skipped"}
        assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


class TestFinetune:
    def test_starts_a_new_run_from_the_best_weights_and_lists_every_tensor(self, tiny: Callable[..., Config]) -> None:
        source = train(tiny("trainer.max_epochs=1"))
        run = train(tiny("name=tuned", "trainer.max_epochs=1", "optimizer.params.lr=0"), source=source.path)
        assert run.path != source.path
        assert_same_weights(source.best, run.last)  # a learning rate of 0 leaves what was loaded
        with run.transfer.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {f"network.{row['tensor']}" for row in rows} == set(weights(run.last))
        assert {row["outcome"] for row in rows} == {"loaded"}

    def test_another_activation_changes_the_outputs_only(self, tiny: Callable[..., Config]) -> None:
        source = train(tiny("trainer.max_epochs=1"))
        config = tiny("loss.activation=sigmoid", "loss.terms=[{name: dice}]", "trainer.max_epochs=1", "optimizer.params.lr=0")
        run = train(config, source=source.path)
        old, new = weights(source.best), weights(run.last)
        changed = [name for name in new if new[name].shape != old[name].shape]
        assert changed
        assert all(torch.equal(new[name], old[name][1:]) for name in changed)  # the lesion's row; the background's is gone
        assert all(torch.equal(new[name], old[name]) for name in new if name not in changed)

    def test_a_checkpoint_file_is_as_good_as_its_run(self, tiny: Callable[..., Config]) -> None:
        source = train(tiny("trainer.max_epochs=1"))
        run = train(tiny("trainer.max_epochs=1", "optimizer.params.lr=0"), source=source.last)
        assert_same_weights(source.last, run.last)

    def test_nothing_in_common_is_an_error(self, tiny: Callable[..., Config]) -> None:
        source = train(tiny("trainer.max_epochs=1"))
        config = tiny("network={name: segresnet, params: {width: 8}}", "name=other")
        with pytest.raises(RunError, match="none of its tensors fits"):
            train(config, source=source.path)
        assert not (Path(config.runs_dir) / "other").exists()

    def test_an_interrupted_finetune_resumes_from_the_loaded_weights(
        self, tiny: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = train(tiny("trainer.max_epochs=1"))
        whole = train(tiny(), source=source.path)
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, 0)
            with pytest.raises(InterruptedRunError) as caught:
                train(tiny(), source=source.path)
        run: RunFolder = resume(Path(str(caught.value).split("medseg resume ")[1]))
        assert_same_weights(whole.last, run.last)
