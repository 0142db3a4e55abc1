from __future__ import annotations

from pathlib import Path

import pytest

from medseg.errors import RunError
from medseg.evaluation.compare.methods import NOT_THE_METHOD, group_runs
from medseg.evaluation.compare.naming import LONGEST, method_names
from medseg.evaluation.compare.runs import ScoredRun

from .conftest import MakeRun

FOCAL = "loss.terms=[{name: focal}]"


def grouped(*folders: Path) -> tuple[list[tuple[str, list[int]]], str]:
    methods, what = group_runs([ScoredRun.read(folder) for folder in folders])
    return [(method.name, [run.seed for run in method.runs]) for method in methods], what


class TestGroups:
    def test_seeds_are_one_method(self, two_losses: list[Path]) -> None:
        assert grouped(*reversed(two_losses)) == ([("focal", [0, 1, 2]), ("bce_dice", [0, 1, 2])], "losses")

    @pytest.mark.parametrize(
        "override",
        ["data.fold=1", "data.workers=3", "data.root=/elsewhere", "trainer.accelerator=cpu", "runs_dir=other", "evaluation.margin=0.02"],
    )
    def test_folds_and_machines_are_no_method(self, make_run: MakeRun, override: str) -> None:
        runs = [make_run("a"), make_run("a", 1, overrides=(override,)), make_run("b", overrides=(FOCAL,))]
        assert grouped(*runs)[0] == [("a", [0, 1]), ("b", [0])]

    def test_every_key_that_is_left_out_exists(self, make_run: MakeRun) -> None:
        config = ScoredRun.read(make_run("a")).config
        for key in NOT_THE_METHOD:
            value = config
            for part in key.split("."):
                assert hasattr(value, part), key
                value = getattr(value, part)

    def test_another_network_is_another_method(self, make_run: MakeRun) -> None:
        groups, what = grouped(make_run("a"), make_run("b", overrides=("network.params.residual_units=2",)))
        assert [name for name, _ in groups] == ["a", "b"]
        assert what == "methods"

    def test_a_fine_tuned_run_is_another_method(self, make_run: MakeRun) -> None:
        scratch, tuned = make_run("a"), make_run("a", 1)
        (tuned / "transfer.csv").write_text("tensor\n")
        assert [name for name, _ in grouped(scratch, tuned)[0]] == ["a", "a, finetuned"]

    def test_an_evaluated_folder_is_a_method_of_its_own(self, make_run: MakeRun) -> None:
        other = make_run("nnunet", config=False)
        assert grouped(make_run("a"), other)[0] == [("a", [0]), (other.name, [0])]


class TestNames:
    def test_the_same_name_gives_way_to_what_differs(self, make_run: MakeRun) -> None:
        runs = [make_run("same"), make_run("same", overrides=("optimizer.params.lr=0.5",)), make_run("same", overrides=(FOCAL,))]
        names = [name for name, _ in grouped(*runs)[0]]
        assert "bce+dice, lr=0.003" in names[0]
        assert "lr=0.5" in names[1]
        assert names[2].startswith("focal")

    def test_a_shared_name_stays_where_others_have_their_own(self, make_run: MakeRun) -> None:
        runs = [make_run("unet"), make_run("unet", overrides=("optimizer.params.lr=0.5",)), make_run("focal", overrides=(FOCAL,))]
        assert [name for name, _ in grouped(*runs)[0]] == ["unet, lr=0.003", "unet, lr=0.5", "focal"]

    def test_the_settings_of_a_loss_term_are_told(self, make_run: MakeRun) -> None:
        terms = [f"loss.terms=[{{name: dice}}, {{name: focal, weight: {weight}}}]" for weight in (0.25, 0.75)]
        assert [name for name, _ in grouped(*(make_run("a", overrides=(one,)) for one in terms))[0]] == ["weight=0.25", "weight=0.75"]

    def test_the_names_of_seeds_are_cut_to_what_they_share(self, make_run: MakeRun) -> None:
        runs = [make_run(f"{loss}-s{seed}", seed, overrides=more) for loss, more in (("base", ()), ("focal", (FOCAL,))) for seed in (0, 1)]
        assert grouped(*runs)[0] == [("base", [0, 1]), ("focal", [0, 1])]

    def test_folders_of_the_same_name_are_told_by_their_paths(self, make_run: MakeRun, tmp_path: Path) -> None:
        moved = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            moved.append(make_run(name, config=False).rename(tmp_path / name / "scores"))
        assert [name for name, _ in grouped(*moved)[0]] == ["one", "two"]

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (["a" * 60 + "-left", "a" * 60 + "-right"], ["left", "right"]),
            (["left-" + "a" * 60, "right-" + "a" * 60], ["left", "right"]),
            (["a", "a"], ["a #1", "a #2"]),
        ],
    )
    def test_common_ends_of_long_names_are_dropped(self, given: list[str], expected: list[str]) -> None:
        assert method_names([[name] for name in given], [{} for _ in given], [None for _ in given]) == expected

    def test_names_are_short_and_never_equal(self) -> None:
        settings = [
            {
                "optimizer.name": "adamw",
                "network.params.channels": [16, 32, 64, 128, 256, 320, at],
                "augment.params.scale": 0.1 * at,
                "x": at // 2,
            }
            for at in range(5)
        ]
        names = method_names([["same"]] * 5, settings, [None] * 5)
        assert len(set(names)) == 5
        assert max(map(len, names)) <= LONGEST
        words = [[f"{'x' * 20}{at}{'y' * 30}"] for at in range(3)]
        cut = method_names(words, [{}] * 3, [None] * 3)
        assert len(set(cut)) == 3
        assert max(map(len, cut)) <= LONGEST + 3


class TestRefusals:
    def test_one_method_alone(self, make_run: MakeRun) -> None:
        with pytest.raises(RunError, match="all of one method"):
            grouped(make_run("a"), make_run("a", 1))

    def test_the_same_folder_twice(self, make_run: MakeRun) -> None:
        run = make_run("a")
        with pytest.raises(RunError, match="given twice"):
            grouped(run, run, make_run("b", overrides=(FOCAL,)))

    def test_the_same_training_twice(self, make_run: MakeRun) -> None:
        with pytest.raises(RunError, match=r"same training.*another seed"):
            grouped(make_run("a"), make_run("a"), make_run("b", overrides=(FOCAL,)))
