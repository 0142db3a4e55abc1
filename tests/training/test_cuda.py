"""Training and prediction on a CUDA device."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.config import Config
from medseg.inference import load_predictor
from medseg.training.run import prepare, train

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _needs_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


class TestCuda:
    def test_trains_in_bf16_and_predicts_the_same_on_gpu_and_cpu(self, tiny: Callable[..., Config], tmp_path: Path) -> None:
        config = tiny("trainer.accelerator=gpu", "trainer.precision=auto", "trainer.max_epochs=6", "optimizer.params.lr=0.01")
        run = train(config)
        with run.metrics.open(newline="") as file:
            losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
        assert losses[-1] < losses[0]
        data, _ = prepare(config)
        cpu, gpu = (load_predictor(run.path, device, precision="32-true") for device in ("cpu", "gpu"))
        prepared = cpu.preparer.prepare(data.cases("val")[0], data.dataset.labels)
        a, b = cpu.probabilities(prepared), gpu.probabilities(prepared)
        assert gpu.device.type == "cuda"
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=5e-3)  # TF32 convolutions

    def test_workers_feed_it(self, tiny: Callable[..., Config]) -> None:
        run = train(tiny("trainer.accelerator=gpu", "data.workers=2", "trainer.max_epochs=1"))
        assert run.finished
