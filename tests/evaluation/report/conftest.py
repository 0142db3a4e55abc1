from __future__ import annotations

from pathlib import Path

import pytest

from medseg.evaluation.report import write_report
from tests.evaluation.report.made import make_evaluation


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of volumes."""
    return make_evaluation(tmp_path_factory.mktemp("volumes"))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of pictures."""
    return make_evaluation(tmp_path_factory.mktemp("pictures"), flat=True)


@pytest.fixture(scope="session")
def report(volumes: Path) -> Path:
    """The report of the volumes."""
    return write_report(volumes)
