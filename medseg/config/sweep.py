"""A sweep: one experiment trained with several losses and several seeds.

name: small_lesion
experiment: small_lesion                     # the config that the points share
losses: [loss/bce_dice, loss/focal_tversky]  # each puts its `loss:` section in place of the experiment's
seeds: [0, 1, 2]
settings: {trainer: {max_epochs: 10}}        # laid over the experiment
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.config.build import build
from medseg.config.errors import ConfigError, Problem
from medseg.config.find import find_config, find_in, nearest_config, shipped_configs
from medseg.config.load import load_file
from medseg.config.resolve import raise_problems, resolve
from medseg.config.schema import Config
from medseg.config.tree import Node, merge, wrap


@dataclass
class SweepConfig:
    """The schema of a sweep file."""

    name: str
    """Name of the sweep and of its folder."""
    experiment: str
    """The config of every point, as `medseg train` takes it."""
    losses: list[str]
    """Files with a `loss:` section: presets, or whole configs of which only that section counts."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Each loss is trained once with each."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Any section of a config, laid over the experiment."""


@dataclass(frozen=True)
class SweepPoint:
    """One run of a sweep."""

    loss: str
    """Name of the loss: its file's, without folder and suffix."""
    seed: int
    config: Config


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep, the seeds of a loss together."""

    name: str
    points: tuple[SweepPoint, ...]


def load_sweep(sweep: str, overrides: Sequence[str] = ()) -> Sweep:
    """Read a sweep file and check every point of it, before anything is trained.

    Args:
        sweep: A bare name, a file name or a path, as for `load_config`; it is first looked for in a folder `sweeps` of the configs.
        overrides: `key=value` pairs on the sweep file: `seeds=[0]`, `settings.trainer.max_epochs=2`.

    Raises:
        ConfigError: With everything that is wrong with the sweep or with any of its points.
    """
    path = find_in(sweep, [Path("configs/sweeps"), shipped_configs() / "sweeps"]) or find_config(sweep)
    problems: list[Problem] = []
    root = load_file(path, problems)
    plan = build(SweepConfig, resolve(root, overrides, problems, SweepConfig))
    places = _Places(root, path)
    raise_problems(_faults(plan, places))
    return Sweep(plan.name, _points(plan, places))


@dataclass(frozen=True)
class _Places:
    """Where the sweep's keys stand, for messages, and its file."""

    root: Node
    path: Path

    def problem(self, key: str, message: str, suggestion: str | None = None) -> Problem:
        node = self.root.value.get(key.partition("[")[0], self.root)
        return Problem(node.origin, key, message, suggestion)

    def layer(self, key: str, config: str, problems: list[Problem]) -> Node:
        """The file that a key of the sweep names; found as by `find_config`, then beside the sweep file."""
        found = find_in(config, [Path(), Path("configs"), shipped_configs(), self.path.parent])
        if found is None:
            problems.append(self.problem(key, f"no such config: {config}", nearest_config(config, Path())))
            return Node({}, config)
        return load_file(found, problems)


def _faults(plan: SweepConfig, places: _Places) -> list[Problem]:
    names = [Path(loss).stem for loss in plan.losses]
    faults = []
    for key, values in (("losses", names), ("seeds", plan.seeds)):
        if not values:
            faults.append(places.problem(key, "needs at least one item"))
        twice = sorted({str(value) for value in values if list(values).count(value) > 1})
        if twice:
            faults.append(places.problem(key, f"names {', '.join(twice)} twice", "each point is one run"))
    return faults


def _points(plan: SweepConfig, places: _Places) -> tuple[SweepPoint, ...]:
    problems: list[Problem] = []
    experiment = places.layer("experiment", plan.experiment, problems)
    losses = [places.layer(f"losses[{index}]", loss, problems) for index, loss in enumerate(plan.losses)]
    for index, loss in enumerate(losses):
        if "loss" not in loss.value and not problems:
            problems.append(places.problem(f"losses[{index}]", f"{plan.losses[index]} has no section `loss`"))
    raise_problems(problems)
    settings = places.root.value.get("settings", Node({}, ""))
    points = []
    for name, loss in zip(plan.losses, losses, strict=True):
        for seed in plan.seeds:
            above = [Node({"loss": loss.value["loss"]}, loss.origin), settings, wrap({"seed": seed}, places.root.origin)]
            root = experiment
            for layer in above:
                root = Node(merge(root, layer).value, experiment.origin)
            try:
                points.append(SweepPoint(Path(name).stem, seed, build(Config, resolve(root, ()))))
            except ConfigError as error:
                problems += error.problems
    raise_problems(problems)
    return tuple(points)
