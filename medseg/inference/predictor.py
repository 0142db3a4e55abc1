"""A trained network with everything that turns a case into a label map."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medseg.data.labels import Activation, LabelSchema
from medseg.data.preparation import PreparedCase, Preparer
from medseg.errors import DataError
from medseg.inference.postprocessing import Postprocessing
from medseg.inference.restoring import Slab, SlabRestorer, slab_axis
from medseg.inference.skipping import Skipping, skip_of
from medseg.inference.sliding_window import Blending, notice, or_on_cpu, stream_logits


class Predictor:
    """Predict whole cases, in the grid of their own files.

    Where memory ends, a case is predicted in smaller batches, then on the CPU in part, then altogether; each is said once.

    Args:
        network: Images (B, C, *spatial) to logits (B, C', *spatial).
        preparer: What prepares cases for this network.
        labels: Its classes.
        activation: `softmax` or `sigmoid`, as in the loss that trained it.
        window: Window in voxels of the prepared grid.
        overlap: Share of a window that overlaps its neighbour, in [0, 1).
        blending: `gaussian` or `constant`.
        batch_size: Windows a forward pass.
        mirror_axes: Axes of the prepared grid: windows are also predicted mirrored along every combination of them, and logits averaged.
        skip: Windows that are background without a look: `nonzero` those that are all zero, `body` those outside the body (CT).
        device: The network is moved there; None leaves it where it is. Later moves of the network are followed.
        precision: Number format of the forward pass; None for float32.
        postprocessing: What decides on labels from probabilities and cleans label maps up; None takes the most probable class.
    """

    def __init__(
        self,
        network: nn.Module,
        preparer: Preparer,
        labels: LabelSchema,
        activation: Activation,
        *,
        window: Sequence[int],
        overlap: float = 0.5,
        blending: Blending = "gaussian",
        batch_size: int = 4,
        mirror_axes: Sequence[int] = (),
        skip: Skipping = "none",
        device: torch.device | str | None = None,
        precision: torch.dtype | None = None,
        postprocessing: Postprocessing | None = None,
    ) -> None:
        self.network = network if device is None else network.to(device)
        self.preparer, self.labels, self.activation = preparer, labels, activation
        self.window, self.overlap, self.blending = tuple(window), overlap, blending
        self.batch_size, self.precision = batch_size, precision
        self.mirror_axes, self.skip = tuple(mirror_axes), skip
        self.postprocessing = postprocessing
        self._noticed: set[str] = set()

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return len(self.window)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

    def probabilities(self, prepared: PreparedCase) -> Tensor:
        """Probabilities of a prepared case: with softmax of background and classes, with sigmoid of each class.

        Shape:
            image (C, *prepared spatial) -> float32 (C', *prepared spatial), on the CPU.

        Raises:
            DataError: When the case has another number of axes or channels than the network.
        """
        return _joined(self._probable(self._stream(prepared, axis=0)), prepared.geometry.shape, axis=0)

    def predict(self, prepared: PreparedCase) -> np.ndarray:
        """Label map of a prepared case as internal ids, in the grid of the case's own files.

        Probabilities, not labels, are resampled, so that borders stay smooth. They are never in memory as a whole.

        Shape:
            image (C, *prepared spatial) -> uint8 (*original spatial)

        Raises:
            DataError: When the case has another number of axes or channels than the network.
        """
        shape = prepared.original.shape
        ids = torch.empty(shape, dtype=torch.uint8)
        # The largest logit has the largest probability, as long as nothing is mixed or compared with a threshold.
        as_they_are = self.activation == "softmax" and self.postprocessing is None and not self._restorer(prepared).resamples
        for rows, part in self.slabs(prepared, logits=as_they_are):
            ids[_at(rows, slab_axis(shape))] = or_on_cpu(self._decide, part)
            del part
        return self._clean(ids, prepared)

    def decide(self, probabilities: Tensor, prepared: PreparedCase) -> np.ndarray:
        """The label map that `predict` gives, from the probabilities that `predict_probabilities` gave.

        Shape:
            float32 (C', *original spatial) -> uint8 (*original spatial)
        """
        return self._clean(self._decide(probabilities).cpu(), prepared)

    def predict_probabilities(self, prepared: PreparedCase) -> Tensor:
        """Probabilities in the grid of the case's own files, as `predict` decides on them.

        Shape:
            image (C, *prepared spatial) -> float32 (C', *original spatial), on the CPU.

        Raises:
            DataError: When the case has another number of axes or channels than the network.
        """
        shape = prepared.original.shape
        return _joined(self.slabs(prepared), shape, slab_axis(shape))

    def slabs(self, prepared: PreparedCase, logits: bool = False) -> Iterator[Slab]:
        """Probabilities in the grid of the case's own files, slab by slab.

        Args:
            prepared: The case.
            logits: Give logits instead.

        Yields:
            A range of rows along the `slab_axis` of the original shape, and float32 (C', *original spatial) with just these rows. The
            ranges are the `slab_slices` of the original shape, in descending order where the files' axis points to the left, back or feet:
            the same for every predictor.

        Raises:
            DataError: When the case has another number of axes or channels than the network.
        """
        restorer = self._restorer(prepared)
        parts = self._stream(prepared, restorer.axis)
        return restorer(parts if logits else self._probable(parts))

    def _restorer(self, prepared: PreparedCase) -> SlabRestorer:
        return SlabRestorer(prepared.geometry, prepared.original)

    def _stream(self, prepared: PreparedCase, axis: int) -> Iterator[Slab]:
        """Logits in the prepared grid."""
        self._check(prepared)
        return stream_logits(
            self.network,
            torch.from_numpy(prepared.image),
            self.window,
            axis=axis,
            overlap=self.overlap,
            blending=self.blending,
            batch_size=self.batch_size,
            mirror_axes=self.mirror_axes,
            skip=skip_of(self.skip, prepared, self.preparer.normaliser, self.labels, self.activation) if self.skip != "none" else None,
            device=self.device,
            autocast=self.precision,
            notify=self._notify,
        )

    def _probable(self, parts: Iterable[Slab]) -> Iterator[Slab]:
        """Logits to probabilities."""
        for rows, part in parts:
            yield rows, or_on_cpu(self._activate, part)

    def _activate(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=0) if self.activation == "softmax" else logits.sigmoid()

    def _clean(self, ids: Tensor, prepared: PreparedCase) -> np.ndarray:
        if self.postprocessing is None:
            return ids.numpy()
        return self.postprocessing.clean(ids.numpy(), prepared.original.spacing)

    def _decide(self, values: Tensor) -> Tensor:
        if self.postprocessing is not None:
            return self.postprocessing.decide(values)
        return self.labels.ids_from_probabilities(values, self.activation)

    def _notify(self, text: str) -> None:
        """One line for all cases."""
        if text not in self._noticed:
            self._noticed.add(text)
            notice(text)

    def _check(self, prepared: PreparedCase) -> None:
        files = ", ".join(str(path) for path in prepared.case.images)
        found, axes = prepared.image.shape[0], prepared.image.ndim - 1
        if axes != self.spatial_dims:
            raise DataError(f"{files}: is {axes}-D, the network {self.spatial_dims}-D; give {self.spatial_dims}-D images")
        channels = getattr(self.network, "in_channels", found)
        if found != channels:
            raise DataError(
                f"{files}: case '{prepared.case.id}' has {found} channels, the network was trained on {channels}; give the same"
            )


def _at(rows: slice, axis: int) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, rows)


def _joined(slabs: Iterable[Slab], shape: Sequence[int], axis: int) -> Tensor:
    """Slabs in one tensor."""
    whole = None
    for rows, part in slabs:
        if whole is None:
            whole = torch.empty(len(part), *shape)
        whole[_at(rows, axis + 1)] = part
        del part
    assert whole is not None
    return whole
