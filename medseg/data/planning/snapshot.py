"""The cases that a plan was made from, by which it is known later whether the data are still the same."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg.data.case import DataSet
from medseg.data.planning.fingerprint import CaseFacts, Fingerprint
from medseg.data.store.sources import digest_of_bytes
from medseg.files import write_text

NAMES_SHOWN = 3


@dataclass(frozen=True)
class Snapshot:
    """A data set in short.

    Args:
        ids: All its cases to train and validate on, those held out for the test included.
        looks: Id -> digest of what the case looks like, of those that the plan is made from.
    """

    ids: tuple[str, ...]
    looks: dict[str, str]

    @classmethod
    def of(cls, dataset: DataSet, fingerprint: Fingerprint) -> Snapshot:
        """The data set as it is now; where and when its files were written does not count."""
        return cls(tuple(sorted(case.id for case in dataset.cases)), {facts.id: _look(facts) for facts in fingerprint.cases})

    @property
    def digest(self) -> str:
        """By which the plan names it."""
        return digest_of_bytes(json.dumps([self.ids, sorted(self.looks.items())]).encode())[:16]

    def write(self, folder: Path, name: str) -> None:
        """Keeps it beside the prepared stores."""
        path = _path(folder, name, self.digest)
        if not path.exists():
            write_text(path, json.dumps({"ids": self.ids, "looks": self.looks}))

    def changes(self, folder: Path, name: str, digest: str) -> str | None:
        """Says in words what has changed since the snapshot called `digest`; None where nothing has.

        Args:
            folder: Where that was kept.
            name: Of the data set.
            digest: What the plan says.
        """
        if self.digest == digest:
            return None
        before = _read(_path(folder, name, digest))
        if before is None:
            return "they are no longer the same"
        known = before.looks.keys() & self.looks.keys()
        parts = [
            _counted([case for case in self.ids if case not in before.ids], "added"),
            _counted([case for case in before.ids if case not in self.ids], "removed"),
            _counted([case for case in self.ids if case in known and self.looks[case] != before.looks[case]], "changed"),
        ]
        return "; ".join(filter(None, parts)) or "other cases are held out for the test"


def _look(facts: CaseFacts) -> str:
    """Digest of a case's facts, numbers to four digits, which are the same on every machine."""
    plain = {key: _rounded(value) for key, value in asdict(facts).items() if key != "sources"}
    return digest_of_bytes(json.dumps(plain, sort_keys=True).encode())[:8]


def _rounded(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return f"{value:.4g}" if isinstance(value, float) else value


def _counted(cases: Sequence[str], what: str) -> str:
    if not cases:
        return ""
    names = ", ".join(f"'{case}'" for case in cases[:NAMES_SHOWN]) + (", ..." if len(cases) > NAMES_SHOWN else "")
    return f"{len(cases)} {'case' if len(cases) == 1 else 'cases'} {what} ({names})"


def _path(folder: Path, name: str, digest: str) -> Path:
    return folder / f"{re.sub(r'[^-_.A-Za-z0-9]+', '-', name)}-{digest}.snapshot.json"


def _read(path: Path) -> Snapshot | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Snapshot(tuple(data["ids"]), dict(data["looks"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
