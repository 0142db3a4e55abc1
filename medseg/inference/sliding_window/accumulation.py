"""Weighted sums of windows, of which only the rows that are not finished are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from medseg.inference.sliding_window.layout import Layout, Start, at_once
from medseg.inference.sliding_window.memory import Notify, out_of_memory


class Accumulator:
    """Sums up windows that come in ascending order of one axis, and hands on the rows which no later window reaches.

    As many rows as a window is long are kept, in one piece of memory: row $r$ of the image lies in row $r$ modulo that number.

    Args:
        layout: Where windows may lie.
        axis: The axis along which they come. A row is a slice of the image across it.
        importance: (*window), or None where every voxel counts 1.
        device: Where the sums are kept.
        background: (C',) logits of voxels that no window covered; None where there are none.
        notify: Told when the sums move to the CPU, because memory is short.
    """

    def __init__(
        self, layout: Layout, axis: int, importance: Tensor | None, device: torch.device, background: Tensor | None, notify: Notify
    ) -> None:
        self.layout, self.axis, self.device, self._notify = layout, axis, device, notify
        self._importance = None if importance is None else importance.to(device)
        self._background = background
        self._rows = min(layout.image[axis], layout.window[axis])
        self._sums: Tensor | None = None
        """(C', *spatial), `_rows` of them along `axis`."""
        self._done = 0
        self._added: list[Start] = []
        """The windows that reach rows from `_done` on, as they came."""
        self._weighted: Tensor | None = None

    def add(self, start: Start, logits: Tensor) -> None:
        """Adds a window.

        Args:
            start: Its place; along `axis` not before that of any earlier one.
            logits: (C', *window) of any floating type.
        """
        whole = self._or_on_cpu(partial(self._make_room, logits))
        boxes = [self._boxes(start, *rows) for rows in self._places(self.layout.inside(start)[self.axis], self._rows)]
        # A GPU takes all channels at once. A CPU takes one after another: what is weighted is then still in its cache when it is added.
        channels = 1 if self.device.type == "cpu" else len(logits)
        for sums, part in zip(whole.split(channels), logits.to(self.device).split(channels), strict=True):
            weighted = part if self._importance is None else torch.mul(part, self._importance, out=self._weighted)
            for place, covered in boxes:
                sums[(slice(None), *place)].add_(weighted[(slice(None), *covered)])  # += would copy the sum onto itself
        self._added.append(start)

    def finished(self, row: int) -> Iterator[tuple[slice, Tensor]]:
        """Gives out the means of all rows before `row`, once, some at a time.

        Yields:
            A range of rows, and float32 (C', *spatial) of just these, whose memory is used again when the next range is asked for.
        """
        for rows, kept in self._places(slice(self._done, row), at_once(math.prod(self._shape(1)))):
            weights = self._or_on_cpu(partial(self._weigh, rows))
            yield rows, self._mean(kept, weights)
            if self._sums is not None:
                self._sums.narrow(self.axis + 1, kept.start, kept.stop - kept.start).zero_()
            self._done = rows.stop
            self._added = [start for start in self._added if self.layout.inside(start)[self.axis].stop > rows.stop]

    def to_cpu(self) -> None:
        """Keeps the sums on the CPU from now on."""
        self.device = torch.device("cpu")
        self._sums = None if self._sums is None else self._sums.cpu()
        self._importance = None if self._importance is None else self._importance.cpu()
        self._weighted = None
        self._notify("out of memory: the windows are put together on the CPU")

    def _or_on_cpu(self, step: Callable[[], Tensor]) -> Tensor:
        """Takes a step that asks for memory and changes no sum; on the CPU if the memory is not there."""
        try:
            return step()
        except (RuntimeError, MemoryError) as error:
            if self.device.type == "cpu" or not out_of_memory(error):
                raise
        self.to_cpu()
        return step()

    def _places(self, rows: slice, most: int) -> Iterator[tuple[slice, slice]]:
        """Splits rows of the image where the memory begins anew: ranges of at most so many rows, and where they are kept."""
        first = rows.start
        while first < rows.stop:
            kept = first % self._rows
            count = min(rows.stop - first, self._rows - kept, most)
            yield slice(first, first + count), slice(kept, kept + count)
            first += count

    def _boxes(self, start: Start, rows: slice, kept: slice) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Some rows of a window: where they are kept, and where they are in the window."""
        place, covered = list(self.layout.inside(start)), list(self.layout.covered(start))
        place[self.axis], covered[self.axis] = kept, slice(rows.start - start[self.axis], rows.stop - start[self.axis])
        return tuple(place), tuple(covered)

    def _make_room(self, logits: Tensor) -> Tensor:
        if self._importance is not None and self._weighted is None:
            self._weighted = torch.empty((1 if self.device.type == "cpu" else len(logits), *self.layout.window), device=self.device)
        if self._sums is None:
            self._sums = torch.zeros((len(logits), *self._shape(self._rows)), device=self.device)
        return self._sums

    def _shape(self, rows: int) -> tuple[int, ...]:
        return tuple(rows if axis == self.axis else size for axis, size in enumerate(self.layout.image))

    def _weigh(self, rows: slice) -> Tensor:
        """Sums up the weights of all windows at some rows."""
        weights = torch.zeros(self._shape(rows.stop - rows.start), device=self.device)
        for start in self._added:
            reached = self.layout.inside(start)[self.axis]
            first, last = max(rows.start, reached.start), min(rows.stop, reached.stop)
            if first < last:
                place, covered = self._boxes(start, slice(first, last), slice(first - rows.start, last - rows.start))
                weights[place].add_(1 if self._importance is None else self._importance[covered])
        return weights

    def _mean(self, kept: slice, weights: Tensor) -> Tensor:
        if self._sums is None:
            assert self._background is not None
            return self._background.to(self.device).view(-1, *(1,) * weights.ndim).expand(-1, *weights.shape)
        sums = self._sums.narrow(self.axis + 1, kept.start, kept.stop - kept.start)
        sums.div_(weights)
        if self._background is not None:
            for channel, value in zip(sums, self._background.tolist(), strict=True):
                channel.masked_fill_(weights == 0, value)
        return sums
