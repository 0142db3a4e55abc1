"""Logits of a whole image from overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

Blending = Literal["gaussian", "constant"]


@torch.no_grad()
def predict_logits(
    network: nn.Module,
    image: Tensor,
    window: Sequence[int],
    *,
    overlap: float = 0.5,
    blending: Blending = "gaussian",
    batch_size: int = 4,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
) -> Tensor:
    """Run a network over an image of any size.

    An image smaller than the window is padded on both sides with the lowest value of each channel, as training patches are, and the logits
    are cropped back. An image of one window gives exactly what the network gives.

    Shape:
        image float32 (C, *spatial) -> logits float32 (C', *spatial) on the CPU.

    Args:
        network: In eval mode, on `device`; its `divisor`, where it has one, rounds the window up.
        image: On any device; windows are moved one batch at a time.
        window: Voxels along each axis.
        overlap: Share of a window that overlaps its neighbour, in [0, 1).
        blending: Weight of a voxel within its window: `gaussian` with a sigma of an eighth of the window, or `constant`.
        batch_size: Windows a forward pass.
        device: Where the network runs.
        autocast: Number format of the forward pass; None for float32. Windows are blended in float32 in any case.

    Raises:
        ValueError: When the network is in training mode, or the window does not fit the image's axes.
    """
    if network.training:
        raise ValueError("the network is in training mode, where batches and dropout change its output; call network.eval() first")
    if len(window) != image.ndim - 1:
        raise ValueError(f"the window {list(window)} has {len(window)} axes, the image {image.ndim - 1}")
    device = torch.device(device)
    divisor = getattr(network, "divisor", (1,) * len(window))
    size = tuple(-(-length // step) * step for length, step in zip(window, divisor, strict=True))
    padded, inside = _pad(image.float(), size)

    def forward(windows: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            return network(windows).float()

    if tuple(padded.shape[1:]) == size:
        logits = forward(padded[None].to(device)).cpu()
    else:
        logits = sliding_window_inference(
            padded[None], size, batch_size, forward, overlap=overlap, mode=blending, sw_device=device, device=torch.device("cpu")
        )
    return logits[0][(slice(None), *inside)]


def _pad(image: Tensor, size: Sequence[int]) -> tuple[Tensor, tuple[slice, ...]]:
    """Pad (C, *spatial) to at least `size`, and tell where the image lies in the result."""
    missing = [max(0, wanted - length) for wanted, length in zip(size, image.shape[1:], strict=True)]
    inside = tuple(slice(lack // 2, lack // 2 + length) for lack, length in zip(missing, image.shape[1:], strict=True))
    if not any(missing):
        return image, inside
    lowest = image.flatten(1).amin(dim=1).view(-1, *(1,) * len(size))
    padded = lowest.repeat(1, *(length + lack for length, lack in zip(image.shape[1:], missing, strict=True)))
    padded[(slice(None), *inside)] = image
    return padded, inside
