"""The plots: what is drawn is what the terms say."""

from __future__ import annotations

import pytest
import torch

from medseg.losses.plot import COLUMNS, EDGE, FOUND, INVENTED, curves, disk, draw


class TestProblem:
    def test_the_ring_is_as_large_as_the_lesion_and_around_it(self) -> None:
        lesion, ring = disk()
        assert lesion.sum() == ring.sum() > 100
        assert not (lesion & ring).any()
        assert torch.equal(lesion, lesion.T)


class TestCurves:
    @pytest.mark.parametrize(("name", "activation"), [("dice", None), ("cross_entropy", "softmax"), ("bce", "sigmoid")])
    def test_finding_lowers_and_inventing_raises(self, name: str, activation: str | None) -> None:
        lines = curves(name, activation)  # type: ignore[arg-type]
        assert len(lines[FOUND]) == len(lines[INVENTED]) == COLUMNS
        assert lines[FOUND] == sorted(lines[FOUND], reverse=True)
        assert lines[INVENTED] == sorted(lines[INVENTED])

    def test_dice_is_its_formula(self) -> None:
        volume = disk()[0].sum().item()
        found, invented = (curves("dice", None, {"smooth": 0.0})[marker] for marker in (FOUND, INVENTED))
        outside = EDGE * (48 * 48 - volume)
        x = 0.5
        assert found[COLUMNS // 2] == pytest.approx(1 - 2 * x * volume / (x * volume + volume + outside), rel=1e-4)
        tp, fp = (1 - EDGE) * volume, x * volume + EDGE * (48 * 48 - 2 * volume)
        assert invented[COLUMNS // 2] == pytest.approx(1 - 2 * tp / (tp + fp + volume), rel=1e-4)

    def test_parameters_bend_them(self) -> None:
        misses, inventions = (curves("tversky", None, {"fn_weight": w, "fp_weight": 1 - w}) for w in (0.9, 0.1))
        assert misses[FOUND][30] > inventions[FOUND][30]
        assert misses[INVENTED][30] < inventions[INVENTED][30]


class TestDraw:
    def test_values_of_either_sign_and_their_labels(self) -> None:
        rows = draw({"*": [-1.0, 0.0, 1.0]}, rows=5).splitlines()
        assert rows[0] == "        1 |  *"
        assert rows[2] == "        0 | *"
        assert rows[4] == "       -1 |*"

    def test_a_constant(self) -> None:
        assert draw({"*": [0.0, 0.0]}, rows=3).splitlines()[2] == "        0 |**"
