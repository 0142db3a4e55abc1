from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medseg.data.case import Case, DataSet
from medseg.data.labels import LabelSchema
from medseg.data.planning.fingerprint import CaseFacts
from medseg.data.planning.snapshot import Snapshot
from tests.data.planning.facts import facts, fingerprint

LABELS = LabelSchema.exclusive({"background": 0, "lesion": 1})


def snapshot(cases: list[CaseFacts], held_out: tuple[str, ...] = ()) -> Snapshot:
    """A data set of these cases, and of some that nothing is learnt of."""
    names = [*(case.id for case in cases), *held_out]
    made = tuple(Case(name, (Path(f"{name}.nii.gz"),), None, name) for name in names)
    return Snapshot.of(DataSet("a set", Path(), made, ("FLAIR",), LABELS, 3, ".nii.gz"), fingerprint(cases))


BEFORE = [facts(number) for number in range(5)]


class TestSnapshot:
    def said(self, folder: Path, now: Snapshot, before: Snapshot) -> str | None:
        before.write(folder, "a set")
        return now.changes(folder, "a set", before.digest)

    def test_the_same_cases_have_not_changed(self, tmp_path: Path) -> None:
        moved = [replace(case, sources=("elsewhere",), std=(20.00001,)) for case in reversed(BEFORE)]
        assert self.said(tmp_path, snapshot(moved), snapshot(BEFORE)) is None

    def test_it_counts_what_was_added_removed_and_changed(self, tmp_path: Path) -> None:
        now = [facts(0, high=(300.0,)), *BEFORE[1:3], facts(7), facts(8), facts(9), facts(10)]
        assert self.said(tmp_path, snapshot(now), snapshot(BEFORE)) == (
            "4 cases added ('case_10', 'case_7', 'case_8', ...); 2 cases removed ('case_3', 'case_4'); 1 case changed ('case_0')"
        )

    def test_a_lesion_more_is_a_change(self, tmp_path: Path) -> None:
        now = [facts(0, lesions=(101,)), *BEFORE[1:]]
        assert self.said(tmp_path, snapshot(now), snapshot(BEFORE)) == "1 case changed ('case_0')"

    def test_cases_that_are_held_out_now_are_neither_added_nor_removed(self, tmp_path: Path) -> None:
        before, now = snapshot(BEFORE[:4], ("case_4",)), snapshot(BEFORE[1:], ("case_0",))
        assert self.said(tmp_path, now, before) == "other cases are held out for the test"

    def test_without_the_file_it_only_says_that_something_has(self, tmp_path: Path) -> None:
        before = snapshot(BEFORE)
        assert snapshot(BEFORE[1:]).changes(tmp_path, "a set", before.digest) == "they are no longer the same"
        before.write(tmp_path, "a set")
        next(tmp_path.glob("a-set-*")).write_text("{")
        assert snapshot(BEFORE[1:]).changes(tmp_path, "a set", before.digest) == "they are no longer the same"
