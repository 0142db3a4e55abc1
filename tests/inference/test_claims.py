"""Claims, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medseg.inference import claims as module
from medseg.inference.claims import Claims

HOLD = """
import runpy, sys, time
from pathlib import Path
Claims = runpy.run_path(sys.argv[1])["Claims"]  # without torch
with Claims(Path(sys.argv[2])) as claims:
    print(claims.take(sys.argv[3]), flush=True)
    time.sleep(60)
"""


def hold(folder: Path, name: str) -> subprocess.Popen[str]:
    """A process that claims a name and keeps it."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(module.__file__), str(folder), name], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


class TestClaims:
    def test_a_claim_is_taken_once_and_again_after_its_release(self, tmp_path: Path) -> None:
        with Claims(tmp_path) as first, Claims(tmp_path) as second:
            assert first.take("a")
            assert not second.take("a")
            assert not first.take("a")
            assert second.take("b")
            assert first.others() == ["b"]
            first.release("a")
            assert second.take("a")
            assert first.others() == ["a", "b"]
        assert list(tmp_path.iterdir()) == []

    def test_a_living_process_keeps_its_claim_and_a_killed_one_loses_it_at_once(self, tmp_path: Path) -> None:
        with hold(tmp_path, "a") as process, Claims(tmp_path) as claims:
            try:
                assert not claims.take("a")
                assert claims.others() == ["a"]
            finally:
                process.kill()
                process.wait()
            assert (tmp_path / ".a.claim").is_file()
            assert claims.take("a")
        assert list(tmp_path.iterdir()) == []

    def test_of_many_threads_one_gets_it(self, tmp_path: Path) -> None:
        all_claims = [Claims(tmp_path) for _ in range(8)]
        with ThreadPoolExecutor(len(all_claims)) as pool:
            for name in map(str, range(20)):
                taken = list(pool.map(Claims.take, all_claims, [name] * len(all_claims)))
                assert sum(taken) == 1
                all_claims[taken.index(True)].release(name)

    def test_taken_waits_for_its_turn(self, tmp_path: Path) -> None:
        with Claims(tmp_path) as first, Claims(tmp_path) as second:
            first.take("a")
            threading.Timer(0.1, first.release, ["a"]).start()
            start = time.monotonic()
            with second.taken("a"):
                assert time.monotonic() - start > 0.05
            assert first.take("a")

    def test_now_is_the_clock_of_the_folder(self, tmp_path: Path) -> None:
        with Claims(tmp_path) as claims:
            assert abs(claims.now() - time.time_ns()) < 5e9
            assert list(tmp_path.iterdir()) == []


class TestOtherMachines:
    """Their processes hold no lock that is seen here: age alone tells."""

    def claim_of_another(self, folder: Path, age: float) -> None:
        path = folder / ".a.claim"
        path.write_text("elsewhere 12ab")
        os.utime(path, (time.time() - age,) * 2)

    def test_a_fresh_claim_holds_and_an_old_one_lapses(self, tmp_path: Path) -> None:
        with Claims(tmp_path) as claims:
            self.claim_of_another(tmp_path, module.LAPSES / 2)
            assert not claims.take("a")
            self.claim_of_another(tmp_path, module.LAPSES * 2)
            assert claims.take("a")

    def test_without_locks_age_tells_on_one_machine_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "fcntl", None)
        with Claims(tmp_path) as first, Claims(tmp_path) as second:
            assert first.take("a")
            assert not second.take("a")
            old = time.time() - 2 * module.LAPSES
            os.utime(tmp_path / ".a.claim", (old, old))
            assert second.take("a")

    def test_a_living_process_keeps_its_claims_young(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "HEARTBEAT", 0.02)
        with Claims(tmp_path) as claims:
            claims.take("a")
            os.utime(tmp_path / ".a.claim", (0, 0))
            deadline = time.monotonic() + 5
            while (tmp_path / ".a.claim").stat().st_mtime < 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert time.time() - (tmp_path / ".a.claim").stat().st_mtime < 5
