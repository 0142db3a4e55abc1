from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from medseg.errors import DataError, MedsegError, RunError
from medseg.evaluation.compare import compare
from medseg.metrics import MetricOptions, Row

from .conftest import MakeRun

FOCAL = ("loss.terms=[{name: focal}]",)


def cases(start: int, stop: int) -> tuple[str, ...]:
    return tuple(f"case{at:02d}" for at in range(start, stop))


class TestRefusals:
    """Each names the run, what differs and the way out."""

    def test_a_run_that_is_not_finished(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("b", overrides=FOCAL)]
        (runs[1] / "evaluation" / "summary.json").unlink()
        with pytest.raises(RunError, match=rf"{runs[1]}: the run is not finished.*medseg resume"):
            compare(runs)

    def test_a_folder_that_is_no_run(self, make_run: MakeRun, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(RunError, match="neither a run folder"):
            compare([make_run("a"), tmp_path / "empty"])
        with pytest.raises(RunError, match="no such folder"):
            compare([make_run("a"), tmp_path / "nowhere"])

    def test_one_run(self, make_run: MakeRun) -> None:
        with pytest.raises(RunError, match="at least two"):
            compare([make_run("a")])

    def test_a_damaged_table(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("b", overrides=FOCAL)]
        (runs[1] / "evaluation" / "cases.csv").write_text("case_id,group\na,b\n")
        with pytest.raises(DataError, match=r"cases\.csv"):
            compare(runs)

    def test_other_cases(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("b", overrides=FOCAL, cases=cases(0, 39))]
        with pytest.raises(RunError, match=rf"{runs[1]}: 'b' was tested on other cases.*1 case\(s\) \(case39\) that 'b' lacks.*same cases"):
            compare(runs)

    def test_seeds_that_overlap_in_part(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("a", 1, cases=cases(1, 41)), make_run("b", overrides=FOCAL)]
        with pytest.raises(RunError, match=r"not on the same \(case00, case40 in one of them alone\)"):
            compare(runs)

    def test_folds_that_were_repeated_unevenly(self, make_run: MakeRun) -> None:
        runs = [make_run("a", 0, cases=cases(0, 20)), make_run("a", 1, cases=cases(0, 20)), make_run("a", 0, cases=cases(20, 40))]
        with pytest.raises(RunError, match="same seeds"):
            compare([*runs, make_run("b", overrides=FOCAL)])

    def test_other_folds(self, make_run: MakeRun) -> None:
        runs = [make_run("a", cases=cases(0, 20)), make_run("a", cases=cases(20, 40)), make_run("b", overrides=FOCAL)]
        with pytest.raises(RunError, match=r"'b' was tested in 1 fold\(s\), 'a' .* in 2"):
            compare(runs)

    def test_a_patient_in_two_folds(self, make_run: MakeRun) -> None:
        folds = (cases(0, 19), cases(19, 40))
        runs = [make_run(name, cases=part, per_patient=2, overrides=more) for name, more in (("a", ()), ("b", FOCAL)) for part in folds]
        with pytest.raises(DataError, match="patient09 of case case19 lies in two folds"):
            compare(runs)

    @pytest.mark.parametrize(("key", "value"), [("penalty", 374.0), ("both_empty", "best"), ("lesion_iou", 0.5), ("tolerances", (2.0,))])
    def test_other_rules(self, make_run: MakeRun, key: str, value: object) -> None:
        runs = [make_run("a"), make_run("b", overrides=FOCAL, options=MetricOptions(**{key: value}))]  # type: ignore[arg-type]
        with pytest.raises(RunError, match=rf"{runs[1]}: scored with {key} = .*medseg evaluate"):
            compare(runs)

    def test_other_choices_of_metrics_are_fine(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("b", overrides=FOCAL, options=MetricOptions(metrics=("dice", "hd95")))]
        assert compare(runs).primary == "dice"

    def test_other_classes(self, make_run: MakeRun) -> None:
        with pytest.raises(DataError, match="scored the classes lesion, but"):
            compare([make_run("a"), make_run("b", overrides=FOCAL, classes=("lesion",))])

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"ref_voxels": 7}, "has 7 voxels of 2 mm"),
            ({"spacing": (1.0, 1.0, 1.0)}, "of 1 mm"),
            ({"group": "someone"}, "belongs to patient someone"),
        ],
    )
    def test_other_references(self, make_run: MakeRun, change: dict[str, object], said: str) -> None:
        def changed(rows: list[Row]) -> list[Row]:
            return [replace(row, **change) if row.case_id == "case03" else row for row in rows]  # type: ignore[arg-type]

        with pytest.raises(DataError, match=said):
            compare([make_run("a"), make_run("b", overrides=FOCAL, change=changed)])


