"""Weighted sums of windows, of which only the rows that are not finished are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from medseg.inference.sliding_window.layout import Layout, Start, at_once
from medseg.inference.sliding_window.memory import Notify, out_of_memory

_CACHED = 2**18  # voxels


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
        self._length = layout.window[axis]
        self._rows = min(layout.image[axis], layout.window[axis])
        self._sums: Tensor | None = None
        """(C', *spatial), `_rows` of them along `axis`."""
        self._done = 0
        self._added: list[Start] = []
        """The windows that reach rows from `_done` on, as they came."""
        self._weighted: Tensor | None = None
        self._weights: Tensor | None = None
        """(*spatial), as many rows as were finished at once so far."""
        self._weighed: object = None
        """What `_weights` holds."""

    def add(self, start: Start, logits: Tensor) -> None:
        """Adds a window.

        Args:
            start: Its place; along `axis` not before that of any earlier one.
            logits: (C', *window) of any floating type.
        """
        whole = self._or_on_cpu(partial(self._make_room, logits))
        boxes = [self._boxes(start, *rows) for rows in self._places(self.layout.inside(start)[self.axis])]
        channels = self._channels(logits)
        for sums, part in zip(whole.split(channels), logits.to(self.device).split(channels), strict=True):
            weighted = part
            if self._importance is not None:
                assert self._weighted is not None
                weighted = torch.mul(part, self._importance, out=self._weighted[: len(part)])
            for place, covered in boxes:
                sums[(slice(None), *place)].add_(weighted[(slice(None), *covered)])  # += would copy the sum onto itself
        self._added.append(start)

    def finished(self, row: int) -> Iterator[tuple[slice, Tensor]]:
        """Gives out the means of all rows before `row`, once, some at a time.

        Yields:
            A range of rows, and float32 (C', *spatial) of just these, whose memory is used again when the next range is asked for.
        """
        thin = at_once(math.prod(self._shape(1)))
        for rows, kept in self._places(slice(self._done, row)):
            weights = self._or_on_cpu(partial(self._weigh, rows))
            for first in range(0, rows.stop - rows.start, thin):
                part = slice(first, min(first + thin, rows.stop - rows.start))
                yield slice(rows.start + part.start, rows.start + part.stop), self._mean(kept.start, part, weights)
            if self._sums is not None:
                self._sums.narrow(self.axis + 1, kept.start, kept.stop - kept.start).zero_()
            self._done = rows.stop
            self._added = [start for start in self._added if start[self.axis] + self._length > rows.stop]

    def to_cpu(self) -> None:
        """Keeps the sums on the CPU from now on."""
        self.device = torch.device("cpu")
        self._sums = None if self._sums is None else self._sums.cpu()
        self._importance = None if self._importance is None else self._importance.cpu()
        self._weighted = self._weights = self._weighed = None
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

    def _places(self, rows: slice) -> Iterator[tuple[slice, slice]]:
        """Splits rows of the image where the memory begins anew: ranges of rows, and where they are kept."""
        first = rows.start
        while first < rows.stop:
            kept = first % self._rows
            count = min(rows.stop - first, self._rows - kept)
            yield slice(first, first + count), slice(kept, kept + count)
            first += count

    def _boxes(self, start: Start, rows: slice, kept: slice) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Some rows of a window: where they are kept, and where they are in the window."""
        place, covered = list(self.layout.inside(start)), list(self.layout.covered(start))
        place[self.axis], covered[self.axis] = kept, slice(rows.start - start[self.axis], rows.stop - start[self.axis])
        return tuple(place), tuple(covered)

    def _make_room(self, logits: Tensor) -> Tensor:
        if self._importance is not None and self._weighted is None:
            self._weighted = torch.empty((self._channels(logits), *self.layout.window), device=self.device)
        if self._sums is None:
            self._sums = torch.zeros((len(logits), *self._shape(self._rows)), device=self.device)
        return self._sums

    def _channels(self, logits: Tensor) -> int:
        """How many channels are weighted at a time: so few on a CPU that they are still in its cache when they are added."""
        return min(len(logits), max(1, _CACHED // logits[0].numel())) if self.device.type == "cpu" else len(logits)

    def _shape(self, rows: int) -> tuple[int, ...]:
        return tuple(rows if axis == self.axis else size for axis, size in enumerate(self.layout.image))

    def _weigh(self, rows: slice) -> Tensor:
        """Sums up the weights of all windows at some rows; once for rows that follow each other and are covered alike."""
        shifted = [(*start[: self.axis], start[self.axis] - rows.start, *start[self.axis + 1 :]) for start in self._added]
        count = rows.stop - rows.start
        if self._weights is None or self._weights.shape[self.axis] < count:
            self._weights = self._weighed = None  # before there is a second one
            self._weights = torch.empty(self._shape(count), device=self.device)
        weights = self._weights.narrow(self.axis, 0, count)
        if self._weighed == (count, shifted):
            return weights
        self._weighed = (count, shifted)
        weights.zero_()
        for start in self._added:
            first, last = max(rows.start, start[self.axis]), min(rows.stop, start[self.axis] + self._length)
            if first < last:
                place, covered = self._boxes(start, slice(first, last), slice(first - rows.start, last - rows.start))
                weights[place].add_(1 if self._importance is None else self._importance[covered])
        return weights

    def _mean(self, kept: int, part: slice, weights: Tensor) -> Tensor:
        """Means of a part of the rows that begin with the row `kept` of the memory."""
        count = part.stop - part.start
        weights = weights.narrow(self.axis, part.start, count)
        if self._sums is None:
            assert self._background is not None
            return self._background.to(self.device).view(-1, *(1,) * weights.ndim).expand(-1, *weights.shape)
        sums = self._sums.narrow(self.axis + 1, kept + part.start, count)
        sums.div_(weights)
        if self._background is not None:
            for channel, value in zip(sums, self._background.tolist(), strict=True):
                channel.masked_fill_(weights == 0, value)
        return sums
