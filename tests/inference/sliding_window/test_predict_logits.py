from __future__ import annotations

import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from medseg.inference import predict_logits


class Doubled(nn.Module):
    """A network without context: the logits are the image and its negative."""

    divisor = (4, 4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        assert all(size % 4 == 0 for size in image.shape[2:])
        return torch.cat([image, -image], dim=1)


def convolution(dims: int) -> nn.Module:
    torch.manual_seed(0)
    kind = nn.Conv3d if dims == 3 else nn.Conv2d
    return kind(2, 3, kernel_size=3, padding=1).eval()


class TestPredictLogits:
    @pytest.mark.parametrize("shape", [(8, 8), (7, 9), (3, 30), (33, 21), (1, 1)])
    @pytest.mark.parametrize("blending", ["gaussian", "constant"])
    def test_a_network_without_context_sees_no_windows(self, shape: tuple[int, ...], blending: str) -> None:
        image = torch.randn(2, *shape)
        logits = predict_logits(Doubled().eval(), image, (8, 8), blending=blending)  # type: ignore[arg-type]
        torch.testing.assert_close(logits, torch.cat([image, -image]))

    @pytest.mark.parametrize("dims", [2, 3])
    def test_one_window_is_exactly_a_forward_pass(self, dims: int) -> None:
        network, image = convolution(dims), torch.randn(2, *(8,) * dims)
        with torch.no_grad():
            assert torch.equal(predict_logits(network, image, (8,) * dims), network(image[None])[0])

    def test_several_windows_agree_with_monai(self) -> None:
        network, image = convolution(3), torch.randn(2, 17, 12, 9)
        with torch.no_grad():
            expected = sliding_window_inference(image[None], (8, 8, 8), 1, network, overlap=0.25, mode="gaussian")
        logits = predict_logits(network, image, (8, 8, 8), overlap=0.25, batch_size=3)
        torch.testing.assert_close(logits, expected[0], rtol=1e-5, atol=1e-5)

    def test_padding_takes_the_lowest_value_of_each_channel(self) -> None:
        seen = []

        class Spy(Doubled):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                seen.append(image.clone())
                return super().forward(image)

        image = torch.stack([torch.full((4, 4), 5.0), torch.full((4, 4), -3.0)])
        image[0, 0, 0] = 2.0
        predict_logits(Spy().eval(), image, (8, 8))
        assert seen[0][0, 0, 0, 0] == 2.0
        assert seen[0][0, 1, -1, -1] == -3.0
        assert torch.equal(seen[0][0, :, 2:6, 2:6], image)

    def test_the_window_is_rounded_up_to_what_the_network_divides_by(self) -> None:
        image = torch.randn(1, 20, 5)
        torch.testing.assert_close(predict_logits(Doubled().eval(), image, (7, 6))[0], image[0])

    def test_autocast_gives_float32_near_the_full_precision(self) -> None:
        network, image = convolution(2), torch.randn(2, 20, 20)
        logits = predict_logits(network, image, (8, 8), autocast=torch.bfloat16)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, predict_logits(network, image, (8, 8)), rtol=0.05, atol=0.05)

    def test_training_mode_is_refused(self) -> None:
        with pytest.raises(ValueError, match="training mode"):
            predict_logits(convolution(2).train(), torch.randn(2, 8, 8), (8, 8))

    def test_a_window_of_other_axes_is_refused(self) -> None:
        with pytest.raises(ValueError, match="axes"):
            predict_logits(convolution(2), torch.randn(2, 8, 8), (8, 8, 8))
