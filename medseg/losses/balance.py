"""Weights that mean shares of the gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class GradientBalance(nn.Module):
    r"""Turns wanted shares of the gradient into weights of the terms, from running norms of their gradients.

    $$ e_k = w_k \,\mathrm{clip}\Big(\frac{1}{g_k}\,\frac{\sum_j w_j\,g_j}{\sum_j w_j},\ \frac{1}{b},\ b\Big),\qquad b = 100 $$
    with $w_k$ the configured weight, now the wanted share (of the epoch, where scheduled; weights need not sum to 1), and $g_k$ the
    exponential moving geometric mean of the norm of the unweighted term's gradient at the network's outputs. Within the bounds
    $e_k g_k \propto w_k$, and $\sum_k e_k g_k = \sum_k w_k g_k$: the gradient is distributed anew and keeps its size, so that the learning
    rate keeps its meaning. Beyond a bound ($b$ is `BOUND`) the term gets less, or more, than its share: that of a nearly solved term would
    take any weight to be filled, and a hard batch that comes between measurements would be multiplied with it.

    Args:
        terms: Number of terms.
        decay: Part of the average that stays at each measurement.

    State:
        Buffers, saved with a checkpoint and equal on all ranks. The mean (of logarithms, so that the large gradients of the first steps are
        forgotten as fast as small ones) is bias-corrected, and lags by some three measurements: where gradients change within fewer steps,
        as in a first epoch, shares are only near what is wanted unless `share_every` is small. After the first measurement it is that
        measurement. A norm that is 0 or not finite (a batch without lesions, an overflow) leaves its term's average as it was. A term
        that was never measured keeps its plain weight, and a weight of 0 stays 0.

    Source:
        A relative of GradNorm (Chen et al., ICML 2018), which learns the weights by gradient descent so that gradient norms at the last
        shared layer follow the terms' relative rates of training (its exponent 1.5). Here the wanted ratio is the user's and constant, the
        norms are taken at the network's outputs, and the weights follow in closed form, between bounds: nothing to tune, and no
        term's gradient is more than `BOUND` times what it is in the plain sum. The weights are constants to the optimiser: `total` is no
        single function that training descends.

    Example:
        >>> balance = GradientBalance(2)
        >>> balance.update(torch.tensor([4.0, 0.5]))
        >>> balance.effective([1.0, 1.0])  # 4 and 0.5 become 2.25 each
        tensor([0.5625, 4.5000])
    """

    BOUND: ClassVar[float] = 100.0
    """How far a weight may be moved, up or down, as a factor."""
    average: Tensor
    measured: Tensor

    def __init__(self, terms: int, *, decay: float = 0.7) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("average", torch.zeros(terms))
        self.register_buffer("measured", torch.zeros(terms))

    @torch.no_grad()
    def update(self, norms: Tensor) -> None:
        """Take a measurement (K,) of all terms' unweighted norms."""
        norms = norms.to(self.average)
        useful = norms.isfinite() & (norms > 0)
        logs = torch.where(useful, norms, 1).log()
        self.average.copy_(torch.where(useful, self.decay * self.average + (1 - self.decay) * logs, self.average))
        self.measured.add_(useful)

    def effective(self, weights: Sequence[float]) -> Tensor:
        """The weights (K,) that give each term its wanted share."""
        given = torch.stack([self.average.new_full((), weight) for weight in weights])  # on the device, without waiting for it
        known = self.measured > 0
        wanted = torch.where(known, given, 0)
        norms = torch.where(known, (self.average / (1 - self.decay**self.measured).clamp_min(1e-3)).exp(), 1)
        size = (wanted * norms).sum() / wanted.sum().clamp_min(1e-30)
        factor = (size / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp(1 / self.BOUND, self.BOUND)
        return torch.where(known, wanted * factor, given)
