from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from medseg.errors import RunError
from medseg.inference.export import export_run, torchscript
from medseg.inference.export.deployed import Deployed, check_copy, check_shapes
from medseg.inference.load import read_run
from tests.inference.export.networks import EACH, network_run, with_head

pytestmark = pytest.mark.filterwarnings(r"ignore:.*torch\.jit\..* is deprecated")


class TestTorchScript:
    @pytest.mark.parametrize("name", EACH)
    def test_every_network_is_its_own_copy(self, tmp_path: Path, name: str) -> None:
        saved = read_run(network_run(tmp_path / "run", name))
        checked = torchscript.write_torchscript(saved, tmp_path / "x.ts")
        assert len(checked.shapes) == 2
        assert all(a != b for axis, (a, b) in enumerate(zip(*checked.shapes, strict=True)) if axis != 1)
        assert checked.difference < 1e-5 < checked.largest

    def test_the_file_says_how_to_feed_it(self, tmp_path: Path) -> None:
        path = export_run(network_run(tmp_path / "run", "unet-3d"), tmp_path / "x.ts", "torchscript")
        extra = {torchscript.NOTES: ""}
        torch.jit.load(path, _extra_files=extra)
        notes = json.loads(extra[torchscript.NOTES])
        assert notes["logits"]["channels"] == ["background", "low", "high"]
        assert notes["image"]["size"] == ["any multiple of 2"] * 3
        assert notes["window"] == [16, 16, 16]

    def test_pt_is_a_usual_suffix_too_and_others_are_refused(self, tmp_path: Path) -> None:
        run = network_run(tmp_path / "run", "unet-2d")
        assert export_run(run, tmp_path / "x.pt", "torchscript").is_file()
        with pytest.raises(RunError, match=r"ends in \.ts or \.pt; name it x\.ts"):
            export_run(run, tmp_path / "x.onnx", "torchscript")

    def test_heads_are_left_out(self, tmp_path: Path) -> None:
        path = export_run(with_head(network_run(tmp_path / "run", "unet-2d")), tmp_path / "x.ts", "torchscript")
        assert torch.jit.load(path)(torch.zeros(1, 1, 16, 16)).shape[1] == 3


class TestCheck:
    def test_a_copy_that_differs_is_refused(self, tmp_path: Path) -> None:
        network = Deployed(read_run(network_run(tmp_path / "run", "unet-2d")))
        with torch.no_grad(), pytest.raises(RunError, match="does not compute what the network does: largest difference"):
            check_copy(network, lambda image: network(image) * 1.01, [(1, 1, 16, 16)], "copy")

    def test_nan_is_a_difference(self, tmp_path: Path) -> None:
        network = Deployed(read_run(network_run(tmp_path / "run", "unet-2d")))
        with torch.no_grad(), pytest.raises(RunError, match="does not compute"):
            check_copy(network, lambda image: network(image) * float("nan"), [(1, 1, 16, 16)], "copy")

    def test_another_shape_is_refused(self, tmp_path: Path) -> None:
        network = Deployed(read_run(network_run(tmp_path / "run", "unet-2d")))
        with torch.no_grad(), pytest.raises(RunError, match="shape"):
            check_copy(network, lambda image: network(image)[:, :1], [(1, 1, 16, 16)], "copy")

    @pytest.mark.parametrize("divisor", [(2, 2), (8, 8), (16, 16)])
    def test_the_second_shape_is_no_single_voxel_at_the_coarsest_level(self, tmp_path: Path, divisor: tuple[int, ...]) -> None:
        window, other = check_shapes(read_run(network_run(tmp_path / "run", "unet-2d")), divisor)
        assert window == (1, 1, 16, 16)
        assert all(size >= 2 * step and size % step == 0 and size != 16 for size, step in zip(other[2:], divisor, strict=True))
