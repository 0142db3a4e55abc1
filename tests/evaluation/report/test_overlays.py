from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html import unescape
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.config import load_config
from medseg.data.geometry import Geometry
from medseg.errors import DataError
from medseg.evaluation.report import overlays as module
from medseg.evaluation.report.overlays import overlays
from medseg.evaluation.report.reader import Reader
from medseg.evaluation.report.slices import View
from medseg.evaluation.report.source import Source
from medseg.evaluation.report.viewer import Made, best_channel, make_viewer
from medseg.html import Markup
from tests.evaluation.report.made import CASES, CLASSES, make_evaluation, maps


def slices(html: str) -> list[list[dict[str, str]]]:
    return [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]


class TestReader:
    def test_files_are_found_by_name(self, volumes: Path) -> None:
        reader = Reader(Source.open(volumes))
        for case in CASES:
            shown = reader.read(case)
            reference, prediction = maps(case)
            assert shown.image is not None
            assert shown.image.shape == (1, *reference.shape)
            assert np.array_equal(shown.reference, reference)
            assert np.array_equal(shown.prediction, prediction)

    def test_a_case_that_is_gone_is_said(self, volumes: Path) -> None:
        with pytest.raises(DataError, match="no longer has this case"):
            Reader(Source.open(volumes)).read("what")

    def test_a_data_set_that_the_summary_names_is_read(self, volumes: Path) -> None:
        source = Source.open(volumes)
        labels = {name: at + 1 for at, name in enumerate(CLASSES)}
        params = {"labels": labels, "images": "predictions", "masks": "labels"}
        said = {**source.summary, "data": {"format": {"name": "folders", "params": params}, "root": str(volumes.parent)}}
        reader = Reader(dataclasses.replace(source, summary=said))
        assert reader.cases["perfect"].images == (volumes.parent / "predictions" / "perfect.nii.gz",)
        assert reader.channels

    def test_an_image_of_another_grid_is_not_shown_and_that_is_said(self, tmp_path: Path) -> None:
        folder = make_evaluation(tmp_path, scores=False)
        shutil.copy(tmp_path / "labels" / "perfect.nii.gz", tmp_path / "images" / "extra_0000.nii.gz")
        path = tmp_path / "images" / "perfect_0000.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), path)
        shown = Reader(Source.open(folder)).read("perfect")
        assert shown.image is None
        assert shown.fault is not None
        assert "no image: shape (3, 3, 3)" in shown.fault

    def test_a_relative_data_set_lies_where_the_run_was_started(
        self, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = load_config("focal_dice", ["data.format.params={kind: lesions_3d, cases: 2, test_cases: 0, size: [32, 32, 32]}"])
        run = dataclasses.replace(Source.open(volumes), config=config, environment={"folder": str(tmp_path / "home")})
        (tmp_path / "home" / "data" / "phantoms").mkdir(parents=True)
        (tmp_path / "away").mkdir()
        monkeypatch.chdir(tmp_path / "away")
        reader = Reader(run)
        assert str(reader.cases["lesions_3d_000"].images[0]).startswith(str(tmp_path / "home"))
        assert not list((tmp_path / "away").iterdir())


class TestViewer:
    def view(self, image: np.ndarray | None = None) -> View:
        reference, prediction = (ids > 0 for ids in maps("shifted"))
        shape = reference.shape
        return View.of(image, prediction, reference, Geometry(shape, np.diag([1.0, 1.0, 3.0, 1.0])))

    def test_it_shows_the_slices_that_hold_the_class(self) -> None:
        made = make_viewer(self.view(np.random.default_rng(0).random((1, 24, 20, 12))), "k", "c", (0,), 10**6)
        (found,) = slices(made.html)
        assert [one["name"] for one in found] == [f"slice {at} (0-11)" for at in range(3, 9)]
        assert all(one["scan"].startswith("data:image/jpeg") for one in found)
        assert made.slices == 6
        assert made.of == 12

    def test_it_stays_within_its_budget(self) -> None:
        image = np.random.default_rng(0).random((1, 24, 20, 12))
        full = len(make_viewer(self.view(image), "k", "c", (0,), 10**6).html)
        for budget in (7000, 4000, 2000):
            made = make_viewer(self.view(image), "k", "c", (0,), budget)
            assert sum(len("".join(one.values())) for one in slices(made.html)[0]) <= budget or made.slices == 1
            assert len(made.html) < full

    def test_the_slice_of_the_largest_error_is_the_last_to_go(self) -> None:
        view = self.view()
        view.prediction[:, :, 6] = False
        made = make_viewer(view, "k", "c", (0,), 1)
        assert made.slices == 1
        assert "<output>slice 6 (0-11)</output>" in made.html

    def test_without_image_the_masks_are_shown(self) -> None:
        made = make_viewer(self.view(), "k", "c", (0,), 10**6)
        assert "<img" not in made.html
        assert 'class="tp colours" data-of="tp" d="M' in made.html
        assert made.window == ""

    def test_sides_are_as_long_as_in_the_body(self) -> None:
        view = View.of(None, np.ones((10, 20, 2), bool), np.ones((10, 20, 2), bool), Geometry((10, 20, 2), np.diag([2.0, 1.0, 5.0, 1.0])))
        assert "aspect-ratio:20/20" in make_viewer(view, "k", "c", (0,), 10**6).html

    def test_the_channel_that_shows_the_class_is_found(self) -> None:
        rng = np.random.default_rng(0)
        mask = np.zeros((12, 12), bool)
        mask[4:8, 4:8] = True
        image = rng.normal(0, 1, (3, 12, 12))
        image[1] += 5 * mask
        assert best_channel(image, mask) == 1
        assert best_channel(image, ~np.zeros_like(mask)) == best_channel(image, np.zeros_like(mask)) == best_channel(image[:1], mask) == 0


class TestSection:
    def test_every_class_has_its_cases_and_each_case_its_place(self, volumes: Path) -> None:
        made = overlays(Source.open(volumes))
        assert [unescape(name) for name in re.findall(r"<h3>(.*?)</h3>", made.html)] == list(CLASSES)
        assert len(slices(made.html)) == 8
        for case, key in made.anchors.items():
            assert f'id="{key}"' in made.html
            assert case in CASES
        for letter in "RLAP":
            assert f">{letter}</span>" in made.html
        assert "<odd>" not in made.html

    def test_the_rules_of_display_are_stated(self, volumes: Path, pictures: Path) -> None:
        text = overlays(Source.open(volumes)).html
        assert "the patient's right at the left" in unescape(text)
        assert "0.5 to 99.95 %" in text
        flat = overlays(Source.open(pictures)).html
        assert "Arrow keys" not in flat
        assert 'type="range" min="0" max=' not in flat

    def test_progress_is_told(self, volumes: Path) -> None:
        said: list[tuple[int, int]] = []
        overlays(Source.open(volumes), lambda done, total: said.append((done, total)))
        assert said == [(at + 1, len(said)) for at in range(len(said))]

    def test_all_pictures_share_the_budget(self, volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        full = len(overlays(Source.open(volumes)).html)
        monkeypatch.setattr(module, "BUDGET", 16_000)
        assert len(overlays(Source.open(volumes)).html) < 0.7 * full

    def test_folders_that_moved_leave_a_reason(self, volumes: Path) -> None:
        source = Source.open(volumes)
        gone = dataclasses.replace(source, summary={**source.summary, "references": "/nowhere"})
        html = unescape(overlays(gone).html)
        assert "No pictures: /nowhere: the folder of references does not exist" in html
        assert "Put the files back, or score them where they are now with `medseg evaluate`" in html
        assert f"`medseg report {volumes}` again" in html

    def test_a_run_whose_data_moved_says_where_to_set_it(self, volumes: Path, tmp_path: Path) -> None:
        config = load_config("openms", ["data.root=/nowhere"])
        run = dataclasses.replace(Source.open(volumes), config=config, folder=tmp_path)
        html = overlays(run).html
        assert "No pictures: /nowhere: there is no such folder" in html
        assert f"set data.root in {tmp_path / 'config.yaml'} to where they are now" in html
        gone = dataclasses.replace(run, summary={**run.summary, "predictions": "/nowhere"})
        assert f"make them again with `medseg evaluate {tmp_path}`" in overlays(gone).html

    @pytest.mark.parametrize(
        ("images", "why"), [(None, "was not told where the images are"), ("/nowhere", "the folder of images is no longer there")]
    )
    def test_without_images_the_masks_are_shown_and_that_is_said(self, volumes: Path, images: str | None, why: str) -> None:
        source = Source.open(volumes)
        html = overlays(dataclasses.replace(source, summary={**source.summary, "images": images})).html
        assert "Masks without images: " in html
        assert why in html
        assert len(slices(html)) == 8
        assert "Masks without images" not in overlays(source).html

    def test_cases_that_are_all_gone_leave_one_reason(self, volumes: Path, tmp_path: Path) -> None:
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels" / "other.nii.gz").write_bytes(b"")
        source = Source.open(volumes)
        made = overlays(dataclasses.replace(source, summary={**source.summary, "references": str(tmp_path / "labels")}))
        assert "No pictures: none of the 5 cases to show could be read: " in made.html
        assert 'class="legend"' not in made.html

    def test_nothing_to_show_is_said(self, volumes: Path) -> None:
        source = Source.open(volumes)
        rows = [dataclasses.replace(row, value=float("nan"), ref_empty=False) for row in source.rows]
        assert "No pictures: no case has a class to show" in overlays(dataclasses.replace(source, rows=rows)).html

    def test_good_cases_open_at_the_reference_and_bad_ones_at_the_error(self, volumes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found: set[tuple[str, str]] = set()

        def seen(view: View, key: str, caption: str, channels: tuple[int, ...], budget: int, opens: str) -> Made:
            found.add((re.findall(r"<b>(\w+):", caption)[0], opens))
            return Made(Markup(""), "", 1, 1)

        monkeypatch.setattr(module, "make_viewer", seen)
        overlays(Source.open(volumes))
        assert found == {("best", "reference"), ("median", "reference"), ("worst", "error"), ("empty", "error")}

    def test_a_damaged_case_leaves_a_reason_and_the_others(self, tmp_path: Path) -> None:
        folder = make_evaluation(tmp_path, scores=False)
        (tmp_path / "labels" / "invented.nii.gz").write_bytes(b"broken")
        html = overlays(Source.open(folder)).html
        assert "empty: invented:" in html
        assert len(slices(html)) == 6

    def test_a_prediction_that_was_lost_is_said(self, tmp_path: Path) -> None:
        folder = make_evaluation(tmp_path, scores=False)
        (tmp_path / "predictions" / "invented.nii.gz").unlink()
        assert "no prediction" in overlays(Source.open(folder)).html
