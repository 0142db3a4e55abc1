"""Small evaluations to report: volumes or pictures, with everything that a report has to show."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from medseg.evaluation.folders import Settings, evaluate_folders
from medseg.metrics import MetricOptions

CLASSES = ("big <b>", 'small, "x"')
AFFINE = np.array([[-1.0, 0, 0, 12], [0, 1.0, 0, -10], [0, 0, 3.0, -18], [0, 0, 0, 1]])
"""LAS, slices of 3 mm along the last axis."""
SHAPE = (24, 20, 12)
CASES = ("perfect", "shifted", "speckled", "missed", "empty", "invented", "<odd> & name")


def maps(case: str, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction of a case."""
    at = CASES.index(case)
    reference = np.zeros(shape, np.uint8)
    reference[4 + at % 3 : 10 + at % 3, 5:11] = 1
    reference[15:17, 4 : 6 + at % 4] = 2
    reference[19, 14:16] = 2
    if len(shape) == 3:
        reference[..., :3] = reference[..., 9:] = 0
    prediction = reference.copy()
    if case == "shifted":
        prediction = np.roll(reference, 2, axis=0)
    elif case == "speckled":
        prediction[reference == 2] = 0
        prediction[15:17, 4:6] = 2
        prediction[1:3, 15:18] = 2
    elif case == "missed":
        prediction[:] = 0
    elif case == "empty":
        reference[:] = prediction[:] = 0
    elif case == "invented":
        reference[:] = 0
    return reference, prediction


def probabilities(prediction: np.ndarray) -> np.ndarray:
    """Of background and both classes: sure of the prediction, but not quite."""
    sure = np.stack([prediction == at for at in range(3)]).astype(np.float32)
    return np.asarray((0.8 * sure + 0.1) / 1.1, dtype=np.float16)


def make_evaluation(
    folder: Path, *, flat: bool = False, images: bool = True, scores: bool = True, options: MetricOptions | None = None
) -> Path:
    """Write images, references and predictions and evaluate them; returns the folder of the tables.

    Args:
        folder: Where to.
        flat: Pictures instead of volumes.
        images: Whether there are images.
        scores: Whether there are probabilities.
        options: The rules.
    """
    places = {name: folder / name for name in ("images", "labels", "predictions")}
    for place in places.values():
        place.mkdir(parents=True)
    names = {"background": 0, **{name: at + 1 for at, name in enumerate(CLASSES)}}
    (places["labels"] / "dataset.json").write_text(json.dumps({"labels": names}))
    rng = np.random.default_rng(0)
    for case in CASES:
        reference, prediction = maps(case, SHAPE[:2] if flat else SHAPE)
        image = rng.normal(100, 5, reference.shape) + 40 * reference
        _write(places["labels"] / case, reference, flat)
        _write(places["predictions"] / case, prediction, flat)
        if images:
            _write(places["images"] / f"{case}_0000", image.astype(np.uint8 if flat else np.int16), flat)
        if scores:
            found = {"classes": np.array(["background", *CLASSES]), "spacing": np.ones(reference.ndim), "affine": AFFINE}
            np.savez_compressed(places["predictions"] / f"{case}.probabilities.npz", probabilities=probabilities(prediction), **found)
    settings = Settings(out=folder / "scores", images=places["images"] if images else None, options=options or MetricOptions(), workers=1)
    evaluate_folders(places["predictions"], places["labels"], settings)
    return folder / "scores"


def _write(path: Path, array: np.ndarray, flat: bool) -> None:
    if flat:
        Image.fromarray(array).save(f"{path}.png")
    else:
        nibabel.save(nibabel.Nifti1Image(array, AFFINE), f"{path}.nii.gz")
