"""A loss on what a network trained for something else sees in prediction and reference: edges, corners, lines and their texture.

The network is the user's own: a file of VGG weights, or a module given from Python. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from medseg.losses.blocks import counting_dtype
from medseg.losses.errors import LossInputError
from medseg.losses.setting import Setting
from medseg.losses.term import Term
from medseg.losses.view import View

_WIDTHS = (64, 128, 256, 512, 512)
_DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""Channels of each stage, and its convolutions; a stage ends in a maximum pooling."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, to which VGG weights are used."""


class Perceptual(Term):
    r"""Features of a frozen VGG must agree: rewards the look of thin, curved structures; beside `bce` or `cross_entropy`.

    $$ L = \sum_n \frac{1}{|\Phi_n|} \left\| \Phi_n(w\,p) - \Phi_n(w\,y) \right\|^2 $$
    with $\Phi_n$ what layer $n$ makes of an image, $|\Phi_n|$ the number of its elements, $w$ the weight map; the mean over all images of
    the batch. Each foreground channel is an image of its own, repeated to three colours and normalised as ImageNet's; of a volume, each
    slice along its first axis.

    Shape:
        Logits of two or three spatial axes, of which the last two are at least 2 to the number of poolings before the last layer (16 for
        the default layers); value a scalar in [0, inf).

    Empty foreground:
        Nothing special, so `empty`, `reduce_over` and `include_background` do not apply: the features of a black image are aimed at.

    Precision:
        The network runs in its own precision (float32) also under autocast, and keeps the activations of all slices for the gradient: take
        few shallow layers in 3-D. Ignored voxels are black in both images, as are those of weight 0, but take part as a neighbourhood.

    Args:
        checkpoint: File of a state dict with torchvision's names (`features.0.weight`, ...), read by `torch.load(weights_only=True)`; a
            relative path starts at the working directory. Null, for a network that is given from Python before the first call:
            `loss.terms["perceptual"].features = module`, where the module takes images (n, 3, H, W), of equal channels in [0, 1], and
            returns a list of feature maps. It is frozen and set to evaluation. Either way it moves with `loss.to(...)`, but is no part of
            `loss.state_dict()` or `loss.parameters()`.
        network: `vgg11`, `vgg13`, `vgg16` or `vgg19`, without batch normalisation.
        layers: Indices into the network's `features`; by default the second ReLU of each of the five stages of `vgg19`.

    Source:
        Mosinska et al., CVPR 2018, their topology loss, with VGG19; there summed over channels. An index that the network lacks (31 in
        `vgg16`) is an error, not left out, and features are frozen and normalised, which public code forgets.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> terms = [{"name": "perceptual", "params": {"checkpoint": None}}]
        >>> loss = build_loss({"activation": "sigmoid", "terms": terms}, num_classes=1)
        >>> class Pixels(torch.nn.Module):
        ...     def forward(self, images):
        ...         return [images]
        >>> loss.terms["perceptual"].features = Pixels()
        >>> p, y = torch.tensor([[[[0.9, 0.4], [0.2, 0.1]]]]), torch.tensor([[[[1, 1], [0, 0]]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (0.01 + 0.36 + 0.04 + 0.01) / 4
        0.105
    """

    features: nn.Module | None
    """The network: images (n, 3, H, W) of equal channels in [0, 1] -> list of feature maps."""

    def __init__(
        self,
        setting: Setting,
        *,
        checkpoint: str | None,
        network: Literal["vgg11", "vgg13", "vgg16", "vgg19"] = "vgg19",
        layers: Sequence[int] = (3, 8, 13, 22, 31),
    ) -> None:
        super().__init__(setting)
        features = _Vgg(network, layers)
        self.features = None if checkpoint is None else features
        if checkpoint is not None:
            _load(features, checkpoint, network)

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep the network apart from the submodules: it is no state of the loss, and must not follow `train()`."""
        if name != "features":
            super().__setattr__(name, value)
            return
        object.__setattr__(self, name, None if value is None else value.requires_grad_(False).eval())

    def _apply(self, fn: Any, recurse: bool = True) -> Perceptual:
        if self.features is not None:
            self.features._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        if self.features is None:
            raise LossInputError('perceptual has no network: give a checkpoint, or set loss.terms["perceptual"].features')
        voxels, foreground = view.voxels, self.setting.foreground
        p, y = voxels.probabilities[:, foreground], voxels.reference[:, foreground]
        if p.ndim not in (4, 5):
            raise LossInputError(f"perceptual needs images or volumes, got logits {tuple(view.logits.shape)}")
        if voxels.foreground_weight is not None:
            p, y = p * voxels.foreground_weight, y * voxels.foreground_weight
        with torch.autocast(p.device.type, enabled=False):
            dtype = next((weight.dtype for weight in self.features.parameters()), p.dtype)
            ours = self.features(_images(p).to(dtype))
            with torch.no_grad():
                theirs = self.features(_images(y).to(dtype))
            number = p[..., 0, 0].numel()
            differences = [((a - b) ** 2).mean(dtype=counting_dtype(p)) for a, b in zip(ours, theirs, strict=True)]
        return view.mean_over_ranks(number * torch.stack(differences).sum(), torch.full((), number, device=p.device))


def _images(volume: Tensor) -> Tensor:
    """Each channel, and each slice of a volume, of (B, F, *spatial) as an image (n, 3, H, W)."""
    return volume.reshape(-1, 1, *volume.shape[-2:]).expand(-1, 3, -1, -1)


class _Vgg(nn.Module):
    """The convolutions of a VGG as far as the last of the layers that are asked for, named as torchvision names them."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: str, layers: Sequence[int]) -> None:
        super().__init__()
        if network not in _DEPTHS:
            raise ValueError(f"network must be one of {', '.join(_DEPTHS)}, got {network!r}")
        self.layers = set(layers)
        every = list(_layers(_DEPTHS[network]))
        if not self.layers or not all(isinstance(layer, int) and 0 <= layer < len(every) for layer in self.layers):
            raise ValueError(f"layers must be at least one index from 0 to {len(every) - 1}, which {network} has, got {list(layers)}")
        self.features = nn.Sequential(*every[: max(self.layers) + 1])
        for name, values in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """What the layers make of images in [0, 1]."""
        least = 2 ** sum(isinstance(layer, nn.MaxPool2d) for layer in self.features)
        if min(images.shape[-2:]) < least:
            size = " x ".join(str(size) for size in images.shape[-2:])
            raise LossInputError(f"perceptual needs images of at least {least} x {least} for layer {len(self.features) - 1}, got {size}")
        x, wanted = (images - self.mean) / self.std, []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.layers:
                wanted.append(x)
        return wanted


