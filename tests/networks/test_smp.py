from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.config.errors import ConfigError
from medseg.networks import build_network


class TestUNetFamily:
    @pytest.mark.parametrize("name", ["smp_unet", "smp_unetplusplus", "smp_manet"])
    @pytest.mark.parametrize("depth", [3, 4])
    def test_a_shallower_encoder_divides_less(self, name: str, depth: int) -> None:
        network = build_network(name, {"depth": depth}, 1, 2, 2)
        assert network.divisor == (2**depth, 2**depth)
        assert network(torch.randn(2, 1, 48, 32)).shape == (2, 2, 48, 32)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"depth": 6}, "params.depth"),
            ({"decoder_channels": [8, 8]}, "needs 5 numbers"),
            ({"encoder_weights": "imagnet"}, "no such file"),
        ],
    )
    def test_parameters_that_do_not_fit_are_named(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            build_network("smp_unet", params, 1, 2, 2)

    def test_an_encoder_that_the_decoder_cannot_use_is_named(self) -> None:
        with pytest.raises(ConfigError, match=r"UnetPlusPlus cannot be built with encoder mit_b0"):
            build_network("smp_unetplusplus", {"encoder": "mit_b0"}, 3, 2, 2)


class TestImagenetWeights:
    def test_asking_for_them_is_what_downloads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import segmentation_models_pytorch.encoders as encoders

        asked: list[str] = []

        def unreachable(repository: str, *_: object, **__: object) -> str:
            asked.append(repository)
            raise OSError("no route to host")

        monkeypatch.setattr(encoders, "hf_hub_download", unreachable)
        build_network("smp_unet", {}, 3, 2, 2)
        assert not asked
        with pytest.raises(ConfigError, match="imagenet weights of resnet18 cannot be downloaded: no route to host"):
            build_network("smp_unet", {"encoder_weights": "imagenet"}, 3, 2, 2)
        assert len(asked) == 1
