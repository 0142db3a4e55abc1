"""The network as TorchScript: one file that libtorch, MONAI and Triton load without medseg."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch

from medseg.errors import RunError
from medseg.files import atomic_path
from medseg.inference.export.deployed import Checked, Deployed, any_multiple, check_copy, check_shapes, description
from medseg.inference.load import SavedRun

NOTES = "medseg.json"
"""Name of the extra file within the TorchScript file that says how to feed it: `torch.jit.load(path, _extra_files={NOTES: ""})`."""


def write_torchscript(saved: SavedRun, path: Path) -> Checked:
    """Trace the network, compare it with itself at two shapes, and write it atomically.

    Batch and spatial axes may have any size (spatial ones multiples of the network's divisor). Weights are float32, on the CPU; auxiliary
    heads are left out.

    Raises:
        RunError: The network cannot be traced, or the copy differs.
    """
    network = Deployed(saved)
    shapes = check_shapes(saved, network.divisor)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is deprecated")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # sizes that layers check; the comparison shows what it did
        try:
            traced = torch.jit.trace(network, torch.zeros(shapes[0]), check_trace=False)
        except (RuntimeError, ValueError, TypeError) as error:
            raise RunError(f"{saved.path}: its network cannot be traced ({_first(error)}); export to onnx or package") from error
        notes = json.dumps(description(saved, any_multiple(network.divisor)))
        with atomic_path(path) as temporary:
            torch.jit.save(traced, temporary, _extra_files={NOTES: notes})
            copy = torch.jit.load(temporary, map_location="cpu")

            def run(image: torch.Tensor) -> torch.Tensor:
                try:
                    with torch.no_grad():
                        return copy(image)
                except RuntimeError as error:
                    raise RunError(
                        f"{saved.path}: its network traced at {shapes[0]} fails at {tuple(image.shape)}; export to onnx"
                    ) from error

            return check_copy(network, run, shapes, "TorchScript network")


def _first(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
