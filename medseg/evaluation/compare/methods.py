"""Runs that differ in nothing but chance are one method."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.config import to_dict
from medseg.errors import RunError
from medseg.evaluation.compare.naming import method_names
from medseg.evaluation.compare.runs import ScoredRun

NOT_THE_METHOD = (
    "name",
    "seed",
    "runs_dir",
    "data.fold",
    "data.split_file",
    "data.split_seed",
    "data.root",
    "data.store",
    "data.workers",
    "data.cache_gib",
    "data.augment_on",
    "trainer.devices",
    "trainer.nodes",
    "trainer.accelerator",
    "trainer.channels_last",
    "loss.share_every",
    "inference.batch_size",
    "evaluation.metrics",
    "evaluation.margin",
    "evaluation.probabilities",
    "evaluation.report",
)
"""Keys of a config that say which repetition a run is, on which machine it ran, or what was looked at."""


@dataclass(frozen=True)
class Method:
    """What is compared: a way to train, with the runs that repeated it."""

    name: str
    runs: tuple[ScoredRun, ...]
    """Sorted by seed."""


def group_runs(runs: Sequence[ScoredRun]) -> tuple[list[Method], str]:
    """Put runs with the same config, but for the keys of `NOT_THE_METHOD`, together, in the order in which methods first occur.

    A fine-tuned run is another method than one from scratch; a folder of `medseg evaluate` is a method of its own.

    Returns:
        The methods, and what they are in words: `losses` where nothing but the loss differs, else `methods`.

    Raises:
        RunError: When a folder is given twice, or two runs are the same training; or there are fewer than two methods.
    """
    folders = [run.path.resolve() for run in runs]
    twice = sorted({str(path) for path in folders if folders.count(path) > 1})
    if twice:
        raise RunError(f"{twice[0]}: given twice, which would count one training as two; give each run once")
    settings = [_settings(run) for run in runs]
    groups: dict[str, list[int]] = {}
    for at, setting in enumerate(settings):
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(at)
    if len(groups) < 2:
        name = runs[0].config.name if runs and runs[0].config else ""
        raise RunError(
            f"the runs are all of one method ({name}): they differ in seed, fold or machine alone; "
            "give runs of at least two, such as two losses or two networks"
        )
    for members in groups.values():
        _refuse_twins([runs[at] for at in members])
    firsts = [settings[members[0]] for members in groups.values()]
    differing = [
        key for key in dict.fromkeys(key for one in firsts for key in one) if len({json.dumps(one.get(key)) for one in firsts}) > 1
    ]
    members_of = [[runs[at] for at in members] for members in groups.values()]
    names = method_names(
        [[run.config.name for run in members if run.config] for members in members_of],
        firsts,
        [None if members[0].config else members[0].path.resolve() for members in members_of],
    )
    methods = [
        Method(name, tuple(sorted((runs[at] for at in members), key=lambda run: run.seed)))
        for name, members in zip(names, groups.values(), strict=True)
    ]
    return methods, "losses" if all(key.startswith("loss.") for key in differing) else "methods"


def _settings(run: ScoredRun) -> dict[str, Any]:
    """The flat keys that make the method."""
    if run.config is None:
        return {"folder": str(run.path.resolve())}
    flat = _flat(to_dict(run.config))
    settings = {key: value for key, value in flat.items() if key not in NOT_THE_METHOD}
    if (run.path / "transfer.csv").is_file():
        settings["finetuned"] = True
    return settings


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _refuse_twins(runs: Sequence[ScoredRun]) -> None:
    """Two runs of one method must differ in their seed or in the cases they were tested on."""
    seen: dict[tuple[int, tuple[str, ...]], ScoredRun] = {}
    for run in runs:
        other = seen.setdefault((run.seed, run.table.cases), run)
        if other is not run:
            raise RunError(
                f"{run.path}: the same training as {other.path} (same config, seed {run.seed}, same cases), "
                "which says nothing of the chance in training; leave one of them out, or train it with another seed"
            )
