"""What auxiliary heads are to give, from the target of the segmentation."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from medseg.losses import HEADS, TERMS, LossConfigError, LossInputError, WeightedLoss, build_loss
from medseg.losses.heads import Boxes, SignedDistance
from medseg.losses.outputs import Head
from medseg.losses.setting import Setting
from medseg.losses.view import View


def view_of(target: Tensor, output: Tensor, activation: str = "sigmoid", **options: Any) -> View:
    """What a head called `x` sees."""
    channels = target.shape[1] if activation == "sigmoid" else 3
    logits = torch.zeros(len(target), channels, *output.shape[2:])
    return View(Setting(channels, activation), logits, target, heads={"x": output}, **options)  # type: ignore[arg-type]


def blobs(*shape: int, seed: int = 0, share: float = 0.1) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < share).byte()


class TestEveryHead:
    @pytest.mark.parametrize("name", HEADS)
    def test_is_documented(self, name: str) -> None:
        assert "Args:" in HEADS[name].__doc__

    @pytest.mark.parametrize("name", HEADS)
    @pytest.mark.parametrize("axes", [2, 3])
    def test_names_each_of_its_channels_once(self, name: str, axes: int) -> None:
        names = HEADS[name]("x").outputs(["core", "edema"], axes)
        assert len(names) == len(set(names)) == {"signed_distance": 2, "boxes": 2 * axes, "embedding": 8}[name]

    @pytest.mark.parametrize("name", HEADS)
    def test_some_term_takes_it(self, name: str) -> None:
        assert any(name in term.kinds for term in TERMS.values())

    def test_every_kind_that_a_term_names_exists(self) -> None:
        assert {kind for term in TERMS.values() for kind in term.kinds} == set(HEADS)

    @pytest.mark.parametrize(
        ("name", "params", "says"),
        [
            ("signed_distance", {"limit": 0}, "limit must be above 0"),
            ("boxes", {"scale": -1.0}, "scale must be above 0"),
            ("embedding", {"dimensions": 0}, "dimensions must be at least 1"),
        ],
    )
    def test_parameters_out_of_range_name_their_key(self, name: str, params: dict[str, Any], says: str) -> None:
        term = {"signed_distance": "mae", "boxes": "giou", "embedding": "center"}[name]
        with pytest.raises(LossConfigError, match=rf"network\.heads\.x\.params: {says}"):
            build_loss({"activation": "sigmoid", "terms": [{"name": term, "head": "x"}]}, 1, {"x": {"name": name, "params": params}})


class TestSignedDistance:
    def test_is_the_distance_in_mm_clipped_to_the_limit(self) -> None:
        target = blobs(2, 2, 9, 11)
        spacing = torch.tensor([[1.0, 2.5], [0.5, 0.5]])
        head = SignedDistance("x", limit=3.0)
        _, wanted, weight = head.pairs(view_of(target, torch.zeros(2, 2, 9, 11), spacing=spacing))
        assert weight is None
        for sample in range(2):
            for channel in range(2):
                mask, step = target[sample, channel].numpy() > 0, spacing[sample].tolist()
                outside, inside = (ndimage.distance_transform_edt(m, sampling=step) for m in (~mask, mask))
                expected = np.clip(np.where(mask, min(step) - inside, outside) / 3, -1, 1)
                np.testing.assert_allclose(wanted[sample, channel], expected, atol=1e-6)

    def test_nothing_is_far_outside_and_everything_far_inside(self) -> None:
        """Not 0, which says that each voxel lies on a boundary."""
        target = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]).byte()
        _, wanted, _ = SignedDistance("x").pairs(view_of(target, torch.zeros(2, 1, 4, 4)))
        assert (wanted[0] == 1).all()
        assert (wanted[1] == -1).all()

    def test_softmax_has_no_distance_to_the_background(self) -> None:
        target = torch.randint(0, 3, (2, 6, 6), generator=torch.Generator().manual_seed(0))
        output = torch.randn(2, 2, 6, 6)
        prediction, wanted, _ = SignedDistance("x").pairs(view_of(target, output, "softmax"))
        assert torch.equal(prediction, output)
        assert torch.equal(wanted <= 0, torch.stack([target == 1, target == 2], 1))


class TestBoxes:
    @pytest.mark.parametrize("shape", [(12, 10), (8, 9, 7)])
    def test_each_lesion_voxel_sees_the_box_of_its_component(self, shape: tuple[int, ...]) -> None:
        target = blobs(3, 1, *shape, share=0.06)
        sides = Boxes("x").sides(view_of(target, torch.zeros(3, 2 * len(shape), *shape)))
        expected, lesions = [], 0
        for sample in target[:, 0].numpy():
            numbers, count = ndimage.label(sample, np.ones([3] * len(shape)))
            lesions += count
            boxes = ndimage.find_objects(numbers)
            for place in np.argwhere(sample):
                box = boxes[numbers[tuple(place)] - 1]
                low = [x + 0.5 - side.start for x, side in zip(place, box, strict=True)]
                high = [side.stop - x - 0.5 for x, side in zip(place, box, strict=True)]
                expected.append([low, high])
        np.testing.assert_allclose(sides.target, expected)
        assert sides.lesions == lesions
        assert sides.share.sum().item() == pytest.approx(lesions)

    def test_touching_classes_are_one_lesion(self) -> None:
        target = torch.tensor([[[0, 1, 2, 2, 0, 1]]])
        sides = Boxes("x").sides(view_of(target, torch.zeros(1, 4, 1, 6), "softmax"))
        assert sides.lesions == 2
        assert sides.target[:, :, 1].tolist() == [[0.5, 2.5], [1.5, 1.5], [2.5, 0.5], [0.5, 0.5]]

    def test_outputs_become_positive_distances_channel_by_channel(self) -> None:
        target = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
        target[0, 0, 1, 2] = 1
        output = torch.zeros(1, 4, 3, 3)
        output[0, :, 1, 2] = torch.tensor([-100.0, 0.0, 1.0, 100.0])
        predicted = Boxes("x", scale=3.0).sides(view_of(target, output)).predicted
        expected = 3 * torch.nn.functional.softplus(torch.tensor([[[-100.0, 0.0], [1.0, 100.0]]]))
        torch.testing.assert_close(predicted, expected)

    def test_weights_share_a_lesions_vote_and_a_lesion_of_none_has_none(self) -> None:
        target = torch.tensor([[[[1, 1, 0, 1]]]], dtype=torch.uint8)
        weight = torch.tensor([[[[1.0, 3.0, 1.0, 0.0]]]])
        sides = Boxes("x").sides(view_of(target, torch.zeros(1, 4, 1, 4), weight_map=weight))
        assert sides.lesions == 1
        assert sides.share.tolist() == [0.25, 0.75]

    def test_with_regions_a_voxel_weighs_what_the_heaviest_does(self) -> None:
        target = torch.ones(1, 2, 1, 2, dtype=torch.uint8)
        weight = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
        assert Boxes("x").sides(view_of(target, torch.zeros(1, 4, 1, 2), weight_map=weight)).share.tolist() == pytest.approx([0.6, 0.4])


HEAD = {"distance": {"name": "signed_distance", "params": {"limit": 3.0}}}
TERM = [{"name": "dice"}, {"name": "mae", "head": "distance"}]


def with_head(**settings: Any) -> WeightedLoss:
    return build_loss({"activation": "sigmoid", "terms": TERM, **settings}, 2, HEAD)


class TestLossOfAMapping:
    target = blobs(2, 2, 8, 8, share=0.3)
    logits = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    output = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(2))

    def test_each_term_sees_its_own_output(self) -> None:
        _, terms = with_head().with_terms({"segmentation": self.logits, "distance": self.output}, self.target)
        dice = build_loss({"activation": "sigmoid", "terms": [{"name": "dice"}]}, 2)(self.logits, self.target)
        prediction, wanted, _ = SignedDistance("x", limit=3.0).pairs(view_of(self.target, self.output))
        torch.testing.assert_close(terms, {"dice": dice, "mae": (prediction - wanted).abs().mean()})

    def test_a_mapping_of_logits_alone_is_as_good_as_the_logits(self) -> None:
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "dice"}]}, 2)
        assert loss({"segmentation": self.logits}, self.target) == loss(self.logits, self.target)

    def test_deep_supervision_leaves_heads_to_the_finest_level(self) -> None:
        coarse = self.logits[..., ::2, ::2]
        _, terms = with_head().with_terms({"segmentation": [self.logits, coarse], "distance": self.output}, self.target)
        _, alone = with_head().with_terms({"segmentation": self.logits, "distance": self.output}, self.target)
        dice = build_loss({"activation": "sigmoid", "terms": [{"name": "dice"}]}, 2)([self.logits, coarse], self.target)
        assert terms["mae"] == alone["mae"]
        assert terms["dice"] == dice

    def test_maps_of_the_heads_are_derived_beforehand(self) -> None:
        loss = with_head()
        assert loss.maps == ("signed_distance",)
        outputs = {"segmentation": self.logits, "distance": self.output}
        maps = loss.derive(self.target, spacing=(1.0, 2.0))
        spacing = torch.tensor([[1.0, 2.0]] * 2)
        assert loss(outputs, self.target, spacing=spacing, maps=maps) == loss(outputs, self.target, spacing=spacing)
        assert loss(outputs, self.target, spacing=spacing) != loss(outputs, self.target)

    def test_lesions_are_derived_once_a_sample(self) -> None:
        loss = build_loss({"activation": "sigmoid", "terms": [{"name": "giou", "head": "box"}]}, 2, {"box": {"name": "boxes"}})
        outputs = {"segmentation": self.logits, "box": torch.randn(2, 4, 8, 8)}
        maps = loss.derive(self.target)
        assert maps["lesions"].shape == (2, 1, 8, 8)
        assert loss(outputs, self.target, maps=maps) == loss(outputs, self.target)

    def test_gradient_shares_count_the_heads(self) -> None:
        outputs = {"segmentation": self.logits.clone().requires_grad_(), "distance": self.output.clone().requires_grad_()}
        _, _, shares = with_head().with_shares(outputs, self.target)
        assert shares["mae"] > 0
        assert shares["mae"] + shares["dice"] == pytest.approx(1)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_single(self, dtype: torch.dtype) -> None:
        outputs = {"segmentation": self.logits.to(dtype), "distance": self.output.to(dtype)}
        exact = {name: output.float() for name, output in outputs.items()}
        torch.testing.assert_close(with_head()(outputs, self.target), with_head()(exact, self.target))

    @pytest.mark.parametrize(
        ("outputs", "says"),
        [
            (torch.zeros(2, 2, 8, 8), "the loss needs the outputs distance, segmentation, got segmentation"),
            ({"segmentation": torch.zeros(2, 2, 8, 8), "box": torch.zeros(2, 2, 8, 8)}, "got box, segmentation"),
            ({"segmentation": torch.zeros(2, 2, 8, 8), "distance": torch.zeros(2, 3, 8, 8)}, r"'distance' must .* \(2, 2, 8, 8\), got"),
            ({"segmentation": torch.zeros(2, 2, 8, 8), "distance": torch.zeros(2, 2, 4, 4)}, r"got \(2, 2, 4, 4\)"),
            ({"segmentation": torch.zeros(2, 2, 8, 8), "distance": torch.zeros(2, 2, 8, 8).int()}, "must give a floating tensor"),
            ({"segmentation": torch.zeros(2, 2, 8, 8), "distance": [torch.zeros(2, 2, 8, 8)]}, "got list"),
            ({"segmentation": [], "distance": torch.zeros(2, 2, 8, 8)}, "the list of logits is empty"),
        ],
    )
    def test_outputs_that_do_not_fit_are_told(self, outputs: Any, says: str) -> None:
        with pytest.raises(LossInputError, match=says):
            with_head()(outputs, self.target)

    def test_the_base_says_nothing_of_channels(self) -> None:
        with pytest.raises(NotImplementedError):
            Head("x").outputs(["a"], 2)


class TestBoxesAreFoundOnce:
    NAMES = ("giou", "diou", "ciou", "mae")

    def test_for_all_terms_on_a_head(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[str] = []
        for module, name in ((Tensor, "nonzero"), (torch, "unique")):
            real = getattr(module, name)
            monkeypatch.setattr(module, name, lambda *args, _real=real, _name=name, **more: calls.append(_name) or _real(*args, **more))
        target = blobs(2, 1, 8, 8, share=0.2)
        outputs = {"segmentation": torch.zeros(2, 1, 8, 8), "box": torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))}
        heads = {"box": {"name": "boxes"}}
        terms = [{"name": "dice"}, *({"name": name, "head": "box"} for name in self.NAMES)]
        loss = build_loss({"activation": "sigmoid", "terms": terms}, 1, heads)
        _, together = loss.with_terms(outputs, target)
        assert calls == ["nonzero", "unique"]
        for name in self.NAMES:
            alone = build_loss({"activation": "sigmoid", "terms": [{"name": "dice"}, {"name": name, "head": "box"}]}, 1, heads)
            assert alone.with_terms(outputs, target)[1][name] == together[name]

    def test_and_forgotten_with_the_view(self) -> None:
        head = Boxes("x")
        view = view_of(blobs(2, 1, 8, 8, share=0.2), torch.zeros(2, 4, 8, 8))
        assert head.sides(view) is head.sides(view)
        forgotten = weakref.ref(head.sides(view).predicted)
        del view
        assert forgotten() is None
        other = view_of(blobs(2, 1, 8, 8, seed=1, share=0.2), torch.ones(2, 4, 8, 8))
        assert torch.equal(head.sides(other).predicted, Boxes("x").sides(other).predicted)


class TestConfig:
    @pytest.mark.parametrize(
        ("terms", "heads", "says"),
        [
            ([{"name": "mae", "head": "distanse"}], HEAD, "loss.terms[0].head: network.heads has no 'distanse'; did you mean distance?"),
            ([{"name": "mae", "head": "distance"}], {}, "loss.terms[0].head: network.heads has no 'distance'; there are none"),
            ([{"name": "dice", "head": "distance"}], HEAD, "loss.terms[0].head: dice acts on the segmentation, not on a head"),
            ([{"name": "giou", "head": "distance"}], HEAD, "giou cannot act on a head of kind signed_distance; it takes boxes"),
            ([{"name": "giou"}], {}, "loss.terms[0].head: giou needs a head"),
            ([{"name": "dice"}], HEAD, "network.heads.distance: no term of the loss acts on it"),
            ([{"name": "mae", "head": "x"}], {"x": {"name": "signed_distanse"}}, "there is no head 'signed_distanse'; did you mean"),
            ([{"name": "mae", "head": "x"}], {"x": {"name": "signed_distance", "params": {"limits": 1}}}, "has no such parameter"),
            ([{"name": "mae", "head": "x"}], {"x": 3}, "network.heads.x: must be a mapping"),
            ([{"name": "mae", "head": "segmentation"}], {"segmentation": HEAD["distance"]}, "is no name of a head"),
        ],
    )
    def test_faults_are_told(self, terms: list[dict[str, Any]], heads: dict[str, Any], says: str) -> None:
        with pytest.raises(LossConfigError) as caught:
            build_loss({"activation": "softmax", "terms": terms}, 2, heads)
        assert says in str(caught.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    ("kind", "term", "params"),
    [
        ("signed_distance", "mae", {}), ("boxes", "huber", {}), ("boxes", "giou", {}), ("boxes", "diou", {}),
        ("embedding", "center", {"margin": 1.0}),
    ],
)  # fmt: skip
class TestCuda:
    def test_equals_the_cpu(self, kind: str, term: str, params: dict[str, Any]) -> None:
        config = {"activation": "sigmoid", "terms": [{"name": term, "head": "x", "params": params}], "ignore_index": 255}
        target = blobs(2, 1, 17, 9, 12)
        target[0, :, :3] = 255
        channels = len(HEADS[kind]("x").outputs(["lesion"], 3))
        output = torch.randn(2, channels, 17, 9, 12, generator=torch.Generator().manual_seed(0))
        results = []
        for device in ("cpu", "cuda"):
            loss = build_loss(config, 1, {"x": {"name": kind}}).to(device)
            leaf = output.to(device).requires_grad_()
            for _ in range(2):
                value = loss({"segmentation": torch.zeros(2, 1, 17, 9, 12, device=device), "x": leaf}, target.to(device))
            (gradient,) = torch.autograd.grad(value, leaf)
            results.append((value.detach().cpu(), gradient.cpu()))
        torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-7)
