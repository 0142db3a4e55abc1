"""Ctrl-C ends a prediction at once, whatever it is at, and leaves nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from medseg.cli import main
from medseg.data.images import write
from medseg.inference import Ensemble, files, predict_run
from medseg.inference.interruption import remembered_interrupt
from tests.inference.runs import save_run
from tests.inference.test_sharing import ROOT, write_images

PROCESS = """
import sys, time
from medseg.cli import main
from medseg.inference import Ensemble
predict, calls = Ensemble.predict, []
def slow(self, *args, **options):
    calls.append(1)
    if len(calls) == 2:
        print("now", flush=True)
        time.sleep(60)
    return predict(self, *args, **options)
Ensemble.predict = slow
sys.exit(main(["predict", sys.argv[1], "--input", sys.argv[2], "--output", sys.argv[3], "--device", "cpu"]))
"""


def arrange(folder: Path) -> tuple[Path, Path, Path]:
    write_images(folder / "in", 4)
    return save_run(folder / "run"), folder / "in", folder / "out"


def at_the_second(function: Callable[..., Any], before: bool = False) -> Callable[..., Any]:
    """The function, whose second call is hit by Ctrl-C just after its work, or before it."""
    calls: list[int] = []

    def interrupted(*args: Any, **options: Any) -> Any:
        result = None if before else function(*args, **options)
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
        return function(*args, **options) if before else result

    return interrupted


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # nibabel leaves an interrupted file to the collector
@pytest.mark.parametrize("phase", ["read", "read ahead", "predict", "write", "claim", "claim ahead", "list"])
def test_ctrl_c_ends_with_130_and_nothing_half_written(
    tmp_path: Path, phase: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, source, output = arrange(tmp_path)
    with monkeypatch.context() as patch:
        if phase.startswith("read"):
            patch.setattr(Ensemble, "prepare", at_the_second(Ensemble.prepare))
        if phase.endswith("ahead"):
            ahead = files._ahead
            patch.setattr(files, "_ahead", lambda begin, items, threaded: ahead(begin, items, threaded=True))
        if phase == "predict":
            patch.setattr(Ensemble, "predict", at_the_second(Ensemble.predict))
        if phase == "write":
            patch.setattr(write, "_write", at_the_second(write._write))
        if phase.startswith("claim"):
            patch.setattr(files, "_begin", at_the_second(files._begin, before=phase == "claim ahead"))
        if phase == "list":
            patch.setattr(files, "_done", at_the_second(files._done))
        assert main(["predict", str(run), "--input", str(source), "--output", str(output), "--device", "cpu"]) == 130
    assert capsys.readouterr().err == "medseg: interrupted\n"
    there = {path.name for path in output.iterdir()}
    assert there <= {"predictions.json", "c0.nii.gz"}  # no claim, no file that was begun
    assert len(predict_run(run, source, output, device="cpu").written) == 5 - len(there)


@pytest.mark.parametrize("error", [None, OSError("Bad file descriptor")])
def test_ctrl_c_that_a_library_swallows_ends_it_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    run, source, output = arrange(tmp_path)
    predict = Ensemble.predict

    def swallow(*args: Any, **options: Any) -> Any:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            if error is not None:
                raise error from None
        return predict(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Ensemble, "predict", swallow)
        assert main(["predict", str(run), "--input", str(source), "--output", str(output), "--device", "cpu"]) == 130
    assert {path.name for path in output.iterdir()} == {"predictions.json", *(["c0.nii.gz"] if error is None else [])}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_other_threads_and_under_other_handlers_ctrl_c_is_theirs() -> None:
    def in_thread() -> None:
        with remembered_interrupt() as again:
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            again()

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with remembered_interrupt() as again:
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            again()
    finally:
        signal.signal(signal.SIGINT, before)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(in_thread).result()


@pytest.mark.slow
def test_ctrl_c_ends_a_process(tmp_path: Path) -> None:
    run, source, output = arrange(tmp_path)
    command = [sys.executable, "-c", PROCESS, *map(str, (run, source, output))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert "now\n" in iter(process.stdout.readline, "")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, errors) == (130, "medseg: interrupted\n")
    assert {path.name for path in output.iterdir()} == {"predictions.json", "c0.nii.gz"}
