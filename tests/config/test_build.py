from __future__ import annotations

from medseg.config.build import build, defaults
from medseg.config.schema import Component, Config, DataConfig, TermConfig, TrainerConfig, WeightSchedule
from medseg.config.tree import DEFAULT, plain


class TestBuild:
    def test_makes_dataclasses_at_every_depth(self) -> None:
        values = {"format": {"name": "phantom", "params": {"cases": 3}}, "patch_size": [8, 8], "spacing": [1, 2]}
        config = build(DataConfig, values)
        assert config.format == Component("phantom", {"cases": 3})
        assert config.augmentation == Component("nnunet")

    def test_a_weight_is_a_number_or_a_schedule(self) -> None:
        assert build(TermConfig, {"name": "dice", "weight": 2}).weight == 2.0
        schedule = {"schedule": "linear", "start": 0, "end": 1, "epochs": 5}
        assert build(TermConfig, {"name": "dice", "weight": schedule}).weight == WeightSchedule("linear", 0.0, 1.0, 5)

    def test_whole_numbers_in_float_fields_become_floats_and_others_stay(self) -> None:
        config = build(TrainerConfig, {"gradient_clip": 1, "max_epochs": 3})
        assert (type(config.gradient_clip), type(config.max_epochs)) == (float, int)
        values = {"format": {"name": "x"}, "patch_size": [8, 8], "spacing": [1, 2]}
        assert [type(one) for one in build(DataConfig, values).spacing or ()] == [float, float]


class TestDefaults:
    def test_hold_what_the_schema_says_and_nothing_that_is_required(self) -> None:
        tree = defaults(Config)
        values = plain(tree)
        assert values["trainer"]["max_epochs"] == TrainerConfig().max_epochs
        assert values["optimizer"] == {"name": "adamw", "params": {}}
        assert values["data"]["augmentation"] == {"name": "nnunet", "params": {}}
        assert not {"name", "network"} & set(values)
        assert not {"patch_size", "format"} & set(values["data"])
        assert tree.value["seed"].origin == DEFAULT
