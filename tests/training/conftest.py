"""A data set and a config small enough to train in seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config import Config, load_config

TINY = """
name: tiny
data:
  format: {name: phantom, params: {kind: lesions_2d, cases: 6, test_cases: 2, size: [48, 48]}}
  root: ROOT
  store: ROOT-prepared
  folds: 3
  patch_size: [32, 32]
  batch_size: 2
  patches_per_epoch: 4
network: {name: unet, params: {channels: [4, 8], residual_units: 1, dropout: 0.1}}
loss:
  activation: softmax
  terms: [{name: cross_entropy}, {name: dice}]
trainer: {max_epochs: 2, precision: 32-true, accelerator: cpu}
evaluation: {report: false}
runs_dir: RUNS
"""


@pytest.fixture(scope="session")
def phantom_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantoms") / "set"


@pytest.fixture
def tiny(tmp_path: Path, phantom_root: Path) -> Callable[..., Config]:
    """Load the tiny config with overrides."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("ROOT", str(phantom_root)).replace("RUNS", str(tmp_path / "runs")))
    return lambda *overrides: load_config(str(path), overrides)
