"""Errors a user can act on: shown as one message without a traceback."""

from __future__ import annotations

from collections.abc import Sequence

FAULTS_SHOWN = 5


class MedsegError(Exception):
    """Base of every error whose message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with `exit_code`.
    """

    exit_code = 1


class DataError(MedsegError):
    """A data set, image or label that cannot be used; the message names the file and the remedy."""


class RunError(MedsegError):
    """A run folder or checkpoint that cannot be used; the message names it and the remedy."""


def first_few(faults: Sequence[object]) -> str:
    """The first `FAULTS_SHOWN` faults, a line each, and how many there are more.

    >>> first_few(["a", "b", "c", "d", "e", "f", "g"]).splitlines()[-2:]
    ['  e', '  ... and 2 more']
    """
    shown = [f"  {fault}" for fault in faults[:FAULTS_SHOWN]]
    return "\n".join([*shown, *([f"  ... and {len(faults) - FAULTS_SHOWN} more"] if len(faults) > FAULTS_SHOWN else [])])
