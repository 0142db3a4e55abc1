from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from medseg.errors import RunError
from medseg.inference.export import export_run
from medseg.inference.export import onnx as exporter
from medseg.inference.load import read_run
from tests.inference.export.networks import SMALL, network_run, with_head


def axes(path: Path) -> list[list[str | int]]:
    """Sizes of the input and of the output."""
    import onnx

    graph = onnx.load(path).graph
    return [[size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)]


class TestOnnx:
    @pytest.fixture(autouse=True)
    def _needs(self) -> None:
        for name in exporter.PACKAGES:
            pytest.importorskip(name)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", SMALL)
    def test_every_network_is_its_own_copy_at_two_shapes(self, tmp_path: Path, name: str) -> None:
        checked = exporter.write_onnx(read_run(network_run(tmp_path / "run", name)), tmp_path / "x.onnx")
        assert len(checked.shapes) == 2
        assert checked.difference < 1e-4 < checked.largest

    def test_channels_heads_and_notes(self, tmp_path: Path) -> None:
        import onnx
        import onnxruntime

        run, text = with_head(network_run(tmp_path / "run", "unet-2d", channels=2)), io.StringIO()
        path = export_run(run, tmp_path / "x.onnx", "onnx", console=Console(file=text))
        assert "largest difference of a logit" in text.getvalue()
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert session.run(["logits"], {"image": np.zeros((3, 2, 8, 12), np.float32)})[0].shape == (3, 3, 8, 12)
        notes = json.loads({prop.key: prop.value for prop in onnx.load(path).metadata_props}[exporter.NOTES])
        assert notes["image"]["channels"] == ["c0", "c1"]
        assert notes["image"]["size"] == ["any multiple of 2"] * 2
        assert axes(path) == [["batch", 2, "height", "width"], ["batch", 3, "height", "width"]]

    def test_axes_of_volumes_have_names_too(self, tmp_path: Path) -> None:
        path = tmp_path / "x.onnx"
        exporter.write_onnx(read_run(network_run(tmp_path / "run", "unet-3d")), path)
        assert axes(path) == [["batch", channels, "depth", "height", "width"] for channels in (1, 3)]

    @pytest.mark.slow
    def test_a_network_without_open_sizes_gets_the_window(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import onnx

        real = torch.onnx.export

        def fixed_only(*args: Any, **options: Any) -> Any:
            if options["dynamic_shapes"] is not None:
                raise RuntimeError("sizes must be fixed")
            return real(*args, **options)

        monkeypatch.setattr(torch.onnx, "export", fixed_only)
        checked = exporter.write_onnx(read_run(network_run(tmp_path / "run", "unet-2d")), tmp_path / "x.onnx")
        assert checked.shapes == ((1, 1, 16, 16),)
        notes = json.loads(onnx.load(tmp_path / "x.onnx").metadata_props[0].value)
        assert notes["image"]["size"] == [16, 16]

    def test_nothing_is_left_of_an_export_that_failed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def never(*args: Any, **options: Any) -> None:
            raise RuntimeError("cannot be followed")

        monkeypatch.setattr(torch.onnx, "export", never)
        (tmp_path / "out").mkdir()
        with pytest.raises(RunError, match=r"cannot be exported to ONNX \(cannot be followed\)"):
            export_run(network_run(tmp_path / "run", "unet-2d"), tmp_path / "out", "onnx")
        assert not list((tmp_path / "out").iterdir())


class TestMissing:
    def test_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else object())
        with pytest.raises(RunError, match=r"needs onnxruntime; install them: pip install 'medseg\[export\]'"):
            export_run(network_run(tmp_path / "run", "unet-2d"), tmp_path / "x.onnx", "onnx")
