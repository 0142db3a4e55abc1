"""Which runs can predict together, and their ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medseg.errors import RunError
from medseg.inference.ensemble import Average, Ensemble
from medseg.inference.load import SavedRun, make_predictor
from medseg.inference.postprocessing import Postprocessing


def require_alike(saved: Sequence[SavedRun], average: Average) -> None:
    """Refuse runs that cannot be averaged.

    Raises:
        RunError: There is none, `average` is unknown, or they differ in classes, label values, channels, axes or activation.
    """
    if not saved:
        raise RunError("no run is given; give a run folder, a checkpoint or a model package")
    if average not in ("probabilities", "logits"):
        raise RunError(f"an ensemble averages 'probabilities' or 'logits', not '{average}'; choose one")
    first = saved[0]
    for other in saved[1:]:
        for what, ours, theirs in (
            ("classes", first.labels.classes, other.labels.classes),
            ("label values", first.labels, other.labels),
            ("image channels", first.channels, other.channels),
            ("spatial axes", first.spatial_dims, other.spatial_dims),
            ("loss.activation", first.config.loss.activation, other.config.loss.activation),
        ):
            if ours != theirs:
                raise RunError(
                    f"{other.path}: has the {what} {_shown(theirs)}, {first.path} has {_shown(ours)}; an ensemble needs runs of the same"
                )


def postprocessing_of(saved: Sequence[SavedRun]) -> Postprocessing | None:
    """What follows the averaging: the runs' post-processing where all have the same, else nothing."""
    first = saved[0].postprocessing
    same = all(_steps(one.postprocessing) == _steps(first) for one in saved)
    return first if same else None


def make_ensemble(saved: Sequence[SavedRun], device: str = "auto", average: Average = "probabilities", **overrides: Any) -> Ensemble:
    """Build the predictors of runs that were read and fit together; arguments as in `load_predictor`.

    Raises:
        RunError: When weights do not fit their network, or there is no such device.
    """
    return Ensemble([make_predictor(one, device, **overrides) for one in saved], average, postprocessing_of(saved))


def _steps(postprocessing: Postprocessing | None) -> dict[str, Any] | None:
    return None if postprocessing is None else postprocessing.to_dict()


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(str, value)) + ")"
    return str(value.members) if hasattr(value, "members") else str(value)
