"""Small finished runs, written as a training leaves them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.config import load_config, to_yaml
from medseg.evaluation import write_scores
from medseg.metrics import LesionRow, MetricOptions, Row

MakeRun = Callable[..., Path]


@functools.cache
def config_text(overrides: tuple[str, ...]) -> str:
    return to_yaml(load_config("bce_dice", overrides))


def rows_of(
    scores: np.ndarray,
    cases: Sequence[str],
    groups: Sequence[str],
    classes: Sequence[str],
    metric: str,
    ref_empty: set[str],
    pred_empty: set[str],
) -> list[Row]:
    """Rows of scores (cases, classes); in cases of `ref_empty` and `pred_empty` the first class is empty."""
    rows = []
    for at, case in enumerate(cases):
        for k, name in enumerate(classes):
            empty = (case in ref_empty and k == 0, case in pred_empty and k == 0)
            voxels = 0 if empty[0] else 100 + int(case[4:]) + k
            rows.append(
                Row(
                    case_id=case,
                    group=groups[at],
                    class_name=name,
                    metric=metric,
                    value=float(scores[at, k]),
                    penalised=metric.startswith("hd") and empty[0] != empty[1],
                    ref_empty=empty[0],
                    pred_empty=empty[1],
                    ref_voxels=voxels,
                    pred_voxels=0 if empty[1] else 90,
                    ref_ml=voxels / 1000,
                    pred_ml=0.09,
                    ref_lesions=1,
                    pred_lesions=1,
                    spacing=(1.0, 1.0, 2.0),
                )
            )
    return rows


def lesion_rows(cases: Sequence[str], name: str, rate: float, generator: np.random.Generator) -> list[LesionRow]:
    rows = []
    for at, case in enumerate(cases):
        for lesion in range(3):
            size = 10.0 * (1 + at) * 2.0**lesion
            found = bool(generator.random() < rate)
            rows.append(LesionRow(case, case, name, "reference", lesion, int(size), size, True, found, 0.5 * found))
        rows.append(LesionRow(case, case, name, "prediction", 0, 5, 5.0, True, False, 0.0))
    return rows


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a finished run whose Dice is `level` + case + noise, and HD95 alike; keywords change one thing each."""

    def make(
        name: str,
        seed: int = 0,
        *,
        level: float = 0.8,
        noise: float = 0.01,
        run_sd: float = 0.002,
        cases: Sequence[str] = tuple(f"case{at:02d}" for at in range(40)),
        per_patient: int = 1,
        classes: Sequence[str] = ("lesion", "organ"),
        overrides: Sequence[str] = (),
        options: MetricOptions = MetricOptions(),  # noqa: B008
        ref_empty: Sequence[str] = (),
        pred_empty: Sequence[str] = (),
        undefined: Sequence[str] = (),
        change: Callable[[list[Row]], list[Row]] = lambda rows: rows,
        config: bool = True,
        **about: Any,
    ) -> Path:
        folder = tmp_path / f"{name}-{seed}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        numbers = [int(case[4:]) for case in cases]
        groups = [f"patient{number // per_patient:02d}" for number in numbers]
        hardness = np.random.default_rng(99).normal(0, 0.05, (200, len(classes)))[numbers]
        generator = np.random.default_rng([seed, *name.encode()])
        scores = level + hardness + generator.normal(0, run_sd) + generator.normal(0, noise, hardness.shape)
        both = set(ref_empty) & set(pred_empty)
        one = set(ref_empty) ^ set(pred_empty)
        for at, case in enumerate(cases):
            if case in both or case in undefined:
                scores[at, 0] = np.nan
            elif case in one:
                scores[at, 0] = 0.0
        distances = 10 * (1 - scores)
        rows = rows_of(scores, cases, groups, classes, "dice", set(ref_empty), set(pred_empty))
        rows += rows_of(distances, cases, groups, classes, "hd95", set(ref_empty), set(pred_empty))
        lesions = lesion_rows(cases, classes[0], level, generator)
        if config:
            (folder / "config.yaml").write_text(config_text((f"name={name}", f"seed={seed}", *overrides)))
        where = folder / "evaluation" if config else folder
        write_scores(where, change(rows), lesions, options=options, **({"primary": "dice"} | about))
        return folder

    return make


@pytest.fixture
def two_losses(make_run: MakeRun) -> list[Path]:
    """Three seeds of each of two losses, the second clearly better."""
    return [
        *(make_run("bce_dice", seed) for seed in range(3)),
        *(make_run("focal", seed, level=0.84, overrides=("loss.terms=[{name: focal}]",)) for seed in range(3)),
    ]
