from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medseg.data.labels import IGNORE, LabelSchema

ORGANS = LabelSchema.exclusive({"background": 0, "liver": 1, "tumour": 4, "ignore": 7})
REGIONS = LabelSchema(("whole", "core", "enhancing"), ((1, 2, 4), (1, 4), (4,)), paint=(2, 1, 4))
MERGED = LabelSchema(("kidney", "mass"), ((1, 2), (3, 5)), paint=(1, 5))


def batch(ids: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(ids)[None, None]


class TestIds:
    def test_values_become_consecutive_ids_and_come_back(self) -> None:
        disk = np.array([[0, 1, 4], [7, 4, 0]], dtype=np.int16)
        ids = ORGANS.encode(disk)
        assert ids.dtype == np.uint8
        assert ids.tolist() == [[0, 1, 2], [IGNORE, 2, 0]]
        np.testing.assert_array_equal(ORGANS.decode(ids), disk)

    def test_decoding_takes_the_smallest_type(self) -> None:
        assert ORGANS.decode(np.zeros(3, np.uint8)).dtype == np.uint8
        assert LabelSchema.exclusive({"a": 300}).decode(np.ones(3, np.uint8)).dtype == np.uint16

    @pytest.mark.parametrize("far", [5, 3_000_000])
    def test_unknown_values_are_listed(self, far: int) -> None:
        with pytest.raises(ValueError, match=rf"label values 3, {far} are not among .* 0, 1, 4, 7"):
            ORGANS.encode(np.array([0, 3, far, 1]))

    def test_negative_values_are_unknown_too(self) -> None:
        with pytest.raises(ValueError, match="label values -1 are"):
            ORGANS.encode(np.array([0, -1]))

    def test_ids_without_a_value_are_not_written(self) -> None:
        with pytest.raises(ValueError, match="no label value"):
            REGIONS.decode(np.array([0, IGNORE], np.uint8))
        with pytest.raises(ValueError, match="no label value"):
            ORGANS.decode(np.array([0, 3], np.uint8))

    def test_wide_ranges_take_the_other_path_to_the_same_ids(self) -> None:
        schema = LabelSchema.exclusive({"a": 5, "b": 1_000_000})
        assert schema.encode(np.array([[1_000_000, 0], [5, 5]])).tolist() == [[2, 0], [1, 1]]

    def test_a_background_other_than_zero(self) -> None:
        schema = LabelSchema.exclusive({"background": 255, "membrane": 0})
        assert schema.encode(np.array([255, 0])).tolist() == [0, 1]
        assert schema.decode(np.array([0, 1], np.uint8)).tolist() == [255, 0]

    def test_no_voxels_are_no_problem(self) -> None:
        assert ORGANS.encode(np.zeros((0, 3), np.uint8)).shape == (0, 3)
        assert ORGANS.masks(np.zeros((0, 3), np.uint8)).shape == (2, 0, 3)

    def test_a_threshold_parts_a_grey_mask(self) -> None:
        schema = LabelSchema(("lesion",), ((255,),), threshold=127)
        grey = np.array([0, 3, 127, 128, 251, 255], np.uint8)
        assert schema.encode(grey).tolist() == [0, 0, 0, 1, 1, 1]
        np.testing.assert_array_equal(schema.encode(schema.decode(schema.encode(grey))), schema.encode(grey))


class TestMasks:
    def test_a_voxel_is_in_every_region_that_owns_its_value(self) -> None:
        disk = np.array([0, 1, 2, 4])
        masks = REGIONS.masks(REGIONS.encode(disk))
        expected = [[value in members for value in disk] for members in REGIONS.members]
        assert masks.dtype == np.bool_
        assert masks.tolist() == expected

    def test_ignored_voxels_are_in_no_mask(self) -> None:
        assert not ORGANS.masks(np.array([IGNORE], np.uint8)).any()

    def test_membership_has_a_row_per_class_and_a_column_per_id(self) -> None:
        assert REGIONS.values == (0, 1, 2, 4)
        assert REGIONS.membership.tolist() == [[False, True, True, True], [False, True, False, True], [False, False, False, True]]

    def test_only_shared_values_overlap(self) -> None:
        assert REGIONS.overlapping
        assert not MERGED.overlapping
        assert not ORGANS.overlapping


class TestTargets:
    def test_softmax_gets_class_indices_and_keeps_ignore(self) -> None:
        ids = ORGANS.encode(np.array([[0, 1], [4, 7]]))
        target = ORGANS.targets(batch(ids), "softmax")
        assert target.dtype == torch.uint8
        assert target.tolist() == [[[[0, 1], [2, IGNORE]]]]

    def test_softmax_merges_the_values_of_a_class(self) -> None:
        ids = MERGED.encode(np.array([0, 1, 2, 3, 5]))
        assert MERGED.targets(batch(ids), "softmax")[0, 0].tolist() == [0, 1, 1, 2, 2]

    def test_softmax_follows_the_channel_order_where_values_are_not_ascending(self) -> None:
        schema = LabelSchema.exclusive({"b": 2, "a": 1})
        assert schema.targets(batch(schema.encode(np.array([0, 1, 2]))), "softmax")[0, 0].tolist() == [0, 2, 1]

    @pytest.mark.parametrize("schema", [ORGANS, REGIONS, MERGED])
    def test_sigmoid_gets_the_masks_and_ignores_in_every_channel(self, schema: LabelSchema) -> None:
        choices = [*schema.values, *([] if schema.ignore_value is None else [schema.ignore_value])]
        ids = schema.encode(np.random.default_rng(0).choice(choices, size=(3, 4, 5)))
        target = schema.targets(batch(ids), "sigmoid")
        assert target.shape == (1, schema.num_classes, 3, 4, 5)
        expected = np.where(ids == IGNORE, IGNORE, schema.masks(ids))
        np.testing.assert_array_equal(target[0].numpy(), expected)

    def test_overlapping_classes_cannot_be_softmax(self) -> None:
        for use in (lambda: REGIONS.num_outputs("softmax"), lambda: REGIONS.targets(torch.zeros(1, 1, 2, dtype=torch.uint8), "softmax")):
            with pytest.raises(ValueError, match=r"loss\.activation=sigmoid"):
                use()

    def test_outputs_count_the_background_with_softmax_only(self) -> None:
        assert (ORGANS.num_outputs("softmax"), ORGANS.num_outputs("sigmoid"), REGIONS.num_outputs("sigmoid")) == (3, 2, 3)


class TestPrediction:
    @pytest.mark.parametrize("schema", [ORGANS, MERGED, LabelSchema.exclusive({"b": 2, "a": 1})])
    @pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
    def test_certain_probabilities_give_back_the_reference(self, schema: LabelSchema, activation: str) -> None:
        ids = schema.encode(np.random.default_rng(1).choice([0, *schema.paint], size=(4, 5)))
        masks = torch.from_numpy(schema.masks(ids)).float()
        prob = torch.cat([1 - masks.sum(dim=0, keepdim=True), masks]) if activation == "softmax" else masks
        result = schema.ids_from_probabilities(prob, activation)  # type: ignore[arg-type]
        assert result.dtype == torch.uint8
        np.testing.assert_array_equal(result.numpy(), ids)

    def test_regions_are_painted_in_order(self) -> None:
        prob = torch.tensor([[0.9, 0.9, 0.9, 0.1, 0.2], [0.1, 0.9, 0.9, 0.1, 0.2], [0.1, 0.1, 0.9, 0.1, 0.9]])
        assert REGIONS.decode(REGIONS.ids_from_probabilities(prob, "sigmoid").numpy()).tolist() == [2, 1, 4, 0, 4]

    @pytest.mark.parametrize("number", [2, 3, 7])
    def test_of_classes_that_are_kept_apart_none_is_lost(self, number: int) -> None:
        every = range(1, 2**number)
        members = tuple(tuple(value for value in every if value & bit) for bit in (1 << index for index in range(number)))
        schema = LabelSchema(tuple("abcdefg"[:number]), members, paint=tuple(1 << index for index in range(number)))
        disk = np.random.default_rng(2).integers(0, 2**number, size=(6, 7, 8)).astype(np.uint8)
        masks = torch.from_numpy(schema.masks(schema.encode(disk))).float()
        ids = schema.ids_from_probabilities(0.1 + 0.8 * masks, "sigmoid").numpy()
        np.testing.assert_array_equal(schema.decode(ids), disk)

    def test_sets_of_classes_without_a_value_of_their_own_are_painted(self) -> None:
        schema = LabelSchema(("a", "b", "c"), ((1, 4, 5), (2, 4), (3,)), paint=(1, 2, 3))
        prob = torch.tensor([[0.9, 0.9, 0.1, 0.9], [0.1, 0.9, 0.9, 0.9], [0.1, 0.1, 0.9, 0.9]])
        assert schema.decode(schema.ids_from_probabilities(prob, "sigmoid").numpy()).tolist() == [1, 4, 3, 3]

    def test_of_exclusive_classes_the_largest_above_a_half_wins(self) -> None:
        prob = torch.tensor([[0.6, 0.4, 0.9, 0.5], [0.7, 0.45, 0.8, 0.1]])
        assert ORGANS.ids_from_probabilities(prob, "sigmoid").tolist() == [2, 0, 1, 0]

    def test_a_wrong_number_of_channels_is_refused(self) -> None:
        with pytest.raises(ValueError, match="2 channels of probabilities, 3 expected"):
            ORGANS.ids_from_probabilities(torch.zeros(2, 3, 3), "softmax")


class TestSelect:
    def test_the_rest_becomes_background(self) -> None:
        schema = ORGANS.select(["tumour"])
        assert schema.encode(np.array([0, 1, 4, 7])).tolist() == [0, 0, 1, IGNORE]
        assert schema.decode(np.array([0, 1], np.uint8)).tolist() == [0, 4]

    def test_values_shared_with_a_kept_region_stay(self) -> None:
        schema = REGIONS.select(["core"])
        assert schema.encode(np.array([0, 1, 2, 4])).tolist() == [0, 1, 0, 2]
        assert schema.masks(schema.encode(np.array([0, 1, 2, 4])))[0].tolist() == [False, True, False, True]

    def test_selecting_twice_is_selecting_once(self) -> None:
        schema = LabelSchema.exclusive({"a": 1, "b": 2, "c": 3})
        twice, once = schema.select(["c", "a"]).select(["c"]), schema.select(["c"])
        disk = np.array([0, 1, 2, 3])
        np.testing.assert_array_equal(twice.encode(disk), once.encode(disk))

    @pytest.mark.parametrize("names", [["spleen"], []])
    def test_an_unknown_class_is_refused_with_the_known_ones(self, names: list[str]) -> None:
        with pytest.raises(ValueError, match="the classes are liver, tumour"):
            ORGANS.select(names)


class TestSchema:
    @pytest.mark.parametrize("schema", [ORGANS, REGIONS, MERGED, ORGANS.select(["liver"]), LabelSchema(("a",), ((255,),), threshold=9)])
    def test_survives_json(self, schema: LabelSchema) -> None:
        assert LabelSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"classes": (), "members": ()}, "no foreground class"),
            ({"classes": ("a", "a"), "members": ((1,), (2,))}, "twice"),
            ({"classes": ("a", "b"), "members": ((1,),)}, "as many"),
            ({"classes": ("a",), "members": ((),)}, "as many|no label value"),
            ({"classes": ("a",), "members": ((0,),)}, "background share the value 0"),
            ({"classes": ("a",), "members": ((1,),), "ignore_value": 1}, "ignore label share"),
            ({"classes": ("a",), "members": ((1,),), "ignore_value": 0}, "ignore label share"),
            ({"classes": ("a",), "members": ((1, 2),), "paint": (3,)}, "painted as 3"),
            ({"classes": ("a",), "members": (tuple(range(1, 300)),)}, "at most 255"),
            ({"classes": ("a",), "members": ((1,),), "threshold": 127}, "threshold 127"),
            ({"classes": ("a", "b"), "members": ((1,), (2,)), "threshold": 0}, "exactly one class"),
        ],
    )
    def test_contradictions_are_refused(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LabelSchema(**options)  # type: ignore[arg-type]
