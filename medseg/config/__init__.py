"""Config files: read, extended, overridden, checked as a whole, and turned into dataclasses. Imports no torch.

    config = load_config("focal_tversky", ["trainer.max_epochs=5", "loss.terms[0].weight=0.5"])

Everything that is wrong is reported at once, in one `ConfigError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.config.build import build, defaults
from medseg.config.check import check
from medseg.config.errors import ConfigError, Problem
from medseg.config.find import find_config, shipped_configs
from medseg.config.load import load_file
from medseg.config.read import write_text
from medseg.config.resolve import raise_problems, resolve
from medseg.config.schema import Component, Config, EvaluationConfig, LossConfig, NetworkConfig, TermConfig, WeightSchedule
from medseg.config.sweep import Sweep, SweepPoint, load_sweep
from medseg.config.tree import COMMAND_LINE, Node, merge, plain, wrap

__all__ = [
    "Component",
    "Config",
    "ConfigError",
    "EvaluationConfig",
    "LossConfig",
    "NetworkConfig",
    "Problem",
    "Sweep",
    "SweepPoint",
    "TermConfig",
    "WeightSchedule",
    "find_config",
    "from_dict",
    "load_config",
    "load_dict",
    "load_evaluation",
    "load_fragment",
    "load_sweep",
    "shipped_configs",
    "to_dict",
    "to_yaml",
]


def load_config(config: str, overrides: Sequence[str] = ()) -> Config:
    """The config of a run.

    Args:
        config: A bare name, a file name or a path: see `find_config`.
        overrides: `key=value` pairs that win over the files.

    Raises:
        ConfigError: With everything that is wrong.
    """
    return build(Config, _load(config, overrides))


def load_dict(config: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """`load_config` as a plain dict, complete with defaults."""
    return to_dict(load_config(config, overrides))


@dataclasses.dataclass
class _EvaluationAlone:
    """A config of which only one section counts."""

    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)


def load_evaluation(overrides: Sequence[str] = ()) -> EvaluationConfig:
    """The rules of an evaluation that belongs to no run: the defaults, and `evaluation.key=value` pairs.

    Raises:
        ConfigError: With everything that is wrong.
    """
    root = resolve(Node({}, COMMAND_LINE), overrides, schema=_EvaluationAlone)
    return build(_EvaluationAlone, plain(root)).evaluation


def load_fragment(config: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A preset or base file that is no whole run: what it and its parents say, checked, with neither defaults nor required keys."""
    return _load(config, overrides, partial=True)


def from_dict(values: Mapping[str, Any], source: str = "config") -> Config:
    """The config of a plain dict, such as a checkpoint's, checked again.

    Args:
        values: As `to_dict` makes it; what is missing takes its default.
        source: What messages call it.

    Raises:
        ConfigError: With everything that is wrong.
    """
    root = merge(defaults(Config), wrap(values, source))
    raise_problems(check(root))
    return build(Config, plain(root))


def to_dict(config: Config) -> dict[str, Any]:
    """A plain dict of dicts, lists, text, numbers, bools and None: fit for YAML, JSON and `torch.load(weights_only=True)`.

    Raises:
        ConfigError: The config was made by hand and is not valid.
    """
    root = wrap(dataclasses.asdict(config), "config")
    raise_problems(check(root))
    values: dict[str, Any] = plain(root)
    return values


def to_yaml(config: Config) -> str:
    """The config as YAML text that `load_config` reads back to the same."""
    return write_text(to_dict(config))


def _load(config: str, overrides: Sequence[str], partial: bool = False) -> dict[str, Any]:
    problems: list[Problem] = []
    root = load_file(find_config(config), problems)
    values: dict[str, Any] = plain(resolve(root, overrides, problems, partial=partial))
    return values
