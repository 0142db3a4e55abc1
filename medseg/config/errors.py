"""What can be wrong with a config, and the error that reports all of it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medseg.errors import MedsegError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a config.

    Args:
        source: Who said it: `configs/x.yaml:12` or `command line`.
        key: The key's whole path, as in `loss.terms[0].params.alhpa`; empty when the file itself is meant.
        message: What is wrong.
        suggestion: What was probably meant, or what to do.
    """

    source: str
    key: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        place = f"{self.source}: {self.key}: " if self.key else f"{self.source}: "
        return place + self.message + (f"; {self.suggestion}" if self.suggestion else "")


class ConfigError(MedsegError):
    """Every problem of a config; the message has one line for each."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


def config_error(key: str, message: str, suggestion: str | None = None) -> ConfigError:
    """The error for one setting that shows to be wrong only when something is built from the config."""
    return ConfigError([Problem("config", key, message, suggestion)])


def closest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that `word` was probably meant to be, or None when nothing is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    started = [choice for choice in by_lower if len(word) > 2 and choice.startswith(word.lower())]
    near = difflib.get_close_matches(word.lower(), by_lower, n=1) or (started if len(started) == 1 else [])
    return by_lower[near[0]] if near else None


def did_you_mean(word: str, choices: Iterable[str], prefix: str = "") -> str | None:
    """The suggestion `did you mean ...?`, with `prefix` before the choice, or None when nothing is near."""
    near = closest(word, choices)
    return f"did you mean {prefix}{near}?" if near else None
