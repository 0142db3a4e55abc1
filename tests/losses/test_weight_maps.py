"""Weight maps made of the target: their values, and that every term of the sum takes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from medseg.config.schema import Component, LossConfig, TermConfig
from medseg.losses import WEIGHT_MAPS, LossConfigError, LossInputError, WeightedLoss, build_loss
from tests.losses.problems import ACTIVATIONS, value_and_gradient
from tests.losses.reference_instance import inverse_component
from tests.losses.terms.test_instance import lesions

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
MIXED = {"softmax": ["cross_entropy", "dice", "blob", "boundary"], "sigmoid": ["bce", "dice", "component", "boundary"]}
"""Terms of every kind: voxelwise, of regions, of lesions, of distances."""
BOUNDS: list[dict[str, float]] = [{}, {"minimum": 0.01, "maximum": 3.0}, {"minimum": 1e-6}]


def with_map(
    activation: str, terms: list[str], num_classes: int = 3, params: dict[str, Any] | None = None, **settings: Any
) -> WeightedLoss:
    """A loss whose weight map is made of the target."""
    source = {"name": "inverse_component", "params": params or {}}
    return build_loss(
        {"activation": activation, "terms": [{"name": name} for name in terms], "weight_map": source, **settings}, num_classes
    )


def without(activation: str, terms: list[str], num_classes: int = 3, **settings: Any) -> WeightedLoss:
    """The same without it."""
    return build_loss({"activation": activation, "terms": [{"name": name} for name in terms], **settings}, num_classes)


def channelled(target: Tensor, activation: str) -> Tensor:
    return target.unsqueeze(1) if activation == "softmax" else target


class TestInverseComponent:
    @pytest.mark.parametrize("params", BOUNDS)
    @each_activation
    def test_against_the_definition(self, activation: str, params: dict[str, float]) -> None:
        _, target = lesions(activation)
        target[torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.1] = 255
        loss = with_map(activation, ["dice"], params=params, ignore_index=255)
        found = loss.derive(channelled(target, activation))["weight_map"]
        expected = channelled(
            torch.from_numpy(inverse_component(target.numpy(), activation=activation, ignore_index=255, **params)), activation
        )
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)

    def test_parts_weigh_the_same_in_sum(self) -> None:
        target = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
        target[..., 1:3, 1:3], target[..., 7, 7], target[..., 5, 1:9] = 1, 1, 2
        weights = with_map("softmax", ["dice"], params={"minimum": 0.01}).derive(target)["weight_map"]
        for part in (target == 0, target == 2, weights == weights[0, 0, 1, 1], weights == weights[0, 0, 7, 7]):
            assert weights[part].sum().item() == pytest.approx(100 / 4, rel=1e-6)

    def test_touching_lesions_of_two_classes_are_two(self) -> None:
        target = torch.tensor([[[0, 0, 1, 2, 2, 0]]])
        weights = with_map("softmax", ["dice"], params={"minimum": 1e-6}).derive(target)["weight_map"]
        assert weights.flatten().tolist() == pytest.approx([6 / 3 / 3, 6 / 3 / 3, 2, 1, 1, 6 / 3 / 3])

    @each_activation
    def test_an_image_without_lesions_weighs_one(self, activation: str) -> None:
        target = torch.zeros(2, 1 if activation == "softmax" else 3, 4, 4, dtype=torch.uint8)
        assert (with_map(activation, ["dice"]).derive(target)["weight_map"] == 1).all()

    def test_all_ignored_weighs_nothing(self) -> None:
        target = torch.full((1, 1, 4, 4), 255)
        loss = with_map("softmax", ["dice", "cross_entropy"], ignore_index=255)
        assert (loss.derive(target)["weight_map"] == 0).all()
        value, gradient = value_and_gradient(loss, torch.zeros(1, 3, 4, 4), target)
        assert value.item() == 0
        assert gradient.abs().max() == 0

    def test_soft_labels_are_lesions_where_above_a_half(self) -> None:
        soft = torch.tensor([[[0.2, 0.8, 0.6, 0.4]]])
        loss = with_map("sigmoid", ["bce"], 1, {"minimum": 0.1})
        assert torch.equal(loss.derive(soft)["weight_map"], loss.derive((soft > 0.5).byte())["weight_map"])


class TestInTheSum:
    @each_activation
    def test_every_term_takes_it_as_if_it_came_with_the_batch(self, activation: str) -> None:
        logits, target = lesions(activation)
        loss, plain = with_map(activation, MIXED[activation]), without(activation, MIXED[activation])
        weights = loss.derive(channelled(target, activation))["weight_map"]
        total, terms = loss.with_terms(logits, target)
        expected, of_terms = plain.with_terms(logits, target, weights)
        assert total == expected
        assert terms == of_terms
        assert all(terms[name] != value for name, value in plain.with_terms(logits, target)[1].items())

    @each_activation
    def test_it_multiplies_the_weight_map_of_the_batch(self, activation: str) -> None:
        logits, target = lesions(activation)
        own = 0.1 + torch.rand(3, 9, 8, generator=torch.Generator().manual_seed(0))
        loss, plain = with_map(activation, MIXED[activation]), without(activation, MIXED[activation])
        weights = loss.derive(channelled(target, activation))["weight_map"]
        torch.testing.assert_close(loss(logits, target, own), plain(logits, target, weights * own.unsqueeze(1)), rtol=1e-6, atol=0)

    @each_activation
    def test_a_voxel_to_which_the_batch_gives_no_weight_is_as_good_as_ignored(self, activation: str) -> None:
        logits, target = lesions(activation)
        own = torch.ones(3, 9, 8)
        own[:, 3:5] = 0
        ignored = torch.where((own if activation == "softmax" else own.unsqueeze(1)) > 0, target, 255)
        loss = with_map(activation, MIXED[activation], ignore_index=255)
        torch.testing.assert_close(loss(logits, target, own), loss(logits, ignored), rtol=1e-9, atol=0)
        derived = loss.derive(channelled(target, activation), weight_map=own)
        assert loss(logits, target, own, maps=derived) == loss(logits, target, own)

    @each_activation
    def test_what_the_pipeline_supplies_is_taken(self, activation: str) -> None:
        logits, target = lesions(activation)
        loss, plain = with_map(activation, MIXED[activation]), without(activation, MIXED[activation])
        derived = loss.derive(channelled(target, activation))
        assert loss.maps[0] == "weight_map"
        assert set(derived) == set(loss.maps)
        levels = [logits, logits[..., ::2, ::2]]
        assert loss(levels, target, maps=derived) == loss(levels, target)
        doubled = {**derived, "weight_map": 2 * torch.ones_like(derived["weight_map"])}
        torch.testing.assert_close(loss(logits, target, maps=doubled), plain(logits, target), rtol=1e-6, atol=0)

    def test_the_ratio_of_inverse_weighted_dice(self) -> None:
        """A lesion of one voxel, missed, and one of four, found: half of the overlap is lost, not a fifth."""
        target = torch.zeros(1, 1, 10, 10, dtype=torch.uint8)
        target[..., 1:3, 1:3], target[..., 7, 7] = 1, 1
        logits = torch.where(target > 0, 1e4, -1e4)
        logits[..., 7, 7] = -1e4
        assert with_map("sigmoid", ["dice"], 1)(logits, target).item() == pytest.approx(1 / (2 + 1), abs=1e-4)
        assert without("sigmoid", ["dice"], 1)(logits, target).item() == pytest.approx(1 / (2 * 4 + 1), abs=1e-4)

    def test_a_sum_without_a_source_has_no_weight_map(self) -> None:
        assert without("softmax", ["dice"]).maps == ()
        logits, target = lesions("softmax")
        with pytest.raises(LossInputError, match=r"makes no weight_map of its target, .* give it as `weight_map`"):
            without("softmax", ["dice"])(logits, target, maps={"weight_map": torch.zeros(3, 1, 9, 8)})

    @each_activation
    def test_a_supplied_one_has_the_shapes_of_any_weight_map(self, activation: str) -> None:
        logits, target = lesions(activation)
        loss = with_map(activation, ["dice"])
        flat, single = torch.rand(3, 9, 8), torch.rand(3, 1, 9, 8)
        assert loss(logits, target, maps={"weight_map": flat}) == loss(logits, target, maps={"weight_map": flat.unsqueeze(1)})
        for wrong in (torch.rand(3, 2, 9, 8), single[:2], single[..., 1:]):
            with pytest.raises(LossInputError, match="the weight map must have the shape"):
                loss(logits, target, maps={"weight_map": wrong})


class TestConfig:
    def messages(self, source: Any) -> list[str]:
        with pytest.raises(LossConfigError) as caught:
            build_loss({"activation": "softmax", "terms": [{"name": "dice"}], "weight_map": source}, 2)
        return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]

    def test_a_dataclass_is_as_good_as_a_mapping(self) -> None:
        config = LossConfig("sigmoid", [TermConfig("dice")], weight_map=Component("inverse_component", {"maximum": 4.0}))
        logits, target = lesions("sigmoid")
        assert build_loss(config, 3)(logits, target) == with_map("sigmoid", ["dice"], params={"maximum": 4.0})(logits, target)

    def test_null_is_none(self) -> None:
        config = {"activation": "softmax", "terms": [{"name": "dice"}], "weight_map": None}
        assert build_loss(config, 2).derivation.weight_source is None

    def test_an_unknown_name_and_an_unknown_parameter_are_told(self) -> None:
        (unknown,) = self.messages({"name": "inverse_components"})
        assert "loss.weight_map.name: there is no weight map 'inverse_components'" in unknown
        assert "inverse_component" in unknown
        (parameter,) = self.messages({"name": "inverse_component", "params": {"minimun": 1}})
        assert "loss.weight_map.params.minimun: inverse_component has no such parameter" in parameter
        (shape,) = self.messages("inverse_component")
        assert "loss.weight_map: must be a mapping with a name, or null" in shape

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"minimum": 0.0}, "minimum must be above 0"),
            ({"minimum": 2.0, "maximum": 1.0}, "maximum must be at least 2"),
            ({"maximum": float("inf")}, "maximum must be at least 1"),
        ],
    )
    def test_bounds(self, params: dict[str, float], message: str) -> None:
        (found,) = self.messages({"name": "inverse_component", "params": params})
        assert message in found

    @pytest.mark.parametrize("name", WEIGHT_MAPS)
    def test_every_source_is_documented_by_the_house_pattern(self, name: str) -> None:
        text = WEIGHT_MAPS[name].__doc__
        parts = ["$$", "Shape:", "Empty foreground:", "Precision:", "Args:", "Source:", "Example:", ">>> "]
        places = [text.index(part) for part in parts]
        assert places == sorted(places)
