from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from medseg.config import load_config
from medseg.config.schema import Component, Config, SamplerConfig
from medseg.data.planning.fingerprint import CaseFacts
from medseg.data.planning.given import NOTE, Given
from medseg.data.planning.intensity import choose_normalisation
from medseg.data.planning.plan import BATCH_SHARE, Plan, make_plan
from medseg.errors import DataError
from tests.data.planning.facts import facts, fingerprint


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("focal_dice")


def plan_of(cases: list[CaseFacts], config: Config, memory_gib: float = 8, **names: Any) -> Plan:
    return make_plan(fingerprint(cases, **names), Given(config), memory_gib)


def told(overrides: list[str], cases: list[CaseFacts] | None = None, memory_gib: float = 8) -> Plan:
    """The plan where the command line says something."""
    given = Given.of(load_config("focal_dice", overrides), "focal_dice", overrides)
    return make_plan(fingerprint(cases or scans()), given, memory_gib)


def scans(count: int = 40, **changes: Any) -> list[CaseFacts]:
    return [facts(number, **changes) for number in range(count)]


class TestEveryDecision:
    def test_has_a_note_and_a_reason(self, config: Config) -> None:
        plan = plan_of(scans(), config)
        assert all(decision.note and decision.reason for decision in plan.decisions)
        keys = [decision.key for decision in plan.decisions]
        assert len(set(keys)) == len(keys)
        assert {"data.spacing", "data.patch_size", "data.batch_size", "data.normalisation"} <= set(keys)

    def test_an_unknown_key_has_none(self, config: Config) -> None:
        with pytest.raises(KeyError):
            plan_of(scans(), config)["data.root"]


class TestMemory:
    @pytest.mark.parametrize("memory_gib", [3, 8, 24])
    def test_a_step_fits(self, config: Config, memory_gib: float) -> None:
        plan = plan_of(scans(), config, memory_gib)
        assert plan.memory <= memory_gib * 2**30
        assert not any("memory" in warning for warning in plan.warnings)

    def test_more_of_it_makes_larger_patches(self, config: Config) -> None:
        sizes = [np.prod(plan_of(scans(), config, gib)["data.patch_size"].value) for gib in (3, 8, 24)]
        assert sizes == sorted(set(sizes))

    def test_too_little_is_said(self, config: Config) -> None:
        assert "expect to run out of memory" in plan_of(scans(), config, 0.5).warnings[0]

    def test_full_precision_takes_more(self, config: Config) -> None:
        full = replace(config, trainer=replace(config.trainer, precision="32-true"))
        half, whole = (plan_of(scans(), one)["data.patch_size"].value for one in (config, full))
        assert np.prod(whole) < np.prod(half)

    def test_small_images_fill_it_with_larger_batches(self, config: Config) -> None:
        plan = plan_of(scans(400, shape=(36, 50, 35)), config)
        assert plan["data.patch_size"].value == [40, 56, 40]
        assert "covers the median image (36 x 50 x 35)" in plan["data.patch_size"].reason
        assert plan["data.batch_size"].value == 12

    def test_a_batch_shows_a_small_part_of_the_data(self, config: Config) -> None:
        plan = plan_of(scans(120, shape=(36, 50, 35)), config)
        batch = plan["data.batch_size"]
        assert 2 < batch.value * 40 * 56 * 40 / (36 * 50 * 35) <= BATCH_SHARE * 120
        assert "would show more than 5%" in batch.reason


class TestDimensions:
    def test_volumes_of_thick_slices_leave_their_axis_alone_at_first(self, config: Config) -> None:
        plan = plan_of(scans(shape=(512, 512, 60), spacing=(0.7, 0.7, 5.0)), config)
        assert plan.dimensions.startswith("3-D: volumes of slices")
        assert "leave the coarse axis alone" in plan["network.params.patch_size"].note
        assert plan["network.params.spacing"].value == [0.7, 0.7, 5.0]

    def test_pictures_are_2_d_and_come_in_larger_batches(self, config: Config) -> None:
        plan = plan_of(scans(100, shape=(600, 800), spacing=(1, 1), picture=True), config)
        assert plan.dimensions.startswith("2-D")
        assert len(plan["data.patch_size"].value) == 2
        assert plan["data.batch_size"].value >= 8
        assert "network.params.spacing" not in {decision.key for decision in plan.decisions}

    def test_a_tiny_image_still_gets_three_levels(self, config: Config) -> None:
        assert len(plan_of(scans(shape=(10, 9, 3), spacing=(1, 1, 4)), config).levels) == 3


