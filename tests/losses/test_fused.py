"""The fused kernels without a GPU: their results by Triton's interpreter, their compilation for one, and what happens when they fail."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.losses import build_loss, fused
from medseg.losses.softmax import SoftmaxSums
from medseg.losses.voxelwise import LOG_LOSS, FocalLogLoss, MissPower, PowerLogLoss
from tests.losses.problems import problem, value_and_gradient

ROOT = Path(__file__).resolve().parents[2]
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton on this platform")


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@needs_triton
def test_the_interpreter_agrees_with_the_eager_pass() -> None:
    """In a process of its own: Triton decides when it is imported whether it interprets."""
    found = python("-m", "pytest", "tests/losses/interpreted.py", "-p", "no:cacheprovider", TRITON_INTERPRET="1")
    assert found.returncode == 0, found.stdout + found.stderr
    assert int(re.findall(r"(\d+) passed", found.stdout)[0]) > 50


class Fake(SimpleNamespace):
    """What `fits` looks at, of logits on a device that is not here."""

    def __init__(self, *shape: int, dtype: torch.dtype = torch.float32, is_cuda: bool = True) -> None:
        super().__init__(shape=shape, dtype=dtype, is_cuda=is_cuda, numel=lambda: torch.Size(shape).numel())


class Unknown(FocalLogLoss):
    kernel = None


@pytest.fixture
def _enabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "enabled", True)
    monkeypatch.setattr(fused, "_has_triton", lambda: True)


@pytest.mark.usefixtures("_enabled")
class TestFits:
    def test_what_it_is_for(self) -> None:
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            for softmax in (True, False):
                assert fused.fits(Fake(2, 105, 9, dtype=dtype), (LOG_LOSS, MissPower(2.0, everywhere=True)), softmax=softmax)

    @pytest.mark.parametrize(
        "logits",
        [Fake(2, 3, 9, is_cuda=False), Fake(2, 3, 9, dtype=torch.float64), Fake(0, 3, 9), Fake(2, 3, 0), Fake(1, 1025, 9)],
        ids=["cpu", "float64", "no sample", "no voxel", "1025 classes"],
    )
    def test_inputs_that_stay_eager(self, logits: Any) -> None:
        assert not fused.fits(logits, (LOG_LOSS,), softmax=True)

    def test_functions_that_stay_eager(self) -> None:
        assert not fused.fits(Fake(2, 3, 9), (LOG_LOSS, Unknown(2.0)), softmax=False)
        spread = FocalLogLoss(2.0)
        object.__setattr__(spread, "everywhere", True)
        assert not fused.fits(Fake(2, 3, 9), (spread,), softmax=True)
        assert fused.fits(Fake(2, 3, 9), (spread,), softmax=False)

    def test_the_switch_and_a_missing_triton(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fused, "_has_triton", lambda: False)
        assert not fused.fits(Fake(2, 3, 9), (), softmax=True)
        monkeypatch.setattr(fused, "_has_triton", lambda: True)
        monkeypatch.setattr(fused, "enabled", False)
        assert not fused.fits(Fake(2, 3, 9), (), softmax=True)

    def test_the_environment_and_an_import_without_triton(self) -> None:
        script = "import sys; sys.modules['triton'] = None; from medseg.losses import fused; print(fused.enabled)"
        found = python("-c", script, MEDSEG_FUSED="0")
        assert found.stdout.strip() == "False", found.stderr


LOSS = {"activation": "softmax", "terms": [{"name": "cross_entropy"}, {"name": "dice"}]}


@pytest.mark.usefixtures("_enabled")
class TestFailure:
    def test_a_forward_that_fails_goes_eager_with_one_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Triton itself refuses tensors on the CPU."""
        logits, target = problem("softmax")
        loss = build_loss(LOSS, 3)
        eager = value_and_gradient(loss, logits.float(), target)
        monkeypatch.setattr(fused, "fits", lambda *_, **__: fused.enabled)
        with pytest.warns(UserWarning, match=r"runs without its fused kernels, which failed: \w+: .") as warned:
            found = value_and_gradient(loss, logits.float(), target)
        assert len(warned) == 1
        torch.testing.assert_close(found, eager, rtol=0, atol=0)
        torch.testing.assert_close(value_and_gradient(loss, logits.float(), target), eager, rtol=0, atol=0)  # and no second warning

    def test_a_backward_that_fails_goes_eager_with_one_warning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        logits, target = problem("softmax")
        loss = build_loss(LOSS, 3)
        eager = value_and_gradient(loss, logits, target)

        def forward(logits: Tensor, ids: Tensor, weight_map: Tensor | None, functions: Any, outer: Any, ignore_index: int | None) -> Any:
            return SoftmaxSums.apply(logits, ids, weight_map, (LOG_LOSS,), ignore_index)

        def backward(*_: Any) -> Tensor:
            raise RuntimeError("no compiler\nmore about that")

        monkeypatch.setattr(fused, "fits", lambda *_, **__: fused.enabled)
        monkeypatch.setattr(fused, "_kernels", lambda _: SimpleNamespace(forward=forward, backward=backward))
        with pytest.warns(UserWarning, match=r"which failed: RuntimeError: no compiler$") as warned:
            found = value_and_gradient(loss, logits, target)
        assert len(warned) == 1
        assert not fused.enabled
        torch.testing.assert_close(found, eager, rtol=0, atol=0)

    def test_want_of_memory_is_no_reason_to_go_eager(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def forward(*_: Any) -> Any:
            raise torch.OutOfMemoryError("too large")

        logits, target = problem("softmax")
        monkeypatch.setattr(fused, "fits", lambda *_, **__: fused.enabled)
        monkeypatch.setattr(fused, "_kernels", lambda _: SimpleNamespace(forward=forward))
        with pytest.raises(torch.OutOfMemoryError):
            value_and_gradient(build_loss(LOSS, 3), logits, target)
        assert fused.enabled


FEW, MANY = (LOG_LOSS, FocalLogLoss(2.0)), (LOG_LOSS, FocalLogLoss(0.5), PowerLogLoss(0.3, 1e-3), MissPower(2.0, everywhere=True))


@pytest.fixture
def h100(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls of kernels compile for an H100 and launch nothing, which needs no device; the list of what they compiled."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    binaries: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        binaries.append(run(self, *arguments, grid=grid, warmup=True, **options))
        return binaries[-1]

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", compile_only)
    number = 99  # which no real device has, whose kernels Triton keeps
    target = GPUTarget("cuda", 90, 32)
    device = SimpleNamespace(get_current_device=lambda: number, get_current_stream=int, get_current_target=lambda: target)
    monkeypatch.setattr(driver, "_active", device)
    return binaries


def use(
    softmax: bool, functions: Any, logits: Tensor, target: Tensor, weight_map: Tensor | None = None, ignore_index: int | None = 255
) -> None:
    """Call both kernels."""
    arguments = (logits, target, weight_map, *fused._described(functions, softmax), ignore_index)
    sums, _ = fused._kernels(softmax).forward(*arguments)
    fused._kernels(softmax).backward(torch.zeros_like(sums), *arguments)


def fits_the_registers(binary: Any, folder: Path) -> bool:
    """Whether at most 64 bytes a thread spill, by the tool that comes with Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        return True
    file = folder / "kernel.cubin"
    file.write_bytes(binary.asm["cubin"])
    usage = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found
    return int(found[2]) <= 64


@needs_triton
class TestCompilation:
    @pytest.mark.parametrize(
        ("classes", "dtype", "functions"),
        [
            (1, torch.float32, MANY),
            (2, torch.float16, MANY),
            (14, torch.float32, FEW),
            (14, torch.bfloat16, MANY),
            (105, torch.bfloat16, MANY),
            (200, torch.float32, MANY),
        ],
    )
    def test_softmax(self, classes: int, dtype: torch.dtype, functions: Any, h100: list[Any], tmp_path: Path) -> None:
        use(True, functions, torch.empty(2, classes, 64, dtype=dtype), torch.empty(2, 64, dtype=torch.uint8), torch.empty(2, 64))
        assert len(h100) == 2
        assert all(".f64" not in binary.asm["ptx"] for binary in h100)
        assert all(fits_the_registers(binary, tmp_path) for binary in h100)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    @pytest.mark.parametrize("beside", [False, True])
    def test_sigmoid(self, beside: bool, dtype: torch.dtype, h100: list[Any], tmp_path: Path) -> None:
        logits = torch.empty(2, 64, 14).transpose(1, 2) if beside else torch.empty(2, 14, 64)
        use(False, MANY, logits.bfloat16(), torch.empty_like(logits, dtype=dtype), torch.empty(2, 1, 64))
        assert len(h100) == 2
        assert all(".f64" not in binary.asm["ptx"] for binary in h100)
        assert all(fits_the_registers(binary, tmp_path) for binary in h100)

    def test_sizes_of_one_and_strides_beyond_32_bits(self, h100: list[Any]) -> None:
        """Triton compiles anew for both."""
        use(True, FEW, torch.empty(1, 1, 1), torch.empty(1, 1, dtype=torch.int64), ignore_index=None)
        use(False, FEW, torch.empty(1, 1, 1), torch.empty(1, 1, 1, dtype=torch.int64), ignore_index=None)
        use(True, FEW, torch.empty(1, 3, 64).as_strided((1, 3, 64), (1 << 40, 64, 1)), torch.empty(1, 64, dtype=torch.uint8))
        assert "i64" in h100[-1].src.signature.values()
        assert len({id(binary) for binary in h100}) == 6

    def test_other_patches_of_aligned_size_compile_nothing_more(self, h100: list[Any]) -> None:
        for voxels in (64, 4096, 12288):
            use(True, FEW, torch.empty(2, 14, voxels), torch.empty(2, voxels, dtype=torch.uint8))
        assert len({id(binary) for binary in h100[2:]}) == 2
