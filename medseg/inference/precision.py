"""Which device and which number format the hardware computes fastest with."""

from __future__ import annotations

import torch

from medseg.errors import RunError


def hardware_has_bf16(device_type: str) -> bool:
    """Tell whether matrix products in bfloat16 run in hardware (AMX or AVX512-BF16 on a CPU, compute capability >= 8 on a GPU)."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return False


def resolve_accelerator(accelerator: str) -> str:
    """Name the torch device type that `auto`, `cpu`, `gpu` or `mps` means on this machine."""
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        return "cuda"
    if accelerator == "mps" or (accelerator in ("auto", "gpu") and torch.backends.mps.is_available()):
        return "mps"
    if accelerator == "gpu":
        return "cuda"
    return "cpu"


def resolve_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `gpu`, `mps` or a torch device such as `cuda:1` into a device that is there.

    Raises:
        RunError: For another name, or a device that this machine does not have.
    """
    try:
        device = torch.device(resolve_accelerator(name) if name in ("auto", "gpu") else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RunError(f"device '{name}' cannot be used ({reason}); choose auto, cpu, gpu, mps or cuda:<number>") from error
    return device


def resolve_precision(precision: str, device_type: str) -> str:
    """Turn `auto` into bf16-mixed where the hardware has it and 32-true otherwise."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if hardware_has_bf16(device_type) else "32-true"


def autocast_dtype(precision: str) -> torch.dtype | None:
    """Give the dtype that a Lightning precision name autocasts to; None for full precision."""
    return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
