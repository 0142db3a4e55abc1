"""Two processes train what one would."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.conftest import TINY

ROOT = Path(__file__).resolve().parents[2]
HARD = "data.sampling=[{name: hard_case, fraction: 0.5}, {name: lesion, fraction: 0.5}]"


def rows(folder: Path, devices: int) -> list[dict[str, str]]:
    """metrics.csv of a run in processes of its own, on a set and a store that are not there yet."""
    text = TINY.replace("ROOT", str(folder / "set")).replace("RUNS", str(folder / f"runs{devices}"))
    (folder / "tiny.yaml").write_text(text)
    command = [sys.executable, "-W", "ignore", "-m", "medseg", "train", str(folder / "tiny.yaml"), f"trainer.devices={devices}"]
    command += [HARD, "network.params.dropout=0.0"]  # ranks draw their own dropout
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (table,) = (folder / f"runs{devices}" / "tiny").glob("*/metrics.csv")
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_processes_see_the_same_lesions_and_lose_as_much(tmp_path: Path) -> None:
    two, one = rows(tmp_path, 2), rows(tmp_path, 1)
    seen = [key for key in one[0] if key.startswith("train/seen/")]
    assert seen
    for first, second in zip(one, two, strict=True):
        assert [first[key] for key in seen] == [second[key] for key in seen]
        assert float(first["train/loss"]) == pytest.approx(float(second["train/loss"]), rel=1e-3)
        assert float(first["val/dice"]) == pytest.approx(float(second["val/dice"]), abs=1e-2)
