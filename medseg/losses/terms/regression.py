"""Losses of the error of a regression: of an auxiliary head against its target, or of the probabilities against the reference.

They differ in how an error of each size pulls: `mse` in proportion to it, `mae` always equally, `huber` and `log_cosh` in proportion while
it is small and equally once it is large. All are means over voxels and channels, over the whole batch and all ranks. With a head (`head:`
names it) they regress signed distances or box sides; `mae` is the common choice there, `huber` calms its end. Without, `mse` is the Brier
score, a partner that calibrates; as the only loss of small lesions any of them is soon content with "everything is background".
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from medseg.losses.blocks import counting_dtype
from medseg.losses.heads import Regression
from medseg.losses.outputs import Head
from medseg.losses.setting import Setting
from medseg.losses.term import Term, check_range
from medseg.losses.view import View


class RegressionTerm(Term):
    """The weighted mean of a function of the error, of a head or of the probabilities."""

    kinds = ("signed_distance", "boxes")

    def __init__(self, setting: Setting, head: Head | None = None) -> None:
        super().__init__(setting, head)

    def of_error(self, error: Tensor) -> Tensor:
        """The loss of each error, >= 0 and 0 at 0."""
        raise NotImplementedError

    def forward(self, view: View) -> Tensor:
        """The term's value."""
        if self.head is None:
            return view.voxel_mean(self.of_error(view.voxels.probabilities - view.voxels.reference))
        prediction, target, weight = cast(Regression, self.head).pairs(view)
        values = self.of_error(prediction - target)
        weight = values.new_ones(()) if weight is None else weight
        dtype = counting_dtype(values)
        return view.mean_over_ranks((values * weight).sum(dtype=dtype), weight.expand_as(values).sum(dtype=dtype))


class MeanSquaredError(RegressionTerm):
    r"""The mean squared error: large errors pull hardest. Without a head the Brier score, which calibrates.

    $$ L = \frac{\sum w\,(p - y)^2}{\sum w} $$
    over voxels and channels: $p$ the head's output and $y$ its target; without a head the probability and the reference of each class
    (soft labels allowed), background included. $w$ is the weight map, times the head's own weights.

    Shape:
        Any that the sum takes; value a scalar in [0, 1] without a head, in [0, inf) with one.

    Empty foreground:
        Without a head nothing special: gradient $2 p^2 (1 - p) / N$ on every voxel's logit with sigmoid, $N$ voxels and channels. With one,
        as the head says.

    Precision:
        Float32 errors, summed in float64. A probability saturates: at logits of $\pm 20$ and wrong, nothing is left of its gradient.

    Args:
        head: Not a parameter but a key of the term: the head it acts on.

    Source:
        Brier, 1950. Its square root, some blogs' "L2", has no gradient at 0.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "mse"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (.01 + .36 + .04 + .01) / 4
        0.105
    """

    def of_error(self, error: Tensor) -> Tensor:
        """The square."""
        return error.square()


class MeanAbsoluteError(RegressionTerm):
    r"""The mean absolute error: every error pulls equally; the first choice for a head of distances.

    $$ L = \frac{\sum w\,|p - y|}{\sum w} $$
    with all as in `mse`.

    Shape:
        Any that the sum takes; value a scalar in [0, 1] without a head, in [0, inf) with one.

    Empty foreground:
        Without a head nothing special: gradient $p (1 - p) / N$ on every voxel's logit with sigmoid. With one, as the head says.

    Precision:
        Float32 errors, summed in float64; the gradient at error 0 is 0.

    Args:
        head: Not a parameter but a key of the term: the head it acts on.

    Source:
        For distances Xue et al., AAAI 2020. On probabilities robust to label noise (Ghosh et al., AAAI 2017), but on small lesions it ends
        at all background, which costs their volume fraction only.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "mae"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (.1 + .6 + .2 + .1) / 4
        0.25
    """

    def of_error(self, error: Tensor) -> Tensor:
        """The size."""
        return error.abs()


class Huber(RegressionTerm):
    r"""Squared for small errors, linear for large ones: a head of distances that shall come to rest and bear outliers.

    $$ L = \frac{\sum w\,h(p - y)}{\sum w}, \qquad
       h(e) = \begin{cases} e^2 / 2 & |e| \le \delta \\ \delta\,(|e| - \delta / 2) & \text{else} \end{cases} $$
    with all else as in `mse`, and $\delta$ `delta`.

    Shape:
        Any that the sum takes; value a scalar in [0, inf).

    Empty foreground:
        As `mse` for errors up to `delta`, as `mae` beyond, times `delta`.

    Precision:
        Float32 errors, summed in float64.

    Args:
        delta: Error up to which it is a square, above 0. No probability errs by more than 1: there 1 is half of `mse`.

    Source:
        Huber, 1964. Smooth L1 with its beta is this with $\delta = \beta$, divided by $\beta$: the same at 1 only.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "huber", "params": {"delta": 0.4}}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.9, 0.4, 0.2, 0.1]]]), torch.tensor([[[1, 1, 0, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # (.005 + .4 (.6 - .2) + .02 + .005) / 4
        0.0475
    """

    def __init__(self, setting: Setting, head: Head | None = None, *, delta: float = 1.0) -> None:
        super().__init__(setting, head)
        self.delta = check_range("delta", delta, 0, above=True)

    def of_error(self, error: Tensor) -> Tensor:
        """A parabola with straight arms."""
        return F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=self.delta)


class LogCosh(RegressionTerm):
    r"""As `huber` with a delta of 1, but smooth throughout.

    $$ L = \frac{\sum w\,\ln\cosh(p - y)}{\sum w} $$
    with all as in `mse`.

    Shape:
        Any that the sum takes; value a scalar in [0, inf).

    Empty foreground:
        As half of `mse`, nearly: the gradient of an error $e$ is $\tanh e$.

    Precision:
        $\ln(1 + 2 \sinh^2(e / 2))$ up to 1, exact near 0 where the logarithm of cosh would be rounding noise; beyond, $|e| +
        \mathrm{softplus}(-2|e|) - \ln 2$, where cosh would overflow (at 89 in float32).

    Args:
        head: Not a parameter but a key of the term: the head it acts on.

    Source:
        Folklore; smooth stand-in for `huber`. Frameworks write it as softplus alone, which is only exact to 1e-7.

    Example:
        >>> import torch
        >>> from medseg.losses import build_loss
        >>> loss = build_loss({"activation": "sigmoid", "terms": [{"name": "log_cosh"}]}, num_classes=1)
        >>> p, y = torch.tensor([[[0.5, 0.5]]]), torch.tensor([[[1, 0]]])
        >>> round(loss(p.logit(), y).item(), 6)  # ln cosh 0.5
        0.120115
    """

    def of_error(self, error: Tensor) -> Tensor:
        """Smooth all over."""
        size = error.abs()
        small = torch.log1p(2 * torch.sinh(error.clamp(-1, 1) / 2).square())
        return torch.where(size <= 1, small, size + F.softplus(-2 * size) - math.log(2))