class TestNormalisation:
    def chosen(self, **changes: Any) -> tuple[Any, str]:
        names = {key: changes.pop(key) for key in ("channels",) if key in changes}
        return choose_normalisation(fingerprint(scans(3, **changes), **names))

    def test_mr_is_standardised_by_case(self) -> None:
        name, reason = self.chosen()
        assert name == "zscore"
        assert "no unit" in reason

    @pytest.mark.parametrize("channel", ["CT", "ct", "thin-CT", "HU"])
    def test_ct_is_known_by_its_name(self, channel: str) -> None:
        name, reason = self.chosen(channels=(channel,))
        assert name == "ct"
        assert "its name" in reason

    def test_ct_is_known_by_its_values(self) -> None:
        assert self.chosen(low=(-1024.0,), high=(2000.0,))[0] == "ct"
        assert self.chosen(low=(-1024.0,), high=(2000.0,), whole_numbers=False)[0] == "zscore"
        assert self.chosen(channels=("FACT",))[0] == "zscore"

    def test_ct_without_foreground_cannot_be_measured(self) -> None:
        assert self.chosen(channels=("CT",), foreground=None)[0] == "zscore"

    def test_channels_may_differ(self) -> None:
        row = facts().image[0]
        both = {"image": (row, row), "low": (-1024.0, 0.0), "high": (2000.0, 9.5), "std": (1.0, 1.0)}
        name, reason = self.chosen(channels=("CT", "PET"), **both)
        assert name == ["ct", "zscore"]
        assert "CT" in reason
        assert "no unit" in reason

    def test_8_bit_pictures_of_even_brightness_are_divided_by_255(self, config: Config) -> None:
        name, reason = self.chosen(shape=(9, 9), spacing=(1, 1), picture=True, eight_bit=True)
        assert name == "unit"
        assert "255" in reason

    def test_8_bit_pictures_of_uneven_brightness_are_standardised(self) -> None:
        cases = [facts(n, (9, 9), (1, 1), picture=True, eight_bit=True, image=((0, 1, 2, 20.0 + 60 * n, 100, 200, 250),)) for n in range(3)]
        name, reason = choose_normalisation(fingerprint(cases))
        assert name == "zscore"
        assert "medians 20 to 140" in reason


