"""The `inference.json` of a MONAI bundle: medseg's preparation, windows and decision in MONAI's transforms and plain expressions."""

from __future__ import annotations

import itertools
from typing import Any

import torch

from medseg.data.images import RASTER_SUFFIXES
from medseg.data.normalisation import FLAT, MASKED_SHARE
from medseg.errors import RunError
from medseg.inference.export.deployed import window_of
from medseg.inference.load import SavedRun
from medseg.inference.postprocessing import Postprocessing

MOST_OVERLAPPING = 12
"""Overlapping classes are decided by a table of all their sets."""


def inference_config(saved: SavedRun) -> dict[str, Any]:
    """The config; `python -m monai.bundle run` and `monai.bundle.ConfigWorkflow` run it, without ignite.

    Raises:
        RunError: More overlapping classes than a bundle can decide between.
    """
    options, network = saved.config.inference, saved.network()
    size = [-(-length // step) * step for length, step in zip(window_of(saved), network.divisor, strict=True)]
    axes = list(range(2, 2 + saved.spatial_dims))
    flips = [
        [2 + axis for axis in chosen]
        for number in range(len(options.mirror_axes) + 1)
        for chosen in itertools.combinations(options.mirror_axes, number)
    ]
    mirrored = (
        "network(windows)"
        if len(flips) == 1
        else "sum(network(windows.flip(a) if a else windows).flip(a) for a in @mirrors) / len(@mirrors)"
    )
    return {
        "imports": ["$import collections", "$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/predictions'",
        "image_suffix": saved.suffix,
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": _datalist(saved),
        "checkpoint": "$@bundle_root + '/models/model.pt'",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location='cpu').eval()",
        "weights": "$torch.load(@checkpoint, map_location='cpu', weights_only=True)",
        "network": "$(@network_def.load_state_dict(@weights), @network_def.to(@device))[1]",
        **_normalisation(saved),
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(saved)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "mirrors": flips,
        "sliding_window": {
            "_target_": "SlidingWindowInferer",
            "roi_size": size,
            "sw_batch_size": options.batch_size,
            "overlap": options.overlap,
            "mode": options.blending,
        },
        "forward": f"$lambda windows, network: {mirrored}",
        # The inferer pads with 0: taking the lowest value away before it, and adding it after, pads with that.
        "_lowest_": "intensities are shifted so that the inferer's padding with 0 is padding with each channel's lowest value",
        "inferer": "$lambda image, network: (lambda low: @sliding_window(image - low, lambda windows: @forward(windows + low, network)))"
        f"(image.amin(dim={axes}, keepdim=True))",
        **_decision(saved),
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(saved)},
        "logits": "$lambda image: @inferer(image.as_tensor()[None].to(@device), @network)[0].cpu()",
        "predict": "$lambda item: @postprocessing({**item, 'pred': @logits(item['image'])})",
        "evaluator": "$torch.no_grad()(lambda: collections.deque((@predict(item) for item in @dataset), maxlen=0))",
        "run": ["$@evaluator()"],
    }


def differences(saved: SavedRun) -> list[str]:
    """Where a bundle's labels differ from those of `medseg predict`, a sentence each."""
    options, data, found = saved.config.inference, saved.config.data, []
    if data.spacing is not None:
        found.append(
            "Images are resampled linearly onto MONAI's grid (medseg: cubic splines and averages, centred), and probabilities back: "
            "borders move by a fraction of a voxel."
        )
    chosen = saved.postprocessing
    if chosen is not None and (chosen.minimum_size or chosen.largest_component or chosen.fill_holes):
        found.append(f"Components are not removed nor holes filled; `medseg predict` does, by {chosen.to_dict()}.")
    if options.skip != "none":
        found.append(f"Every window is looked at; `medseg predict` leaves out those outside ({options.skip}).")
    names = [data.normalisation] if isinstance(data.normalisation, str) else data.normalisation
    if "unit" in names and saved.suffix in RASTER_SUFFIXES:
        found.append("Pictures are divided by 255; `medseg predict` maps those of more than 8 bits from their own range.")
    found.append("The bundle computes in float32; `medseg predict` in bfloat16 where the hardware has it and `precision` is `auto`.")
    return found


def _datalist(saved: SavedRun) -> str:
    """Expression for the cases: nnU-Net's data sets have a file for each channel, the others one for all."""
    files = "sorted(glob.glob(glob.escape(@dataset_dir) + '/*{}' + @image_suffix))"
    if saved.config.data.format.name == "nnunet" and len(saved.channels) > 1 and saved.suffix not in RASTER_SUFFIXES:
        first = files.format("_0000")
        return (
            "$[{'image': [f[:-len('_0000' + @image_suffix)] + '_%04d' % c + @image_suffix for c in range("
            + str(len(saved.channels))
            + ")]} for f in "
            + first
            + "]"
        )
    return "$[{'image': f} for f in " + files.format("") + "]"


def _normalisation(saved: SavedRun) -> dict[str, Any]:
    """Functions of an image (C, *spatial): what needs the case's own voxels before resampling, clipping after it."""
    given = saved.config.data.normalisation
    names: list[str] = [given] * len(saved.channels) if isinstance(given, str) else [*given]
    if saved.suffix in RASTER_SUFFIXES:
        names = ["picture" if name == "unit" else name for name in names]
    numbers = {key: saved.statistics[key] for key in ("low", "high", "mean", "std")} if saved.statistics and "ct" in names else {}
    return {
        "zscore_values": f"$lambda c: c[c != 0] if 0 < torch.count_nonzero(c) < {1 - MASKED_SHARE} * c.numel() "
        "and c[c != 0].min() < c[c != 0].max() else c",
        "scaled": f"$lambda c, offset, spread: (c - offset) * (0.0 if spread <= {FLAT} * abs(offset) else 1.0 / spread)",
        "zscore": "$lambda c: (lambda v: @scaled(c.double(), v.mean(), v.std(correction=0)))(@zscore_values(c).double())",
        "unit": "$lambda c: @scaled(c.double(), c.double().min(), c.double().max() - c.double().min())",
        "picture": "$lambda c: c / 255",
        "none": "$lambda c: c",
        "ct": "$lambda c: c",
        "by_case": [f"@{name}" for name in names],
        "normalise": "$lambda image: image.set_array(torch.stack([f(c).float() for f, c in zip(@by_case, image.as_tensor())]))",
        "clip_channels": [index for index, name in enumerate(names) if name == "ct"],
        "clip_numbers": numbers,
        "clipped": "$lambda c, low, high, mean, std: (c.clamp(low, high) - mean) / std",
        "clip_channel": "$lambda i, c: @clipped(c, *(@clip_numbers[key][i] for key in ('low', 'high', 'mean', 'std')))",
        "clip": "$lambda image: image.set_array("
        "torch.stack([@clip_channel(i, c) if i in @clip_channels else c for i, c in enumerate(image.as_tensor())]))",
    }


def _preprocessing(saved: SavedRun) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True, "image_only": True}]
    if saved.spatial_dims == 3:
        steps.append({"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None})
    else:  # MONAI counts (x, y), the network rows and columns
        steps.append({"_target_": "Transposed", "keys": "image", "indices": [0, 2, 1]})
    steps.append(_function("normalise", "image"))
    spacing = saved.config.data.spacing
    if spacing is not None:
        steps.append({"_target_": "Spacingd", "keys": "image", "pixdim": list(spacing), "mode": "bilinear", "padding_mode": "border"})
    steps.append(_function("clip", "image"))
    steps.append({"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"})
    return steps


def _postprocessing(saved: SavedRun) -> list[dict[str, Any]]:
    softmax = saved.config.loss.activation == "softmax"
    return [
        {"_target_": "Activationsd", "keys": "pred", "softmax": softmax, "sigmoid": not softmax},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        _function("decide", "pred"),
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "",
            "output_ext": saved.suffix,
            "output_dtype": "$torch.int32" if max(saved.labels.values) > 255 else "$torch.uint8",
            "resample": False,
            "separate_folder": False,
            "print_log": False,
        },
    ]


def _decision(saved: SavedRun) -> dict[str, Any]:
    """From probabilities (C', *spatial) to label values (1, *spatial), by the rules of `Postprocessing.decide`."""
    labels, activation = saved.labels, saved.config.loss.activation
    given = dict(saved.postprocessing.thresholds) if saved.postprocessing is not None else {}
    softmax = activation == "softmax"
    thresholds = [given.get(name) if softmax else given.get(name, 0.5) for name in labels.classes]
    classes = "p[1:]" if softmax else "p"
    if labels.overlapping:
        if labels.num_classes > MOST_OVERLAPPING:
            raise RunError(
                f"{saved.path}: a bundle decides between at most {MOST_OVERLAPPING} overlapping classes, the run has {labels.num_classes}; "
                "export to package, onnx or torchscript"
            )
        sets = torch.tensor([[code >> k & 1 for code in range(2**labels.num_classes)] for k in range(labels.num_classes)])
        ids = Postprocessing(labels, activation).decide(sets.float())
        values = labels.decode(ids.numpy()).tolist()
        code = "sum((c > t).long() << k for k, (c, t) in enumerate(zip(p.as_tensor(), @thresholds)))"
        decide = f"$lambda p: p[:1].set_array(torch.tensor(@values)[{code}][None])"
    else:
        values = [labels.background[0], *labels.paint]
        kept = f"torch.stack([torch.where(c > (p[0] if t is None else t), c, 0) for c, t in zip({classes}, @thresholds)])"
        chosen = f"(lambda kept: torch.where(kept.amax(0) > 0, kept.argmax(0) + 1, 0))({kept})"
        decide = f"$lambda m: m[:1].set_array((lambda p: torch.tensor(@values)[{chosen}][None])(m.as_tensor()))"
    return {"thresholds": thresholds, "values": values, "decide": decide}


def _function(name: str, key: str) -> dict[str, Any]:
    return {"_target_": "Lambdad", "keys": key, "func": f"@{name}"}
