"""The U-Net of nnU-Net (MONAI's DynUNet), with deep supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from medseg.networks.network import SegmentationNetwork, invalid, product
from medseg.networks.norms import norm_layer

SMALLEST_EDGE = 4
"""Voxels an axis keeps at the coarsest level."""


def dynunet(
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    *,
    patch_size: list[int] | None = None,
    spacing: list[float] | None = None,
    strides: list[list[int]] | None = None,
    kernels: list[list[int]] | None = None,
    channels: list[int] | None = None,
    deep_supervision: int = 0,
    residual: bool = False,
    norm: Literal["instance", "batch", "group"] = "instance",
    dropout: float = 0.0,
) -> SegmentationNetwork:
    """Build a plain U-Net whose depth follows from the patch, as nnU-Net's does.

    Args:
        in_channels: Image channels.
        out_channels: Logits a voxel.
        spatial_dims: 2 or 3.
        patch_size: Training patch in voxels, from which strides follow: each axis is halved while 4 voxels are left. In a config:
            `patch_size: ${data.patch_size}`. Used when `strides` is null; when both are, there are four levels.
        spacing: Voxel size in mm; an axis more than twice as coarse as the finest waits, unhalved and with kernels of 1, until it is not.
        strides: Step of each level and axis, in place of `patch_size`; the first level keeps the resolution: [[1, 1, 1], [2, 2, 2], ...].
        kernels: Kernel size of each level and axis; null: 3, or 1 along an axis that waits.
        channels: Features of each level; null: 32, doubling up to 320 in 3-D and 512 in 2-D.
        deep_supervision: Number of coarser levels that give logits too, in training mode.
        residual: Residual blocks in the encoder.
        norm: Normalisation layer; `group` has 8 groups.
        dropout: Probability.

    Source: Isensee et al., "nnU-Net", Nature Methods 2021.
    """
    from monai.networks.nets import DynUNet

    waits: list[list[bool]] | None = None
    if strides is None:
        strides, waits = _strides(patch_size or [8 * SMALLEST_EDGE] * spatial_dims, spacing or [1.0] * spatial_dims)
    if kernels is None:
        kernels = [[1 if wait else 3 for wait in level] for level in waits] if waits else [[3] * spatial_dims] * len(strides)
    _check_levels(strides, kernels, channels, spatial_dims)
    levels = len(strides)
    if not 0 <= deep_supervision <= levels - 2:
        raise invalid("params.deep_supervision", f"must be from 0 to {levels - 2} for {levels} levels, got {deep_supervision}")
    body = DynUNet(
        spatial_dims=spatial_dims,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=kernels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=channels,
        dropout=dropout or None,
        norm_name=norm_layer(norm),
        deep_supervision=deep_supervision > 0,
        deep_supr_num=max(deep_supervision, 1),
        res_block=residual,
    )
    return SegmentationNetwork(
        SupervisedUNet(body), spatial_dims=spatial_dims, in_channels=in_channels, out_channels=out_channels, divisor=product(strides)
    )


class SupervisedUNet(nn.Module):
    """The blocks of a DynUNet, run level by level.

    MONAI's own forward enlarges the coarse logits to full size and stacks them, and its state dict holds every weight twice.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.down = nn.ModuleList([net.input_block, *net.downsamples, net.bottleneck])
        self.up = nn.ModuleList(net.upsamples)
        self.head = net.output_block
        self.coarse_heads = nn.ModuleList(net.deep_supervision_heads if net.deep_supervision else [])

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Give the logits: in training mode with coarse heads a list, finest first."""
        skips = [image]
        for block in self.down:
            skips.append(block(skips[-1]))
        features = skips.pop()
        decoded: list[Tensor] = []
        for block in self.up:
            features = block(features, skips.pop())
            decoded.append(features)
        logits = self.head(features)
        if not self.training or not len(self.coarse_heads):
            return logits
        return [logits, *(head(decoded[-2 - level]) for level, head in enumerate(self.coarse_heads))]


def _strides(patch_size: Sequence[int], spacing: Sequence[float]) -> tuple[list[list[int]], list[list[bool]]]:
    """Halve each axis while it stays long enough, axes of coarse spacing later; give strides and which axes wait at each level."""
    if len(patch_size) != len(spacing):
        raise invalid("params.spacing", f"{list(spacing)} and patch_size {list(patch_size)} must have one number an axis each")
    size, step = list(patch_size), list(spacing)
    strides, waits = [[1] * len(size)], [[s > 2 * min(step) for s in step]]
    while True:
        long = [n % 2 == 0 and n // 2 >= SMALLEST_EDGE for n in size]
        if not any(long):
            return strides, waits
        finest = min(s for s, able in zip(step, long, strict=True) if able)
        halved = [able and s <= 2 * finest for s, able in zip(step, long, strict=True)]
        size = [n // 2 if yes else n for n, yes in zip(size, halved, strict=True)]
        step = [s * 2 if yes else s for s, yes in zip(step, halved, strict=True)]
        strides.append([2 if yes else 1 for yes in halved])
        waits.append([s > 2 * min(step) for s in step])


def _check_levels(
    strides: Sequence[Sequence[int]], kernels: Sequence[Sequence[int]], channels: Sequence[int] | None, spatial_dims: int
) -> None:
    if len(strides) < 3:
        raise invalid(
            "params.strides", f"needs at least 3 levels, got {len(strides)}", f"use a patch of at least {4 * SMALLEST_EDGE} voxels an axis"
        )
    if any(len(level) != spatial_dims or min(level) < 1 for level in (*strides, *kernels)):
        raise invalid("params.strides", f"strides and kernels need {spatial_dims} numbers >= 1 a level, got {strides} and {kernels}")
    if len(kernels) != len(strides) or (channels is not None and len(channels) != len(strides)):
        raise invalid("params.channels", f"channels and kernels need one item for each of the {len(strides)} levels")
    if any(step != 1 for step in strides[0]):
        raise invalid("params.strides", f"the first level keeps the resolution: its strides must be 1, got {list(strides[0])}")