class TestCommandLine:
    def test_what_it_says_is_kept_and_the_rest_follows(self) -> None:
        plan = told(["data.spacing=[3,3,6]"])
        assert (plan["data.spacing"].value, plan["data.spacing"].note) == ([3.0, 3.0, 6.0], NOTE)
        assert "the data alone would make it null" in plan["data.spacing"].reason
        assert plan["data.patch_size"].value == [64, 64, 28]  # covers 60 x 67 x 27
        assert "would show more" in plan["data.batch_size"].reason  # it is the memory that limits it without
        assert plan["network.params.spacing"].value == "${data.spacing}"
        assert plan.levels[0].size == (64, 64, 28)

    def test_an_epoch_follows_the_spacing(self) -> None:
        cases = scans(400, shape=(180, 200, 160))
        few, many = told(["data.spacing=[6,6,6]"], cases), told([], cases)
        assert "in 640 patches" in few["data.patches_per_epoch"].reason
        assert "in 2560 patches" in many["data.patches_per_epoch"].reason

    def test_batch_and_network_follow_a_given_patch(self) -> None:
        free, plan = told([]), told(["data.patch_size=[16,16,8]"])
        assert plan["data.patch_size"].value == [16, 16, 8]
        assert plan["data.batch_size"].value > free["data.batch_size"].value
        assert len(plan.levels) < len(free.levels)
        assert [decision.key for decision in plan.decisions if decision.note == NOTE] == ["data.patch_size"]

    @pytest.mark.parametrize(
        ("override", "value"),
        [
            ("data.batch_size=3", 3),
            ("data.normalisation=unit", "unit"),
            ("data.patches_per_epoch=17", 17),
            ("data.patch_size[0]=24", [24, 32, 32]),
        ],
    )
    def test_any_decision_may_be_given(self, override: str, value: Any) -> None:
        key = override.partition("=")[0].partition("[")[0]
        assert told([override])[key].value == value
        assert told([override])[key].note == NOTE
        assert told([])[key].value != value

    def test_a_parameter_of_the_network_may_be_given(self) -> None:
        plan = told(["network={name: dynunet, params: {deep_supervision: 0}}"])
        assert (plan["network.params.deep_supervision"].value, plan["network.params.deep_supervision"].note) == (0, NOTE)
        assert plan["network.params.patch_size"].value == "${data.patch_size}"

    def test_another_network_is_left_alone(self) -> None:
        plan = told(["network.name=unet"])
        assert not [decision for decision in plan.decisions if decision.key.startswith("network")]
        assert "how much 'unet' takes" in plan.warnings[0]

    def test_an_epoch_holds_a_batch(self) -> None:
        assert told(["data.patches_per_epoch=7"], scans(400, shape=(36, 50, 35)))["data.batch_size"].value == 6
        assert told([], scans(400, shape=(36, 50, 35)))["data.batch_size"].value == 12
        single = replace(load_config("focal_dice"), data=replace(load_config("focal_dice").data, patches_per_epoch=1, batch_size=1))
        given = Given(single, frozenset([("data", "patches_per_epoch")]))
        assert make_plan(fingerprint(scans()), given, 8)["data.batch_size"].value == 1

    def test_what_does_not_fit_into_the_memory_is_said(self) -> None:
        plan = told(["data.batch_size=64"], memory_gib=4)
        assert plan["data.batch_size"].value == 64
        assert "what the command line says needs about" in plan.warnings[0]

    @pytest.mark.parametrize(
        ("overrides", "text"),
        [
            (["data.patch_size=[32,32]", "data.spacing=[1,1]"], r"data.spacing=\[1.0, 1.0\] must have 3 numbers"),
            (["data.patch_size=[32,32]"], "data.patch_size=.* must have 3 numbers"),
            (["data.normalisation=[zscore,ct]"], r"data.normalisation=.* 1 names, .*\(FLAIR\)"),
        ],
    )
    def test_lists_of_another_length_are_refused(self, overrides: list[str], text: str) -> None:
        with pytest.raises(DataError, match=text):
            told(overrides)


class TestModule:
    def said(self, config: Config, module: Any, sizes: tuple[int, ...], **changes: Any) -> str:
        data = replace(config.data, module=module, **changes)
        plan = plan_of(scans(lesions=(len(sizes),), sizes=(sizes,)), replace(config, data=data))
        assert "data.module" not in {decision.key for decision in plan.decisions}
        return " ".join(warning for warning in plan.warnings if "data.module" in warning)

    def test_lesions_of_a_thousandth_of_the_image_are_no_organs(self, config: Config) -> None:
        assert "data.module=small_lesion may fit better" in self.said(config, "organ", (20, 20))
        assert "2.0 components a case" in self.said(config, "organ", (20, 20))
        assert self.said(config, "small_lesion", (20,)) == ""

    def test_what_fills_the_image_is_no_small_lesion(self, config: Config) -> None:
        assert "data.module=organ may fit better" in self.said(config, "small_lesion", (600_000,))
        assert self.said(config, "small_lesion", (500_000,)) == ""  # a tumour of 9 %
        assert self.said(config, "organ", (600_000,)) == ""

    def test_samplers_of_ones_own_are_not_commented(self, config: Config) -> None:
        assert self.said(config, "organ", (20,), sampling=[SamplerConfig("random")]) == ""