def _layers(depths: Iterable[int]) -> Iterable[nn.Module]:
    """The layers in torchvision's order; without storage, which comes with the checkpoint."""
    channels = 3
    for width, depth in zip(_WIDTHS, depths, strict=True):
        for _ in range(depth):
            yield nn.Conv2d(channels, width, 3, padding=1, device="meta")
            yield nn.ReLU()
            channels = width
        yield nn.MaxPool2d(2)


def _load(network: _Vgg, checkpoint: str, name: str) -> None:
    """The network's weights from a file.

    Raises:
        ValueError: There is no such file, it is no state dict, or that of another network.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise ValueError(f"checkpoint must be a file of {name} weights; there is no {path.absolute()}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each raise their own
        raise ValueError(f"checkpoint {path} is no file that torch.load(weights_only=True) reads: {_first_line(error)}") from error
    wanted = network.state_dict()
    found = cast(dict[str, Any], state) if isinstance(state, dict) else {}
    missing = [key for key in wanted if not isinstance(found.get(key), Tensor)]
    if missing:
        raise ValueError(f"checkpoint {path} holds no {name}: it lacks {missing[0]} and {len(missing) - 1} more of {len(wanted)} tensors")
    for key, values in wanted.items():
        if found[key].shape != values.shape:
            raise ValueError(f"checkpoint {path} holds no {name}: {key} is {tuple(found[key].shape)}, not {tuple(values.shape)}")
    network.load_state_dict({key: found[key].float() for key in wanted}, assign=True)
    network.requires_grad_(False)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
