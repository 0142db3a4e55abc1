"""The LightningModule: one network, one loss, validation on whole cases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule

import medseg
from medseg.config import to_dict
from medseg.config.errors import config_error
from medseg.config.schema import Config
from medseg.data.case import DataSet
from medseg.data.formats.recipe import unfolded
from medseg.data.labels import IGNORE
from medseg.data.preparation import PreparedCase, Preparer
from medseg.evaluation.options import metric_options
from medseg.inference.precision import autocast_dtype
from medseg.inference.predictor import Predictor
from medseg.losses import build_loss
from medseg.metrics import CaseMetrics
from medseg.networks import build_network
from medseg.training import OPTIMIZERS, SCHEDULES
from medseg.training.case_scorer import CaseScorer


class SegmentationTask(LightningModule):
    """Train a network on patches, score it on whole cases in their own geometry.

    Everything needed to predict travels in the checkpoint under the key `medseg`, as plain types (`weights_only=True` reads them).
    """

    def __init__(self, config: Config, dataset: DataSet) -> None:
        super().__init__()
        self.config, self.dataset = config, dataset
        self._saved_config = to_dict(config)
        self._saved_config["data"]["format"] = unfolded(self._saved_config["data"]["format"])
        self.preparer: Preparer | None = None
        """What turns files into arrays; set once the training cases are known, before fitting."""
        outputs = count_outputs(config, dataset)
        self.spatial_dims = len(config.data.patch_size)
        self.loss = build_loss(loss_section(config, dataset), num_classes=outputs, heads=config.network.heads)
        # In the config's order, which need not be that of the terms.
        heads = [self.loss.heads[name] for name in config.network.heads]
        self.heads = {head.name: head.outputs(dataset.labels.classes, self.spatial_dims) for head in heads}
        """What each channel of each auxiliary head stands for."""
        self.network = build_network(
            config.network.name,
            config.network.params,
            len(dataset.channels),
            outputs,
            self.spatial_dims,
            {name: len(channels) for name, channels in self.heads.items()},
        )
        options = metric_options(config.evaluation)
        self.case_metrics = CaseMetrics(dataset.labels.classes, dataset.labels.membership, options=options)
        self.scorer = CaseScorer(dataset.labels, options)
        self.validated_epoch = -1

    def setup(self, stage: str) -> None:
        """Choose the memory format, and build the predictor on the network that is trained."""
        if self.config.trainer.channels_last:
            self.network.to(memory_format=self._memory_format)
        assert self.preparer is not None, "set the preparer before fitting"
        self.predictor = Predictor(
            self.network,
            self.preparer,
            self.dataset.labels,
            self.config.loss.activation,
            window=self.config.inference.window or self.config.data.patch_size,
            overlap=self.config.inference.overlap,
            blending=self.config.inference.blending,
            batch_size=self.config.inference.batch_size,
            skip=self.config.inference.skip,
            precision=autocast_dtype(self.trainer.precision),
        )

    def teardown(self, stage: str) -> None:
        """End the thread that scores."""
        self.scorer.close()

    @property
    def _memory_format(self) -> torch.memory_format:
        if not self.config.trainer.channels_last:
            return torch.contiguous_format
        return torch.channels_last_3d if self.spatial_dims == 3 else torch.channels_last

    def on_train_epoch_start(self) -> None:
        """Make the epoch a function of the seed and its number alone, so that a resumed run repeats an unbroken one."""
        torch.manual_seed(self.config.seed * 1_000_003 + self.current_epoch * 1_009 + self.global_rank)
        self.loss.set_epoch(self.current_epoch)
        if self.current_epoch + 1 == self.trainer.max_epochs:
            self.trainer.check_val_every_n_epoch = 1  # the last epoch is always scored

    def on_validation_epoch_start(self) -> None:
        """Average the batch statistics of all processes, which saw different patches (a GPU's synchronised ones are equal already)."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                if buffer.is_floating_point():
                    buffer.copy_(self.trainer.strategy.reduce(buffer.clone(), reduce_op="mean"))

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """One forward pass and the loss, each term logged unweighted; in some steps also each term's share of the gradient."""
        outputs = self.network(batch["image"].to(memory_format=self._memory_format))
        target = self.dataset.labels.targets(batch["label"], self.config.loss.activation)
        evaluate = self.loss.with_shares if self._measures_shares(batch_idx) else self.loss.with_terms
        total, terms, *shares = evaluate(outputs, target, spacing=batch.get("spacing"), maps=batch.get("maps"))
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": len(batch["image"]), "sync_dist": True}
        self.log("train/loss", total.detach(), prog_bar=True, **options)
        if len(terms) > 1:
            self.log_dict({f"train/{name}": value for name, value in terms.items()}, **options)
        return {"loss": total, "shares": shares[0] if shares else {}}

    def _measures_shares(self, batch_idx: int) -> bool:
        """A matter of the number of optimiser steps alone, so that a resumed run measures where an unbroken one does."""
        every = self.config.loss.share_every if len(self.loss.terms) > 1 else 0
        return every > 0 and self.global_step % every == 0 and batch_idx % self.trainer.accumulate_grad_batches == 0

    def validation_step(self, prepared: PreparedCase, batch_idx: int) -> None:
        """Predict a whole case; it is scored while the next one is predicted."""
        self.scorer.submit(prepared, self.predictor.predict(prepared))

    def on_validation_epoch_end(self) -> None:
        """Log the means over cases, by the rules of `medseg.metrics`."""
        self.scorer.collect(self.case_metrics)
        scores = self.case_metrics.compute()
        self.case_metrics.reset()
        shown = {self.config.evaluation.primary, "dice", "lesion_f1"}
        options: dict[str, Any] = {"rank_zero_only": False, "sync_dist": False, "batch_size": 1}
        for name, value in scores.items():
            self.log(f"val/{name}", float(value), prog_bar=name in shown, **options)
        self.validated_epoch = self.current_epoch

    def configure_optimizers(self) -> Any:
        """Build the optimiser and a schedule stepped after every batch."""
        optimizer = OPTIMIZERS[self.config.optimizer.name](self.network, **self.config.optimizer.params)
        schedule, params = SCHEDULES[self.config.schedule.name], self.config.schedule.params
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(min(1.0, step / steps), **params))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what prediction needs."""
        checkpoint["medseg"] = {
            "version": medseg.__version__,
            "config": self._saved_config,
            "dataset": self.dataset.summary(),
            "heads": {name: list(channels) for name, channels in self.heads.items()},
            "statistics": self.predictor.preparer.statistics,
        }


def count_outputs(config: Config, dataset: DataSet) -> int:
    """Channels of the network: by the classes and the activation.

    Raises:
        ConfigError: The classes overlap and the activation is softmax.
    """
    try:
        return dataset.labels.num_outputs(config.loss.activation)
    except ValueError as error:
        raise config_error("loss.activation", str(error)) from error


def loss_section(config: Config, dataset: DataSet) -> dict[str, Any]:
    """The config's `loss:` section, with the internal id of ignored voxels where the data set has an ignore label.

    Raises:
        ConfigError: `loss.ignore_index` names something else.
    """
    section = to_dict(config)["loss"]
    given, ignored = section["ignore_index"], dataset.labels.ignore_value
    if given is not None and (ignored is None or given not in (ignored, IGNORE)):
        known = "has no ignore label" if ignored is None else f"ignores the label value {ignored}"
        message = f"is {given}, but data set '{dataset.name}' {known}"
        raise config_error("loss.ignore_index", message, "leave it null and name the value `ignore` in the data set's labels")
    section["ignore_index"] = None if ignored is None else IGNORE
    return section