class TestSampling:
    def test_levels_at_which_large_structures_remain_are_trained(self, config: Config) -> None:
        assert plan_of(scans(lesions=(1,), sizes=((50_000,),)), config)["network.params.deep_supervision"].value == 3

    def test_coarse_levels_at_which_lesions_vanish_are_not_trained(self, config: Config) -> None:
        decision = plan_of(scans(), config)["network.params.deep_supervision"]
        assert decision.value == 1  # 20 voxels: 2.5 at half, less than one at a quarter of the resolution
        assert "lesion" in decision.reason

    def test_an_epoch_grows_with_the_data(self, config: Config) -> None:
        few, many = (plan_of(scans(count), config)["data.patches_per_epoch"] for count in (3, 400))
        assert few.value < many.value
        assert "50 to 250" in few.reason


class TestWarnings:
    def warnings(self, config: Config, **changes: Any) -> str:
        names = {key: changes.pop(key) for key in ("classes",) if key in changes}
        return "\n".join(plan_of(scans(6, **changes), config, **names).warnings)

    def test_a_sound_data_set_has_none(self, config: Config) -> None:
        assert self.warnings(config) == ""

    def test_lesions_below_a_voxel(self, config: Config) -> None:
        cases = [facts(n, (60, 60, 60), (s, s, s), sizes=((1,) * (s == 1),)) for n, s in enumerate((1.0, 2.0, 2.0, 2.0, 2.0, 2.0))]
        plan = plan_of(cases, config)
        assert plan["data.spacing"].value == [1.5, 1.5, 1.5]  # as fine as it gets
        assert "larger than the median lesion" in plan["data.spacing"].reason
        assert "smaller than a voxel" in "\n".join(plan.warnings)

    def test_classes_that_are_absent_or_rare(self, config: Config) -> None:
        cases = [facts(n, counts=(9, 0, int(n == 1)), lesions=(1, 0, int(n == 1)), sizes=((9,), (), (1,) * int(n == 1))) for n in range(6)]
        text = "\n".join(plan_of(cases, config, classes=("often", "never", "once")).warnings)
        assert "class 'never' occurs in no case" in text
        assert "class 'once' occurs in 1 of 6" in text
        assert "often" not in text.replace("of 'once'", "")

    def test_cases_without_label(self, config: Config) -> None:
        assert "6 cases have no label" in self.warnings(config, labelled=False)

    def test_patches_that_see_little(self, config: Config) -> None:
        assert "less than 5 %" in self.warnings(config, shape=(900, 900, 900))

    def test_spacings_that_differ_much(self, config: Config) -> None:
        cases = [facts(n, (60, 60, 60), (1, 1, thick), sizes=((900,),)) for n, thick in enumerate((0.9, 1, 1, 1, 1, 6))]
        assert "fivefold" in "\n".join(plan_of(cases, config).warnings)

    def test_sides_that_flips_confuse(self, config: Config) -> None:
        names = {"classes": ("left_kidney", "liver", "right_kidney"), "counts": (9, 9, 9), "lesions": (1, 1, 1), "sizes": ((9,),) * 3}
        assert "lateral=[[left_kidney, right_kidney]]" in self.warnings(config, **names)
        for params in ({"mirror_axes": [1, 2]}, {"lateral": [["left_kidney", "right_kidney"]]}):
            aware = replace(config, data=replace(config.data, augmentation=Component("nnunet", params)))
            assert "lateral" not in self.warnings(aware, **names)

    def test_constant_channels(self, config: Config) -> None:
        assert "constant in 6" in self.warnings(config, high=(0.0,))


class TestNetworkOfTheExtendedConfig:
    def test_what_fits_another_patch_is_taken_back(self, config: Config) -> None:
        params = {"strides": [[1, 1, 1]], "channels": None, "residual": True}
        plan = plan_of(scans(), replace(config, network=replace(config.network, name="dynunet", params=params)))
        assert plan["network.params.strides"].value is None
        assert "network.params.channels" not in {decision.key for decision in plan.decisions}
