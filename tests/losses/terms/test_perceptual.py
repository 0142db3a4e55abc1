"""The perceptual loss, on small VGGs of random weights that the tests write themselves."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models import vgg

from medseg.losses import LossConfigError, LossInputError, WeightedLoss
from tests.losses.problems import ACTIVATIONS, certain, problem, single, value_and_gradient

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS)
DEPTHS = ("vgg11", "vgg13", "vgg16", "vgg19")
LAYERS = [1, 3, 6]
"""Of vgg11: two ReLUs before the second pooling, one beyond the first."""


@pytest.fixture(scope="module", autouse=True)
def _few_channels() -> Any:
    """VGGs of an eighth of the width, which compute as the real ones do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medseg.losses.terms.perceptual._WIDTHS", (8, 16, 32, 64, 64))
        yield


def features_of(network: str) -> nn.Sequential:
    """Torchvision's layers at that width, of random weights."""
    torch.manual_seed(0)
    letters = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
    return vgg.make_layers([width if width == "M" else width // 8 for width in vgg.cfgs[letters[network]]])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of state dicts as torchvision's files hold them, with a classifier's weights beside."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for network in DEPTHS:
        state = {f"features.{name}": value for name, value in features_of(network).state_dict().items()}
        torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, folder / f"{network}.pth")
    return folder


def small(checkpoints: Path, activation: str = "sigmoid", classes: int = 2, **settings: Any) -> WeightedLoss:
    params = {"checkpoint": str(checkpoints / "vgg11.pth"), "network": "vgg11", "layers": LAYERS}
    return single("perceptual", activation, classes, params, **settings)


def by_hand(layers: nn.Sequential, wanted: list[int], p: Tensor, y: Tensor) -> Tensor:
    """The loss of images (n, H, W) with torchvision's layers."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    a, b = ((images.float().unsqueeze(1).repeat(1, 3, 1, 1) - mean) / std for images in (p, y))
    total = torch.zeros(())
    for index, layer in enumerate(layers[: max(wanted) + 1]):
        a, b = layer(a), layer(b)
        if index in wanted:
            total = total + F.mse_loss(a, b)
    return total


class Pixels(nn.Module):
    """A network of one layer that the test gives itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.drop(self.scale * images), images.mean((2, 3))]


