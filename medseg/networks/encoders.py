"""Encoders of segmentation-models-pytorch: their names, and weights for them from a file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from medseg.config.errors import closest
from medseg.networks.network import invalid

PREFIXES = ("", "encoder.", "module.", "module.encoder.", "backbone.", "body.encoder.", "network.body.encoder.")
"""Where files keep an encoder's weights: bare, inside a segmentation model, or in a checkpoint of medseg."""


def check_encoder(name: str) -> None:
    """Raise ConfigError when segmentation-models-pytorch has no such encoder."""
    import segmentation_models_pytorch as smp
    import timm

    if name.startswith("tu-"):
        choices, known = [f"tu-{model}" for model in timm.list_models()], timm.is_model(name.removeprefix("tu-").split(".")[0])
    else:
        choices = smp.encoders.get_encoder_names()
        known = name in choices
    if not known:
        near = closest(name, choices)
        suggestion = f"did you mean {near}?" if near else f"choose for example from {', '.join(choices[:8])}"
        raise invalid("params.encoder", f"there is no encoder {name!r}", suggestion)


def load_encoder(encoder: nn.Module, path: Path, in_channels: int) -> None:
    """Fill an encoder with the weights of a file: a state dict of the encoder or of a model that contains it.

    The first convolution is adapted to the number of channels: one channel takes the sum over the file's, more repeat them in turn, scaled
    by the file's number over theirs. Layers after the encoder, such as a classifier, are left out.

    Raises:
        ConfigError: No such file, not a state dict, or not this encoder's.
    """
    found = _select(_read(path), encoder)
    wanted = encoder.state_dict()
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    if missing:
        raise invalid(
            "params.encoder_weights",
            f"{path} lacks {len(missing)} of the encoder's {len(wanted)} tensors, {missing[0]} first",
            "use a file made for this encoder and depth",
        )
    for key, tensor in found.items():
        fitted = tensor if tensor.shape == wanted[key].shape else _adapt_channels(tensor, in_channels)
        if fitted.shape != wanted[key].shape:
            shapes = f"{tuple(tensor.shape)} there and {tuple(wanted[key].shape)} in the encoder"
            raise invalid("params.encoder_weights", f"{path}: {key} is {shapes}", "use a file made for this encoder")
        wanted[key] = fitted
    encoder.load_state_dict(wanted)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise invalid("params.encoder_weights", f"{path}: no such file", "give null, imagenet or the path of a state dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise invalid("params.encoder_weights", f"{path} cannot be read as a state dict: {reason}", "save model.state_dict()") from error
    except Exception as error:  # safetensors' own error derives from Exception alone
        raise invalid("params.encoder_weights", f"{path} cannot be read as safetensors: {error}", "save it again") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise invalid("params.encoder_weights", f"{path} holds no state dict", "save model.state_dict()")
    return tensors


def _select(tensors: Mapping[str, Tensor], encoder: nn.Module) -> dict[str, Tensor]:
    """Take the tensors that are named as the encoder's are, below the prefix under which there are most of them."""
    wanted = encoder.state_dict().keys()
    candidates = [
        {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix) and key.removeprefix(prefix) in wanted}
        for prefix in PREFIXES
    ]
    return max(candidates, key=len)


def _adapt_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapt a convolution's weight (out, in, h, w) to another number of input channels."""
    if weight.ndim != 4:
        return weight
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    order = torch.arange(channels) % weight.shape[1]
    return weight[:, order] * (weight.shape[1] / channels)
