from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medseg.errors import RunError
from medseg.training.run_folder import RunFolder


class TestCreate:
    def test_many_runs_started_in_one_second_get_folders_of_their_own(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            runs = list(pool.map(lambda _: RunFolder.create(tmp_path, "same", "name: same\n"), range(20)))
        assert len({run.path for run in runs}) == 20
        assert all(run.config.read_text() == "name: same\n" for run in runs)
        assert {path.name for path in (tmp_path / "same").iterdir()} == {run.path.name for run in runs}

    def test_a_taken_folder_is_refused_and_left_alone(self, tmp_path: Path) -> None:
        run = RunFolder.create(tmp_path, "x", "a: 1\n", tmp_path / "point")
        with pytest.raises(RunError, match="exists already"):
            RunFolder.create(tmp_path, "x", "a: 2\n", tmp_path / "point")
        assert run.config.read_text() == "a: 1\n"

    def test_environment_says_what_is_needed_to_repeat_the_run(self, tmp_path: Path) -> None:
        text = RunFolder.create(tmp_path, "x", "").environment.read_text()
        assert all(f"{key}: " in text for key in ("command", "python", "torch", "medseg", "lightning"))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(RunError, match="cannot be created"):
            RunFolder.create(tmp_path, "x", "")

    def test_a_file_in_the_way_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "runs").write_text("")
        with pytest.raises(RunError, match="runs_dir"):
            RunFolder.create(tmp_path / "runs", "x", "")
