"""The residual U-Net of MONAI, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import nn

from medseg.networks.network import SegmentationNetwork, invalid
from medseg.networks.norms import norm_layer


def unet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 128, 256),
    strides: Sequence[int] | None = None,
    residual_units: int = 2,
    norm: Literal["instance", "batch", "group"] = "instance",
    dropout: float = 0.0,
) -> SegmentationNetwork:
    """Build a U-Net with residual units: small, fast, a sound first choice.

    Unlike MONAI's own, its last block keeps `channels[0]` features and a 1x1 convolution turns them into logits. There, with residual
    units, the logits' few channels pass an instance norm, which gives the noise of a patch without any foreground the scale of a lesion.

    Args:
        in_channels: Image channels.
        out_channels: Logits a voxel.
        spatial_dims: 2 or 3.
        channels: Features of each level, from the full resolution to the coarsest.
        strides: Step between one level and the next, one fewer than `channels`; null halves the resolution at each.
        residual_units: Convolutions in each residual unit; 0 builds plain convolutions.
        norm: Normalisation layer; `group` has 8 groups.
        dropout: Probability.

    Source: Kerfoot et al., "Left-ventricle quantification using residual U-Net", STACOM 2018.
    """
    from monai.networks.nets import UNet

    strides = [2] * (len(channels) - 1) if strides is None else strides
    if len(strides) != len(channels) - 1 or len(channels) < 2 or min(strides) < 1:
        raise invalid("params.strides", f"needs one stride >= 1 between each two of the {len(channels)} levels, got {list(strides)}")
    if norm == "group" and any(n % 8 for n in channels):
        raise invalid("params.channels", f"{list(channels)} must be multiples of 8 for norm group")
    options: dict[str, Any] = {"channels": channels, "strides": strides, "norm": norm_layer(norm), "dropout": dropout}
    if residual_units > 0:
        convolution = nn.Conv3d if spatial_dims == 3 else nn.Conv2d
        features = UNet(spatial_dims, in_channels, channels[0], num_res_units=residual_units, **options)
        body: nn.Module = nn.Sequential(features, convolution(channels[0], out_channels, kernel_size=1))
    else:
        body = UNet(spatial_dims, in_channels, out_channels, **options)
    divisor = 1
    for stride in strides:
        divisor *= stride
    return SegmentationNetwork(
        body, spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, divisor=(divisor,) * spatial_dims
    )
