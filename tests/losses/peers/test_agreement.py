"""Agreement in value and gradient with MONAI, smp, kornia and torch, wherever a definition is the same but for a constant that is named.

No peer has balanced_bce, poly, topk, log_cosh_dice, sensitivity_specificity, combo, exp_log, blob, component or center; torch's
divergence, regression and label smoothing are compared beside those terms, torchvision's boxes in test_boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kornia import losses as kornia
from monai import losses as monai
from segmentation_models_pytorch import losses as smp
from torch import Tensor, nn

from medseg.losses import WeightedLoss, build_loss
from tests.losses.problems import problem, single, value_and_gradient

BATCH = [("batch", True), ("sample", False)]
"""Our `reduce_over`, MONAI's `batch`."""


def same(
    ours: WeightedLoss,
    theirs: Callable[[Tensor, Tensor], Tensor],
    logits: Tensor,
    target: Tensor,
    their_target: Tensor | None = None,
    *,
    factor: float = 1.0,
    rtol: float = 1e-6,
) -> None:
    """Equal values and gradients, theirs times a factor; to the sixth digit, or as far as a peer's single precision goes."""
    z = logits.detach().requires_grad_()
    value = factor * theirs(z, target if their_target is None else their_target)
    (gradient,) = torch.autograd.grad(value, z)
    assert gradient.abs().max() > 1e-5  # there is something to compare
    torch.testing.assert_close(
        value_and_gradient(ours, logits, target), (value.detach(), gradient), rtol=rtol, atol=1e-4 * rtol, check_dtype=False
    )


