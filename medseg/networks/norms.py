"""Normalisation layers by the names of a config."""

from __future__ import annotations

from typing import Any, Literal

Norm = Literal["instance", "batch", "group"]
_LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "instance": ("instance", {"affine": True}),  # MONAI's default has no learnable scale
    "batch": ("batch", {}),
    "group": ("group", {"num_groups": 8}),
}


def norm_layer(name: str) -> tuple[str, dict[str, Any]]:
    """Give MONAI's description of a normalisation layer."""
    return _LAYERS[name]
