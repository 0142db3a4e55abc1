"""Start a run from another run's weights, whatever its channels and classes were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import RunError
from medseg.networks import build_network
from medseg.training.module import SegmentationTask
from medseg.training.transfer import Interface, TransferRow, interface_axes, transfer_weights, write_rows


@dataclass(frozen=True)
class Transfer:
    """What a fine-tune took over."""

    source: Path
    rows: list[TransferRow]

    @property
    def summary(self) -> str:
        """One line: how many tensors were loaded, adapted, skipped, new."""
        counts = Counter(row.outcome for row in self.rows)
        return f"{self.source}: " + ", ".join(f"{counts[o]} {o}" for o in ("loaded", "adapted", "skipped", "new") if counts[o])

    def write(self, path: Path) -> None:
        """Write the rows as CSV."""
        write_rows(path, self.rows)


def carry_weights(source: Path, checkpoint: dict[str, Any], task: SegmentationTask) -> Transfer:
    """Fill the task's network from a checkpoint of the run `source`.

    Raises:
        RunError: nothing of the source fits, which a training from scratch should not hide.
    """
    saved = checkpoint["medseg"]
    new = _interface(tuple(task.dataset.channels), task.dataset.labels.classes, task.config.loss.activation, task.heads)
    old = _interface(
        tuple(saved["dataset"]["channels"]),
        tuple(saved["dataset"]["labels"]["classes"]),
        saved["config"]["loss"]["activation"],
        saved.get("heads", {}),
    )
    weights = {n.removeprefix("network."): t for n, t in checkpoint["state_dict"].items() if n.startswith("network.")}

    network = task.config.network
    params = {**network.params, "encoder_weights": None} if "encoder_weights" in network.params else network.params
    axes = interface_axes(lambda i, o: build_network(network.name, params, i, o, task.spatial_dims), len(new.channels), len(new.outputs))
    transfer = Transfer(source, transfer_weights(weights, task.network, old, new, axes))
    if not any(row.outcome in ("loaded", "adapted") for row in transfer.rows):
        raise RunError(
            f"{source}: none of its tensors fits this config's network ({network.name}; "
            f"the source's is {saved['config']['network']['name']}); use the same network section as the source's config.yaml"
        )
    return transfer


def _interface(channels: tuple[str, ...], classes: tuple[str, ...], activation: str, heads: Mapping[str, Sequence[str]]) -> Interface:
    logits = ("background", *classes) if activation == "softmax" else classes
    return Interface(channels, (*logits, *(f"{head}: {output}" for head, outputs in heads.items() for output in outputs)))
