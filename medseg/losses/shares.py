"""Who moves the network: the size of each term's gradient at the network's outputs, and its share of the whole.

A value tells little: a cross entropy of 0.01 beside a Dice of 0.6 may own the gradient, or have nearly none of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medseg.losses.blocks import counting_dtype, working_dtype
from medseg.losses.distributed import sum_over_ranks, world_size
from medseg.losses.errors import LossInputError


def gradient_norms(values: Sequence[Tensor], outputs: Sequence[Tensor], *, distributed: bool = False) -> Tensor:
    r"""$\lVert \partial L_k / \partial z \rVert_2$ of each term, over all elements of all outputs $z$ (and of all ranks).

    A backward pass a term that ends at the outputs; the network's own is not run, and the graph is kept.

    Args:
        values: The terms' values $L_k$, still attached to the graph.
        outputs: What the network gave: the levels of the logits, and the heads'. One that a term does not use counts as 0.
        distributed: Whether each rank holds a part of one batch. The ranks communicate once more than in the terms' own backwards.

    Shape:
        value (K,), float32 (float64 where the outputs are).

    Raises:
        LossInputError: No output has a gradient, as under `torch.no_grad()`.

    >>> z = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> gradient_norms([z.square().sum() / 2, 2 * z[0]], [z])
    tensor([5., 2.])
    """
    outputs = [output for output in outputs if output.requires_grad]
    if not outputs or not torch.is_grad_enabled():
        raise LossInputError("gradient shares need outputs with a gradient; call the loss outside of torch.no_grad()")
    squares = torch.stack([_squared_norm(value, outputs) for value in values])
    if distributed and world_size() > 1:
        squares = sum_over_ranks(squares) / world_size() ** 2  # each rank's gradient is that of the sum over ranks: see sum_over_ranks
    return squares.sqrt().to(working_dtype(outputs[0]))


def _squared_norm(value: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    total = torch.zeros((), dtype=counting_dtype(outputs[0]), device=outputs[0].device)
    if not value.requires_grad:
        return total
    gradients = torch.autograd.grad(value, outputs, retain_graph=True, allow_unused=True)
    # Of numbers near 1e-20, which a mean over many nearly solved voxels can have, float32 has no squares.
    return total + sum(torch.linalg.vector_norm(gradient, dtype=total.dtype).square() for gradient in gradients if gradient is not None)


def shares(norms: Tensor, weights: Sequence[float | Tensor]) -> Tensor:
    r"""$w_k n_k / \sum_j w_j n_j$: each term's share of the gradient, (K,); all 0 where there is no gradient at all.

    Sizes are added, directions are not: two terms that pull against each other each have a half.

    >>> shares(torch.tensor([5.0, 2.0, 0.0]), [1.0, 2.5, 1.0])
    tensor([0.5000, 0.5000, 0.0000])
    """
    sizes = torch.stack([weight * norm for weight, norm in zip(weights, norms.unbind(), strict=True)])
    total = sizes.sum()
    return sizes / torch.where(total > 0, total, 1)


def by_name(names: Mapping[str, object], values: Tensor) -> dict[str, Tensor]:
    """A vector's elements under the terms' names."""
    return dict(zip(names, values.unbind(), strict=True))
