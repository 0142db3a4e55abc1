"""Whose predictions a folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import DataError
from medseg.inference import note
from medseg.inference.claims import Claims
from medseg.inference.load import read_run
from medseg.inference.members import make_ensemble
from tests.inference.runs import save_run


def about(runs: list[Path], **options: Any) -> dict[str, Any]:
    saved = [read_run(run) for run in runs]
    return note.describe([one.path for one in saved], make_ensemble(saved, "cpu", **options))


class TestSign:
    def test_label_maps_of_another_checkpoint_are_never_kept_as_this_ones(self, tmp_path: Path) -> None:
        first, second = (about([save_run(tmp_path / str(seed), seed=seed)]) for seed in (0, 1))
        out = tmp_path / "out"
        note.sign(out, first, ["x.png"], overwrite=False)
        (out / "x.png").write_text("")
        note.sign(out, first, ["x.png"], overwrite=False)
        with pytest.raises(DataError, match=r"holds x\.png, predicted by another checkpoint"):
            note.sign(out, second, ["x.png"], overwrite=False)
        assert (out / "x.png").exists()
        note.sign(out, second, ["x.png"], overwrite=True)
        assert not (out / "x.png").exists()
        assert json.loads((out / "predictions.json").read_text()) == second | {"suffixes": [".png"]}

    def test_a_run_that_was_moved_is_the_same(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        note.sign(out, about([save_run(tmp_path / "here")]), ["x.png"], overwrite=False)
        (out / "x.png").write_text("")
        (tmp_path / "here").rename(tmp_path / "there")
        note.sign(out, about([tmp_path / "there"]), ["x.png"], overwrite=False)

    @pytest.mark.parametrize("options", [{"overlap": 0.25}, {"window": [16, 16, 16]}, {"blending": "constant"}])
    def test_other_settings_are_other_predictions(self, tmp_path: Path, options: dict[str, Any]) -> None:
        run, out = save_run(tmp_path / "run"), tmp_path / "out"
        note.sign(out, about([run]), ["x.png"], overwrite=False)
        (out / "x.png").write_text("")
        with pytest.raises(DataError, match="other settings"):
            note.sign(out, about([run], **options), ["x.png"], overwrite=False)

    def test_all_members_are_named_whether_one_or_several(self, tmp_path: Path) -> None:
        runs = [save_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
        both, one = about(runs, average="logits"), about(runs[:1])
        assert [Path(member["path"]).parents[1].name for member in both["members"]] == ["0", "1"]
        assert both["average"] == "logits"
        assert len({member["sha256"] for member in both["members"]}) == 2
        assert one["members"] == both["members"][:1]

    def test_two_label_maps_of_a_case_are_never_mixed(self, tmp_path: Path) -> None:
        run, out = about([save_run(tmp_path / "run")]), tmp_path / "out"
        note.sign(out, run, ["x.bmp"], overwrite=False)
        (out / "x.bmp").write_text("")
        (out / "x.nii").write_text("")  # not of ours
        with pytest.raises(DataError, match=r"holds x\.bmp, and two label maps of a case would be mixed up"):
            note.sign(out, run, ["x.png"], overwrite=False)
        note.sign(out, run, ["y.png", "y.probabilities.npz"], overwrite=False)
        assert json.loads((out / "predictions.json").read_text())["suffixes"] == [".bmp", ".png"]
        with Claims(out) as other:
            other.take("x")
            with pytest.raises(DataError, match="another process predicts into it"):
                note.sign(out, run, ["x.png"], overwrite=True)
        note.sign(out, run, ["x.png"], overwrite=True)
        assert {path.name for path in out.iterdir()} == {"predictions.json", "x.nii"}

    def test_unknown_label_maps_are_not_ours(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "x.png").write_text("")
        (out / "predictions.json").write_text("{not JSON")
        with pytest.raises(DataError, match="another checkpoint"):
            note.sign(out, about([save_run(tmp_path / "run")]), ["x.png"], overwrite=False)

    def test_another_process_that_is_at_work_is_not_robbed(self, tmp_path: Path) -> None:
        first, second = (about([save_run(tmp_path / str(seed), seed=seed)]) for seed in (0, 1))
        note.sign(tmp_path / "out", first, ["x.png"], overwrite=False)
        with Claims(tmp_path / "out") as other:
            other.take("x")
            with pytest.raises(DataError, match="another process predicts into it"):
                note.sign(tmp_path / "out", second, ["x.png"], overwrite=True)
            note.sign(tmp_path / "out", first, ["x.png"], overwrite=False)
