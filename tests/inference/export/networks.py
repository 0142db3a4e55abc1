"""Every network of medseg, small, as runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.inference.runs import config, save_run

SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "unet-2d": (2, {"channels": [4, 8], "strides": [2]}),
    "unet-3d": (3, {"channels": [4, 8], "strides": [2], "residual_units": 0}),
    "dynunet-2d": (2, {"channels": [4, 8, 8], "strides": [[1, 1], [2, 2], [2, 2]]}),
    "dynunet-3d": (3, {"channels": [4, 8, 8], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]], "deep_supervision": 1}),
    "segresnet-2d": (2, {"width": 4, "blocks_down": [1, 1], "blocks_up": [1]}),
    "segresnet-3d": (3, {"width": 4, "blocks_down": [1, 1], "blocks_up": [1]}),
    "smp_unet-2d": (2, {}),
    "smp_unetplusplus-2d": (2, {}),
    "smp_manet-2d": (2, {}),
    "smp_fpn-2d": (2, {}),
    "smp_deeplabv3plus-2d": (2, {}),
    "smp_segformer-2d": (2, {}),
}

QUICK = ("unet-2d", "unet-3d", "dynunet-3d", "segresnet-2d")
"""The others are marked slow."""

EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in SMALL]


def network_run(folder: Path, name: str, channels: int = 1) -> Path:
    """A run of untrained weights."""
    dims, params = SMALL[name]
    edge = 64 if name.startswith("smp") else 16
    values = config(dims, patch_size=[edge] * dims)
    values["network"] = {"name": name.split("-")[0], "params": params, "heads": {}}
    return save_run(folder, config=values, channels=channels)


def with_head(run: Path) -> Path:
    """Give a run an auxiliary head of two channels: its last layer gets their weights."""
    path = run / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["medseg"]["heads"] = {"distance": ["a", "b"]}
    state = content["state_dict"]
    for key in list(state)[-2:]:
        state[key] = torch.cat([state[key], torch.ones_like(state[key][:2])])
    torch.save(content, path)
    return run
