from __future__ import annotations

import pytest
from torch import nn

from medseg.config.errors import ConfigError
from medseg.networks import build_network


class TestUNet:
    @pytest.mark.parametrize("residual_units", [0, 2])
    def test_no_norm_acts_on_the_logits(self, residual_units: int) -> None:
        network = build_network("unet", {"channels": [8, 16], "strides": [2], "residual_units": residual_units}, 1, 2, 3)
        norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm3d)]
        assert norms
        assert all(norm.num_features != 2 for norm in norms)

    def test_divisor_is_the_product_of_the_strides(self) -> None:
        assert build_network("unet", {"channels": [8, 8, 8], "strides": [2, 3]}, 1, 2, 2).divisor == (6, 6)

    def test_without_strides_each_level_halves(self) -> None:
        assert build_network("unet", {"channels": [8, 8, 8]}, 1, 2, 3).divisor == (4, 4, 4)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"channels": [8, 16, 32], "strides": [2]}, "one stride"),
            ({"channels": [8]}, "one stride"),
            ({"channels": [8, 16], "strides": [0]}, "one stride >= 1"),
            ({"channels": [12, 16], "strides": [2], "norm": "group"}, "multiples of 8"),
        ],
    )
    def test_parameters_that_do_not_fit_together_are_named(self, params: dict, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            build_network("unet", params, 1, 2, 2)
