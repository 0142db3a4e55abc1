"""The benchmarks measure what they say: their own side runs, on data small enough for a test."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("benchmark_data_ours")


class TestBenchmarkData:
    def test_patches_are_copied_flipped_and_augmented(self, ours: ModuleType, tmp_path: Path) -> None:
        root = ours.generate(tmp_path, "lesions_3d", 2, [64, 64, 64])
        for build in (ours.medseg_patches, ours.crop_only, ours.memory_mapped_copy):
            assert build(root, tmp_path)() == 1

    def test_pictures_are_in_colour(self, ours: ModuleType, tmp_path: Path) -> None:
        root = ours.generate_pictures(tmp_path, 2)
        data = ours.data_module(root, tmp_path, [64, 64])
        image, _ = data.dataset.cases[0].read_image()
        assert image.shape == (3, 512, 512)
        assert not np.array_equal(image[0], image[1])

    def test_cases_are_prepared_and_removed_again(self, ours: ModuleType, tmp_path: Path) -> None:
        root = ours.generate(tmp_path, "lesions_3d", 2, [32, 32, 32])
        assert ours.medseg_prepare(root, tmp_path)() == 1
        assert not (tmp_path / "prepared_anew").exists()

    def test_the_first_batch_comes(self, ours: ModuleType, tmp_path: Path) -> None:
        assert ours.first_batch(tmp_path, 4) > 0


@pytest.mark.filterwarnings("ignore")  # the peers' own
class TestBenchmarkMetrics:
    def test_ours_and_the_peers_compute_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(SCRIPTS))
        scenes, peers = importlib.import_module("benchmark_metrics_scenes"), importlib.import_module("benchmark_metrics_peers")
        scene = scenes.organs((40, 36, 32), 2)
        assert scenes.counted(scene)() == pytest.approx(peers.monai_dice(scene)(), abs=1e-6)
        assert scenes.measured(scene)() == pytest.approx(peers.monai_all(scene)(), abs=1e-5)
        assert scenes.scored(scene, scenes.SURFACES, "nsd_2mm")() == pytest.approx(peers.monai_nsd(scene)(), abs=1e-6)
        if importlib.util.find_spec("surface_distance"):
            assert scenes.measured_surfels(scene)() == pytest.approx(peers.surface_distance(scene)(), abs=1e-6)

    def test_the_lesions_are_as_many_as_it_says(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(SCRIPTS))
        scenes, peers = importlib.import_module("benchmark_metrics_scenes"), importlib.import_module("benchmark_metrics_peers")
        scene = scenes.lesions((96, 96, 48), count=6, hits=4, false=3)
        assert scenes.scored(scene, ("lesion_recall",), "lesion_recall")() == pytest.approx(4 / 6)
        assert scenes.scored(scene, ("cc_dice",), "cc_dice")() == pytest.approx(peers.monai_cc_dice(scene)(), abs=2e-3)  # but for ties


class TestBenchmarkInference:
    def test_all_predict_and_ours_and_monais_labels_are_equal(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.syspath_prepend(str(SCRIPTS))
        inference = importlib.import_module("benchmark_inference")
        monkeypatch.setattr(inference, "available", lambda options: ["medseg", "MONAI"])
        options = inference.parse(["--shape", "24", "16", "16", "--window", "8", "--rounds", "1", "--classes", "3"])
        assert set(inference.speed(options)) == {"medseg", "MONAI"}
        assert "6144 of 6144" in capsys.readouterr().out
        measured = inference.measure("medseg", options)
        assert measured["peak"] >= 0
        assert measured["labels"] == inference.measure("MONAI", options)["labels"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "script", [path for path in sorted(SCRIPTS.glob("*.py")) if "__main__" in path.read_text()], ids=lambda path: path.stem
)
def test_each_says_how_it_is_used(script: Path) -> None:
    shown = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, cwd=SCRIPTS.parent, env={"PYTHONPATH": "."})
    assert shown.returncode == 0, shown.stderr
    assert "usage" in shown.stdout
