"""A MONAI bundle: a folder that MONAI's own tools load, describe and run, without medseg."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

import medseg
from medseg.data.images import RASTER_SUFFIXES
from medseg.errors import RunError
from medseg.files import write_text
from medseg.inference.export.bundle_config import differences, inference_config
from medseg.inference.export.deployed import Checked, Deployed, description, window_of
from medseg.inference.export.torchscript import write_torchscript
from medseg.inference.load import SavedRun

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""What `python -m monai.bundle verify_metadata` fetches and checks against."""


def write_bundle(saved: SavedRun, folder: Path, card: str, licence: str) -> Checked:
    """Write a bundle; the folder appears whole.

    `configs/metadata.json`, `configs/inference.json`, `models/model.ts` (the network), `models/model.pt` (its weights, which replace those
    of model.ts when the bundle runs), `docs/README.md` (the model card, and how to run it), `LICENSE`.

    Args:
        saved: The run.
        folder: New, or one that is replaced.
        card: The model card, in Markdown.
        licence: Its licence: a text, or its name.

    Returns:
        How far the TorchScript network is from the run's.

    Raises:
        RunError: The network cannot be traced, its classes do not fit a bundle, or the folder cannot be written to.
    """
    config = inference_config(saved)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        started = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise RunError(f"{folder}: cannot be written to ({error.strerror}); give another folder") from error
    try:
        network = Deployed(saved)
        checked = write_torchscript(saved, started / "models" / "model.ts")
        torch.save(network.state_dict(), started / "models" / "model.pt")
        _write_json(started / "configs" / "inference.json", config)
        _write_json(started / "configs" / "metadata.json", metadata(saved, network))
        write_text(started / "docs" / "README.md", _readme(saved, card))
        write_text(started / "LICENSE", licence.rstrip() + "\n")
        started.chmod(0o755)
        _put(started, folder)
    except OSError as error:
        raise RunError(f"{folder}: cannot be written to ({error.strerror}); give another folder") from error
    finally:
        shutil.rmtree(started, ignore_errors=True)
    return checked


def metadata(saved: SavedRun, network: Deployed) -> dict[str, Any]:
    """The bundle's metadata: every key that MONAI's schema and its `MetaProperties` ask for."""
    picture = saved.suffix in RASTER_SUFFIXES
    softmax = saved.config.loss.activation == "softmax"
    outputs = [*(["background"] if softmax else []), *saved.labels.classes]
    shape = [-(-length // step) * step for length, step in zip(window_of(saved), network.divisor, strict=True)]
    image = {
        "type": "image",
        "format": "rgb" if picture and len(saved.channels) == 3 else "magnitude",
        "modality": "n/a",
        "num_channels": len(saved.channels),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(saved.channels)},
    }
    pred = {
        "type": "logits",
        "format": "segmentation",
        "num_channels": len(outputs),
        "spatial_shape": shape,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(outputs)},
    }
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by medseg {medseg.__version__}"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {"pillow" if picture else "nibabel": importlib.metadata.version("pillow" if picture else "nibabel")},
        "supported_apps": {},
        "name": saved.config.name,
        "task": f"{saved.spatial_dims}-D segmentation of {', '.join(saved.labels.classes)}",
        "description": f"{saved.config.network.name} for {', '.join(saved.labels.classes)}, trained with medseg {medseg.__version__}",
        "authors": "not stated",
        "copyright": "see LICENSE",
        "data_source": "not stated",
        "data_type": saved.suffix.lstrip("."),
        "image_classes": f"channels: {', '.join(saved.channels)}",
        "label_classes": ", ".join(
            f"{name}: {list(values)}" for name, values in zip(saved.labels.classes, saved.labels.members, strict=True)
        ),
        "pred_classes": ", ".join(f"{index}: {name}" for index, name in enumerate(outputs)),
        "intended_use": "research; no medical device",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
        "medseg": description(saved, shape),
    }


def _readme(saved: SavedRun, card: str) -> str:
    stated = "\n".join(f"- {difference}" for difference in differences(saved)) or "- none known but the rounding of float32"
    return f"""{card}
## How to run

In this folder, with MONAI alone:

```bash
python -m monai.bundle run --config_file configs/inference.json --meta_file configs/metadata.json \\
  --bundle_root . --dataset_dir IMAGES --output_dir LABELS
```

Label maps are written in the grid of the images and in the data set's label values. `--image_suffix` chooses the files of `dataset_dir`;
`--datalist` replaces them by a list of `{{"image": file}}`, with a list of files where each channel has its own.

`models/model.pt` is the state dict of `models/model.ts`; put other weights of the same network there, and they are used.

## Where the labels differ from those of `medseg predict`

{stated}
"""


def _put(made: Path, folder: Path) -> None:
    """Give a folder its name; one that has it is removed, but never before."""
    if not folder.is_dir():
        made.rename(folder)
        return
    replaced = made.with_name(f"{made.name}.replaced")
    folder.rename(replaced)
    try:
        made.rename(folder)
    except OSError:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
