"""From the tree that the files say to the tree of a whole, checked config."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.config.build import defaults
from medseg.config.check import check
from medseg.config.errors import ConfigError, Problem
from medseg.config.load import interpolate
from medseg.config.overrides import apply_overrides
from medseg.config.schema import Config
from medseg.config.tree import COMMAND_LINE, Node, merge


def resolve(
    root: Node,
    overrides: Sequence[str],
    problems: Sequence[Problem] = (),
    schema: type = Config,
    partial: bool = False,
    source: str = COMMAND_LINE,
) -> Node:
    """Lay defaults below and overrides above a config, replace its references and check it.

    Args:
        root: The config as its files say it.
        overrides: `key=value` pairs.
        problems: What was found while reading the files.
        schema: The dataclass that describes it.
        partial: Whether it is a fragment, which gets no defaults and may miss required keys.
        source: Who gave the overrides.

    Raises:
        ConfigError: With everything that is wrong, `problems` included.
    """
    told = list(problems)
    unreadable = bool(told)  # then keys may be missing only because a file could not be read
    if not partial:
        root = Node(merge(defaults(schema), root).value, root.origin)
    root = apply_overrides(root, overrides, told, source)
    root = interpolate(root, told)
    places = {(problem.source, problem.key) for problem in told}
    told += [problem for problem in check(root, schema, partial or unreadable) if (problem.source, problem.key) not in places]
    raise_problems(told)
    return root


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise a ConfigError of the problems, each once, sorted by place, if there are any."""
    if problems:
        raise ConfigError(sorted(dict.fromkeys(problems), key=_place))


def _place(problem: Problem) -> tuple[bool, str, int]:
    """Files by name and line, then the command line."""
    file, _, line = problem.source.rpartition(":")
    file, number = (file, int(line)) if line.isdigit() else (problem.source, 0)
    return problem.source == COMMAND_LINE, file, number
