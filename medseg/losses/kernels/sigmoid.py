"""The kernels of `SigmoidSums`: one forward, one backward; formulas in `losses/sigmoid.py`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from medseg.losses.kernels.functions import log1p, longer, slope, value
from medseg.losses.kernels.plan import NOT_SPECIAL, Description, device_of, plan_sigmoid, programs_of


@triton.jit
def _place(C, programs, per_program, BC: tl.constexpr):
    """Sample, channels and first tile of this program."""
    program = tl.program_id(0).to(tl.int64)
    group, first = program // programs, (program % programs) * per_program
    groups = (C + BC - 1) // BC
    return group // groups, (group % groups) * BC + tl.arange(0, BC).to(tl.int64), first


@triton.jit
def _elements(z, target, weight, c, n, C, N, ignore, z_c, z_n, t_c, t_n, w_c, w_n, WEIGHTED: tl.constexpr, IGNORE: tl.constexpr):
    """Target, weight (0 where ignored or beyond the end, NaN for no label), p, q = 1 - p, -log p, -log q of each element (BC, BN)."""
    ok = (c < C)[:, None] & (n < N)[None, :]
    x = tl.load(z + (c * z_c)[:, None] + (n * z_n)[None, :], ok, 0.0).to(tl.float32)
    y = tl.load(target + (c * t_c)[:, None] + (n * t_n)[None, :], ok, 0).to(tl.float32)
    w = tl.where(ok, 1.0, 0.0)
    if WEIGHTED:
        w = tl.load(weight + (c * w_c)[:, None] + (n * w_n)[None, :], ok, 0.0).to(tl.float32)
    if IGNORE:
        w = tl.where(y == ignore, 0.0, w)
        y = tl.where(y == ignore, 0.0, y)
    w = tl.where((y >= 0.0) & (y <= 1.0), w, float("nan"))  # no label: seen in every mean
    small = tl.exp(-tl.abs(x))
    larger = 1.0 / (1.0 + small)
    p = tl.where(x >= 0.0, larger, small * larger)
    q = tl.where(x >= 0.0, small * larger, larger)
    tail = log1p(small, 1.0 + small)
    return ok, y, w, p, q, tl.maximum(-x, 0.0) + tail, tl.maximum(x, 0.0) + tail


@triton.jit(do_not_specialize=NOT_SPECIAL)
def forward_kernel(
    z,
    target,
    weight,
    partial,
    C,
    N,
    programs,
    tiles,
    per_program,
    ignore,
    z_b,
    z_c,
    z_n,
    t_b,
    t_c,
    t_n,
    w_b,
    w_c,
    w_n,
    FUNCTIONS: tl.constexpr,
    WEIGHTED: tl.constexpr,
    IGNORE: tl.constexpr,
    HARD: tl.constexpr,
    BC: tl.constexpr,
    BN: tl.constexpr,
):
    """Each program's sums (5 + 2 functions, C) over its run of tiles: TP, FP, FN, functions inside and outside, volume, size."""
    b, c, first = _place(C, programs, per_program, BC)
    z, target, weight = z + b * z_b, target + b * t_b, weight + b * w_b
    zero = tl.zeros([BC, BN], tl.float32)
    tp, fp, fn, volume, size = zero, zero, zero, zero, zero
    inside = (zero,) * len(FUNCTIONS)
    outside = (zero,) * len(FUNCTIONS)
    for tile in range(first, tl.minimum(first + per_program, tiles)):
        n = tile * BN + tl.arange(0, BN).to(tl.int64)
        _, y, w, p, q, n_in, n_out = _elements(z, target, weight, c, n, C, N, ignore, z_c, z_n, t_c, t_n, w_c, w_n, WEIGHTED, IGNORE)
        wy, wo = w * y, w * (1.0 - y)
        tp += wy * p
        fp += wo * p
        fn += wy * q
        volume += wy
        size += w
        more, other = (), ()
        for k in tl.static_range(len(FUNCTIONS)):
            if HARD:  # one of the two sums takes the element
                holds = y != 0.0
                p_t, q_t = tl.where(holds, p, q), tl.where(holds, q, p)
                f_in = value(tl.where(holds, n_in, n_out), p_t, q_t, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
                f_out = f_in
            else:
                f_in = value(n_in, p, q, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
                f_out = value(n_out, q, p, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
            more = longer(more, inside[k] + wy * f_in)
            other = longer(other, outside[k] + wo * f_out)
        inside, outside = more, other
    rows: tl.constexpr = 5 + 2 * len(FUNCTIONS)
    out = partial + (b * programs + tl.program_id(0) % programs) * rows * C + c
    tl.store(out, tl.sum(tp, 1), c < C)
    tl.store(out + C, tl.sum(fp, 1), c < C)
    tl.store(out + 2 * C, tl.sum(fn, 1), c < C)
    for k in tl.static_range(len(FUNCTIONS)):
        tl.store(out + (3 + 2 * k) * C, tl.sum(inside[k], 1), c < C)
        tl.store(out + (4 + 2 * k) * C, tl.sum(outside[k], 1), c < C)
    tl.store(out + (rows - 2) * C, tl.sum(volume, 1), c < C)
    tl.store(out + (rows - 1) * C, tl.sum(size, 1), c < C)


@triton.jit(do_not_specialize=NOT_SPECIAL)
def backward_kernel(
    z,
    target,
    weight,
    slopes,
    grad,
    C,
    N,
    programs,
    tiles,
    per_program,
    ignore,
    z_b,
    z_c,
    z_n,
    t_b,
    t_c,
    t_n,
    w_b,
    w_c,
    w_n,
    g_b,
    g_c,
    g_n,
    FUNCTIONS: tl.constexpr,
    WEIGHTED: tl.constexpr,
    IGNORE: tl.constexpr,
    HARD: tl.constexpr,
    BC: tl.constexpr,
    BN: tl.constexpr,
):
    """The gradient; `slopes` (B, 2 + 2 functions, C) holds dL/dFP, dL/dTP - dL/dFN, then those of the functions' sums."""
    b, c, first = _place(C, programs, per_program, BC)
    z, target, weight, grad = z + b * z_b, target + b * t_b, weight + b * w_b, grad + b * g_b
    slopes += b * (2 + 2 * len(FUNCTIONS)) * C + c
    fp = tl.load(slopes, c < C, 0.0)[:, None]
    reference = tl.load(slopes + C, c < C, 0.0)[:, None]
    for tile in range(first, tl.minimum(first + per_program, tiles)):
        n = tile * BN + tl.arange(0, BN).to(tl.int64)
        ok, y, w, p, q, n_in, n_out = _elements(z, target, weight, c, n, C, N, ignore, z_c, z_n, t_c, t_n, w_c, w_n, WEIGHTED, IGNORE)
        g = (y * reference + (1.0 - y) * fp) * (p * q)
        for k in tl.static_range(len(FUNCTIONS)):
            inside = tl.load(slopes + (2 + 2 * k) * C, c < C, 0.0)[:, None]
            outside = tl.load(slopes + (3 + 2 * k) * C, c < C, 0.0)[:, None]
            if HARD:
                holds = y != 0.0
                p_t, q_t = tl.where(holds, p, q), tl.where(holds, q, p)
                f = slope(tl.where(holds, n_in, n_out), p_t, q_t, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
                g += f * ((1.0 - y) * outside * p - y * inside * q)
            else:
                f_in = slope(n_in, p, q, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
                f_out = slope(n_out, q, p, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
                g += (1.0 - y) * outside * p * f_out - y * inside * q * f_in
        tl.store(grad + (c * g_c)[:, None] + (n * g_n)[None, :], (g * w).to(grad.dtype.element_ty), ok)


def forward(
    logits: Tensor, target: Tensor, weight_map: Tensor | None, functions: Description, ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """Sums and counts of `SigmoidSums`."""
    batch, channels, voxels = logits.shape
    rows = 5 + 2 * len(functions)
    plan = plan_sigmoid(logits, rows)
    groups = batch * -(-channels // plan.BC)
    programs, tiles, per_program = programs_of(plan.BN, voxels, groups, logits)
    partial = logits.new_empty(batch, programs, rows, channels, dtype=torch.float32)
    weight = (target if weight_map is None else weight_map).expand(-1, channels, -1)
    with device_of(logits):
        forward_kernel[(groups * programs,)](
            logits, target, weight, partial, channels, voxels, programs, tiles, per_program, float(ignore_index or 0),
            *logits.stride(), *target.stride(), *weight.stride(),
            FUNCTIONS=functions, WEIGHTED=weight_map is not None, IGNORE=ignore_index is not None, HARD=not target.is_floating_point(),
            BC=plan.BC, BN=plan.BN, num_warps=plan.warps,
        )  # fmt: skip
    sums = partial.sum(1, dtype=torch.float64)
    return sums[:, :-2], sums[:, -2:].contiguous()


def backward(
    grad_sums: Tensor,
    logits: Tensor,
    target: Tensor,
    weight_map: Tensor | None,
    functions: Description,
    ignore_index: int | None,
) -> Tensor:
    """The gradient of the logits, from that of the sums."""
    batch, channels, voxels = logits.shape
    plan = plan_sigmoid(logits, 5 + 2 * len(functions))
    groups = batch * -(-channels // plan.BC)
    programs, tiles, per_program = programs_of(plan.BN, voxels, groups, logits)
    tp, fp, fn = grad_sums[:, :3].unbind(1)
    slopes = torch.cat([torch.stack([fp, tp - fn], 1), grad_sums[:, 3:]], 1).float()
    grad = torch.empty_like(logits)
    weight = (target if weight_map is None else weight_map).expand(-1, channels, -1)
    with device_of(logits):
        backward_kernel[(groups * programs,)](
            logits, target, weight, slopes, grad, channels, voxels, programs, tiles, per_program, float(ignore_index or 0),
            *logits.stride(), *target.stride(), *weight.stride(), *grad.stride(),
            FUNCTIONS=functions, WEIGHTED=weight_map is not None, IGNORE=ignore_index is not None, HARD=not target.is_floating_point(),
            BC=plan.BC, BN=plan.BN, num_warps=plan.warps,
        )  # fmt: skip
    return grad
