"""Errors a user can act on: shown as one message without a traceback."""


class MedsegError(Exception):
    """Base of every error whose message says what is wrong, where, and what to do.

    The command line prints the message alone and exits with `exit_code`.
    """

    exit_code = 1


class DataError(MedsegError):
    """A data set, image or label that cannot be used; the message names the file and the remedy."""


class RunError(MedsegError):
    """A run folder or checkpoint that cannot be used; the message names it and the remedy."""
