"""SegResNet of MONAI, in 2-D and 3-D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from medseg.networks.network import SegmentationNetwork, invalid
from medseg.networks.norms import norm_layer


def segresnet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    *,
    width: int = 16,
    blocks_down: Sequence[int] = (1, 2, 2, 4),
    blocks_up: Sequence[int] = (1, 1, 1),
    norm: Literal["instance", "batch", "group"] = "instance",
    dropout: float = 0.0,
) -> SegmentationNetwork:
    """Build the residual encoder-decoder that won BraTS 2018: a heavy encoder, a light decoder, sums instead of concatenations.

    Args:
        in_channels: Image channels.
        out_channels: Logits a voxel.
        spatial_dims: 2 or 3.
        width: Features at full resolution; they double with every level.
        blocks_down: Residual blocks of each level of the encoder.
        blocks_up: Residual blocks of each level of the decoder; one fewer than `blocks_down`.
        norm: Normalisation layer; `group` has 8 groups, as in the paper.
        dropout: Probability, after the first convolution.

    Source: Myronenko, "3D MRI brain tumor segmentation using autoencoder regularization", 2018, without the autoencoder branch.
    """
    from monai.networks.nets import SegResNet

    if len(blocks_up) != len(blocks_down) - 1:
        raise invalid("params.blocks_up", f"needs one number fewer than blocks_down, got {list(blocks_up)} and {list(blocks_down)}")
    if norm == "group" and width % 8:
        raise invalid("params.width", f"{width} must be a multiple of 8 for norm group")
    body = SegResNet(
        spatial_dims=spatial_dims,
        init_filters=width,
        in_channels=in_channels,
        out_channels=out_channels,
        dropout_prob=dropout or None,
        norm=norm_layer(norm),
        blocks_down=tuple(blocks_down),
        blocks_up=tuple(blocks_up),
    )
    divisor = (2 ** (len(blocks_down) - 1),) * spatial_dims
    return SegmentationNetwork(body, spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, divisor=divisor)
