"""Maps of the target, made where the patches are made: the same loss in any process, and no distance transform in the training's."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from medseg.config import Config
from medseg.data.labels import LabelSchema
from medseg.losses import build_loss, maps
from medseg.losses.derive import Derivation
from medseg.training.derived_maps import derived_maps
from medseg.training.module import SegmentationTask
from medseg.training.run import prepare, train

Tiny = Callable[..., Config]
LABELS = LabelSchema.exclusive({"lesion": 1})
TERMS = "[{name: dice}, {name: component}, {name: boundary}, {name: hausdorff_dt, params: {prediction_distance: false}}]"
MAPPED = (f"loss.terms={TERMS}", "loss.weight_map={name: inverse_component}", "data.augmentation={name: light}")


def batches(config: Config) -> Iterator[tuple[SegmentationTask, dict[str, Any]]]:
    """The first epoch's batches, and the task that trains on them."""
    data, task = prepare(config)
    for batch in data.train_dataloader():
        yield task, batch


def losses(config: Config, *, with_maps: bool = True) -> list[dict[str, float]]:
    """Each term's value in each step, on logits that depend on the image alone."""
    values = []
    for task, batch in batches(config):
        logits = torch.cat([-batch["image"], batch["image"]], 1)
        target = task.dataset.labels.targets(batch["label"], config.loss.activation)
        given = {"maps": batch["maps"]} if with_maps else {}
        total, terms = task.loss.with_terms(logits, target, spacing=batch["spacing"], **given)
        values.append({"total": total.item(), **{name: value.item() for name, value in terms.items()}})
    return values


class TestBatches:
    def test_a_loss_that_needs_no_maps_gets_none(self, tiny: Tiny) -> None:
        assert derived_maps(build_loss({"activation": "softmax", "terms": [{"name": "dice"}]}, 2), LABELS) is None
        for _, batch in batches(tiny()):
            assert "maps" not in batch

    def test_maps_are_those_of_the_augmented_patch(self, tiny: Tiny) -> None:
        found = 0
        for task, batch in batches(tiny(*MAPPED)):
            assert set(batch["maps"]) == set(task.loss.maps) == {"weight_map", "cells", "signed_distance", "distance"}
            assert batch["spacing"].tolist() == [[1.0, 1.0]] * 2
            target = task.dataset.labels.targets(batch["label"], "softmax")
            for name, expected in task.loss.derive(target, [1.0, 1.0]).items():
                assert torch.equal(batch["maps"][name], expected), name
            found += int(batch["label"].any())
        assert found

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more than this machine may have cores
    def test_the_loss_is_the_same_with_any_number_of_workers_and_without_the_pipeline(self, tiny: Tiny) -> None:
        here = losses(tiny(*MAPPED))
        assert losses(tiny(*MAPPED, "data.workers=2")) == here
        assert losses(tiny(*MAPPED), with_maps=False) == here
        assert all(step["boundary"] != 0 for step in here)

    def test_sigmoid_has_maps_of_each_class(self, tiny: Tiny) -> None:
        for _, batch in batches(tiny(*MAPPED, "loss.activation=sigmoid")):
            assert all(values.shape == (2, 1, 32, 32) for values in batch["maps"].values())

    def test_what_is_sent_holds_neither_module_nor_tensor(self) -> None:
        """Which may be large, on a GPU, and change while the processes keep theirs."""
        terms = [{"name": "component"}, {"name": "center", "head": "features"}, {"name": "mae", "head": "field"}]
        config = {"activation": "softmax", "terms": terms, "balance": "gradient", "weight_map": {"name": "inverse_component"}}
        heads = {"features": {"name": "embedding", "params": {"dimensions": 2}}, "field": {"name": "signed_distance"}}
        loss = build_loss(config, 2, heads=heads)
        outputs = {"segmentation": torch.zeros(1, 2, 6, 5), "features": torch.rand(1, 2, 6, 5), "field": torch.rand(1, 1, 6, 5)}
        loss.with_shares({name: output.requires_grad_() for name, output in outputs.items()}, torch.eye(6, 5).long().unsqueeze(0))
        assert len(list(loss.buffers())) == 3
        derive = derived_maps(loss, LABELS)
        seen: list[type] = []

        class Spy(pickle.Pickler):
            def persistent_id(self, obj: Any) -> None:
                seen.append(type(obj))

        Spy(io.BytesIO()).dump(derive)
        assert Derivation in seen
        assert not [kind for kind in seen if issubclass(kind, torch.Tensor | torch.nn.Module)]

    def test_it_can_be_sent_to_a_process(self) -> None:
        source = {"name": "inverse_component"}
        loss = build_loss({"activation": "softmax", "terms": [{"name": "component"}, {"name": "dice"}], "weight_map": source}, 2)
        derive = derived_maps(loss, LABELS)
        assert derive is not None
        label = (torch.rand(1, 12, 10, generator=torch.Generator().manual_seed(0)) < 0.1).byte()
        sent = pickle.loads(pickle.dumps(derive))
        for name, values in derive(label, (1.0, 2.0)).items():
            assert values.shape == (1, 12, 10)
            assert torch.equal(sent(label, (1.0, 2.0))[name], values)


class TestTraining:
    def test_the_training_process_transforms_nothing(self, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
        """Maps that cannot be made within a step are not missed there."""
        steps = []
        step = SegmentationTask.training_step

        def spied(task: SegmentationTask, batch: dict[str, Any], batch_idx: int) -> Any:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(maps, "MAPS", {})
                result = step(task, batch, batch_idx)
            steps.append(batch_idx)
            return result

        monkeypatch.setattr(SegmentationTask, "training_step", spied)
        run = train(tiny(*MAPPED, "trainer.max_epochs=1"))
        assert run.finished
        assert steps == [0, 1]

    def test_a_loss_with_maps_trains(self, tiny: Tiny) -> None:
        terms = "[{name: dice}, {name: blob, params: {inner: dice_ce}}, {name: hausdorff_dt}, {name: boundary, weight: 0.01}]"
        run = train(tiny(f"loss.terms={terms}", "loss.activation=sigmoid", "trainer.max_epochs=1"))
        table = run.metrics.read_text().splitlines()
        assert {"train/blob", "train/hausdorff_dt", "train/boundary"} <= set(table[0].split(","))
