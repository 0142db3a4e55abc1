from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from medseg.config.errors import ConfigError
from medseg.networks import build_network


def build(weights: Path | str | None, channels: int = 3, encoder: str = "resnet18") -> Any:
    return build_network("smp_unet", {"encoder": encoder, "encoder_weights": weights and str(weights)}, channels, 2, 2)


@pytest.fixture(scope="module")
def encoder_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return build(None).body.encoder.state_dict()


class TestWeightsFromAFile:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda state: state,
            lambda state: {**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
            lambda state: {"state_dict": {f"network.body.encoder.{key}": value for key, value in state.items()}, "epoch": 3},
            lambda state: {f"encoder.{key}": value for key, value in state.items()},
            lambda state: {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")},
        ],
        ids=["encoder", "with classifier", "checkpoint", "whole model", "old batch norm"],
    )
    def test_a_state_dict_comes_back_as_it_was_saved(
        self, tmp_path: Path, encoder_state: dict[str, Tensor], wrap: Callable[[dict[str, Tensor]], Any]
    ) -> None:
        torch.save(wrap(encoder_state), tmp_path / "encoder.pth")
        loaded = build(tmp_path / "encoder.pth").body.encoder.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in encoder_state.items())

    def test_safetensors_are_read_too(self, tmp_path: Path, encoder_state: dict[str, Tensor]) -> None:
        save_file(encoder_state, tmp_path / "encoder.safetensors")
        loaded = build(tmp_path / "encoder.safetensors").body.encoder.state_dict()
        assert torch.equal(loaded["layer4.1.conv2.weight"], encoder_state["layer4.1.conv2.weight"])

    @pytest.mark.parametrize("channels", [1, 2, 4, 6])
    def test_the_first_convolution_is_adapted_to_the_channels(
        self, tmp_path: Path, encoder_state: dict[str, Tensor], channels: int
    ) -> None:
        torch.save(encoder_state, tmp_path / "encoder.pth")
        first = build(tmp_path / "encoder.pth", channels).body.encoder.conv1.weight
        assert first.shape[1] == channels
        if channels in (1, 6):  # whole sets of colours: equal channels give what they gave before
            torch.testing.assert_close(first.sum(dim=1), encoder_state["conv1.weight"].sum(dim=1))
        else:
            expected = [encoder_state["conv1.weight"][:, channel % 3] * 3 / channels for channel in range(channels)]
            torch.testing.assert_close(first, torch.stack(expected, dim=1))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "no such file"),
            (b"not a checkpoint", "cannot be read"),
            ({"epoch": 3}, "holds no state dict"),
            ({"layer9.weight": torch.zeros(3)}, r"lacks \d+ of the encoder's \d+ tensors, conv1\.weight first"),
        ],
    )
    def test_an_unusable_file_is_named(self, tmp_path: Path, content: Any, message: str) -> None:
        path = tmp_path / "encoder.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(ConfigError, match=message) as caught:
            build(path)
        assert "network.params.encoder_weights" in str(caught.value)
        assert str(path) in str(caught.value)

    def test_a_broken_safetensors_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "encoder.safetensors").write_bytes(b"junk")
        with pytest.raises(ConfigError, match="cannot be read as safetensors"):
            build(tmp_path / "encoder.safetensors")

    def test_another_encoders_weights_are_refused(self, tmp_path: Path, encoder_state: dict[str, Tensor]) -> None:
        torch.save(encoder_state, tmp_path / "encoder.pth")
        with pytest.raises(ConfigError, match=r"lacks \d+ of the encoder's"):
            build(tmp_path / "encoder.pth", encoder="resnet34")

    def test_another_shape_is_refused(self, tmp_path: Path, encoder_state: dict[str, Tensor]) -> None:
        wrong = {**encoder_state, "bn1.weight": torch.ones(65)}
        torch.save(wrong, tmp_path / "encoder.pth")
        with pytest.raises(ConfigError, match=r"bn1\.weight is \(65,\) there and \(64,\) in the encoder"):
            build(tmp_path / "encoder.pth")

    def test_a_pickle_is_never_executed(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "exploded",))

        torch.save({"conv1.weight": Bomb()}, tmp_path / "encoder.pth")
        with pytest.raises(ConfigError, match="cannot be read"):
            build(tmp_path / "encoder.pth")
        assert not (tmp_path / "exploded").exists()


class TestNames:
    def test_a_misspelt_encoder_is_suggested(self) -> None:
        with pytest.raises(ConfigError, match=r"network\.params\.encoder: there is no encoder 'resnet81'; did you mean resnet"):
            build(None, encoder="resnet81")

    def test_a_misspelt_timm_encoder_is_suggested(self) -> None:
        with pytest.raises(ConfigError, match="did you mean tu-resnet18"):
            build(None, encoder="tu-resnet1_8")

    def test_a_timm_encoder_is_built(self) -> None:
        assert build(None, encoder="tu-resnet18").divisor == (32, 32)
