from __future__ import annotations

import pytest

from medseg.config.errors import ConfigError
from medseg.networks import build_network


class TestSegResNet:
    def test_divisor_halves_once_a_level(self) -> None:
        assert build_network("segresnet", {"width": 8}, 1, 2, 3).divisor == (8, 8, 8)

    @pytest.mark.parametrize(
        ("params", "message"), [({"blocks_up": [1, 1]}, "blocks_up"), ({"width": 12, "norm": "group"}, "multiple of 8")]
    )
    def test_parameters_that_do_not_fit_together_are_named(self, params: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            build_network("segresnet", params, 1, 2, 3)
