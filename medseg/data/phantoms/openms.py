"""What white-matter lesions look like, in numbers: measured on real patients, so that phantoms can be held against them.

Measured on the consensus masks of all 30 patients (3115 lesions) of "3D MR image database of Multiple Sclerosis patients with white matter
lesion segmentations": Lesjak et al., A Novel Public MR Image Dataset of Multiple Sclerosis Patients With Lesion Segmentations Based on
Multi-rater Consensus, Neuroinformatics 2017, doi 10.1007/s12021-017-9348-7; licence CC-BY; in MNI space, voxels of 1 mm, as in
github.com/muschellij2/open_ms_data. Nothing but these numbers is taken from it.

A lesion is a component of 26 neighbours. Its shape is `shape_of` its voxels, its gap the distance between the centres of its and of another
lesion's nearest voxels, so at least 2 mm. The ventricles' place is what is dark in T1 and bright in T2, deep in the brain, in two of three
patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

LEVELS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0)
"""Per cent of the lesions below each of `VOLUMES`."""
VOLUMES = (1.0, 1.0, 1.0, 2.0, 6.0, 17.0, 46.0, 127.0, 261.0, 2254.0, 24508.0, 46870.0)
"""Volume of a lesion in mm^3."""
COUNT_LEVELS = (0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 100.0)
"""Per cent of the patients below each of `COUNTS` and `LOADS`."""
COUNTS = (17.0, 19.9, 31.0, 79.0, 115.5, 246.5, 392.0)
"""Lesions of a patient."""
LOADS = (316.0, 1034.0, 1802.0, 13934.0, 28182.0, 41222.0, 52190.0)
"""Volume of all lesions of a patient in mm^3."""
WITHIN_PATIENT = 0.046
"""Intraclass correlation of the volume's normal score: how far the lesions of one patient resemble one another in size."""
SHAPE_LEVELS = (5.0, 25.0, 50.0, 75.0, 95.0)
"""Per cent of the lesions below each of the numbers in `SHAPES` and `GAPS`."""
SHAPES: dict[tuple[float, float], dict[str, tuple[float, ...]]] = {
    (5.0, 20.0): {
        "sphericity": (0.76, 0.86, 0.92, 1.00, 1.06),
        "middle": (0.38, 0.56, 0.67, 0.78, 0.91),
        "short": (0.25, 0.36, 0.47, 0.57, 0.69),
        "solidity": (0.45, 0.56, 0.65, 0.74, 0.89),
    },
    (20.0, 60.0): {
        "sphericity": (0.67, 0.76, 0.84, 0.89, 0.96),
        "middle": (0.35, 0.50, 0.64, 0.75, 0.90),
        "short": (0.22, 0.33, 0.43, 0.53, 0.68),
        "solidity": (0.38, 0.50, 0.57, 0.64, 0.72),
    },
    (60.0, 200.0): {
        "sphericity": (0.54, 0.65, 0.75, 0.83, 0.93),
        "middle": (0.30, 0.48, 0.60, 0.76, 0.88),
        "short": (0.19, 0.30, 0.41, 0.51, 0.68),
        "solidity": (0.29, 0.42, 0.53, 0.61, 0.69),
    },
    (200.0, 1000.0): {
        "sphericity": (0.44, 0.53, 0.62, 0.72, 0.82),
        "middle": (0.26, 0.45, 0.57, 0.71, 0.87),
        "short": (0.18, 0.27, 0.35, 0.47, 0.67),
        "solidity": (0.20, 0.31, 0.43, 0.55, 0.65),
    },
    (1000.0, 50000.0): {
        "sphericity": (0.22, 0.28, 0.34, 0.45, 0.61),
        "middle": (0.27, 0.42, 0.53, 0.71, 0.85),
        "short": (0.17, 0.22, 0.27, 0.38, 0.65),
        "solidity": (0.07, 0.11, 0.15, 0.25, 0.52),
    },
}
"""Shapes by volume (from, below, in mm^3). The long axis points anywhere: its mean share along each axis of the body is 0.47 to 0.53."""
GAPS = (2.0, 2.45, 3.61, 6.4, 13.56)
"""Distance of a lesion to the next one in mm."""
FROM_VENTRICLE = (0.0, 5.0, 8.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0)
"""Distance to the ventricles in mm at which `DENSITY` stands."""
DENSITY = (0.75, 0.85, 0.95, 1.0, 0.95, 0.75, 0.62, 0.45, 0.38)
"""Lesions (their middles) in a unit of brain, against the densest distance."""
LARGE = 1000.0
"""From this volume on lesions are confluent and lie along the ventricles: half of their middles are less than 3.7 mm away."""


@dataclass(frozen=True)
class Shape:
    """How round a lesion is.

    Attributes:
        volume: In mm^3.
        sphericity: Surface of the ball of the same volume over the lesion's own, this being two thirds of the exposed voxel faces (a smooth
            surface in random directions shows 3/2 of its area as faces); so above 1 for a handful of voxels.
        middle: Standard deviation along the second principal axis, over that along the first.
        short: The same of the third.
        solidity: Volume over that of the convex hull of the voxels' corners.
    """

    volume: float
    sphericity: float
    middle: float
    short: float
    solidity: float


def shape_of(mask: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Shape:
    """Measure the one lesion in a mask (X, Y, Z) with at least one voxel, `spacing` in mm."""
    size = np.asarray(spacing)
    voxel = float(size.prod())
    padded = np.pad(mask.astype(np.int8), 1)
    surface = 2 / 3 * sum(np.count_nonzero(np.diff(padded, axis=axis)) * voxel / size[axis] for axis in range(3))
    points = np.argwhere(mask) * size
    volume = len(points) * voxel
    scatter = np.cov(points.T, bias=True) if len(points) > 1 else np.zeros((3, 3))
    spread = np.sqrt(np.linalg.eigvalsh(scatter + np.diag(size**2) / 12))[::-1]
    corners = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3) * size
    hull = ConvexHull(np.unique((points[:, None] + corners).reshape(-1, 3), axis=0)).volume
    sphericity = np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface
    return Shape(volume, float(sphericity), float(spread[1] / spread[0]), float(spread[2] / spread[0]), volume / hull)


def shapes_of(mask: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> list[Shape]:
    """Measure every lesion of a mask (X, Y, Z), each a component of 26 neighbours; none of an empty mask."""
    components, count = ndimage.label(mask, np.ones((3, 3, 3)))
    boxes = ndimage.find_objects(components, count)
    return [shape_of(components[box] == lesion, spacing) for lesion, box in enumerate(boxes, 1)]
