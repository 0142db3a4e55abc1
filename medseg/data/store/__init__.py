"""Prepared cases on disk: read, turned and resampled once, compressed, with their lesions indexed, and mapped into memory from then on."""

from __future__ import annotations

from medseg.data.store.cases import StoredCases
from medseg.data.store.index import CaseIndex, Lesions, build_index
from medseg.data.store.prepared import PreparedStore

__all__ = ["CaseIndex", "Lesions", "PreparedStore", "StoredCases", "build_index"]
