"""A trained network as a function: `medseg.load(run)(image)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data import FORMATS
from medseg.data.case import Case
from medseg.data.geometry import Geometry
from medseg.data.images import suffix_of, write_label
from medseg.data.images.slices import is_one_slice
from medseg.data.labels import LabelSchema
from medseg.data.preparation import CaseArrays, PreparedCase
from medseg.errors import DataError
from medseg.inference.cases import InputCase
from medseg.inference.ensemble import Average, Ensemble
from medseg.inference.inputs import Format, cases_of, read_suffix
from medseg.inference.load import SavedRun, read_run
from medseg.inference.members import make_ensemble, require_alike


@dataclass(frozen=True)
class Prediction:
    """What a model found in an image, in the image's own grid.

    Args:
        labels: Label values of the data set (*spatial), in the smallest unsigned integer type that holds them.
        schema: What the label values mean.
        geometry: Grid of the image.
    """

    labels: np.ndarray
    schema: LabelSchema
    geometry: Geometry
    _model: Ensemble = field(repr=False, compare=False)
    _prepared: tuple[PreparedCase, ...] = field(repr=False, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes."""
        return self.schema.classes

    @property
    def values(self) -> dict[str, tuple[int, ...]]:
        """The label values of each class; classes may overlap."""
        return dict(zip(self.schema.classes, self.schema.members, strict=True))

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm, one a spatial axis."""
        return self.geometry.spacing

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel index -> RAS+ mm."""
        return self.geometry.affine

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Probabilities, float16 (C', *spatial): of the background and each class (softmax), or of each class (sigmoid).

        Computed at the first look, by predicting again. Post-processing of components leaves them alone.
        """
        maps = self._model.predict(self._prepared, probabilities=True).probabilities
        assert maps is not None, "they were asked for"
        return maps

    def mask(self, name: str) -> np.ndarray:
        """Boolean (*spatial): where a class is.

        Raises:
            DataError: For a name that is no class.
        """
        if name not in self.values:
            raise DataError(f"no class is called '{name}'; the classes are {', '.join(self.classes)}")
        return np.isin(self.labels, self.values[name])

    def save(self, path: Path | str) -> None:
        """Write the label map in the format of the path's suffix, with the grid of the image; it appears complete or not at all.

        Raises:
            DataError: For a format that would change the values, or a picture of a volume.
        """
        path = Path(path)
        read_suffix(suffix_of(path) or path.suffix, 2 if is_one_slice(self.geometry) else self.labels.ndim)
        write_label(path, self.labels, self.geometry)


class Model:
    """A trained run, or an ensemble of them, as a function of images. `medseg.load` makes it.

    Args:
        saved: The runs.
        ensemble: Their predictors.
    """

    def __init__(self, saved: Sequence[SavedRun], ensemble: Ensemble) -> None:
        self._saved, self._ensemble = tuple(saved), ensemble

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the foreground classes."""
        return self._ensemble.labels.classes

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the image channels, in order."""
        return self._saved[0].channels

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self._ensemble.spatial_dims

    def __call__(self, image: Path | str | np.ndarray, spacing: Sequence[float] | None = None, affine: Any = None) -> Prediction:
        """Segment one image.

        Args:
            image: Path of a file, or of a folder with the slices of one DICOM series (or any folder that holds just one image, such as the
                files `a_0000.nii.gz` and `a_0001.nii.gz` of two channels): read as `medseg predict` reads it. Or an array of raw
                intensities, (*spatial) or (C, *spatial): volumes along x, y, z as nibabel gives them, pictures as (rows, columns). 8-bit
                pictures as uint8. The axes of a volume are taken to point to right, anterior and superior (in this order), unless `affine`
                says otherwise; networks do tell them apart. ITK's and SimpleITK's arrays are (z, y, x), and count to left and posterior.
            spacing: Of an array: voxel size in mm, one number a spatial axis.
            affine: Of an array: (4, 4) voxel index -> RAS+ mm, in place of `spacing`. Of volumes, and of any array for a network with
                `data.spacing`, one of the two is needed.

        Raises:
            DataError: The image cannot be read, or has another number of axes or channels than the training data, NaN, or neither
                spacing nor affine though one is needed.
        """
        if isinstance(image, str | Path):
            if spacing is not None or affine is not None:
                raise DataError(f"{image}: a file knows its grid; give spacing and affine with arrays alone")
            return self._predict(self._case(Path(image)))
        return self._predict(self._array(np.asarray(image), spacing, affine))

    def _case(self, path: Path) -> Case:
        if not path.exists():
            raise DataError(f"{path}: does not exist; give an image, a folder of DICOM slices, or an array")
        section = self._saved[0].config.data.format
        layout: Format = FORMATS[section.name](**section.params)
        cases = cases_of(layout, path, len(self.channels))
        if len(cases) != 1:
            raise DataError(f"{path}: holds {len(cases)} images; give one of them, or use `medseg predict` for all")
        return InputCase.of(cases[0], self.channels, self.spatial_dims)

    def _array(self, image: np.ndarray, spacing: Sequence[float] | None, affine: Any) -> ArrayCase:
        dims, wanted = self.spatial_dims, len(self.channels)
        shape = " x ".join(map(str, image.shape))
        if image.ndim not in (dims, dims + 1) or image.dtype.kind not in "buif" or not image.size:
            raise DataError(f"an array {shape} of {image.dtype}: the network takes {dims}-D images; give numbers, {_layout(dims)}")
        channels = image[None] if image.ndim == dims else image
        if dims == 2 and len(channels) == 1 and wanted == 3:
            channels = np.repeat(channels, 3, axis=0)  # as grey pictures are read
        if len(channels) != wanted:
            last = image.ndim == dims + 1 and image.shape[-1] == wanted
            remedy = "np.moveaxis(image, -1, 0) brings channels to the front" if last else f"the channels are {', '.join(self.channels)}"
            raise DataError(f"an array {shape}: has {len(channels)} channels, the network was trained on {wanted}; {remedy}")
        return ArrayCase("array", (Path("array"),), None, "array", array=channels, geometry=self._grid(channels.shape[1:], spacing, affine))

    def _grid(self, shape: tuple[int, ...], spacing: Sequence[float] | None, affine: Any) -> Geometry:
        if spacing is not None and affine is not None:
            raise DataError("an affine holds the spacing; give one of spacing and affine")
        needed = len(shape) == 3 or any(one.preparer.spacing is not None for one in self._ensemble.members)
        if spacing is None and affine is None and needed:
            axes = "(x, y, z) in mm, of axes to right, anterior and superior," if len(shape) == 3 else "(row, column) in mm"
            raise DataError(
                f"an array knows no voxel size, which this network needs; give spacing={axes} or affine, voxel index -> RAS+ mm"
            )
        sizes = (1.0,) * len(shape) if spacing is None else tuple(float(size) for size in spacing)
        if len(sizes) != len(shape) or min(sizes) <= 0:
            raise DataError(f"spacing {list(sizes)}: give {len(shape)} positive numbers, one a spatial axis")
        try:
            return Geometry(shape, np.diag([*sizes, *(1.0,) * (4 - len(sizes))]) if affine is None else np.asarray(affine, np.float64))
        except ValueError as error:
            raise DataError(f"{error}; give a (4, 4) matrix, voxel index -> RAS+ mm") from error

    def _predict(self, case: Case) -> Prediction:
        prepared = self._ensemble.prepare(case, case.measured if isinstance(case, ArrayCase) else None)
        found = self._ensemble.predict(prepared)
        labels = self._ensemble.labels
        return Prediction(labels.decode(found.ids), labels, found.original, self._ensemble, prepared)


@dataclass(frozen=True)
class ArrayCase(Case):
    """An image in memory: no file is read."""

    array: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """(C, *spatial)."""
    geometry: Geometry | None = None

    def read_image(self) -> tuple[np.ndarray, Geometry]:
        """The array as float32, and its grid."""
        assert self.geometry is not None
        return np.ascontiguousarray(self.array, dtype=np.float32), self.geometry

    def measured(self, arrays: CaseArrays) -> CaseArrays:
        """Tell pictures of 8 bits a channel, which `Preparer` knows by their files, by the type of the array."""
        eight_bit = self.array.dtype == np.uint8 and self.array.ndim == 3
        return replace(arrays, intensities=replace(arrays.intensities, eight_bit=eight_bit, picture=eight_bit))


def load(
    run: Path | str | Sequence[Path | str],
    device: str = "auto",
    *,
    average: Average = "probabilities",
    **overrides: Any,
) -> Model:
    """Load a trained run as a function of images.

    Example:
        >>> import medseg
        >>> model = medseg.load("runs/organ/20260101-120000-ab12")
        >>> found = model("scan.nii.gz")  # or a folder of DICOM slices, or an array with its spacing in mm
        >>> found.labels.shape, found.classes, found.spacing
        ((24, 20, 12), ('liver', 'tumour'), (1.0, 1.0, 2.5))
        >>> volume = found.mask("tumour").sum() * np.prod(found.spacing) / 1000  # in mL
        >>> found.probabilities.shape  # of the background, liver and tumour
        (3, 24, 20, 12)
        >>> found.save("scan_labels.nii.gz")

    Args:
        run: A run folder (its best checkpoint is taken), a checkpoint file or a model package; or several of the same classes and channels,
            such as the folds of one experiment, whose predictions are averaged.
        device: `auto`, `cpu`, `gpu`, `mps`, or a torch device such as `cuda:1`.
        average: What several runs average: `probabilities` or `logits`. Their post-processing is applied where all have the same.
        overrides: `window`, `overlap`, `blending`, `batch_size` and `precision` in place of the config's, as in `load_predictor`.

    Raises:
        RunError: When a run cannot be loaded, or the runs do not fit together.
    """
    saved = [read_run(Path(one)) for one in ([run] if isinstance(run, str | Path) else run)]
    require_alike(saved, average)
    return Model(saved, make_ensemble(saved, device, average, **overrides))


def _layout(dims: int) -> str:
    return "(rows, columns) or (channels, rows, columns)" if dims == 2 else "(x, y, z) or (channels, x, y, z)"
