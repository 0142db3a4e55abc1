"""A trained network with everything that turns a case into a label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from medseg.data.labels import Activation, LabelSchema
from medseg.data.preparation import PreparedCase, Preparer
from medseg.errors import DataError
from medseg.inference.sliding_window import Blending, predict_logits


class Predictor:
    """Predict whole cases, in the grid of their own files.

    Args:
        network: Images (B, C, *spatial) to logits (B, C', *spatial).
        preparer: What prepares cases for this network.
        labels: Its classes.
        activation: `softmax` or `sigmoid`, as in the loss that trained it.
        window: Window in voxels of the prepared grid.
        overlap: Share of a window that overlaps its neighbour, in [0, 1).
        blending: `gaussian` or `constant`.
        batch_size: Windows a forward pass.
        device: The network is moved there; None leaves it where it is. Later moves of the network are followed.
        precision: Number format of the forward pass; None for float32.
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
        device: torch.device | str | None = None,
        precision: torch.dtype | None = None,
    ) -> None:
        self.network = network if device is None else network.to(device)
        self.preparer, self.labels, self.activation = preparer, labels, activation
        self.window, self.overlap, self.blending = tuple(window), overlap, blending
        self.batch_size, self.precision = batch_size, precision

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
        self._check(prepared)
        logits = predict_logits(
            self.network,
            torch.from_numpy(prepared.image),
            self.window,
            overlap=self.overlap,
            blending=self.blending,
            batch_size=self.batch_size,
            device=self.device,
            autocast=self.precision,
        )
        return logits.softmax(dim=0) if self.activation == "softmax" else logits.sigmoid()

    def predict(self, prepared: PreparedCase) -> np.ndarray:
        """Label map of a prepared case as internal ids, in the grid of the case's own files.

        Probabilities, not labels, are resampled, so that borders stay smooth.

        Shape:
            image (C, *prepared spatial) -> uint8 (*original spatial)

        Raises:
            DataError: When the case has another number of axes or channels than the network.
        """
        probabilities = self.preparer.restore(self.probabilities(prepared), prepared)
        return self.labels.ids_from_probabilities(probabilities, self.activation).numpy()

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
