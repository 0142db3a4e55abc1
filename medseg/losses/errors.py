"""What can be wrong with a loss: its settings, or what it is given."""

from __future__ import annotations

from medseg.config.errors import ConfigError
from medseg.errors import DataError


class LossConfigError(ConfigError, ValueError):
    """Settings of a loss that are unknown, out of range or contradict each other; one line for each."""


class LossInputError(DataError, ValueError):
    """Logits, target or weight map that a loss cannot use; the message says what was expected."""
