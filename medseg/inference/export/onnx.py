"""The network as ONNX: one file for ONNX Runtime, TensorRT, OpenVINO and browsers."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from medseg.errors import RunError
from medseg.files import atomic_path
from medseg.inference.export.deployed import Checked, Deployed, any_multiple, check_copy, check_shapes, description
from medseg.inference.load import SavedRun

NOTES = "medseg"
"""Key of the file's metadata that says how to feed the network, in JSON."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def write_onnx(saved: SavedRun, path: Path) -> Checked:
    """Export the network, compare it in ONNX Runtime with itself, and write it atomically.

    The input is `image` (B, C, *spatial), the output `logits` (B, C', *spatial), both float32; auxiliary heads are left out. Batch and
    spatial axes are dynamic, named batch, (depth,) height and width, and two shapes compared, where the network allows it; else the
    window's size is fixed, as the file's metadata then says.

    Raises:
        RunError: A package is missing, the network cannot be exported, or the copy differs.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise RunError(f"export to ONNX needs {', '.join(missing)}; install them: pip install 'medseg[export]'")
    network = Deployed(saved)
    window, other = check_shapes(saved, network.divisor)
    with atomic_path(path) as temporary:
        try:
            _export(network, other, temporary, dynamic=True)
            shapes: Sequence[tuple[int, ...]] = (window, other)
            size: Sequence[int | str] = any_multiple(network.divisor)
        except Exception:  # whatever the exporter cannot follow with open sizes, it may with fixed ones
            shapes, size = (window,), window[2:]
            try:
                _export(network, window, temporary, dynamic=False)
            except Exception as error:
                reason = next(iter(str(error).splitlines()), type(error).__name__)
                raise RunError(f"{saved.path}: its network cannot be exported to ONNX ({reason}); export to torchscript") from error
        _annotate(temporary, {NOTES: json.dumps(description(saved, size))})
        return check_copy(network, _runner(temporary), shapes, "ONNX network")


def _export(network: Deployed, shape: tuple[int, ...], path: Path, dynamic: bool) -> None:
    """Write the file, by the exporter that proves which sizes an exported graph holds for."""
    axes = dict(zip((0, *range(2, len(shape))), _axes(len(shape) - 2), strict=True))
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit\..* is deprecated")  # torch's own use of it
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            torch.onnx.export(
                network,
                (torch.zeros(shape),),
                path,
                dynamo=True,
                input_names=["image"],
                output_names=["logits"],
                dynamic_shapes={"image": axes} if dynamic else None,
                external_data=False,
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)


def _axes(spatial_dims: int) -> tuple[str, ...]:
    """Names of the open axes, as `trtexec --minShapes` and others ask for them."""
    return ("batch", *("depth", "height", "width")[-spatial_dims:])


def _annotate(path: Path, notes: dict[str, str]) -> None:
    """Name the axes of the logits as those of the image, and write the notes."""
    import onnx

    model = onnx.load(path)
    image, logits = (value.type.tensor_type.shape.dim for value in (model.graph.input[0], model.graph.output[0]))
    for mine, given in zip(logits, image, strict=True):
        if given.dim_param:  # the exporter knows an output's size as a formula of the input's; at sizes that a network takes they are equal
            mine.dim_param = given.dim_param
    onnx.helper.set_model_props(model, notes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _runner(path: Path) -> Any:
    """Run a file in ONNX Runtime, on the CPU: image tensor -> logits tensor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(image: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(["logits"], {"image": image.numpy()})[0])

    return run
