"""What the guide to the losses says: its numbers are those of the figures, its names exist, its recipes work."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml
from torch.nn.functional import one_hot

from medseg.config.schema import LossConfig, TermConfig
from medseg.losses import HEADS, TERMS, WEIGHT_MAPS, build_loss

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "medseg/losses/GUIDE.md"
TEXT = GUIDE.read_text()
RECIPES: list[dict[str, Any]] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
VOXELS = 9
"""The lesion that the guide gives shares for."""


def script(name: str) -> ModuleType:
    """A module of scripts/."""
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "scripts"))


curves = script("loss_curves")


@pytest.fixture(scope="module")
def small() -> dict[str, dict[str, float]]:
    """Of figure 1, the shares of a lesion of 9 voxels."""
    index = curves.LESIONS.index(VOXELS)
    return {title: {name: line[index] for name, line in panel.lines.items()} for title, panel in curves.small_lesions().items()}


class TestSmallLesions:
    def test_alone_a_ratio_sees_what_a_mean_does_not(self, small: dict[str, dict[str, float]]) -> None:
        alone = small["background"]
        assert [round(alone[name], 2) for name in ("bce", "dice", "focal")] == [0.03, 0.35, 0.98]

    def test_beside_a_large_one_only_losses_of_lesions_see_it(self, small: dict[str, dict[str, float]]) -> None:
        half = small["half found"]
        for name in ("bce", "focal", "dice", "tversky", "focal_tversky", "lovasz_hinge"):  # one line of the figure
            assert half[name] == pytest.approx(VOXELS / (VOXELS + curves.LARGE), rel=1e-4)
        assert round(half["bce"], 3) == 0.007
        assert [round(half[name], 2) for name in ("blob", "component", "bce + inverse_component")] == [0.11, 0.24, 0.5]

    def test_missed_beside_a_found_one_wins_with_hard_voxels_and_not_with_dice(self, small: dict[str, dict[str, float]]) -> None:
        missed = small["missed"]
        order = ("lovasz_hinge", "bce + inverse_component", "focal", "component", "blob", "bce", "dice")
        assert sorted(order, key=lambda name: -missed[name]) == list(order)
        for name in ("dice", "tversky", "focal_tversky"):
            assert missed[name] == pytest.approx(small["half found"]["dice"], rel=1e-4)

    def test_a_class_of_its_own_brings_it_back(self, small: dict[str, dict[str, float]]) -> None:
        names = ("dice", "generalized_dice, square", "generalized_dice, simple")
        assert [round(small["classes"][name], 2) for name in names] == [0.17, 0.88, 0.47]
        assert small["classes"]["generalized_dice, uniform"] == pytest.approx(small["classes"]["cross_entropy"], rel=1e-4)


class TestLesionFree:
    def test_dice_forgets_false_positives_and_the_more_the_less(self) -> None:
        panels = curves.lesion_free()
        hundred = curves.INVENTED.index(100)
        dice, bce = panels["smooth"].lines["dice, smooth 1e-05"], panels["empty"].lines["bce"]
        assert dice == sorted(dice, reverse=True)
        assert dice[hundred] == pytest.approx(1e-8, rel=0.2)
        assert bce[hundred] / dice[hundred] == pytest.approx(5e5, rel=0.05)

    def test_smooth_helps_where_the_number_is_near_it(self) -> None:
        lines = curves.lesion_free()["smooth"].lines
        for smooth in (1, 100):
            line = lines[f"dice, smooth {smooth}"]
            assert curves.INVENTED[line.index(max(line))] == smooth

    def test_volume_a_lesion_elsewhere_and_voxelwise_losses_help_and_skip_does_not(self) -> None:
        lines = curves.lesion_free()["empty"].lines
        for name in ("dice, empty: volume", "bce", "focal"):
            assert lines[name] == sorted(lines[name]), name
        for name in ("dice, empty: volume", "bce", curves.PARTNER):
            assert all(good > bad for good, bad in zip(lines[name], lines["dice, empty: smooth"], strict=True)), name
        assert not any(lines["dice, empty: skip"])


class TestEasyAndHard:
    def test_who_lets_go_of_easy_voxels_and_who_of_hard_ones(self) -> None:
        relatives, others = curves.easy_and_hard().values()
        at = {p: int(p * len(relatives.x)) for p in (0.01, 0.72, 0.74, 0.79, 0.81, 0.9)}
        bce = relatives.lines["bce, cross_entropy"]
        assert relatives.lines["focal, gamma 2"][at[0.9]] / bce[at[0.9]] == pytest.approx(0.03, abs=0.005)
        assert relatives.lines["poly"][at[0.9]] > bce[at[0.9]] > relatives.lines["focal, gamma 0.5"][at[0.9]]
        assert relatives.lines["topk, 20 %, times 1/5"][at[0.72]] == 0
        assert others.lines["hinge"][at[0.72]] == 1
        assert others.lines["hinge"][at[0.74]] == 0
        assert others.lines["kl_divergence, label 0.8"][at[0.79]] > 0 > others.lines["kl_divergence, label 0.8"][at[0.81]]
        for name in ("mse", "mae"):
            assert others.lines[name][at[0.01]] < 0.05 < bce[at[0.01]]


class TestNearTheOptimum:
    def test_exponents_below_one_amplify_nearly_solved_cases(self) -> None:
        slope = curves.near_the_optimum()["slope"]
        nine, end = min(range(len(slope.x)), key=lambda i: abs(slope.x[i] - 0.1)), -1
        focal, inverse = slope.lines["focal_tversky, exponent 0.75"], slope.lines["focal_tversky, exponent 4/3"]
        assert [round(focal[nine], 1), round(focal[end])] == [1.3, 7]
        assert [round(inverse[nine], 1), round(1 / inverse[end])] == [0.6, 16]
        assert focal == sorted(focal)
        assert inverse == sorted(inverse, reverse=True)
        assert slope.lines["exp_log"][end] > focal[end]
        assert slope.lines["dice"] == pytest.approx([1] * len(slope.x), rel=1e-6)
        assert slope.lines["jaccard"][end] == pytest.approx(2, rel=1e-3)
        assert slope.lines["mcc"][end] == pytest.approx(1, abs=0.05)
        assert max(slope.lines["squared_dice"][end], slope.lines["log_cosh_dice"][end]) < 1e-3


class TestCrossEntropyAndDice:
    def test_the_sum_becomes_dice_and_balance_prevents_it(self) -> None:
        panels = curves.ce_and_dice()
        half = {label: min(range(len(panels[label].x)), key=lambda i: abs(panels[label].x[i] - 0.5)) for label in curves.FRACTIONS.values()}
        assert round(panels["1 %"].lines["1 %"][half["1 %"]], 2) == 0.93
        assert round(panels["0.1 %"].lines["0.1 %"][half["0.1 %"]], 2) == 0.99
        assert panels["10 %"].lines["10 %"][half["10 %"]] < 0.7
        for label in curves.FRACTIONS.values():
            assert panels[label].lines[label] == sorted(panels[label].lines[label])
        assert panels["1 %"].lines["balance: gradient"] == pytest.approx([0.5] * len(curves.STEPS), abs=0.03)


class TestGuide:
    def test_every_figure_exists_and_is_shown(self) -> None:
        shown = re.findall(r"!\[[^]]+\]\((figures/\w+\.svg)\)", TEXT)
        assert shown == [f"figures/{name}.svg" for name in curves.MEASURES]
        for figure in shown:
            assert (GUIDE.parent / figure).stat().st_size < 80_000

    def test_every_link_leads_somewhere(self) -> None:
        for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
            assert (GUIDE.parent / link).exists(), link

    def test_every_term_stands_in_one_family_with_its_file(self) -> None:
        families = re.findall(r"^### (`.+`)\n\n\[\w+\.py\]\((terms/\w+\.py)\)", TEXT, re.MULTILINE)
        named = {name: file for names, file in families for name in re.findall(r"`(\w+)`", names)}
        assert named == {name: f"terms/{term.__module__.rpartition('.')[2]}.py" for name, term in TERMS.items()}

    def test_every_name_in_code_is_one_of_ours(self) -> None:
        keys, values = set(get_type_hints(LossConfig)) | set(get_type_hints(TermConfig)), set()
        for hint in get_type_hints(LossConfig).values():
            values |= set(map(str, get_args(hint)))
        for entry in (*TERMS.values(), *HEADS.values(), *WEIGHT_MAPS.values()):
            parameters = [one for one in inspect.signature(entry).parameters.values() if one.kind is one.KEYWORD_ONLY]
            keys |= {one.name for one in parameters}
            for one in parameters:
                values |= set(re.findall(r"['\"](\w+)['\"]", str(one.annotation)))
        values |= {"dice_ce"}  # a type of its own
        known = keys | values | {*TERMS, *HEADS, *WEIGHT_MAPS, "spacing"}
        spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
        assert spans
        for span in spans:
            if re.fullmatch(r"\w+", span):
                assert span in known, span
            elif match := re.fullmatch(r"(\w+): (\w+)", span):
                assert match[1] in keys, span
                assert match[2] in values, span

    @pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: "+".join(term["name"] for term in recipe["loss"]["terms"]))
    def test_every_recipe_trains(self, recipe: dict[str, Any]) -> None:
        heads = recipe.get("network", {}).get("heads", {})
        loss = build_loss(recipe["loss"], 3, heads)
        generator = torch.Generator().manual_seed(0)
        target = torch.randint(0, 3, (2, 12, 12), generator=generator)
        if recipe["loss"]["activation"] == "sigmoid":
            target = torch.stack([target > 0, target > 1, target == 1], 1).float()
        if recipe["loss"]["terms"][0]["name"] == "kl_divergence":
            target = one_hot(target, 3).movedim(-1, 1) * 0.7 + 0.1
        if recipe["loss"]["terms"][-1]["name"] == "dice_semimetric":
            target = target * 0.7 + 0.1
        z = torch.randn(2, 3, 12, 12, generator=generator).requires_grad_()
        channels = {"signed_distance": 2, "boxes": 4, "embedding": 4}
        outputs = {"segmentation": z}
        for name, head in heads.items():
            outputs[name] = torch.randn(2, channels[head["name"]], 12, 12, generator=generator).requires_grad_()
        loss(outputs if heads else z, target).backward()
        for output in outputs.values():
            assert output.grad is not None
            assert output.grad.isfinite().all()
            assert output.grad.any()


class TestScript:
    def test_it_draws_every_figure_small_and_alike(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("matplotlib")
        plot = script("plot_losses")
        assert list(plot.DRAWINGS) == list(curves.MEASURES)
        for folder in ("a", "b"):
            monkeypatch.setattr(sys, "argv", ["plot_losses.py", "--folder", str(tmp_path / folder)])
            plot.main()
        for name in curves.MEASURES:
            drawn = (tmp_path / f"a/{name}.svg").read_bytes()
            assert drawn == (tmp_path / f"b/{name}.svg").read_bytes(), name
            assert len(drawn) < 80_000
