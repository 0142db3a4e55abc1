from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.config.errors import ConfigError
from medseg.networks import build_network


def build(dims: int = 3, **params: Any) -> Any:
    torch.manual_seed(0)
    return build_network("dynunet", params, 1, 2, dims)


class TestDepth:
    def test_each_axis_is_halved_until_four_voxels_are_left(self) -> None:
        assert build(patch_size=[32, 16, 64], channels=[8] * 5).divisor == (8, 4, 16)
        assert build(2, patch_size=[32, 48], channels=[8] * 4).divisor == (8, 8)

    def test_an_odd_axis_is_not_halved(self) -> None:
        assert build(patch_size=[32, 32, 20], channels=[8] * 4).divisor == (8, 8, 4)

    def test_the_patch_fits_the_network_made_for_it(self) -> None:
        network = build(patch_size=[40, 24, 16], channels=[8] * 4)
        assert network(torch.randn(1, 1, 40, 24, 16)).shape == (1, 2, 40, 24, 16)

    def test_thick_slices_wait_unhalved_with_flat_kernels(self) -> None:
        network = build(patch_size=[64, 64, 16], spacing=[1.0, 1.0, 5.0], channels=[4] * 5)
        convolutions = [block.conv1.conv for block in network.body.down]
        assert [c.kernel_size for c in convolutions] == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
        assert [c.stride for c in convolutions] == [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2), (2, 2, 2)]

    def test_without_patch_or_strides_there_are_four_levels(self) -> None:
        assert build(channels=[8] * 4).divisor == (8, 8, 8)

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"patch_size": [8, 8, 8]}, "at least 3 levels"),
            ({"strides": [[1, 1], [2, 2], [2, 2]]}, "need 3 numbers"),
            ({"strides": [[2, 2, 2], [2, 2, 2], [2, 2, 2]]}, "first level keeps"),
            ({"patch_size": [32, 32, 32], "channels": [8, 8]}, "one item for each of the 4 levels"),
            ({"patch_size": [32, 32, 32], "spacing": [1.0]}, "one number an axis"),
            ({"patch_size": [32, 32, 32], "deep_supervision": 3}, "from 0 to 2 for 4 levels"),
        ],
    )
    def test_parameters_that_do_not_fit_together_are_named(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            build(**params)


class TestDeepSupervision:
    def test_training_gives_a_list_finest_first_at_each_levels_resolution(self) -> None:
        network = build(strides=[[1, 1, 1], [2, 2, 1], [2, 2, 2], [2, 2, 2]], channels=[8, 8, 16, 16], deep_supervision=2)
        logits = network(torch.randn(2, 1, 32, 16, 8))
        assert [tuple(level.shape) for level in logits] == [(2, 2, 32, 16, 8), (2, 2, 16, 8, 8), (2, 2, 8, 4, 4)]
        sum(level.square().mean() for level in logits).backward()
        assert all(weight.grad is not None for weight in network.parameters())

    def test_evaluation_gives_the_finest_alone(self) -> None:
        network = build(2, strides=[[1, 1], [2, 2], [2, 2]], channels=[8, 8, 8], deep_supervision=1, norm="instance")
        image = torch.randn(1, 1, 16, 16)
        with torch.no_grad():
            finest = network(image)[0]
            torch.testing.assert_close(network.eval()(image), finest)

    @pytest.mark.parametrize("residual", [False, True])
    def test_agrees_with_monais_own_forward(self, residual: bool) -> None:
        from monai.networks.nets import DynUNet

        strides, channels = [[1, 1], [2, 2], [2, 2], [2, 2]], [4, 8, 8, 16]
        torch.manual_seed(0)
        reference = DynUNet(
            2, 1, 2, [[3, 3]] * 4, strides, strides[1:], channels, deep_supervision=True, deep_supr_num=2, res_block=residual
        )
        network = build(2, strides=strides, channels=channels, deep_supervision=2, residual=residual)
        image = torch.randn(2, 1, 16, 32)
        with torch.no_grad():
            torch.testing.assert_close(network.eval()(image), reference.eval()(image))
            levels, stacked = network.train()(image), reference.train()(image).unbind(dim=1)
        for level, enlarged in zip(levels, stacked, strict=True):
            torch.testing.assert_close(torch.nn.functional.interpolate(level, image.shape[2:]), enlarged)
