"""Which sampler a patch of a run belongs to."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from medseg.config.schema import SamplerConfig
from medseg.data.sampling import HardCase, LesionBalanced, Mixture, Random, Sampler, build_mixture
from medseg.errors import DataError
from tests.data.sampling.fakes import LESION, ORGANS, expected_within, index_of, rng


class Marked(Sampler):
    """Draws a voxel that says which sampler it came from."""

    def __init__(self, mark: int) -> None:
        self.mark = mark

    def draw(self, rng: np.random.Generator) -> tuple[int, tuple[int, ...]]:
        return 0, (self.mark, int(rng.integers(100)))


def mixture(fractions: list[float], batch_size: int = 2, seed: int = 0) -> Mixture:
    return Mixture([Marked(index) for index in range(len(fractions))], fractions, batch_size, seed)


class TestMixture:
    @pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
    @pytest.mark.parametrize("fractions", [[0.5, 0.5], [0.29, 0.71], [0.2, 0.3, 0.5], [1.0]])
    def test_every_batch_and_all_batches_so_far_hold_each_share_within_one_patch(self, fractions: list[float], batch_size: int) -> None:
        mixed = mixture(fractions, batch_size)
        order = np.array([mixed.sampler_of(patch) for patch in range(60 * batch_size)]).reshape(60, batch_size)
        for index, fraction in enumerate(fractions):
            counts = (order == index).sum(axis=1)
            due = round(batch_size * fraction, 9)
            assert set(counts) <= {math.floor(due), math.ceil(due)}
            assert (np.abs(counts.cumsum() - due * np.arange(1, 61)) < 1).all()

    def test_a_patch_is_drawn_by_its_own_sampler_with_its_own_generator(self) -> None:
        mixed = mixture([0.5, 0.5], 4)
        for patch in range(40):
            assert mixed.draw(patch, rng(patch)) == (0, (mixed.sampler_of(patch), int(rng(patch).integers(100))))

    @pytest.mark.parametrize("world_size", [2, 4])
    def test_no_rank_always_gets_the_same_sampler(self, world_size: int) -> None:
        mixed = mixture([0.5, 0.5], 4)
        for rank in range(world_size):
            own = [mixed.sampler_of(patch) for patch in range(rank, 2400, world_size)]
            assert expected_within(sum(own), len(own), 0.5)

    def test_it_is_a_function_of_seed_and_number(self) -> None:
        forward = [mixture([0.3, 0.7], 4, seed=1).sampler_of(patch) for patch in range(80)]
        one, other = mixture([0.3, 0.7], 4, seed=1), mixture([0.3, 0.7], 4, seed=2)
        assert [one.sampler_of(patch) for patch in reversed(range(80))][::-1] == forward
        assert [other.sampler_of(patch) for patch in range(80)] != forward


class TestBuildMixture:
    CASES = (np.eye(6), np.zeros((6, 6)))

    def build(self, *items: SamplerConfig, **options: Any) -> Mixture:
        labels = options.pop("labels", LESION)
        cases = [index_of(label, labels) for label in options.pop("cases", self.CASES)]
        return build_mixture(items, cases, labels, 4, 0)

    def test_samplers_have_their_parameters_and_shares(self) -> None:
        mixed = self.build(SamplerConfig("random", {}, 0.25), SamplerConfig("hard_case", {"exponent": 3.0, "inner": "lesion"}, 0.75))
        kinds = [type(mixed.samplers[mixed.sampler_of(patch)]) for patch in range(40)]
        assert (kinds.count(Random), kinds.count(HardCase)) == (10, 30)
        (hard,) = mixed.hard_cases
        assert (hard.exponent, hard.inner) == (3.0, "lesion")

    @pytest.mark.parametrize("name", ["random", "foreground", "class", "case", "lesion", "hard_case"])
    def test_every_name_can_be_drawn_from(self, name: str) -> None:
        number, voxel = self.build(SamplerConfig(name, {}, 1.0)).draw(0, rng())
        assert number in (0, 1)
        assert len(voxel) == 2

    @pytest.mark.parametrize("name", ["foreground", "class", "lesion"])
    def test_data_without_foreground_is_refused_by_key_and_name(self, name: str) -> None:
        items = [SamplerConfig("random", {}, 0.5), SamplerConfig(name, {}, 0.5)]
        with pytest.raises(DataError, match=rf"^data\.sampling\[1\] \({name}\): none of the 1 training cases has any"):
            self.build(*items, cases=[np.zeros((5, 5))])

    def test_a_sampler_without_a_share_is_not_built(self) -> None:
        mixed = self.build(SamplerConfig("lesion", {}, 0.0), SamplerConfig("random", {}, 1.0), cases=[np.zeros((5, 5))])
        assert [type(sampler) for sampler in mixed.samplers] == [Random]

    def test_a_parameter_that_does_not_fit_is_refused_by_key_and_name(self) -> None:
        with pytest.raises(DataError, match=r"^data\.sampling\[0\] \(lesion\): classes: no class named heart"):
            self.build(SamplerConfig("lesion", {"classes": ["heart"]}, 1.0), labels=ORGANS)
        assert isinstance(self.build(SamplerConfig("lesion", {"classes": ["liver"]}, 1.0), labels=ORGANS).samplers[0], LesionBalanced)
