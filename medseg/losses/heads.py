"""Auxiliary heads: further outputs of the network that are trained beside the segmentation and left out of every prediction.

`network.heads: {distance: {name: signed_distance}}` gives the network's last layer more channels, at full resolution; a term says which
head it acts on: `{name: mae, head: distance, weight: 0.1}`. What a head shall give follows from the target that the segmentation has, so
that no data set needs more labels. To learn distances, boxes or an embedding shapes the features that the segmentation is made of; whether
it helps is an experiment. With deep supervision heads exist at the finest level only.

To add a head: a class here, one line in `HEADS`. Keyword-only arguments of its constructor are its parameters in a config.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses.blocks import counting_dtype, working_dtype
from medseg.losses.outputs import Head
from medseg.losses.term import check_range, ratio
from medseg.losses.view import View


class Regression(Head):
    """A head whose outputs have a target each."""

    def pairs(self, view: View) -> tuple[Tensor, Tensor, Tensor | None]:
        """Prediction and target of the same shape, and weights that can be expanded to it; None is 1."""
        raise NotImplementedError


class SignedDistance(Regression):
    """The signed distance of each foreground channel, in mm or voxels, clipped and scaled to [-1, 1]; negative inside.

    The mask is where the distance is at most 0, so the head learns shapes with a gradient at every voxel near them. Beyond `limit` all is
    equally far: the target is 1, also where a patch holds none of the class, and -1 in a patch that is full of it.

    Args:
        limit: Distance in mm that becomes 1.

    Source:
        Xue et al., AAAI 2020, who regress the map with L1 and Dice of its sign, scaled by the largest distance of each image (so that its
        unit changes from patch to patch) and 0 everywhere in images without the organ, where "on the boundary" is taught.
    """

    maps = ("signed_distance",)

    def __init__(self, name: str, *, limit: float = 10.0) -> None:
        super().__init__(name)
        self.limit = check_range("limit", limit, 0, above=True)

    def outputs(self, classes: Sequence[str], axes: int) -> tuple[str, ...]:
        """One channel a foreground class."""
        return tuple(classes)

    def pairs(self, view: View) -> tuple[Tensor, Tensor, Tensor | None]:
        """(B, F, *spatial) each; weights of the foreground channels."""
        prediction, masks = self.output(view), view.voxels.masks
        distance = (view.voxels.map("signed_distance").to(prediction) / self.limit).clamp(-1, 1)
        spatial = tuple(range(2, masks.ndim))
        target = torch.where(masks.any(spatial, keepdim=True), distance, 1.0)
        return prediction, torch.where(masks.all(spatial, keepdim=True), -1.0, target), view.voxels.foreground_weight


@dataclass(frozen=True)
class Sides:
    """Boxes as seen from voxels: how far each voxel's centre is from the faces of its lesion's box."""

    predicted: Tensor
    """(N, 2, axes) for N lesion voxels: to the low and to the high faces, in voxels."""
    target: Tensor
    """Likewise, at least 1/2."""
    share: Tensor
    """(N): the voxel's share of its lesion's weight; 0 where the lesion has none."""
    lesions: Tensor
    """Lesions of some weight, a scalar."""


class Boxes(Regression):
    r"""Distances from each lesion voxel to the faces of its lesion's bounding box; a detector beside the segmentation.

    A lesion is a connected component (8-connected in 2-D, 26-connected in 3-D) of all foreground classes together, as far as the patch
    shows it. Channels hold the distances to the low faces, axis by axis, then to the high ones, as `scale` $\cdot$ softplus of the output,
    so that they are positive and grow linearly. Voxels outside of lesions are not trained, and each lesion weighs the same.

    Args:
        scale: Distance in voxels that an output of about 1 stands for: half the extent of a common lesion.

    Source:
        FCOS (Tian et al., ICCV 2019), eq. 1, whose exponential turns an output of 10 into 22 000 voxels.
    """

    maps = ("lesions",)

    def __init__(self, name: str, *, scale: float = 2.0) -> None:
        super().__init__(name)
        self.scale = check_range("scale", scale, 0, above=True)
        self._seen: dict[int, Sides] = {}

    def outputs(self, classes: Sequence[str], axes: int) -> tuple[str, ...]:
        """Two channels an axis."""
        return tuple(f"{side} {axis}" for side in ("low", "high") for axis in range(axes))

    def sides(self, view: View) -> Sides:
        """Found once for all terms on the head, and forgotten with the view."""
        key = id(view)
        if key not in self._seen:
            self._seen[key] = self._sides(view)
            weakref.finalize(view, self._seen.pop, key)
        return self._seen[key]

    def _sides(self, view: View) -> Sides:
        """The lesion voxels, a hundredth of the image, are gathered first: the device is waited for to count them, and their lesions."""
        numbers, weight, output = view.voxels.map("lesions")[:, 0].long(), voxel_weight(view), view.heads[self.name]
        sample, *place = numbers.nonzero(as_tuple=True)
        coordinates = torch.stack(place, 1)
        found_lesions, lesion = torch.unique(sample * (numbers.amax() + 1) + numbers[(sample, *place)], return_inverse=True)
        count, of_lesion = len(found_lesions), lesion.unsqueeze(1).expand_as(coordinates)
        low = coordinates.new_zeros(count, len(place)).scatter_reduce(0, of_lesion, coordinates, "amin", include_self=False)
        high = coordinates.new_zeros(count, len(place)).scatter_reduce(0, of_lesion, coordinates, "amax", include_self=False)
        found = output.movedim(1, -1)[(sample, *place)]
        predicted = self.scale * F.softplus(found.to(working_dtype(found))).view(len(lesion), 2, len(place))
        target = torch.stack([coordinates - low[lesion], high[lesion] - coordinates], 1).to(predicted) + 0.5
        own = torch.ones(len(lesion), dtype=counting_dtype(output), device=output.device)
        if weight is not None:
            own = weight[:, 0][(sample, *place)].to(own)
        whole = own.new_zeros(count).index_add(0, lesion, own)
        return Sides(predicted, target, ratio(own, whole[lesion]), (whole > 0).sum())

    def pairs(self, view: View) -> tuple[Tensor, Tensor, Tensor | None]:
        """(N, 2, axes) each, in voxels; weights that sum to 1 over a lesion."""
        sides = self.sides(view)
        return sides.predicted, sides.target, sides.share.view(-1, 1, 1)


class Embedding(Head):
    """Free features of each voxel, with no target but to be alike within a class; for `center`.

    Args:
        dimensions: Features a voxel.
    """

    def __init__(self, name: str, *, dimensions: int = 8) -> None:
        super().__init__(name)
        self.dimensions = int(check_range("dimensions", dimensions, 1))

    def outputs(self, classes: Sequence[str], axes: int) -> tuple[str, ...]:
        """One channel a feature."""
        return tuple(f"feature {number}" for number in range(self.dimensions))


def voxel_weight(view: View) -> Tensor | None:
    """One weight a voxel, (B, 1, *spatial): with sigmoid the largest of its foreground channels'; None where all are 1."""
    weight = view.voxels.foreground_weight
    return weight if weight is None or weight.shape[1] == 1 else weight.amax(1, keepdim=True)
