"""Runs for the tests: checkpoints of tiny networks, and networks that know the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import medseg
from medseg.config import from_dict, to_dict
from medseg.data.labels import LabelSchema
from medseg.networks import build_network

LABELS = LabelSchema.exclusive({"background": 0, "low": 3, "high": 7})
LAS = np.array([[-2.0, 0.1, 0, 40], [0.1, 1.5, 0, -20], [0, 0, 4.0, 10], [0, 0, 0, 1]])
"""Left, anterior, superior; oblique and anisotropic."""


class Oracle(nn.Module):
    """Logits of background, low (image in 1 to 2) and high (above 2), from the intensities alone."""

    def forward(self, image: Tensor) -> Tensor:
        first = image[:, :1]
        low = ((first > 1) & (first <= 2)).float()
        high = (first > 2).float()
        return 20 * torch.cat([1 - low - high, low, high], dim=1)


def config(spatial_dims: int = 3, data_format: str = "nnunet", activation: str = "softmax", **data: Any) -> dict[str, Any]:
    """A resolved config of a tiny network, as a checkpoint holds it."""
    values = {
        "name": "tiny",
        "data": {"format": {"name": data_format}, "patch_size": [8] * spatial_dims, "normalisation": "none", "root": "x"} | data,
        "network": {"name": "unet", "params": {"channels": [4, 8], "strides": [2], "residual_units": 0}},
        "loss": {"activation": activation, "terms": [{"name": "dice"}]},
        "trainer": {"precision": "32-true"},
    }
    return to_dict(from_dict(values))


def checkpoint(
    values: dict[str, Any], channels: int = 1, labels: LabelSchema = LABELS, suffix: str = ".nii.gz", seed: int = 0
) -> dict[str, Any]:
    """The dictionary that training saves, of untrained weights."""
    torch.manual_seed(seed)
    dims = len(values["data"]["patch_size"])
    section = values["network"]
    network = build_network(section["name"], section["params"], channels, labels.num_outputs(values["loss"]["activation"]), dims)
    dataset = {
        "name": "set",
        "channels": [f"c{index}" for index in range(channels)],
        "labels": labels.to_dict(),
        "spatial_dims": dims,
        "suffix": suffix,
    }
    return {
        "state_dict": {f"network.{key}": value for key, value in network.state_dict().items()},
        "medseg": {"version": medseg.__version__, "config": values, "dataset": dataset, "statistics": None},
    }


def save_run(folder: Path, name: str = "best.ckpt", **changes: Any) -> Path:
    """Write a run folder that holds one checkpoint, and return it."""
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    content = checkpoint(changes.pop("config", None) or config(), **changes)
    torch.save(content, path)
    return folder
