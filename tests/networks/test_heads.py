"""Auxiliary heads: further channels of any network's last layer, in training only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from medseg.networks import SegmentationNetwork, build_network
from tests.networks.test_network import ENTRIES, SMALL, images

HEADS = {"distance": 1, "box": 4}


def small(name: str, dims: int, outputs: int, heads: dict[str, int]) -> SegmentationNetwork:
    params = dict(SMALL.get(name, {}))
    if name == "dynunet":
        params["strides"] = [level * dims for level in params["strides"]]
    torch.manual_seed(0)
    return build_network(name, params, 2, outputs, dims, heads)


@pytest.mark.parametrize(("name", "dims"), ENTRIES)
class TestEveryNetwork:
    def test_training_gives_logits_and_heads_evaluation_the_logits(self, name: str, dims: int) -> None:
        network = small(name, dims, 3, HEADS)
        assert (network.out_channels, network.heads) == (3, HEADS)
        image = images(network)
        outputs = network(image)
        assert {key: output.shape[1] for key, output in outputs.items()} == {"segmentation": 3, "distance": 1, "box": 4}
        assert all(output.shape[2:] == image.shape[2:] for output in outputs.values())
        logits = network.eval()(image)
        assert logits.shape == outputs["segmentation"].shape

    def test_it_is_the_network_with_as_many_more_outputs(self, name: str, dims: int) -> None:
        network, wider = small(name, dims, 3, HEADS).eval(), small(name, dims, 8, {}).eval()
        wider.load_state_dict(network.state_dict())
        image = images(network)
        with torch.no_grad():
            assert torch.equal(network(image), wider(image)[:, :3])


class TestDeepSupervision:
    def test_coarser_levels_are_logits_only(self) -> None:
        params = {"strides": [[1, 1], [2, 2], [2, 2], [2, 2]], "channels": [4] * 4, "deep_supervision": 2}
        network = build_network("dynunet", params, 1, 2, 2, HEADS)
        image = torch.randn(1, 1, 32, 32)
        outputs = network(image)
        assert [tuple(level.shape) for level in outputs["segmentation"]] == [(1, 2, 32, 32), (1, 2, 16, 16), (1, 2, 8, 8)]
        assert outputs["box"].shape == (1, 4, 32, 32)
        assert isinstance(network.eval()(image), Tensor)

    def test_heads_follow_the_logits_in_their_order(self) -> None:
        network = build_network("unet", {"channels": [4, 8]}, 1, 2, 2, {"b": 1, "a": 2})
        with torch.no_grad():
            layer = network.body[1]
            layer.weight.zero_()
            layer.bias.copy_(torch.arange(5.0))
            outputs = network(torch.zeros(1, 1, 4, 4))
        assert {key: output[0, :, 0, 0].tolist() for key, output in outputs.items()} == {
            "segmentation": [0.0, 1.0],
            "b": [2.0],
            "a": [3.0, 4.0],
        }
