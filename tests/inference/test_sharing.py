"""Several processes, and interrupted ones, in one output folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from medseg.data.geometry import Geometry
from medseg.data.images import read_label, write_label
from medseg.inference import Ensemble, files, predict_run
from tests.inference.runs import LAS, save_run
from tests.inference.test_claims import hold

ROOT = Path(__file__).resolve().parents[2]

PROCESS = """
import sys, time
from pathlib import Path
from medseg.inference import Ensemble, predict_run
run, source, output, seconds = sys.argv[1:]
predict = Ensemble.predict
def slow(self, *args, **options):
    time.sleep(float(seconds))
    return predict(self, *args, **options)
Ensemble.predict = slow
result = predict_run(Path(run), Path(source), Path(output), device="cpu")
print(len(result.written), len(result.kept), len(result.failed))
"""


def start(run: Path, source: Path, output: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that needs so many seconds a case."""
    command = [sys.executable, "-c", PROCESS, *map(str, (run, source, output, seconds))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})


def write_images(folder: Path, count: int) -> None:
    for index in range(count):
        values = np.random.default_rng(index).integers(0, 4, (8, 8, 8)).astype(np.uint8)
        write_label(folder / f"c{index}.nii.gz", values, Geometry((8, 8, 8), LAS))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


class TestProcesses:
    def test_the_case_of_a_killed_one_is_predicted_by_another(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "POLL", 0.02)
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 3)
        for path in predict_run(run, source, output, device="cpu").written:
            path.unlink()
        with hold(output, "c0") as stuck:
            assert self.finish(stuck, run, source, output) == ["c1.nii.gz", "c2.nii.gz", "c0.nii.gz"]

    @pytest.mark.slow
    def test_a_killed_prediction_is_made_by_another(self, tmp_path: Path) -> None:
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 3)
        with start(run, source, output, 600) as stuck:
            wait_for(output / ".c0.claim")
            assert self.finish(stuck, run, source, output) == ["c1.nii.gz", "c2.nii.gz", "c0.nii.gz"]

    def finish(self, stuck: subprocess.Popen[str], run: Path, source: Path, output: Path) -> list[str]:
        """Predict what another process does not, kill it, and see what was written in the end."""
        try:
            with ThreadPoolExecutor(1) as pool:
                coming = pool.submit(predict_run, run, source, output, device="cpu")
                wait_for(output / "c2.nii.gz")
                assert not (output / "c0.nii.gz").exists()
                stuck.kill()
                result = coming.result(timeout=60)
        finally:
            stuck.kill()
        assert {path.name for path in output.iterdir()} == {"predictions.json", *(f"c{index}.nii.gz" for index in range(3))}
        return [path.name for path in result.written]

    @pytest.mark.slow
    def test_living_ones_share_the_cases(self, tmp_path: Path) -> None:
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 20)
        with start(run, source, output, 0.3) as first, start(run, source, output, 0.3) as second:
            counts = [list(map(int, process.communicate(timeout=120)[0].split())) for process in (first, second)]
        assert [sum(count) for count in counts] == [20, 20]
        assert counts[0][0] + counts[1][0] == 20  # none twice
        assert {path.name for path in output.iterdir()} == {"predictions.json", *(f"c{index}.nii.gz" for index in range(20))}

    def test_a_case_of_another_process_is_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "POLL", 0.02)
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 2)
        for path in predict_run(run, source, output, device="cpu").written:
            path.unlink()
        claims = files.Claims(output)
        claims.take("c0")
        predict, order = Ensemble.predict, []

        def finish_the_others(self: Ensemble, prepared: object, probabilities: bool = False) -> object:
            order.append(prepared[0].case.id)  # type: ignore[index]
            if order == ["c1"]:  # meanwhile the other process ends without a result
                claims.release("c0")
            return predict(self, prepared, probabilities)  # type: ignore[arg-type]

        monkeypatch.setattr(Ensemble, "predict", finish_the_others)
        assert len(predict_run(run, source, output, device="cpu").written) == 2
        assert order == ["c1", "c0"]


class TestInterruptions:
    def test_claims_of_killed_processes_go_also_where_the_case_is_done(self, tmp_path: Path) -> None:
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 2)
        predict_run(run, source, output, device="cpu")
        for name in ("c0", "of_another_input"):
            with hold(output, name) as process:
                process.kill()
            assert (output / f".{name}.claim").exists()
        assert len(predict_run(run, source, output, device="cpu").kept) == 2
        assert {path.name for path in output.iterdir()} == {"predictions.json", "c0.nii.gz", "c1.nii.gz"}

    def test_what_is_there_is_kept_and_the_rest_predicted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 3)
        predict, calls = Ensemble.predict, []

        def interrupted(self: Ensemble, *args: object, **options: object) -> object:
            calls.append(1)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return predict(self, *args, **options)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(Ensemble, "predict", interrupted)
            with pytest.raises(KeyboardInterrupt):
                predict_run(run, source, output, device="cpu")
        assert {path.name for path in output.iterdir()} == {"c0.nii.gz", "predictions.json"}
        result = predict_run(run, source, output, device="cpu")
        assert ([path.name for path in result.kept], [path.name for path in result.written]) == (["c0.nii.gz"], ["c1.nii.gz", "c2.nii.gz"])

    def test_probabilities_that_are_missing_are_made(self, tmp_path: Path) -> None:
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 2)
        predict_run(run, source, output, device="cpu")
        before, _ = read_label(output / "c0.nii.gz")
        assert len(predict_run(run, source, output, device="cpu", probabilities=True).written) == 2
        assert (output / "c0.probabilities.npz").is_file()
        np.testing.assert_array_equal(read_label(output / "c0.nii.gz")[0], before)
        assert len(predict_run(run, source, output, device="cpu", probabilities=True).kept) == 2

    def test_overwriting_keeps_what_another_process_made_since(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run, source, output = save_run(tmp_path / "run"), tmp_path / "in", tmp_path / "out"
        write_images(source, 2)
        predict_run(run, source, output, device="cpu")
        predict = Ensemble.predict

        def other_writes(self: Ensemble, *args: object, **options: object) -> object:
            (output / "c1.nii.gz").write_bytes(b"new")
            return predict(self, *args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Ensemble, "predict", other_writes)
        result = predict_run(run, source, output, device="cpu", overwrite=True)
        assert ([path.name for path in result.written], [path.name for path in result.kept]) == (["c0.nii.gz"], ["c1.nii.gz"])


class TestReadingAhead:
    def test_the_next_case_is_read_while_one_is_predicted(self) -> None:
        begun: list[int] = []
        seen = []
        for item in files._ahead(lambda item: begun.append(item) or item, range(4), threaded=True):  # type: ignore[func-returns-value]
            deadline = time.monotonic() + 5
            while len(begun) < min(item + 2, 4) and time.monotonic() < deadline:
                time.sleep(0.001)
            seen.append((item, len(begun)))
        assert seen == [(0, 2), (1, 3), (2, 4), (3, 4)]

    def test_order_and_results_are_those_of_a_plain_loop(self) -> None:
        for threaded in (False, True):
            assert list(files._ahead(lambda item: item**2, range(5), threaded)) == [0, 1, 4, 9, 16]
            assert list(files._ahead(lambda item: item, [], threaded)) == []
