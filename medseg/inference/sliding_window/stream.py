"""Logits of a whole image from overlapping windows, handed on slab by slab."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.inference.sliding_window.accumulation import Accumulator
from medseg.inference.sliding_window.forward import Forward
from medseg.inference.sliding_window.layout import Blending, Layout, Start, importance_map
from medseg.inference.sliding_window.memory import Notify, notice, out_of_memory


@dataclass(frozen=True)
class Skip:
    """Windows that the network need not look at."""

    relevant: Callable[[tuple[slice, ...]], bool]
    """Whether a window that covers this box of the image is looked at."""
    background: Tensor
    """(C',) logits of voxels that are in no window which was looked at."""


def stream_logits(
    network: nn.Module,
    image: Tensor,
    window: Sequence[int],
    *,
    axis: int = 0,
    overlap: float = 0.5,
    blending: Blending = "gaussian",
    batch_size: int = 4,
    mirror_axes: Sequence[int] = (),
    skip: Skip | None = None,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    notify: Notify = notice,
) -> Iterator[tuple[slice, Tensor]]:
    """Run a network over an image of any size, and keep only what later windows still add to.

    Windows, weights and order of sums are those of MONAI's `sliding_window_inference`, bit for bit where `axis` is 0. An image smaller than
    the window is padded on both sides with the lowest value of each channel, as training patches are.

    Where memory ends, windows are run one after another, then put together on the CPU, then run there too; `notify` hears of each step.

    Args:
        network: In eval mode, on `device`; its `divisor`, where it has one, rounds the window up.
        image: (C, *spatial) on any device; windows are moved one batch at a time.
        window: Voxels along each axis.
        axis: The spatial axis that slabs lie along. The sums of as many rows as a window is long are in memory, so the longest is best.
        overlap: Share of a window that overlaps its neighbour, in [0, 1).
        blending: Weight of a voxel within its window: `gaussian` with a sigma of an eighth of the window, or `constant`.
        batch_size: Windows a forward pass.
        mirror_axes: Spatial axes to mirror windows along, in every combination; the mean of all logits is taken.
        skip: Windows not to look at; None looks at all.
        device: Where the network is, and the sums are.
        autocast: Number format of the forward pass; None for float32. Windows are summed up in float32 in any case.
        notify: Told in one line when memory is short.

    Yields:
        A range of rows, each beginning where the last one ended, and their logits: float32 (C', *spatial) with just these rows, on
        `device` unless memory is short there. Its memory is used again when the next range is asked for.

    Raises:
        ValueError: When the network is in training mode, or the window or the mirrored axes do not fit the image's axes.
    """
    layout = Layout(tuple(image.shape[1:]), _window_size(network, image, window, mirror_axes), overlap)
    device = torch.device(device)
    forward = Forward(network, device, autocast, mirror_axes)
    starts = layout.windows(axis)
    weighted = blending == "gaussian" and len(starts) > 1  # what one window says alone is not weighed against anything
    importance = importance_map(layout.window) if weighted else None
    sums = Accumulator(layout, axis, importance, device, skip.background if skip else None, notify)
    if skip is not None:
        starts = [start for start in starts if skip.relevant(layout.inside(start))]
    batches = _Batches(forward, layout, image, sums, min(batch_size, max(1, len(starts))), notify)
    done = 0
    while done < len(starts):
        batch = starts[done : done + batches.size]
        yield from sums.finished(batch[0][axis])  # not beside the memory of the network
        # The logits before stay until then: a heap that is emptied after every batch is given back, and asked for again page by page.
        logits = batches.predict(batch)
        if logits is None:
            continue
        for start, part in zip(batch, logits, strict=True):
            yield from sums.finished(start[axis])
            sums.add(start, part)
        done += len(batch)
    yield from sums.finished(layout.image[axis])


class _Batches:
    """Windows to logits, in batches as large as memory allows."""

    def __init__(self, forward: Forward, layout: Layout, image: Tensor, sums: Accumulator, size: int, notify: Notify) -> None:
        self._forward, self._layout, self._image, self._sums, self._notify = forward, layout, image, sums, notify
        self.size = size
        self._lowest = image.flatten(1).amin(dim=1) if layout.pads else None
        # Asked for once: the heap would fall to pieces between these and what networks ask for.
        self._windows = torch.empty((size, len(image), *layout.window), device=image.device)

    def predict(self, starts: Sequence[Start]) -> Tensor | None:
        """Logits (B, C', *window) of windows; None where memory was short and has been made, so that `size` windows can be tried."""
        try:
            windows = self._windows[: len(starts)]
            self._layout.cut(self._image, starts, self._lowest, windows)
            return self._forward(windows)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error) or not self._make_room(len(starts)):
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None

    def _make_room(self, size: int) -> bool:
        """Do the next thing that saves memory; False when nothing is left."""
        if size > 1:
            self.size = size // 2
            self._notify(f"out of memory: windows are predicted {self.size} at a time")
        elif self._sums.device.type != "cpu":
            self._sums.to_cpu()
        elif self._forward.device.type != "cpu":
            self._forward.move_to_cpu()
            self._notify("out of memory: the network runs on the CPU")
        else:
            return False
        return True


def _window_size(network: nn.Module, image: Tensor, window: Sequence[int], mirror_axes: Sequence[int]) -> tuple[int, ...]:
    """The window, rounded up to what the network divides by, once everything is found to fit together."""
    axes = image.ndim - 1
    if network.training:
        raise ValueError("the network is in training mode, where batches and dropout change its output; call network.eval() first")
    if len(window) != axes:
        raise ValueError(f"the window {list(window)} has {len(window)} axes, the image {axes}")
    if len({*mirror_axes}) != len(mirror_axes) or not {*mirror_axes} <= {*range(axes)}:
        raise ValueError(f"mirror_axes={list(mirror_axes)} must be different axes of the image, from 0 to {axes - 1}")
    divisor = getattr(network, "divisor", (1,) * axes)
    return tuple(-(-length // step) * step for length, step in zip(window, divisor, strict=True))
