"""medseg: train, evaluate and deploy medical image segmentation, in 2-D and 3-D."""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `load` when it is asked for: torch takes seconds, which `medseg --version` need not."""
    if name == "load":
        from medseg.inference.model import load

        return load
    raise AttributeError(f"module 'medseg' has no attribute '{name}'")
