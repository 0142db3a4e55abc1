from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from medseg.config.errors import ConfigError
from medseg.networks import NETWORKS, SegmentationNetwork, build_network

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"channels": [8, 16, 32], "strides": [2, 2]},
    "dynunet": {"strides": [[1], [2], [2]], "channels": [8, 16, 32]},
    "segresnet": {"width": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
}
BOTH = [*SMALL]
ENTRIES = [(name, 2) for name in NETWORKS] + [(name, 3) for name in BOTH]


def small(name: str, spatial_dims: int, in_channels: int = 2, out_channels: int = 3) -> SegmentationNetwork:
    params = dict(SMALL.get(name, {}))
    if name == "dynunet":
        params["strides"] = [level * spatial_dims for level in params["strides"]]
    torch.manual_seed(0)
    return build_network(name, params, in_channels, out_channels, spatial_dims)


def images(network: SegmentationNetwork, batch: int = 2) -> Tensor:
    """Noise of the second smallest size that is not the same along all axes."""
    size = [step * (2 + (axis == 0)) for axis, step in enumerate(network.divisor)]
    return torch.randn(batch, network.in_channels, *size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a network was built from the internet")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(("name", "dims"), ENTRIES)
class TestEveryNetwork:
    def test_gives_logits_of_the_images_size_and_trains_every_weight(self, name: str, dims: int) -> None:
        network = small(name, dims)
        image = images(network)
        logits = network(image)
        assert logits.shape == (2, 3, *image.shape[2:])
        logits.square().mean().backward()
        idle = [key for key, weight in network.named_parameters() if weight.grad is None or not torch.isfinite(weight.grad).all()]
        assert not [key for key in idle if not key.startswith("body.encoder")]  # encoders carry layers that only a classifier uses

    def test_names_its_weights_below_body_once(self, name: str, dims: int) -> None:
        network = small(name, dims)
        state = network.state_dict()
        assert all(key.startswith("body.") for key in state)
        weights = dict(network.named_parameters(remove_duplicate=False))
        assert len({id(weight) for weight in weights.values()}) == len(weights)

    def test_same_weights_give_the_same_logits(self, name: str, dims: int) -> None:
        network, other = small(name, dims).eval(), small(name, dims)
        with torch.no_grad():
            for weight in other.parameters():
                weight.add_(1.0)
        other.load_state_dict(network.state_dict())
        image = images(network)
        with torch.no_grad():
            torch.testing.assert_close(other.eval()(image), network(image))

    def test_runs_channels_last_in_bfloat16(self, name: str, dims: int) -> None:
        network = small(name, dims).eval()
        image = images(network)
        with torch.no_grad():
            exact = network(image)
        layout = torch.channels_last_3d if dims == 3 else torch.channels_last
        network = network.to(memory_format=layout).train()  # type: ignore[call-overload]
        image = image.to(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(image)
        logits.float().mean().backward()
        assert logits.dtype == torch.bfloat16
        network.load_state_dict(small(name, dims).state_dict())  # training has moved the batch norms' statistics
        with torch.no_grad():
            torch.testing.assert_close(network.eval()(image), exact, rtol=1e-4, atol=1e-4)
            with torch.autocast("cpu", torch.bfloat16):
                rounded = network(image).float()
        assert (rounded - exact).norm() < 0.1 * exact.norm()

    def test_refuses_a_size_that_is_no_multiple(self, name: str, dims: int) -> None:
        network = small(name, dims)
        with pytest.raises(ValueError, match="must be a multiple of"):
            network(images(network)[..., :-1])

    def test_takes_one_channel_and_gives_one(self, name: str, dims: int) -> None:
        network = small(name, dims, 1, 1)
        assert network(images(network)).shape[1] == 1


class TestBuilding:
    def test_an_unknown_name_lists_the_known(self) -> None:
        with pytest.raises(ConfigError, match=r"network\.name: there is no network 'vnet'; choose from unet, dynunet"):
            build_network("vnet", {}, 1, 2, 3)

    def test_one_axis_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="2-D or 3-D"):
            build_network("unet", {}, 1, 2, 1)

    @pytest.mark.parametrize("name", [name for name in NETWORKS if name.startswith("smp_")])
    def test_a_two_dimensional_network_refuses_volumes(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"{name} is a 2-D network.*use unet"):
            build_network(name, {}, 1, 2, 3)

    def test_nothing_slow_is_imported_before_a_network_is_built(self) -> None:
        code = "import sys, medseg.networks; print([m for m in ('monai', 'segmentation_models_pytorch', 'timm') if m in sys.modules])"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


class TestCheckSize:
    def test_a_wrong_patch_is_named_with_one_that_fits(self) -> None:
        network = SegmentationNetwork(nn.Identity(), spatial_dims=3, in_channels=1, out_channels=1, divisor=(8, 8, 4))
        network.check_size([64, 8, 4], "data.patch_size")
        with pytest.raises(ConfigError, match=r"data\.patch_size: \[60, 64, 30\] must be.*\[8, 8, 4\].*use for example \[64, 64, 32\]"):
            network.check_size([60, 64, 30], "data.patch_size")
