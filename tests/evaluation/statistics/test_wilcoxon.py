from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.statistics import wilcoxon, win_tie_loss


class TestWilcoxon:
    def test_five_patients_by_hand(self) -> None:
        # Ranks of |d|: 1 2 3 4 5; W- = 1, so p = 2 x P(W <= 1) = 2 x 2 / 32.
        result = wilcoxon(np.array([-0.1, 0.2, 0.3, 0.4, 0.5]))
        assert result.p == pytest.approx(4 / 32)
        assert result.effect == pytest.approx((14 - 1) / 15)

    def test_the_effect_has_ends_and_a_sign(self) -> None:
        values = np.arange(1.0, 9.0)
        assert wilcoxon(values).effect == 1.0
        assert wilcoxon(-values).effect == -1.0

    def test_ties_share_their_rank(self) -> None:
        assert wilcoxon(np.array([1.0, -1.0, 2.0])).effect == pytest.approx((1.5 - 1.5 + 3) / 6)

    def test_zero_and_undefined_differences_are_left_out(self) -> None:
        values = np.array([0.4, 0.1, -0.2, 0.7])
        assert wilcoxon(np.array([*values, 0.0, np.nan])) == wilcoxon(values)
        assert wilcoxon(np.zeros(4)).p == 1.0
        assert wilcoxon(np.zeros(4)).effect == 0.0


class TestWinTieLoss:
    def test_it_counts_patients(self) -> None:
        values = np.array([0.2, 0.0, -0.1, 0.3, np.nan])
        assert win_tie_loss(values) == (2, 1, 1)
        assert win_tie_loss(values, higher_is_better=False) == (1, 1, 2)
        assert win_tie_loss(values, tie=0.15) == (2, 2, 0)
