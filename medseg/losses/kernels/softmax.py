"""The kernels of `SoftmaxSums`: one forward, one backward; formulas in `losses/softmax.py`."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from medseg.losses.kernels.functions import log1p, longer, raised, slope, value
from medseg.losses.kernels.plan import NOT_SPECIAL, Description, device_of, plan_softmax, programs_of


@triton.jit
def _labels(ids, weight, n, n_ok, t_n, w_n, C, ignore, WEIGHTED: tl.constexpr, IGNORE: tl.constexpr):
    """Class and weight of each voxel; 0 weight where ignored or beyond the end, NaN for an id that is no class."""
    t = tl.load(ids + n * t_n, n_ok, 0).to(tl.int64)
    w = tl.where(n_ok, 1.0, 0.0)
    if WEIGHTED:
        w = tl.load(weight + n * w_n, n_ok, 0.0).to(tl.float32)
    if IGNORE:
        w = tl.where(t == ignore, 0.0, w)
        t = tl.where(t == ignore, 0, t)
    legal = (t >= 0) & (t < C)
    return tl.where(legal, t, 0), tl.where(legal, w, float("nan"))


@triton.jit
def _softmax(z, c, n, t, c_ok, n_ok, z_c, z_n):
    """Of each voxel: exponentials of the wrong classes (BC, BN), 1 / their sum with the true one, n, p and q = 1 - p of the true class."""
    x = tl.load(z + c.to(tl.int64)[:, None] * z_c + (n * z_n)[None, :], c_ok[:, None] & n_ok[None, :], 0.0).to(tl.float32)
    x = tl.where(c_ok[:, None], x, float("-inf"))
    true = tl.load(z + t * z_c + n * z_n, n_ok, 0.0).to(tl.float32)  # of a cache line that the tile just read
    hot = c[:, None] == t[None, :]
    top = tl.max(x, 0)
    wrong = tl.where(hot, 0.0, tl.exp(x - top[None, :]))
    rest = tl.sum(wrong, 0)
    right = tl.exp(true - top)
    total = rest + right
    nll = (top - true) + log1p(tl.where(right == 1.0, rest, total - 1.0), total)
    share = 1.0 / total
    return hot, wrong, share, nll, right * share, rest * share


@triton.jit(do_not_specialize=NOT_SPECIAL)
def forward_kernel(
    z,
    ids,
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
    t_n,
    w_b,
    w_n,
    FUNCTIONS: tl.constexpr,
    OUTER: tl.constexpr,
    WEIGHTED: tl.constexpr,
    IGNORE: tl.constexpr,
    BC: tl.constexpr,
    BN: tl.constexpr,
):
    """Each program's sums (4 + functions + outer, C) over its run of tiles: TP, FP, FN, functions, outer functions, volume."""
    program = tl.program_id(0).to(tl.int64)
    b, first = program // programs, (program % programs) * per_program
    z, ids, weight = z + b * z_b, ids + b * t_b, weight + b * w_b
    c = tl.arange(0, BC)
    c_ok = c < C
    # A sum for each place in the tile, reduced once at the end: reducing every tile costs more shuffles than arithmetic.
    zero = tl.zeros([BC, BN], tl.float32)
    tp, fp, fn, volume = zero, zero, zero, zero
    inside = (zero,) * len(FUNCTIONS)
    outer = (zero,) * len(OUTER)
    for tile in range(first, tl.minimum(first + per_program, tiles)):
        n = tile * BN + tl.arange(0, BN).to(tl.int64)
        n_ok = n < N
        t, w = _labels(ids, weight, n, n_ok, t_n, w_n, C, ignore, WEIGHTED, IGNORE)
        hot, wrong, share, nll, p, q = _softmax(z, c, n, t, c_ok, n_ok, z_c, z_n)
        fp += wrong * (share * w)[None, :]
        tp += tl.where(hot, (p * w)[None, :], 0.0)
        fn += tl.where(hot, (q * w)[None, :], 0.0)
        volume += tl.where(hot, w[None, :], 0.0)
        grown = ()
        for k in tl.static_range(len(FUNCTIONS)):
            f = value(nll, p, q, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
            grown = longer(grown, inside[k] + tl.where(hot, (f * w)[None, :], 0.0))
        inside = grown
        grown = ()
        for k in tl.static_range(len(OUTER)):
            grown = longer(grown, outer[k] + raised(wrong * share[None, :], OUTER[k]) * w[None, :])
        outer = grown
    rows: tl.constexpr = 4 + len(FUNCTIONS) + len(OUTER)
    out = partial + program * rows * C + c
    tl.store(out, tl.sum(tp, 1), c_ok)
    tl.store(out + C, tl.sum(fp, 1), c_ok)
    tl.store(out + 2 * C, tl.sum(fn, 1), c_ok)
    for k in tl.static_range(len(FUNCTIONS)):
        tl.store(out + (3 + k) * C, tl.sum(inside[k], 1), c_ok)
    for k in tl.static_range(len(OUTER)):
        tl.store(out + (3 + len(FUNCTIONS) + k) * C, tl.sum(outer[k], 1), c_ok)
    tl.store(out + (rows - 1) * C, tl.sum(volume, 1), c_ok)


@triton.jit(do_not_specialize=NOT_SPECIAL)
def backward_kernel(
    z,
    ids,
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
    t_n,
    w_b,
    w_n,
    g_b,
    g_c,
    g_n,
    FUNCTIONS: tl.constexpr,
    OUTER: tl.constexpr,
    WEIGHTED: tl.constexpr,
    IGNORE: tl.constexpr,
    BC: tl.constexpr,
    BN: tl.constexpr,
):
    """The gradient; `slopes` (B, 2 + functions + outer, C) holds dL/dFP, dL/dTP - dL/dFN - dL/dFP, then those of the functions' sums."""
    program = tl.program_id(0).to(tl.int64)
    b, first = program // programs, (program % programs) * per_program
    z, ids, weight, grad = z + b * z_b, ids + b * t_b, weight + b * w_b, grad + b * g_b
    slopes += b * (2 + len(FUNCTIONS) + len(OUTER)) * C
    c = tl.arange(0, BC)
    c_ok = c < C
    fp = tl.load(slopes + c, c_ok, 0.0)[:, None]
    for tile in range(first, tl.minimum(first + per_program, tiles)):
        n = tile * BN + tl.arange(0, BN).to(tl.int64)
        n_ok = n < N
        t, w = _labels(ids, weight, n, n_ok, t_n, w_n, C, ignore, WEIGHTED, IGNORE)
        hot, wrong, share, nll, p, q = _softmax(z, c, n, t, c_ok, n_ok, z_c, z_n)
        u = p * tl.load(slopes + C + t)
        for k in tl.static_range(len(FUNCTIONS)):
            f = slope(nll, p, q, FUNCTIONS[k][0], FUNCTIONS[k][1], FUNCTIONS[k][2])
            u -= f * tl.load(slopes + (2 + k) * C + t)
        wrong *= share[None, :]
        a = fp
        for k in tl.static_range(len(OUTER)):
            steep = tl.load(slopes + (2 + len(FUNCTIONS) + k) * C + c, c_ok, 0.0)
            a = a + tl.where(hot, 0.0, OUTER[k] * raised(wrong, OUTER[k] - 1.0) * steep[:, None])
        everyone = tl.where(hot, p[None, :], wrong)
        mean = tl.sum(everyone * a, 0)
        g = everyone * (a - mean[None, :]) + tl.where(hot, (u * q)[None, :], -wrong * u[None, :])
        at = grad + c.to(tl.int64)[:, None] * g_c + (n * g_n)[None, :]
        tl.store(at, (g * w[None, :]).to(grad.dtype.element_ty), c_ok[:, None] & n_ok[None, :])


def forward(
    logits: Tensor, ids: Tensor, weight_map: Tensor | None, functions: Description, outer: tuple[float, ...], ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """Sums and counts of `SoftmaxSums`."""
    batch, classes, voxels = logits.shape
    rows = 4 + len(functions) + len(outer)
    plan = plan_softmax(classes, rows)
    programs, tiles, per_program = programs_of(plan.BN, voxels, batch, logits)
    partial = logits.new_empty(batch, programs, rows, classes, dtype=torch.float32)
    weight = ids if weight_map is None else weight_map
    with device_of(logits):
        forward_kernel[(batch * programs,)](
            logits, ids, weight, partial, classes, voxels, programs, tiles, per_program, ignore_index or 0,
            *logits.stride(), *ids.stride(), *weight.stride(),
            FUNCTIONS=functions, OUTER=outer, WEIGHTED=weight_map is not None, IGNORE=ignore_index is not None,
            BC=plan.BC, BN=plan.BN, num_warps=plan.warps,
        )  # fmt: skip
    sums = partial.sum(1, dtype=torch.float64)
    volume = sums[:, -1]
    return sums[:, :-1], torch.stack([volume, volume.sum(1, keepdim=True).expand_as(volume)], 1)


def backward(
    grad_sums: Tensor,
    logits: Tensor,
    ids: Tensor,
    weight_map: Tensor | None,
    functions: Description,
    outer: tuple[float, ...],
    ignore_index: int | None,
) -> Tensor:
    """The gradient of the logits, from that of the sums."""
    batch, classes, voxels = logits.shape
    plan = plan_softmax(classes, 4 + len(functions) + len(outer))
    programs, tiles, per_program = programs_of(plan.BN, voxels, batch, logits)
    tp, fp, fn = grad_sums[:, :3].unbind(1)
    slopes = torch.cat([torch.stack([fp, tp - fn - fp], 1), grad_sums[:, 3:]], 1).float()
    grad = torch.empty_like(logits)
    weight = ids if weight_map is None else weight_map
    with device_of(logits):
        backward_kernel[(batch * programs,)](
            logits, ids, weight, slopes, grad, classes, voxels, programs, tiles, per_program, ignore_index or 0,
            *logits.stride(), *ids.stride(), *weight.stride(), *grad.stride(),
            FUNCTIONS=functions, OUTER=outer, WEIGHTED=weight_map is not None, IGNORE=ignore_index is not None,
            BC=plan.BC, BN=plan.BN, num_warps=plan.warps,
        )  # fmt: skip
    return grad
