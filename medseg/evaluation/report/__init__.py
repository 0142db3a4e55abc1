"""The report of an evaluation: one HTML file, offline, for a radiologist to understand and a reviewer to check."""

from __future__ import annotations

from medseg.evaluation.report.write import write_report

__all__ = ["write_report"]
