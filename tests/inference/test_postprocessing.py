from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.config.schema import PostprocessingConfig
from medseg.data.labels import LabelSchema
from medseg.errors import RunError
from medseg.inference.postprocessing import Postprocessing, read_postprocessing

ORGANS = LabelSchema.exclusive({"background": 0, "liver": 3, "lesion": 7})
REGIONS = LabelSchema(("whole", "core", "enhancing"), ((1, 2, 3), (2, 3), (3,)))
FREE = LabelSchema(("vessel", "tumour"), ((1, 3), (2, 3)))
"""Two classes that overlap freely: the value 3 is both."""


def post(labels: LabelSchema = ORGANS, activation: Any = "sigmoid", **steps: Any) -> Postprocessing:
    return Postprocessing(labels, activation, **steps)


def noise(labels: LabelSchema, activation: Any, shape: tuple[int, ...] = (7, 8, 9), seed: int = 0) -> torch.Tensor:
    logits = 2 * torch.randn(labels.num_outputs(activation), *shape, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(0) if activation == "softmax" else logits.sigmoid()


class TestDecide:
    @pytest.mark.parametrize(("labels", "activation"), [(ORGANS, "softmax"), (ORGANS, "sigmoid"), (REGIONS, "sigmoid"), (FREE, "sigmoid")])
    def test_without_thresholds_it_is_the_schemas_own_rule(self, labels: LabelSchema, activation: Any) -> None:
        prob = noise(labels, activation)
        assert torch.equal(post(labels, activation).decide(prob), labels.ids_from_probabilities(prob, activation))

    @pytest.mark.parametrize("labels", [ORGANS, REGIONS, FREE])
    def test_thresholds_of_a_half_change_nothing_with_sigmoid(self, labels: LabelSchema) -> None:
        prob = noise(labels, "sigmoid")
        halves = post(labels, thresholds=dict.fromkeys(labels.classes, 0.5))
        assert torch.equal(halves.decide(prob), labels.ids_from_probabilities(prob, "sigmoid"))

    def test_a_low_threshold_wins_against_the_background_with_softmax(self) -> None:
        prob = torch.tensor([[0.6, 0.6, 0.5], [0.1, 0.3, 0.3], [0.3, 0.1, 0.2]])  # background, liver, lesion at three voxels
        assert post(activation="softmax", thresholds={"lesion": 0.25}).decide(prob).tolist() == [2, 0, 0]

    def test_a_high_threshold_gives_the_voxel_to_what_comes_next(self) -> None:
        prob = torch.tensor([[0.1, 0.3], [0.3, 0.2], [0.6, 0.5]])
        assert post(activation="softmax", thresholds={"lesion": 0.7}).decide(prob).tolist() == [1, 0]

    def test_of_exclusive_classes_above_their_thresholds_the_most_probable_wins(self) -> None:
        prob = torch.tensor([[0.9, 0.45], [0.8, 0.42]])
        assert post(thresholds={"liver": 0.4, "lesion": 0.4}).decide(prob).tolist() == [1, 1]

    @pytest.mark.parametrize("labels", [REGIONS, FREE])
    def test_overlapping_classes_are_each_cut_at_their_own(self, labels: LabelSchema) -> None:
        prob = noise(labels, "sigmoid")
        cut = post(labels, thresholds={labels.classes[0]: 0.2}).decide(prob)
        shifted = torch.stack([(prob[0] > 0.2).float(), *prob[1:]])
        assert torch.equal(cut, labels.ids_from_probabilities(shifted, "sigmoid"))

    def test_classes_that_own_several_values_are_written_as_painted(self) -> None:
        labels = LabelSchema(("organ",), ((2, 4),), paint=(4,))
        ids = post(labels, thresholds={"organ": 0.9}).decide(torch.tensor([[0.95, 0.8]]))
        assert labels.decode(ids.numpy()).tolist() == [4, 0]

    def test_a_slab_is_decided_as_the_whole(self) -> None:
        prob, chosen = noise(ORGANS, "softmax"), post(activation="softmax", thresholds={"lesion": 0.2})
        assert torch.equal(chosen.decide(prob)[2:5], chosen.decide(prob[:, 2:5]))

    def test_another_number_of_channels_is_refused(self) -> None:
        with pytest.raises(ValueError, match="3 expected"):
            post(activation="softmax", thresholds={"lesion": 0.2}).decide(torch.rand(2, 4, 4))


def spots(shape: tuple[int, ...] = (40, 36), seed: int = 0) -> np.ndarray:
    """Ids of random spots of both classes of ORGANS."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.2)
    return np.digitize(field, [0.1, 0.35]).astype(np.uint8)


class TestRemoval:
    @pytest.mark.parametrize("shape", [(40, 36), (18, 20, 16)])
    def test_every_component_left_has_the_size_and_no_other_was_touched(self, shape: tuple[int, ...]) -> None:
        ids, spacing, size = spots(shape), (2.0, 1.5, 0.5)[: len(shape)], 20.0
        cleaned = post(minimum_size={"lesion": size}).clean(ids, spacing)
        components, count = ndimage.label(ids == 2, np.ones((3,) * len(shape)))
        volumes = np.bincount(components.ravel()) * np.prod(spacing)
        assert count > 3
        assert min(volumes) < size
        expected = np.where((ids == 2) & (volumes[components] < size), 0, ids)
        assert np.array_equal(cleaned, expected)

    def test_a_component_of_just_the_size_stays(self) -> None:
        ids = np.zeros((6, 6), np.uint8)
        ids[1:4, 1] = 2
        assert post(minimum_size={"lesion": 0.03}).clean(ids, (0.1, 0.1)).any()
        assert not post(minimum_size={"lesion": 0.031}).clean(ids, (0.1, 0.1)).any()

    def test_only_the_largest_component_of_a_class_stays(self) -> None:
        ids = spots()
        cleaned = post(largest_component=["liver"]).clean(ids, (1.0, 1.0))
        components, _ = ndimage.label(ids == 1, np.ones((3, 3)))
        largest = 1 + np.bincount(components.ravel())[1:].argmax()
        assert np.array_equal(cleaned == 1, components == largest)
        assert np.array_equal(cleaned == 2, ids == 2)

    def test_corners_connect(self) -> None:
        ids = np.diag([2, 2, 2]).astype(np.uint8)
        assert np.array_equal(post(largest_component=["lesion"]).clean(ids, (1, 1)), ids)

    def test_a_region_goes_with_the_one_that_contains_it(self) -> None:
        ids = np.array([[1, 2, 3, 0, 1, 1, 1, 1, 3]], np.uint8)
        assert post(REGIONS, largest_component=["whole"]).clean(ids, (1, 1)).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 3]]

    def test_the_containing_region_stays_where_the_inner_one_goes(self) -> None:
        ids = np.array([[1, 2, 3, 0, 1, 1, 1, 1, 3]], np.uint8)
        assert post(REGIONS, minimum_size={"core": 2.0}).clean(ids, (1, 1)).tolist() == [[1, 2, 3, 0, 1, 1, 1, 1, 1]]
        assert post(REGIONS, minimum_size={"enhancing": 2.0}).clean(ids, (1, 1)).tolist() == [[1, 2, 2, 0, 1, 1, 1, 1, 2]]

    def test_freely_overlapping_classes_keep_the_other(self) -> None:
        ids = np.array([[3, 0, 1, 1, 1]], np.uint8)
        assert post(FREE, largest_component=["vessel"]).clean(ids, (1, 1)).tolist() == [[2, 0, 1, 1, 1]]


class TestHoles:
    @pytest.mark.parametrize("shape", [(40, 36), (18, 20, 16)])
    def test_holes_are_scipys_and_other_classes_stay(self, shape: tuple[int, ...]) -> None:
        ids = spots(shape)
        cleaned = post(fill_holes=["liver"]).clean(ids, (1.0,) * len(shape))
        filled = ndimage.binary_fill_holes(ids == 1)
        assert np.array_equal(cleaned, np.where(filled & (ids == 0), 1, ids))

    def test_a_removed_lesion_within_an_organ_becomes_organ(self) -> None:
        ids = np.ones((5, 5), np.uint8)
        ids[2, 2] = 2
        cleaned = post(minimum_size={"lesion": 2.0}, fill_holes=["liver"]).clean(ids, (1, 1))
        assert np.array_equal(cleaned, np.ones((5, 5)))

    def test_a_bay_at_the_images_edge_is_no_hole(self) -> None:
        ids = np.ones((3, 3), np.uint8)
        ids[0, 1] = 0
        assert np.array_equal(post(fill_holes=["liver"]).clean(ids, (1, 1)), ids)

    def test_a_hole_of_an_inner_region_becomes_it_and_keeps_the_outer(self) -> None:
        ids = np.full((7, 7), 1, np.uint8)
        ids[2:5, 2:5] = 2
        ids[3, 3] = 1
        cleaned = post(REGIONS, fill_holes=["core"]).clean(ids, (1, 1))
        assert cleaned[3, 3] == 2
        assert (cleaned == 2).sum() == 9

    def test_freely_overlapping_classes_become_both(self) -> None:
        ids = np.full((3, 3), 1, np.uint8)
        ids[1, 1] = 2
        assert post(FREE, fill_holes=["vessel"]).clean(ids, (1, 1))[1, 1] == 3


class TestClean:
    def test_the_given_map_is_not_changed(self) -> None:
        ids = spots()
        before = ids.copy()
        post(minimum_size={"lesion": 50.0}, fill_holes=["liver"], largest_component=["liver"]).clean(ids, (1, 1))
        assert np.array_equal(ids, before)

    def test_nothing_to_do_gives_the_map_itself(self) -> None:
        ids = spots()
        assert post(thresholds={"liver": 0.2}).clean(ids, (1, 1)) is ids

    @pytest.mark.parametrize("ids", [np.zeros((4, 4), np.uint8), np.full((4, 4), 1, np.uint8)])
    def test_a_class_that_is_empty_stays_so(self, ids: np.ndarray) -> None:
        everything = post(minimum_size={"lesion": 3.0}, largest_component=["lesion"], fill_holes=["lesion"])
        assert np.array_equal(everything.clean(ids, (1, 1)), ids)

    def test_a_second_time_changes_nothing(self) -> None:
        everything = post(minimum_size={"lesion": 9.0}, largest_component=["liver"], fill_holes=["liver", "lesion"])
        once = everything.clean(spots((18, 20, 16)), (1, 1, 1))
        assert np.array_equal(everything.clean(once, (1, 1, 1)), once)


STEPS: dict[str, Any] = {
    "thresholds": {"lesion": 0.3},
    "minimum_size": {"lesion": 4.0},
    "largest_component": ["liver"],
    "fill_holes": ["liver"],
}


class TestFiles:
    def test_it_comes_back_from_its_file(self, tmp_path: Path) -> None:
        written = post(**STEPS)
        written.write(tmp_path / "p.json", chosen=[1, 2])
        read = read_postprocessing(tmp_path / "p.json", ORGANS, "sigmoid")
        assert read.to_dict() == written.to_dict() == STEPS
        assert json.loads((tmp_path / "p.json").read_text())["chosen"] == [1, 2]

    def test_a_config_says_the_same(self) -> None:
        chosen = Postprocessing.from_config(PostprocessingConfig(**STEPS), ORGANS, "sigmoid")
        assert chosen is not None
        assert chosen.to_dict() == STEPS
        assert Postprocessing.from_config(PostprocessingConfig(choose=True), ORGANS, "sigmoid") is None

    def test_whether_it_does_anything(self) -> None:
        assert not post().active
        assert all(post(**{step: value}).active for step, value in STEPS.items())

    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ({"thresholds": {"spleen": 0.5}}, r"thresholds.*no class spleen; the classes are liver, lesion"),
            ({"minimum_size": {"spleen": 1}}, "minimum_size.*no class spleen"),
            ({"largest_component": ["spleen"]}, "largest_component.*no class spleen"),
            ({"fill_holes": ["spleen"]}, "fill_holes.*no class spleen"),
            ({"thresholds": {"liver": 1.0}}, r"thresholds\.liver.*below 1"),
            ({"thresholds": {"liver": "x"}}, r"thresholds\.liver"),
            ({"minimum_size": {"liver": -1.0}}, r"minimum_size\.liver"),
            ({"minimum_size": {"liver": float("nan")}}, r"minimum_size\.liver"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, steps: dict[str, Any], message: str) -> None:
        with pytest.raises(RunError, match=message):
            post(**steps)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"thresholds": [], "minimum_size": {}}', None])
    def test_a_damaged_file_is_named(self, tmp_path: Path, text: str | None) -> None:
        if text is not None:
            (tmp_path / "p.json").write_text(text)
        with pytest.raises(RunError, match=r"p\.json"):
            read_postprocessing(tmp_path / "p.json", ORGANS, "sigmoid")
