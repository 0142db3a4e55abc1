"""A sweep: one experiment trained with several losses and several seeds.

name: small_lesion
base: _base/small_lesion.yaml         # what the points share
losses: [bce_dice, focal_tversky]     # presets of `loss/`, or any file with a `loss:` section
seeds: [0, 1, 2]
overrides: [trainer.max_epochs=10]    # for every point
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.config.build import build
from medseg.config.errors import ConfigError, Problem
from medseg.config.find import find_config, find_in, nearest_config, shipped_configs
from medseg.config.load import load_file
from medseg.config.resolve import raise_problems, resolve
from medseg.config.schema import Config
from medseg.config.tree import Node, merge, plain, wrap


@dataclass
class SweepConfig:
    """The schema of a sweep file."""

    name: str
    """Name of the sweep and of its folder."""
    base: str
    """The config that the points share, whole or without name and loss."""
    losses: list[str]
    """Presets by name, or files of which only the `loss:` section counts; each is laid over the base."""
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    """Each loss is trained once with each."""
    overrides: list[str] = field(default_factory=list)
    """`key=value` pairs for every point."""


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
        sweep: A bare name, a file name or a path, as for `load_config`; it is first looked for in the folders `sweeps` of the configs.
        overrides: `key=value` pairs on the sweep file: `seeds=[0]`, `overrides=[trainer.max_epochs=2]`.

    Raises:
        ConfigError: With everything that is wrong with the sweep, or else with any of its points.
    """
    path = find_in(sweep, [Path("configs/sweeps"), shipped_configs() / "sweeps"]) or find_config(sweep)
    problems: list[Problem] = []
    root = resolve(load_file(path, problems), overrides, problems, SweepConfig)
    plan = build(SweepConfig, plain(root))
    raise_problems(_faults(plan, root))
    return Sweep(plan.name, _points(plan, root, path.parent))


def _problem(root: Node, key: str, message: str, suggestion: str | None = None) -> Problem:
    """A problem of a key of the sweep file, such as `losses[1]`."""
    return Problem(root.value[key.partition("[")[0]].origin, key, message, suggestion)


def _faults(plan: SweepConfig, root: Node) -> list[Problem]:
    faults = []
    names = [Path(loss).stem for loss in plan.losses]
    for key, values in (("losses", names), ("seeds", list(map(str, plan.seeds)))):
        if not values:
            faults.append(_problem(root, key, "needs at least one item"))
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            faults.append(_problem(root, key, f"names {', '.join(twice)} twice", "each point is one run"))
    return faults


def _points(plan: SweepConfig, root: Node, folder: Path) -> tuple[SweepPoint, ...]:
    problems: list[Problem] = []
    base = _file(plan.base, "base", root, folder, problems)
    losses = [_loss(name, f"losses[{index}]", root, folder, problems) for index, name in enumerate(plan.losses)]
    raise_problems(problems)
    points = []
    for name, loss in zip((Path(loss).stem for loss in plan.losses), losses, strict=True):
        for seed in plan.seeds:
            chosen = Node({"name": wrap(name, root.value["losses"].origin), "seed": wrap(seed, root.value["seeds"].origin)}, root.origin)
            layers = functools.reduce(merge, (base, loss, chosen))
            try:
                config = resolve(Node(layers.value, base.origin), plan.overrides, source=root.value["overrides"].origin)
                points.append(SweepPoint(name, seed, build(Config, plain(config))))
            except ConfigError as error:
                problems += error.problems
    raise_problems(problems)
    return tuple(points)


def _file(config: str, key: str, root: Node, folder: Path, problems: list[Problem], within: str = ".") -> Node:
    """The file that a key of the sweep names: found as by `find_config`, also in the folder `within` the configs, or beside the sweep."""
    places = [Path(), Path("configs"), shipped_configs()]
    found = find_in(config, [*places[:1], *(place / within for place in places[1:]), *places[1:], folder])
    if found is not None:
        return load_file(found, problems)
    problems.append(_problem(root, key, f"no such config: {config}", nearest_config(config, Path())))
    return Node({}, config)


def _loss(config: str, key: str, root: Node, folder: Path, problems: list[Problem]) -> Node:
    """The `loss:` section of a preset or of a whole config."""
    before = len(problems)
    node = _file(config, key, root, folder, problems, within="loss")
    if "loss" not in node.value:
        if len(problems) == before:
            problems.append(_problem(root, key, f"{config} has no section `loss`"))
        return node
    return Node({"loss": node.value["loss"]}, node.origin)
