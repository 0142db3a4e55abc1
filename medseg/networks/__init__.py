"""Networks by name: 2-D from segmentation-models-pytorch, 2-D and 3-D from MONAI.

An entry is a function of (in_channels, out_channels, spatial_dims) whose keyword-only parameters are the config's `network.params`. The
libraries, slow to import, are imported by the function that needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.networks.dynunet import dynunet
from medseg.networks.network import SegmentationNetwork, invalid
from medseg.networks.segresnet import segresnet
from medseg.networks.smp import smp_deeplabv3plus, smp_fpn, smp_manet, smp_segformer, smp_unet, smp_unetplusplus
from medseg.networks.unet import unet

NETWORKS: dict[str, Any] = {
    "unet": unet,
    "dynunet": dynunet,
    "segresnet": segresnet,
    "smp_unet": smp_unet,
    "smp_unetplusplus": smp_unetplusplus,
    "smp_manet": smp_manet,
    "smp_fpn": smp_fpn,
    "smp_deeplabv3plus": smp_deeplabv3plus,
    "smp_segformer": smp_segformer,
}


def build_network(
    name: str,
    params: Mapping[str, Any],
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    heads: Mapping[str, int] | None = None,
) -> SegmentationNetwork:
    """Build a network.

    Args:
        name: A key of `NETWORKS`.
        params: Its keyword arguments.
        in_channels: Image channels.
        out_channels: Logits a voxel.
        spatial_dims: 2 or 3.
        heads: Channels of each auxiliary head, by name; see `SegmentationNetwork`.

    Raises:
        ConfigError: Unknown name, or parameters that do not fit together.
    """
    if name not in NETWORKS:
        raise invalid("name", f"there is no network {name!r}", f"choose from {', '.join(NETWORKS)}")
    if spatial_dims not in (2, 3):
        raise invalid("name", f"networks are 2-D or 3-D, got {spatial_dims} axes")
    heads = heads or {}
    network: SegmentationNetwork = NETWORKS[name](in_channels, out_channels + sum(heads.values()), spatial_dims, **params)
    network.set_heads(heads)
    return network


__all__ = ["NETWORKS", "SegmentationNetwork", "build_network"]