class TestNetwork:
    @pytest.mark.parametrize("network", DEPTHS)
    def test_it_computes_what_torchvision_computes(self, network: str, checkpoints: Path) -> None:
        features = features_of(network)
        wanted = [index for index, layer in enumerate(features) if isinstance(layer, nn.ReLU)][::3]
        loss = single("perceptual", "sigmoid", 2, {"checkpoint": str(checkpoints / f"{network}.pth"), "network": network, "layers": wanted})
        logits, target = problem("sigmoid", (2, 2, 32, 48))
        expected = by_hand(features, wanted, logits.float().sigmoid().flatten(0, 1), target.flatten(0, 1))
        assert loss(logits, target).item() == pytest.approx(expected.item(), rel=1e-5)

    @pytest.mark.parametrize("network", DEPTHS)
    def test_names_and_shapes_are_torchvisions(self, network: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from medseg.losses.terms.perceptual import _Vgg

        monkeypatch.setattr("medseg.losses.terms.perceptual._WIDTHS", (64, 128, 256, 512, 512))
        with torch.device("meta"):
            theirs = {name: value.shape for name, value in getattr(vgg, network)().state_dict().items() if name.startswith("features")}
        last = {"vgg11": 20, "vgg13": 24, "vgg16": 30, "vgg19": 36}[network]
        assert {name: value.shape for name, value in _Vgg(network, [last]).state_dict().items()} == theirs

    def test_the_default_layers_are_the_second_relu_of_each_stage_of_vgg19(self, checkpoints: Path) -> None:
        network = single("perceptual", "sigmoid", 1, {"checkpoint": str(checkpoints / "vgg19.pth")}).terms["perceptual"].features
        relus, stage = [], 0
        for index, layer in enumerate(features_of("vgg19")):
            if isinstance(layer, nn.MaxPool2d):
                stage = 0
            elif isinstance(layer, nn.ReLU):
                stage += 1
                relus += [index] if stage == 2 else []
        assert sorted(network.layers) == relus == [3, 8, 13, 22, 31]


class TestValue:
    @each_activation
    def test_only_foreground_channels_count(self, activation: str, checkpoints: Path) -> None:
        logits, target = problem(activation, (2, 3, 12, 12))
        p = logits.float().softmax(1)[:, 1:] if activation == "softmax" else logits.float().sigmoid()
        y = F.one_hot(target, 3).movedim(-1, 1)[:, 1:] if activation == "softmax" else target
        expected = by_hand(features_of("vgg11"), LAYERS, p.flatten(0, 1), y.flatten(0, 1))
        for background in (False, True):
            value = small(checkpoints, activation, 3, include_background=background)(logits, target)
            assert value.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_of_a_volume_it_is_the_mean_over_the_slices_of_the_first_axis(self, checkpoints: Path) -> None:
        logits, target = problem("sigmoid", (1, 2, 5, 12, 8))
        loss = small(checkpoints)
        slices = torch.stack([loss(logits[:, :, z], target[:, :, z]) for z in range(5)])
        assert loss(logits, target).item() == pytest.approx(slices.mean().item(), rel=1e-5)

    @each_activation
    def test_perfect_is_zero_and_worse_is_more(self, activation: str, checkpoints: Path) -> None:
        _, target = problem(activation, (2, 3, 12, 12))
        loss = small(checkpoints, activation, 3)
        value, gradient = value_and_gradient(loss, certain(target, activation, 3, 1e4), target)
        assert value.item() == 0
        assert not gradient.any()
        values = [loss(certain(target, activation, 3, strength), target).item() for strength in (8.0, 2.0, 0.0, -2.0)]
        assert values == sorted(values)
        assert values[0] > 0

    def test_gradcheck(self, checkpoints: Path) -> None:
        logits, target = problem("softmax", (1, 3, 4, 4))
        loss = small(checkpoints, "softmax", 3).double()
        weights = torch.rand(1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert torch.autograd.gradcheck(lambda z: loss(z, target, weights), logits.requires_grad_())

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    @pytest.mark.parametrize("strength", [1e4, -1e4, 0.0])
    def test_any_precision_is_finite(self, strength: float, dtype: torch.dtype, checkpoints: Path) -> None:
        _, target = problem("sigmoid", (1, 2, 8, 8))
        value, gradient = value_and_gradient(small(checkpoints), certain(target, "sigmoid", 2, strength).to(dtype), target)
        assert value.isfinite()
        assert gradient.isfinite().all()

    def test_autocast_changes_nothing(self, checkpoints: Path) -> None:
        logits, target = problem("sigmoid", (1, 2, 8, 8))
        loss = small(checkpoints)
        expected = loss(logits, target)
        with torch.autocast("cpu", torch.bfloat16):
            assert loss(logits, target).item() == expected.item()

    def test_it_can_be_descended(self, checkpoints: Path) -> None:
        _, target = problem("sigmoid", (1, 1, 8, 8))
        loss = small(checkpoints, classes=1)
        logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
        optimizer = torch.optim.Adam([logits], lr=0.3)
        for _ in range(60):
            optimizer.zero_grad()
            loss(logits, target).backward()
            optimizer.step()
        assert torch.equal((logits > 0).byte(), target.byte())


class TestRemoval:
    def test_ignored_voxels_are_black_in_both_images(self, checkpoints: Path) -> None:
        logits, target = problem("sigmoid", (1, 2, 12, 12))
        target[..., 4:7] = 255
        loss = small(checkpoints, ignore_index=255)
        expected = value_and_gradient(loss, logits, target)
        assert not expected[1][..., 4:7].any()
        black = [images.clone() for images in (logits.sigmoid(), target)]
        for images in black:
            images[..., 4:7] = 0
        by_parts = by_hand(features_of("vgg11"), LAYERS, *(images.flatten(0, 1) for images in black))
        assert expected[0].item() == pytest.approx(by_parts.item(), rel=1e-5)

    def test_weight_zero_is_as_good_as_ignored(self, checkpoints: Path) -> None:
        logits, target = problem("softmax", (2, 3, 12, 12))
        weights = torch.ones(2, 12, 12)
        weights[:, 3:6] = 0
        ignored = target.clone()
        ignored[:, 3:6] = 255
        weighted = value_and_gradient(small(checkpoints, "softmax", 3), logits, target, weights)
        torch.testing.assert_close(value_and_gradient(small(checkpoints, "softmax", 3, ignore_index=255), logits, ignored), weighted)

    def test_all_ignored_is_a_zero_with_a_graph(self, checkpoints: Path) -> None:
        logits, target = problem("softmax", (2, 3, 12, 12))
        value, gradient = value_and_gradient(small(checkpoints, "softmax", 3, ignore_index=255), logits, torch.full_like(target, 255))
        assert value.item() == 0
        assert not gradient.any()


class TestFrozen:
    def test_it_is_no_part_of_the_loss_but_moves_with_it(self, checkpoints: Path) -> None:
        loss = small(checkpoints)
        network = loss.terms["perceptual"].features
        assert list(loss.parameters()) == []
        assert loss.state_dict() == {}
        assert small(checkpoints).load_state_dict(loss.state_dict(), strict=True)
        assert not any(weight.requires_grad for weight in network.parameters())
        loss.train()
        assert not any(module.training for module in network.modules())
        nn.ModuleDict({"loss": loss}).to(torch.float64)
        assert {value.dtype for value in (*network.parameters(), *network.buffers())} == {torch.float64}
        loss.to("meta")
        assert {value.device.type for value in (*network.parameters(), *network.buffers())} == {"meta"}

    def test_no_gradient_reaches_its_weights(self, checkpoints: Path) -> None:
        logits, target = problem("sigmoid", (1, 2, 8, 8))
        loss = small(checkpoints)
        loss(logits.requires_grad_(), target).backward()
        assert all(weight.grad is None for weight in loss.terms["perceptual"].features.parameters())

    def test_a_copy_has_a_network_of_its_own(self, checkpoints: Path) -> None:
        loss = small(checkpoints)
        twin = copy.deepcopy(loss)
        logits, target = problem("sigmoid", (1, 2, 8, 8))
        assert twin(logits, target).item() == loss(logits, target).item()
        assert twin.terms["perceptual"].features is not loss.terms["perceptual"].features


class TestOwnNetwork:
    def test_a_module_given_from_python_takes_its_place(self) -> None:
        logits, target = problem("sigmoid", (2, 2, 6, 5))
        loss = single("perceptual", "sigmoid", 2, {"checkpoint": None})
        loss.terms["perceptual"].features = network = Pixels()
        p, y = logits.sigmoid(), target.double()
        expected = F.mse_loss(p, y) + F.mse_loss(p.mean((2, 3)), y.mean((2, 3)))
        assert loss.train()(logits, target).item() == pytest.approx(expected.item(), rel=1e-6)
        assert not network.training
        assert not network.drop.training
        assert not network.scale.requires_grad
        assert loss.state_dict() == {}

    def test_without_one_a_call_says_what_is_missing(self) -> None:
        logits, target = problem("sigmoid", (2, 2, 6, 5))
        with pytest.raises(LossInputError, match="perceptual has no network: give a checkpoint"):
            single("perceptual", "sigmoid", 2, {"checkpoint": None})(logits, target)


class TestRefusals:
    def refused(self, message: str, **params: Any) -> None:
        with pytest.raises(LossConfigError, match=message):
            single("perceptual", "sigmoid", 1, params)

    def test_a_config_must_name_a_checkpoint(self) -> None:
        self.refused("checkpoint", network="vgg11")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.refused("checkpoint must be a file of vgg19 weights; there is no .*none.pth", checkpoint=str(tmp_path / "none.pth"))

    def test_a_relative_path_starts_at_the_working_directory(self, checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        params = {"checkpoint": "vgg11.pth", "network": "vgg11", "layers": LAYERS}
        self.refused("there is no", **params)
        monkeypatch.chdir(checkpoints)
        single("perceptual", "sigmoid", 1, params)

    def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "text.pth").write_text("not weights")
        self.refused("checkpoint .*text.pth is no file that", checkpoint=str(tmp_path / "text.pth"))
        torch.save([torch.zeros(1)], tmp_path / "list.pth")
        self.refused("checkpoint .*list.pth holds no vgg19: it lacks features.0.weight", checkpoint=str(tmp_path / "list.pth"))
        torch.save(features_of("vgg11"), tmp_path / "module.pth")  # a whole module, which takes code to read
        self.refused("checkpoint .*module.pth is no file that", checkpoint=str(tmp_path / "module.pth"))

    def test_the_weights_of_another_network(self, checkpoints: Path, tmp_path: Path) -> None:
        self.refused("checkpoint .*vgg16.pth holds no vgg19: it lacks features.16.weight", checkpoint=str(checkpoints / "vgg16.pth"))
        state = torch.load(checkpoints / "vgg19.pth", weights_only=True)
        torch.save({**state, "features.2.weight": torch.zeros(4, 8, 3, 3)}, tmp_path / "narrow.pth")
        self.refused(r"features.2.weight is \(4, 8, 3, 3\), not \(8, 8, 3, 3\)", checkpoint=str(tmp_path / "narrow.pth"))

    def test_a_layer_that_the_network_lacks(self, checkpoints: Path) -> None:
        """Public code leaves 31 out of vgg16 without a word."""
        self.refused("layers must be at least one index from 0 to 30, which vgg16 has", checkpoint=None, network="vgg16")
        self.refused("layers must be", checkpoint=None, layers=[])
        self.refused("layers must be", checkpoint=None, layers=[-1])

    def test_an_unknown_network(self) -> None:
        self.refused("network must be one of vgg11", checkpoint=None, network="resnet")

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((1, 2, 40), "perceptual needs images or volumes"),
            ((1, 2, 20, 3), "at least 4 x 4 for layer 6, got 20 x 3"),
            ((1, 2, 20, 20, 3), "at least 4 x 4 for layer 6, got 20 x 3"),
        ],
    )
    def test_images_of_the_wrong_size(self, shape: tuple[int, ...], message: str, checkpoints: Path) -> None:
        with pytest.raises(LossInputError, match=message):
            small(checkpoints)(*problem("sigmoid", shape))
