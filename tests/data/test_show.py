from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from medseg.config import load_config
from medseg.data import contact_sheet
from medseg.data.case import Case
from medseg.data.normalisation import Intensities, Normaliser
from medseg.data.show import Display, show_patches
from medseg.errors import DataError


class Cases:
    """Stored cases made of raw arrays (C, *spatial)."""

    def __init__(self, normaliser: Normaliser, *images: np.ndarray, **intensities: bool) -> None:
        self.normaliser, self.images = normaliser, [image.astype(np.float32) for image in images]
        self.intensities = [replace(Intensities.of(image, Case("x", (Path("x.nii"),), None, "x")), **intensities) for image in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def case(self, i: int) -> Any:
        return SimpleNamespace(id=f"case{i}")

    def index(self, i: int) -> Any:
        return SimpleNamespace(intensities=self.intensities[i])

    def whole(self, i: int, reference: bool = True) -> Any:
        return SimpleNamespace(image=self.read(i, np.s_[:]))

    def read(self, i: int, box: Any) -> np.ndarray:
        return self.normaliser(self.images[i][:, box], self.intensities[i])


STATISTICS = {"low": [100.0] * 3, "high": [200.0] * 3, "mean": [150.0] * 3, "std": [20.0] * 3}


def display(normalisation: str, *images: np.ndarray, **intensities: bool) -> tuple[Display, Any]:
    normaliser = Normaliser(normalisation, STATISTICS)
    cases: Any = Cases(normaliser, *images, **intensities)
    return Display(cases, normaliser), cases


def tissue(channels: int = 1, level: float = 1000.0) -> np.ndarray:
    return np.random.default_rng(0).normal(level, 50, (channels, 40, 40, 20))


class TestDisplay:
    @pytest.mark.parametrize("normalisation", ["zscore", "unit", "none"])
    def test_colours_of_8_bits_are_those_of_the_file(self, normalisation: str) -> None:
        picture = np.random.default_rng(0).integers(0, 200, (3, 64, 64)) * np.array([1.0, 0.5, 0.1])[:, None, None]
        shown, cases = display(normalisation, picture, eight_bit=True, picture=True)
        np.testing.assert_allclose(255 * shown.grey("case0", cases.read(0, np.s_[:9])), picture[:, :9], atol=1e-2)

    @pytest.mark.parametrize("normalisation", ["zscore", "unit", "none"])
    def test_a_small_bright_lesion_is_not_clipped_with_its_tissue(self, normalisation: str) -> None:
        image = tissue()
        image[:, 4:8, 4:8, 4:8] = 2000.0  # 0.2 % of the case
        shown, cases = display(normalisation, image)
        patch = shown.grey("case0", cases.read(0, np.s_[:10]))
        assert patch[0, 4:8, 4:8, 4:8].mean() == pytest.approx(1.0, abs=0.01)
        assert 0.05 < np.median(patch) < 0.3

    def test_a_patch_has_the_window_of_its_case_and_not_its_own(self) -> None:
        image = tissue()
        image[:, :20] *= 2
        shown, cases = display("zscore", image, 7 * image)
        low, high = np.percentile(image, [0.5, 99.95])
        for box in (np.s_[:5], np.s_[30:]):
            expected = (image[:, box] - low) / (high - low)
            np.testing.assert_allclose(shown.grey("case0", cases.read(0, box)), expected, atol=1e-3)
            np.testing.assert_allclose(shown.grey("case1", cases.read(1, box)), expected, atol=1e-3)

    def test_zeros_around_the_head_do_not_count(self) -> None:
        image = tissue()
        masked = image.copy()
        masked[:, :, 8:] = 0
        shown, cases = display("zscore", masked)
        low, high = np.percentile(image[:, :, :8], [0.5, 99.95])
        expected = (image[:, :5, :8] - low) / (high - low)
        np.testing.assert_allclose(shown.grey("case0", cases.read(0, np.s_[:5]))[:, :, :8], expected, atol=1e-3)

    def test_channels_of_a_scan_have_a_window_each_and_colours_share_one(self) -> None:
        image = tissue(3) * np.array([1.0, 2.0, 4.0])[:, None, None, None]
        scan, cases = display("zscore", image)
        apart = np.median(scan.grey("case0", cases.read(0, np.s_[:])), axis=(1, 2, 3))
        np.testing.assert_allclose(apart, apart[0], atol=0.05)
        colours, cases = display("zscore", image, picture=True)
        together = np.median(colours.grey("case0", cases.read(0, np.s_[:])), axis=(1, 2, 3))
        assert together[0] < 0.1 < 0.25 < together[1] < 0.7 < together[2]

    def test_what_ct_clips_stays_clipped(self) -> None:
        image = np.linspace(-1000, 1000, 3 * 4000).reshape(3, 20, 10, 20)
        shown, cases = display("ct", image)
        patch = shown.grey("case0", cases.read(0, np.s_[:]))
        assert patch.min() >= -0.02
        assert patch.max() <= 1.02

    @pytest.mark.parametrize("value", [0.0, 7.0])
    def test_a_constant_case_is_shown(self, value: float) -> None:
        shown, cases = display("zscore", np.full((1, 8, 8, 8), value))
        assert np.isfinite(shown.grey("case0", cases.read(0, np.s_[:]))).all()

    def test_the_percentiles_of_a_large_case_are_those_of_a_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown, cases = display("none", tissue())
        whole = shown.grey("case0", cases.read(0, np.s_[:]))
        monkeypatch.setattr("medseg.data.show._SAMPLE", 5000)
        shown, cases = display("none", tissue())
        np.testing.assert_allclose(shown.grey("case0", cases.read(0, np.s_[:])), whole, atol=0.1)


class TestShow:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Any:
        phantoms = "data.format={name: phantom, params: {kind: lesions_2d, cases: 6, size: [64, 64]}}"
        sizes = ["data.patch_size=[32, 32]", "data.folds=3", f"data.store={tmp_path / 'store'}"]
        return load_config(Path(__file__).parents[2] / "configs" / "small_lesion_2d.yaml", [phantoms, *sizes])

    def test_left_is_the_raw_patch_and_right_the_augmented_one_in_its_intensities(
        self, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: dict[str, Any] = {}

        def spy(augmented: Any, plain: Any, *rest: Any, **options: Any) -> None:
            seen.update(options, made=augmented[0], plain=plain[0])
            contact_sheet.write_sheet(augmented, plain, *rest, **options)

        monkeypatch.setattr("medseg.data.show.write_sheet", spy)
        show_patches(config, tmp_path / "p.png", 4, Console(quiet=True))
        assert seen["title"] == "small_lesion_2d, augmentation light"
        assert seen["channel"] is None
        for item in (seen["made"], seen["plain"]):
            assert -0.5 < item["image"].min() < np.median(item["image"]) < item["image"].max() < 1.5
        with Image.open(tmp_path / "p.png") as sheet:
            assert sheet.format == "PNG"

    def test_a_wrong_channel_is_refused_with_the_right_ones(self, config: Any, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="--channel T7: there is no such channel"):
            show_patches(config, tmp_path / "p.png", 4, Console(quiet=True), channel="T7")

    @pytest.mark.parametrize(("name", "patches"), [("p.jpg", 4), ("p.png", 0)])
    def test_other_files_and_no_patches_are_refused(self, config: Any, tmp_path: Path, name: str, patches: int) -> None:
        with pytest.raises(DataError, match=r"--out must be a \.png file and --patches at least 1"):
            show_patches(config, tmp_path / name, patches, Console(quiet=True))
