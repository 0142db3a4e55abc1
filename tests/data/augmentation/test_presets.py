"""The presets' parameters: what they are worth, what they change, and which values are refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medseg.data.augmentation import Augmentation, light, nnunet, none
from medseg.data.augmentation.presets import LIGHT, NNUNET
from medseg.data.labels import LabelSchema

SIZES = {2: (32, 32), 3: (12, 12, 12)}
DIMS = pytest.mark.parametrize("dims", [2, 3])
PRESETS = pytest.mark.parametrize("build", [light, nnunet])
LABELS = LabelSchema.exclusive({"liver": 1, "left": 2, "right": 3})
SHARES: dict[Callable[..., Augmentation], dict[str, float]] = {light: LIGHT, nnunet: NNUNET}

EFFECTS: dict[str, Any] = {
    # One value of each parameter that makes patches differ from those of the default, and what must be switched on for it to matter.
    "mirror_axes": ([1], "mirror"),
    "lateral": ([["left", "right"]], "mirror"),
    "rotation": (77.0, "rotation"),
    "scale": ([0.5, 0.6], "scale"),
    "elastic": (3.0, "elastic"),
    "noise": (0.7, "noise"),
    "blur": ([2.0, 3.0], "blur"),
    "brightness": ([0.1, 0.2], "brightness"),
    "contrast": ([0.1, 0.2], "contrast"),
    "low_resolution": ([0.2, 0.3], "low_resolution"),
    "gamma": ([3.0, 4.0], "gamma"),
    "bias_field": (0.5, "bias_field"),
    "probability": (0.0, "mirror"),
    "probabilities": ({"mirror": 0.0}, "mirror"),
}


def keywords(build: Callable[..., Augmentation]) -> list[str]:
    return [p.name for p in inspect.signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]


def only(build: Callable[..., Augmentation], name: str) -> dict[str, Any]:
    """Parameters that apply one change, always, and no other."""
    return {"probabilities": {**dict.fromkeys(SHARES[build], 0.0), name: 1.0}}


def patches(augment: Augmentation, dims: int) -> list[tuple[np.ndarray, np.ndarray]]:
    results = []
    for seed in range(4):
        draw = augment.draw((0,) * dims, SIZES[dims], 1, (1.0,) * dims, np.random.default_rng(seed))
        rng = np.random.default_rng(7)
        at = np.indices(draw.size) + np.array(draw.start).reshape(-1, *(1,) * dims)
        image = (np.sin(at[0]) + np.cos(at[1] * 2) + at[-1] / 9).astype(np.float32)
        label = rng.integers(0, 4, draw.size).astype(np.uint8)
        results.append(augment.apply(np.flip(image, draw.flips)[None], np.flip(label, draw.flips), draw))
    return results


def same(first: list[tuple[np.ndarray, np.ndarray]], second: list[tuple[np.ndarray, np.ndarray]]) -> bool:
    return all(np.array_equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


class TestParameters:
    def test_each_of_them_is_tested(self) -> None:
        assert set(keywords(nnunet)) == set(EFFECTS)
        assert set(keywords(light)) <= set(EFFECTS)
        assert keywords(none) == []

    @DIMS
    @pytest.mark.parametrize(("build", "name"), [(build, name) for build in (light, nnunet) for name in keywords(build)])
    def test_each_of_them_has_an_effect(self, build: Any, name: str, dims: int) -> None:
        value, needed = EFFECTS[name]
        base = only(build, needed)
        changed = {"probabilities": {**base["probabilities"], **value}} if name == "probabilities" else {**base, name: value}
        assert not same(patches(build(dims, LABELS, **base), dims), patches(build(dims, LABELS, **changed), dims))

    @DIMS
    @PRESETS
    def test_with_everything_off_nothing_changes(self, build: Any, dims: int) -> None:
        assert same(patches(build(dims, LABELS, probability=0.0), dims), patches(none(dims, LABELS), dims))

    def test_defaults_are_those_of_nnunet(self) -> None:
        defaults = {p.name: p.default for p in inspect.signature(nnunet).parameters.values() if p.kind is p.KEYWORD_ONLY}
        assert defaults["scale"] == (0.7, 1.4)
        assert defaults["noise"] == 0.1
        assert defaults["blur"] == (0.5, 1.0)
        assert defaults["brightness"] == defaults["contrast"] == (0.75, 1.25)
        assert defaults["low_resolution"] == (0.5, 1.0)
        assert defaults["gamma"] == (0.7, 1.5)
        assert defaults["elastic"] == defaults["bias_field"] == 0
        expected = {"mirror": 0.5, "rotation": 0.2, "scale": 0.2, "noise": 0.1, "blur": 0.2, "brightness": 0.15, "contrast": 0.15}
        expected |= {"low_resolution": 0.25, "gamma_inverted": 0.1, "gamma": 0.3}
        assert {name: NNUNET[name] for name in expected} == expected

    @PRESETS
    def test_each_change_is_made_as_often_as_its_probability_says(self, build: Any) -> None:
        augment = build(3, LABELS, **({"elastic": 3.0, "bias_field": 0.3} if build is nnunet else {}))
        rng = np.random.default_rng(0)
        count = 3000
        draws = [augment.draw((0, 0, 0), (9, 9, 9), 1, (1.0, 1.0, 1.0), rng).parameters for _ in range(count)]
        seen = {"mirror": np.mean([len(draw["move"].mirrored) / 3 for draw in draws])}
        if build is nnunet:
            seen["elastic"] = np.mean([draw["move"].motion is not None and draw["move"].motion.controls is not None for draw in draws])
            names = ["noise", "blur", "brightness", "contrast", "low_resolution", "gamma_inverted", "gamma", "bias_field"]
        else:
            names = ["noise", "brightness", "contrast"]
        still = 1 - np.mean([draw["move"].motion is not None for draw in draws])
        for number, name in enumerate(names):
            # Of one channel, half of those of blur and low resolution are left alone.
            factor = 2 if name in ("blur", "low_resolution") else 1
            seen[name] = factor * np.mean([draw["changes"][number] is not None for draw in draws])
        for name, share in seen.items():
            assert abs(share - SHARES[build][name]) < 5 * (2 * SHARES[build][name] / count) ** 0.5, name
        expected = np.prod([1 - SHARES[build].get(name, 0.0) for name in ("rotation", "scale", "elastic")])
        assert abs(still - expected) < 5 * (expected / count) ** 0.5

    def test_probability_multiplies_all_of_them(self) -> None:
        rng = np.random.default_rng(0)
        draws = [nnunet(3, LABELS, probability=0.5).draw((0,) * 3, (9,) * 3, 1, (1.0,) * 3, rng).parameters for _ in range(1000)]
        assert abs(np.mean([len(draw["move"].mirrored) / 3 for draw in draws]) - 0.25) < 0.05
        assert abs(np.mean([draw["changes"][6] is not None for draw in draws]) - 0.15) < 0.06

    @PRESETS
    def test_probability_does_not_raise_that_of_mirroring_above_half(self, build: Any) -> None:
        rng = np.random.default_rng(0)
        draws = [build(3, LABELS, probability=2.0).draw((0,) * 3, (9,) * 3, 1, (1.0,) * 3, rng).parameters for _ in range(500)]
        assert abs(np.mean([len(draw["move"].mirrored) / 3 for draw in draws]) - 0.5) < 0.07
        noisy = np.mean([draw["changes"][0] is not None for draw in draws])
        assert abs(noisy - 2 * SHARES[build]["noise"]) < 0.12

    def test_mirror_axes_are_the_only_ones_flipped(self) -> None:
        for axes in ([], [2], [0, 1]):
            augment = nnunet(3, LABELS, mirror_axes=axes, probabilities={"mirror": 1.0})
            draw = augment.draw((0,) * 3, (9,) * 3, 1, (1.0,) * 3, np.random.default_rng(0))
            assert draw.parameters["move"].mirrored == tuple(axes)


class TestFaults:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"mirror_axes": [0, 3]}, r"mirror_axes: \[0, 3\]"),
            ({"mirror_axes": [1, 1]}, "mirror_axes"),
            ({"rotation": -1.0}, "rotation: -1"),
            ({"rotation": 181.0}, "rotation: 181"),
            ({"scale": [0.0, 1.0]}, r"scale: \[0.0, 1.0\]"),
            ({"scale": [1.2, 1.1]}, "scale"),
            ({"scale": [1.2]}, "scale"),
            ({"elastic": -1.0}, "elastic: -1"),
            ({"noise": -0.1}, "noise: -0.1"),
            ({"noise": float("nan")}, "noise: nan"),
            ({"blur": [1.0, 0.5]}, "blur"),
            ({"brightness": [-1.0, 1.0]}, "brightness"),
            ({"contrast": [0.0, 1.0]}, "contrast"),
            ({"low_resolution": [0.5, 1.1]}, "low_resolution.*between 0.1 and 1"),
            ({"gamma": [0.0, 1.0]}, "gamma"),
            ({"bias_field": -0.1}, "bias_field"),
            ({"probability": -0.5}, "probability: -0.5"),
            ({"probability": 4.0}, "probability: that of gamma is 1.2"),
            ({"probability": float("nan")}, "probability"),
            ({"rotation": 1000.0}, "rotation: 1000 does not lie between 0 and 180"),
            ({"scale": [0.01, 1.0]}, r"scale: \[0.01, 1.0\].*between 0.25 and 4"),
            ({"scale": [1.0, 1000.0]}, "scale.*between 0.25 and 4"),
            ({"elastic": 1000.0}, "elastic: 1000 does not lie between 0 and 100"),
            ({"noise": 100.0}, "noise: 100 does not lie between 0 and 2"),
            ({"blur": [0.5, 50.0]}, "blur.*above 0, at most 10"),
            ({"blur": [0.0, 5.0]}, "blur.*above 0, at most 10"),
            ({"brightness": [0.001, 1.0]}, "brightness.*between 0.1 and 10"),
            ({"brightness": [1.0, 1000.0]}, "brightness.*between 0.1 and 10"),
            ({"contrast": [1.0, 1000.0]}, "contrast.*between 0.1 and 10"),
            ({"gamma": [1.0, 1000.0]}, "gamma.*between 0.1 and 10"),
            ({"gamma": [1.0, float("nan")]}, "gamma"),
            ({"low_resolution": [0.01, 1.0]}, "low_resolution.*between 0.1 and 1"),
            ({"bias_field": 9.0}, "bias_field: 9 does not lie between 0 and 2"),
            ({"probabilities": {"mirrors": 0.5}}, "probabilities: there is no 'mirrors'; there are mirror, "),
            ({"probabilities": {"gamma": 1.5}}, "probabilities: that of gamma is 1.5"),
            ({"lateral": [["left", "rihgt"]]}, "lateral: there is no class 'rihgt'; the classes are liver, left, right"),
            ({"lateral": [["left"]]}, "lateral.*pairs"),
            ({"lateral": [["left", "right"], ["left", "liver"]]}, "lateral.*at most once"),
            ({"lateral": [["left", "right"]], "mirror_axes": [1]}, r"lateral: has no effect.*axis 0"),
        ],
    )
    def test_senseless_values_are_refused_by_name(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            nnunet(3, LABELS, **params)

    def test_light_refuses_them_too(self) -> None:
        for params in (
            {"noise": -1.0}, {"scale": [2.0, 1.0]}, {"probabilities": {"gamma": 1.0}}, {"rotation": 181.0}, {"noise": 100.0},
            {"brightness": [1.0, 1000.0]}, {"contrast": [1.0, 1000.0]}, {"scale": [0.01, 1.0]}, {"probability": 3.5},
        ):  # fmt: skip
            with pytest.raises(ValueError, match=f"^{next(iter(params))}: "):
                light(2, LABELS, **params)

    def test_overlapping_classes_cannot_change_sides(self) -> None:
        overlapping = LabelSchema(("both", "left", "right"), ((1, 2), (1,), (2,)))
        with pytest.raises(ValueError, match="lateral: the classes overlap"):
            nnunet(3, overlapping, lateral=[["left", "right"]])

    def test_classes_of_several_values_cannot_change_sides(self) -> None:
        several = LabelSchema(("left", "right"), ((1, 2), (3,)))
        with pytest.raises(ValueError, match=r"lateral: the class 'left' has several label values, \[1, 2\]"):
            nnunet(3, several, lateral=[["left", "right"]])
