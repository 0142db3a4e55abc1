"""Logits of a whole image from overlapping windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medseg.inference.sliding_window.layout import Blending, at_once
from medseg.inference.sliding_window.memory import Notify, notice, or_on_cpu
from medseg.inference.sliding_window.stream import Skip, stream_logits

__all__ = ["Blending", "Notify", "Skip", "at_once", "notice", "or_on_cpu", "predict_logits", "stream_logits"]


def predict_logits(network: nn.Module, image: Tensor, window: Sequence[int], **options: Any) -> Tensor:
    """Run a network over an image of any size, and keep all of its logits.

    The logits lie in the grid of the image. An image of one window gives exactly what the network gives.

    Shape:
        image (C, *spatial) -> logits float32 (C', *spatial) on the CPU.

    Args:
        network: In eval mode.
        image: On any device.
        window: Voxels along each axis.
        options: As in `stream_logits`.

    Raises:
        ValueError: As `stream_logits`.
    """
    logits = None
    for rows, part in stream_logits(network, image, window, **options):
        if logits is None:
            logits = torch.empty(len(part), *image.shape[1:])
        logits[:, rows] = part
    assert logits is not None
    return logits