def scalar(loss: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of (B, 1, *spatial) for peers that return a tensor of one element, or take probabilities."""
    return lambda z, y: loss(z.sigmoid(), y)


class TestMonai:
    @pytest.mark.parametrize("background", [True, False])
    @pytest.mark.parametrize(("reduce_over", "batch"), BATCH)
    @pytest.mark.parametrize(
        ("name", "params", "theirs"),
        [
            ("dice", {"smooth": 0.5}, {"smooth_nr": 0.5, "smooth_dr": 0.5}),
            ("jaccard", {"smooth": 0.25}, {"jaccard": True, "smooth_nr": 0.5, "smooth_dr": 0.5}),  # theirs is doubled above and below
            ("squared_dice", {"smooth": 0.5}, {"squared_pred": True, "smooth_nr": 0.5, "smooth_dr": 0.5}),
            ("dice_plus_plus", {"smooth": 0.5, "exponent": 2.0}, {"squared_pred": True, "smooth_nr": 0.5, "smooth_dr": 0.5}),
        ],
    )
    def test_dice(self, name: str, params: dict[str, Any], theirs: dict[str, Any], reduce_over: str, batch: bool, background: bool) -> None:
        settings = {"reduce_over": reduce_over, "include_background": background}
        peer = monai.DiceLoss(include_background=background, to_onehot_y=True, softmax=True, batch=batch, **theirs)
        logits, target = problem("softmax")
        same(single(name, "softmax", 3, params, **settings), peer, logits, target, target.unsqueeze(1))
        if background:  # there is none among sigmoid channels
            logits, target = problem("sigmoid")
            peer = monai.DiceLoss(sigmoid=True, batch=batch, **theirs)
            same(single(name, "sigmoid", 3, params, **settings), peer, logits, target, target.double())

    @pytest.mark.parametrize(("reduce_over", "batch"), BATCH)
    @pytest.mark.parametrize(
        ("name", "theirs"),
        [
            ("squared_dice", {"squared_pred": True, "smooth_nr": 0.5, "smooth_dr": 0.5}),
            ("dice_semimetric", {"smooth_nr": 0.5, "smooth_dr": 0.5}),
            ("jaccard_metric", {"jaccard": True, "smooth_nr": 1.0, "smooth_dr": 1.0}),
        ],
    )
    def test_soft_labels(self, name: str, theirs: dict[str, Any], reduce_over: str, batch: bool) -> None:
        logits, _ = problem("softmax")
        target = torch.softmax(problem("softmax", seed=1)[0], 1)
        peer = monai.DiceLoss(softmax=True, soft_label=True, batch=batch, **theirs)
        same(single(name, "softmax", 3, {"smooth": 0.5}, include_background=True, reduce_over=reduce_over), peer, logits, target)

    @pytest.mark.parametrize(("reduce_over", "batch"), BATCH)
    @pytest.mark.parametrize(
        ("name", "params", "fp", "fn"),
        [("tversky", {}, 0.3, 0.7), ("f_beta", {"beta": 2.0}, 0.2, 0.8), ("f_beta", {"beta": 1.0}, 0.5, 0.5)],
    )
    def test_tversky(self, name: str, params: dict[str, Any], fp: float, fn: float, reduce_over: str, batch: bool) -> None:
        shared = {"include_background": False, "alpha": fp, "beta": fn, "smooth_nr": 1.0, "smooth_dr": 1.0, "batch": batch}
        peer = monai.TverskyLoss(to_onehot_y=True, softmax=True, **shared)
        logits, target = problem("softmax")
        ours = single(name, "softmax", 3, {"smooth": 1.0, **params}, reduce_over=reduce_over)
        same(ours, peer, logits, target, target.unsqueeze(1))

    @pytest.mark.parametrize(("reduce_over", "batch"), BATCH)
    @pytest.mark.parametrize("absent", [False, True])
    @pytest.mark.parametrize("weighting", ["square", "simple", "uniform"])
    def test_generalized_dice(self, weighting: str, absent: bool, reduce_over: str, batch: bool) -> None:
        """An absent class has the largest weight of the present ones."""
        logits, target = problem("softmax")
        if absent:
            target[target == 2] = 1
        peer = monai.GeneralizedDiceLoss(to_onehot_y=True, softmax=True, w_type=weighting, smooth_nr=0.0, smooth_dr=0.0, batch=batch)
        params = {"weighting": weighting, "smooth": 0.0}
        ours = single("generalized_dice", "softmax", 3, params, include_background=True, reduce_over=reduce_over)
        same(ours, peer, logits, target, target.unsqueeze(1))

    def test_cross_entropy_plus_dice(self) -> None:
        logits, target = problem("softmax", (2, 3, 4, 5, 6))
        peer = monai.DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True, lambda_dice=0.5)
        terms = [{"name": "cross_entropy"}, {"name": "dice", "weight": 0.5}]
        same(build_loss({"activation": "softmax", "terms": terms}, 3), peer, logits, target, target.unsqueeze(1))

    def test_binary_cross_entropy_plus_dice(self) -> None:
        """Of one channel, where theirs is no softmax."""
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        ours = build_loss({"activation": "sigmoid", "terms": [{"name": "bce"}, {"name": "dice"}]}, 1)
        same(ours, monai.DiceCELoss(sigmoid=True, batch=True), logits, target, target.double())

    def test_focal_plus_dice(self) -> None:
        logits, target = problem("sigmoid")
        ours = build_loss({"activation": "sigmoid", "terms": [{"name": "focal"}, {"name": "dice", "weight": 2.0}]}, 3)
        same(ours, monai.DiceFocalLoss(sigmoid=True, batch=True, lambda_dice=2.0), logits, target, target.double())

    @pytest.mark.parametrize("gamma", [0.5, 2.0])
    @pytest.mark.parametrize("alpha", [None, 0.25])
    def test_sigmoid_focal(self, alpha: float | None, gamma: float) -> None:
        logits, target = problem("sigmoid")
        same(single("focal", "sigmoid", 3, {"gamma": gamma, "alpha": alpha}), monai.FocalLoss(gamma=gamma, alpha=alpha), logits, target)

    @pytest.mark.parametrize("alpha", [None, [0.2, 0.5, 1.5]])
    def test_softmax_focal(self, alpha: list[float] | None) -> None:
        """Theirs is divided by the number of classes too."""
        logits, target = problem("softmax")
        peer = monai.FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0, alpha=alpha)
        same(single("focal", "softmax", 3, {"alpha": alpha}), peer, logits, target, target.unsqueeze(1), factor=3.0)

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_asymmetric_unified_focal(self, share: float) -> None:
        """On probabilities. Theirs is a mean over voxels and both classes where ours adds the two: half of the focal part."""
        peer = monai.AsymmetricUnifiedFocalLoss(weight=share, gamma=0.3, delta=0.6)
        factor = share / 2 + (1 - share)
        params = {"focal_share": share / 2 / factor, "gamma": 0.3, "fn_weight": 0.6, "smooth": 1e-7}
        logits, target = problem("softmax", (3, 2, 6, 5))
        ours = single("unified_focal", "softmax", 2, params, reduce_over="sample")
        masks = nn.functional.one_hot(target, 2).movedim(-1, 1)
        same(ours, lambda z, y: peer(z.softmax(1), y), logits, target, masks, factor=1 / factor)
        logits, target = problem("sigmoid", (3, 1, 6, 5))
        same(single("unified_focal", "sigmoid", 1, params, reduce_over="sample"), scalar(peer), logits, target, factor=1 / factor)

    @pytest.mark.parametrize(("reduce_over", "batch"), BATCH)
    @pytest.mark.parametrize("background", [True, False])
    def test_mcc(self, background: bool, reduce_over: str, batch: bool) -> None:
        shared: dict[str, Any] = {"smooth_dr": 0.0, "batch": batch}
        peer = monai.MCCLoss(include_background=background, to_onehot_y=True, softmax=True, **shared)
        logits, target = problem("softmax")
        ours = single("mcc", "softmax", 3, include_background=background, reduce_over=reduce_over)
        same(ours, peer, logits, target, target.unsqueeze(1))
        logits, target = problem("sigmoid")
        same(single("mcc", "sigmoid", 3, reduce_over=reduce_over), monai.MCCLoss(sigmoid=True, **shared), logits, target)

    @pytest.mark.parametrize("shape", [(3, 1, 12, 10), (2, 1, 6, 7, 8)])
    def test_cl_dice(self, shape: tuple[int, ...]) -> None:
        """Of one channel: theirs merges channels. Its own smoothing of the harmonic mean must be above 0."""
        logits, target = problem("sigmoid", shape)
        peer = monai.SoftclDiceLoss(iter_=4, smooth=1e-12, sigmoid=True)
        same(single("cl_dice", "sigmoid", 1, {"iterations": 4}, reduce_over="sample"), peer, logits, target, target.double())

    def test_cl_dice_plus_dice(self) -> None:
        logits, target = problem("sigmoid", (3, 1, 12, 10))
        terms = [{"name": "dice", "weight": 0.7, "params": {"smooth": 1}}, {"name": "cl_dice", "weight": 0.3, "params": {"iterations": 3}}]
        ours = build_loss({"activation": "sigmoid", "reduce_over": "sample", "terms": terms}, 1)
        same(ours, monai.SoftDiceclDiceLoss(alpha=0.3, smooth=1e-12, sigmoid=True), logits, target, target.double())

    @pytest.mark.parametrize("exponent", [1.0, 2.0])
    @pytest.mark.parametrize("shape", [(3, 3, 7, 5), (2, 3, 4, 5, 6)])
    def test_hausdorff(self, shape: tuple[int, ...], exponent: float) -> None:
        """Theirs is in voxels, not divided by the diagonal; single precision. It needs floating labels, see test_defects_monai."""
        diagonal = sum((size - 1) ** 2 for size in shape[2:]) ** 0.5
        for activation in ("softmax", "sigmoid"):
            logits, target = problem(activation, shape)
            background = activation == "sigmoid"
            peer = monai.HausdorffDTLoss(exponent, background, to_onehot_y=not background, **{activation: True})
            their_target = (target if background else target.unsqueeze(1)).double()
            ours = single("hausdorff_dt", activation, 3, {"exponent": exponent})
            same(ours, peer, logits, target, their_target, factor=diagonal**-exponent, rtol=1e-5)

    @pytest.mark.parametrize("shape", [(3, 3, 7, 5), (2, 3, 4, 5, 6)])
    def test_boundary(self, shape: tuple[int, ...]) -> None:
        for activation in ("softmax", "sigmoid"):
            logits, target = problem(activation, shape)
            background = activation == "sigmoid"
            peer = monai.BoundaryLoss(background, to_onehot_y=not background, **{activation: True})
            same(single("boundary", activation, 3), peer, logits, target, target if background else target.unsqueeze(1))


class TestSmp:
    @pytest.mark.parametrize(
        ("name", "params", "peer", "theirs"),
        [
            ("dice", {"smooth": 2.0}, smp.DiceLoss, {"smooth": 1.0}),  # a Tversky loss of halves there
            ("jaccard", {"smooth": 1.0}, smp.JaccardLoss, {"smooth": 1.0}),
            ("tversky", {"smooth": 1.0}, smp.TverskyLoss, {"smooth": 1.0, "alpha": 0.3, "beta": 0.7}),
        ],
    )
    def test_region(self, name: str, params: dict[str, Any], peer: type[nn.Module], theirs: dict[str, Any]) -> None:
        for mode, channels in (("binary", 1), ("multilabel", 3)):
            logits, target = problem("sigmoid", (2, channels, 6, 5))
            same(single(name, "sigmoid", channels, params), peer(mode, **theirs), logits, target)
        logits, target = problem("softmax")
        target[:, 0] = 255
        for background, classes in ((True, None), (False, [1, 2])):
            ours = single(name, "softmax", 3, params, include_background=background, ignore_index=255)
            same(ours, peer("multiclass", classes, ignore_index=255, **theirs), logits, target)

    @pytest.mark.parametrize(
        ("name", "params", "peer"),
        [("dice_semimetric", {"smooth": 2.0}, smp.DiceLoss), ("jaccard_metric", {"smooth": 1.0}, smp.JaccardLoss)],
    )
    def test_soft_labels(self, name: str, params: dict[str, Any], peer: type[nn.Module]) -> None:
        logits, _ = problem("sigmoid")
        target = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        same(single(name, "sigmoid", 3, params), peer("multilabel", smooth=1.0), logits, target)

    def test_focal_tversky(self) -> None:
        """Of one class, where a power before and after the mean is the same."""
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        peer = smp.TverskyLoss("binary", alpha=0.3, beta=0.7, gamma=0.75, smooth=1.0)
        same(single("focal_tversky", "sigmoid", 1), peer, logits, target)

    @pytest.mark.parametrize(("mode", "channels"), [("binary", 1), ("multilabel", 3)])
    def test_focal(self, mode: str, channels: int) -> None:
        logits, target = problem("sigmoid", (2, channels, 6, 5))
        same(single("focal", "sigmoid", channels, {"alpha": 0.25}), smp.FocalLoss(mode, alpha=0.25, gamma=2.0), logits, target)

    def test_mcc(self) -> None:
        logits, target = problem("sigmoid", (2, 1, 6, 5))
        same(single("mcc", "sigmoid", 1), scalar(smp.MCCLoss(eps=0.0)), logits, target)

    def test_binary_cross_entropy(self) -> None:
        logits, target = problem("sigmoid")
        peer = smp.SoftBCEWithLogitsLoss(pos_weight=torch.tensor(3.0, dtype=torch.float64))
        same(single("bce", "sigmoid", 3, {"pos_weight": 3.0}), peer, logits, target, target.double())

    def test_smoothed_binary_labels(self) -> None:
        """Soft labels here."""
        logits, target = problem("sigmoid")
        same(
            single("bce", "sigmoid", 3), smp.SoftBCEWithLogitsLoss(smooth_factor=0.1), logits, 0.1 + 0.8 * target.double(), target.double()
        )

    def test_smoothed_labels(self) -> None:
        logits, target = problem("softmax")
        same(single("cross_entropy", "softmax", 3, {"label_smoothing": 0.1}), smp.SoftCrossEntropyLoss(smooth_factor=0.1), logits, target)

    @pytest.mark.parametrize(("reduce_over", "per_image"), [("batch", False), ("sample", True)])
    def test_lovasz_hinge(self, reduce_over: str, per_image: bool) -> None:
        """Of one channel: theirs sorts all channels as one. It works in single precision only."""
        logits, target = problem("sigmoid", (3, 1, 6, 5))
        target[0, 0, 0] = 255
        ours = single("lovasz_hinge", "sigmoid", 1, reduce_over=reduce_over, ignore_index=255)
        same(ours, smp.LovaszLoss("binary", per_image, 255), logits.float(), target, rtol=1e-4)

    @pytest.mark.parametrize(("reduce_over", "per_image"), [("batch", False), ("sample", True)])
    @pytest.mark.parametrize("absent", [False, True])
    def test_lovasz_softmax(self, absent: bool, reduce_over: str, per_image: bool) -> None:
        """Absent classes are left out there, as `skip` does here. It works in single precision only."""
        logits, target = problem("softmax")
        if absent:
            target[target == 2] = 0
        target[0, 0] = 255
        settings = {"include_background": True, "empty": "skip", "ignore_index": 255, "reduce_over": reduce_over}
        ours = single("lovasz_softmax", "softmax", 3, **settings)
        same(ours, smp.LovaszLoss("multiclass", per_image, 255), logits.float(), target, rtol=1e-4)


class TestKornia:
    """Of images, each by itself."""

    @pytest.mark.parametrize("absent", [False, True])
    @pytest.mark.parametrize(
        ("name", "params", "peer"),
        [
            ("dice", {}, kornia.DiceLoss("macro", eps=0.0)),
            ("tversky", {}, kornia.TverskyLoss(alpha=0.3, beta=0.7, eps=0.0)),
            ("jaccard", {}, kornia.TverskyLoss(alpha=1.0, beta=1.0, eps=0.0)),
        ],
    )
    def test_region(self, name: str, params: dict[str, Any], peer: nn.Module, absent: bool) -> None:
        """Theirs is smoothed in the denominator alone, and leaves absent classes out, as `skip` does here."""
        logits, target = problem("softmax")
        if absent:
            target[target == 2] = 0
        settings = {"include_background": True, "reduce_over": "sample", "empty": "skip", "ignore_index": 255}
        target[:, 0] = 255
        their_target = torch.where(target == 255, -100, target)
        same(single(name, "softmax", 3, {"smooth": 0.0, **params}, **settings), peer, logits, target, their_target)

    def test_micro_dice(self) -> None:
        """One ratio over all classes: a generalised Dice of equal weights."""
        logits, target = problem("softmax")
        params = {"weighting": "uniform", "smooth": 0.0}
        ours = single("generalized_dice", "softmax", 3, params, include_background=True, reduce_over="sample")
        same(ours, kornia.DiceLoss("micro", eps=0.0), logits, target)

    @pytest.mark.parametrize(("alpha", "weights"), [(None, None), (0.25, [0.75, 0.25, 0.25])])
    def test_softmax_focal(self, alpha: float | None, weights: list[float] | None) -> None:
        """Theirs is divided by the number of classes too."""
        logits, target = problem("softmax")
        peer = kornia.FocalLoss(alpha, gamma=1.5, reduction="mean")
        same(single("focal", "softmax", 3, {"gamma": 1.5, "alpha": weights}), peer, logits, target, factor=3.0)

    def test_sigmoid_focal(self) -> None:
        logits, target = problem("sigmoid")
        peer = kornia.BinaryFocalLossWithLogits(0.25, gamma=1.5, reduction="mean")
        same(single("focal", "sigmoid", 3, {"gamma": 1.5, "alpha": 0.25}), peer, logits, target)

    def test_lovasz_hinge(self) -> None:
        logits, target = problem("sigmoid", (3, 1, 6, 5))
        same(single("lovasz_hinge", "sigmoid", 1, reduce_over="sample"), kornia.LovaszHingeLoss(), logits, target, target[:, 0])

    @pytest.mark.parametrize("absent", [False, True])
    @pytest.mark.parametrize("background", [True, False])
    def test_lovasz_softmax(self, background: bool, absent: bool) -> None:
        """Theirs is a mean over all classes, also of weight 0."""
        logits, target = problem("softmax")
        if absent:
            target[target == 2] = 0
        weight = torch.tensor([float(background), 1.0, 1.0], dtype=torch.float64)
        ours = single("lovasz_softmax", "softmax", 3, include_background=background, reduce_over="sample")
        same(ours, kornia.LovaszSoftmaxLoss(weight), logits, target, factor=1.0 if background else 1.5)


class TestTorch:
    def test_cross_entropy(self) -> None:
        logits, target = problem("softmax")
        target[:, 0] = 255
        weights = [0.5, 1.0, 4.0]
        peer = nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float64), ignore_index=255)
        same(single("cross_entropy", "softmax", 3, {"class_weights": weights}, ignore_index=255), peer, logits, target)

    def test_binary_cross_entropy(self) -> None:
        logits, target = problem("sigmoid")
        peer = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0, dtype=torch.float64))
        same(single("bce", "sigmoid", 3, {"pos_weight": 3.0}), peer, logits, target, target.double())

    def test_hinge(self) -> None:
        """That of embeddings, for pairs that shall all be apart."""
        logits, target = problem("sigmoid")
        sign = 2.0 * target - 1
        peer = nn.HingeEmbeddingLoss(margin=0.5)
        same(single("hinge", "sigmoid", 3, {"margin": 0.5}), lambda z, y: peer(sign * z, torch.full_like(y, -1)), logits, target)