class TestMetric:
    def test_the_declared_one_is_tested(self, make_run: MakeRun) -> None:
        runs = [make_run("a", primary="hd95"), make_run("b", overrides=FOCAL, primary="hd95")]
        comparison = compare(runs)
        assert (comparison.primary, comparison.declared) == ("hd95", True)

    def test_two_declared_ones_need_a_choice(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("b", overrides=FOCAL, primary="hd95")]
        with pytest.raises(RunError, match=r"different primary metrics: .*--metric"):
            compare(runs)
        comparison = compare(runs, metric="dice")
        assert (comparison.primary, comparison.declared) == ("dice", False)

    def test_an_unknown_one_is_refused(self, two_losses: list[Path]) -> None:
        with pytest.raises(RunError, match="has no metric 'nsd_9mm' \\(it has dice, hd95\\)"):
            compare(two_losses, metric="nsd_9mm")

    def test_a_signed_one_has_no_better_end(self, make_run: MakeRun) -> None:
        def signed(rows: list[Row]) -> list[Row]:
            return [replace(row, metric="volume_difference_ml") if row.metric == "hd95" else row for row in rows]

        runs = [make_run("a", change=signed), make_run("b", overrides=FOCAL, change=signed)]
        with pytest.raises(RunError, match="signed"):
            compare(runs, metric="volume_difference_ml")
        assert "volume_difference_ml" in compare(runs).metrics

    def test_infinite_penalties_cannot_be_tested(self, make_run: MakeRun) -> None:
        def infinite(rows: list[Row]) -> list[Row]:
            return [replace(row, value=float("inf")) if row.metric == "hd95" and row.case_id == "case01" else row for row in rows]

        runs = [make_run("a", change=infinite), make_run("b", overrides=FOCAL)]
        with pytest.raises(RunError, match="penalty=diagonal"):
            compare(runs, metric="hd95")
        assert compare(runs).mean(0, "hd95").interval.estimate == float("inf")


class TestMargin:
    def test_the_declared_one_belongs_to_the_primary_metric(self, two_losses: list[Path]) -> None:
        assert compare(two_losses).margin == 0.01
        assert compare(two_losses, metric="hd95").margin is None
        assert compare(two_losses, metric="hd95", margin=0.5).margin == 0.5

    def test_two_declared_ones_need_a_choice(self, make_run: MakeRun) -> None:
        runs = [make_run("a"), make_run("b", overrides=(*FOCAL, "evaluation.margin=0.02"))]
        with pytest.raises(RunError, match="--margin"):
            compare(runs)
        assert compare(runs, margin=0.03).margin == 0.03

    def test_it_is_above_zero(self, two_losses: list[Path]) -> None:
        with pytest.raises(RunError, match="above 0"):
            compare(two_losses, margin=0.0)


class TestBaseline:
    def test_it_is_the_first_or_the_one_named(self, two_losses: list[Path]) -> None:
        assert compare(two_losses).baseline == 0
        assert compare(two_losses, baseline="focal").baseline == 1
        with pytest.raises(RunError, match="bce_dice, focal"):
            compare(two_losses, baseline="dice")


class TestNothingIsWritten:
    def test_when_the_runs_are_refused(self, make_run: MakeRun, tmp_path: Path) -> None:
        from medseg.evaluation.compare import compare_runs

        runs = [make_run("a"), make_run("b", overrides=FOCAL, cases=cases(0, 9))]
        with pytest.raises(MedsegError):
            compare_runs(runs, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        shutil.rmtree(runs[0])
