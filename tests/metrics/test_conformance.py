"""Every conformance case whose definition medseg claims, through its public functions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.metrics.conformance import all_cases
from tests.metrics.conformance_claims import claim


@pytest.mark.parametrize("case", all_cases())
def test_ours_agrees_where_the_definition_is_ours(case: dict[str, Any]) -> None:
    claimed = claim(case)
    if isinstance(claimed, str):
        return  # the reasons are tested below
    assert claimed
    for name, (ours, expected) in claimed.items():
        assert ours == pytest.approx(float(expected), abs=case["tol"] or 1e-6, nan_ok=True), name


class TestClaims:
    def test_what_is_not_claimed_has_a_reason_that_no_option_of_ours_removes(self) -> None:
        cases = [parameter.values[0] for parameter in all_cases()]
        if cases == [None]:
            pytest.skip("metric_cases.json is absent")
        claimed = [claim(case) for case in cases]
        reasons = Counter(one for one in claimed if isinstance(one, str))
        assert len(cases) - reasons.total() >= 127, reasons
