"""Statistics of segmentation scores: paired by case, patients as the unit, training as a source of chance. NumPy and SciPy alone."""

from __future__ import annotations

from medseg.evaluation.statistics.bootstrap import Interval, bootstrap_difference, bootstrap_mean, paired_differences
from medseg.evaluation.statistics.equivalence import practically_equal
from medseg.evaluation.statistics.hierarchical import Resampling, hierarchical_interval
from medseg.evaluation.statistics.holm import holm
from medseg.evaluation.statistics.permutation import sign_flip
from medseg.evaluation.statistics.proportion import wilson
from medseg.evaluation.statistics.ranking import Ranking, rank_by_case_ranks, rank_by_mean, rank_by_tests
from medseg.evaluation.statistics.scores import Scores
from medseg.evaluation.statistics.variance import StandardError, standard_error
from medseg.evaluation.statistics.wilcoxon import Wilcoxon, wilcoxon, win_tie_loss

__all__ = [
    "Interval",
    "Ranking",
    "Resampling",
    "Scores",
    "StandardError",
    "Wilcoxon",
    "bootstrap_difference",
    "bootstrap_mean",
    "hierarchical_interval",
    "holm",
    "paired_differences",
    "practically_equal",
    "rank_by_case_ranks",
    "rank_by_mean",
    "rank_by_tests",
    "sign_flip",
    "standard_error",
    "wilcoxon",
    "wilson",
    "win_tie_loss",
]
