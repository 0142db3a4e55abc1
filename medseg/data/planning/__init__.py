"""From a look at every training case to a config that says why it is so."""

from __future__ import annotations

from medseg.data.planning.fingerprint import CaseFacts, Fingerprint, take_fingerprint
from medseg.data.planning.given import Decision, Given
from medseg.data.planning.plan import Plan, make_plan
from medseg.data.planning.report import write_report
from medseg.data.planning.write import write_plan

__all__ = [
    "CaseFacts",
    "Decision",
    "Fingerprint",
    "Given",
    "Plan",
    "make_plan",
    "take_fingerprint",
    "write_plan",
    "write_report",
]
