from __future__ import annotations

import pytest
import torch

from medseg.errors import RunError
from medseg.inference.precision import autocast_dtype, resolve_accelerator, resolve_device, resolve_precision


class TestDevice:
    @pytest.mark.parametrize("name", ["cuda:99", "cudaa", ""])
    def test_a_device_that_is_not_there_is_named(self, name: str) -> None:
        with pytest.raises(RunError, match=f"device '{name}' cannot be used"):
            resolve_device(name)

    def test_auto_takes_a_gpu_where_there_is_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        for available, expected in ((True, "cuda"), (False, "cpu")):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=available: there)
            assert resolve_accelerator("auto") == expected

    def test_the_cpu_is_always_there(self) -> None:
        assert resolve_device("cpu") == torch.device("cpu")


class TestPrecision:
    @pytest.mark.parametrize(("has", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
    def test_auto_asks_the_hardware(self, monkeypatch: pytest.MonkeyPatch, has: bool, expected: str) -> None:
        monkeypatch.setattr("medseg.inference.precision.hardware_has_bf16", lambda device_type: has)
        assert resolve_precision("auto", "cpu") == expected
        assert resolve_precision("16-mixed", "cpu") == "16-mixed"

    def test_only_mixed_precisions_autocast(self) -> None:
        assert [autocast_dtype(name) for name in ("32-true", "bf16-mixed", "16-mixed")] == [None, torch.bfloat16, torch.float16]
