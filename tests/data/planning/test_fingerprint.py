from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data.case import Case, DataSet
from medseg.data.labels import LabelSchema
from medseg.data.planning import fingerprint as module
from medseg.data.planning.fingerprint import SIZES, Fingerprint, take_fingerprint
from medseg.errors import DataError

LABELS = LabelSchema.exclusive({"background": 0, "big": 1, "small": 2, "absent": 3, "ignore": 9})
AFFINE = np.diag([-0.5, 1.0, 2.0, 1.0])


def dataset(root: Path, cases: int = 3) -> DataSet:
    """Scans of one big and two small things, right to left."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(cases):
        image = rng.normal(100, 10, (20, 16, 12)).astype(np.float32)
        label = np.zeros(image.shape, np.uint8)
        label[2:6, 2:6, 2:6] = 1
        label[10, 10, 10] = label[10, 2, 2:4] = 2
        label[15] = 9
        paths = root / f"{number}_image.nii.gz", root / f"{number}_label.nii.gz"
        for path, array in zip(paths, (image, label), strict=True):
            nibabel.save(nibabel.Nifti1Image(array, AFFINE), path)
        made.append(Case(str(number), paths[:1], paths[1], str(number)))
    return DataSet("things", root, tuple(made), ("MR",), LABELS, 3, ".nii.gz")


class TestTakeFingerprint:
    def test_it_says_what_the_cases_are(self, tmp_path: Path) -> None:
        data = dataset(tmp_path)
        case = take_fingerprint(data, tmp_path / "f.json").cases[0]
        image = nibabel.load(data.cases[0].images[0]).get_fdata()
        label = nibabel.load(data.cases[0].label).get_fdata()
        assert (case.shape, case.spacing, case.orientation) == ((20, 16, 12), (0.5, 1.0, 2.0), "LAS")
        assert (case.counts, case.lesions, case.sizes) == ((64, 3, 0), (1, 2, 0), ((64,), (1, 2), ()))
        np.testing.assert_allclose(case.image[0], np.percentile(image, module.PERCENTILES), rtol=1e-5)
        assert case.foreground is not None
        np.testing.assert_allclose(case.foreground[0], np.percentile(image[(label > 0) & (label < 9)], module.PERCENTILES), rtol=1e-5)
        assert (case.whole_numbers, case.eight_bit, case.picture, case.labelled) == (False, False, False, True)

    def test_volumes_are_in_cubic_millimetres(self, tmp_path: Path) -> None:
        found = take_fingerprint(dataset(tmp_path, 2), tmp_path / "f.json")
        assert found.lesion_volumes(1).tolist() == [1.0, 2.0, 1.0, 2.0]
        assert found.lesion_voxels(0).tolist() == [64, 64]

    def test_unchanged_cases_are_not_read_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data, path = dataset(tmp_path), tmp_path / "f.json"
        first = take_fingerprint(data, path)
        looked: list[str] = []
        look_at = module.look_at
        monkeypatch.setattr(module, "look_at", lambda case, labels, root: (looked.append(case.id), look_at(case, labels, root))[1])
        assert take_fingerprint(data, path) == first
        assert looked == []
        os.utime(data.cases[1].images[0], ns=(1, 1))
        take_fingerprint(data, path)
        assert looked == ["1"]

    def test_a_damaged_file_or_one_of_other_classes_is_taken_anew(self, tmp_path: Path) -> None:
        data, path = dataset(tmp_path, 2), tmp_path / "f.json"
        for text in ("{", json.dumps({"version": 0}), json.dumps([])):
            path.write_text(text)
            assert len(take_fingerprint(data, path).cases) == 2
        fewer = DataSet("things", tmp_path, data.cases, ("MR",), LABELS.select(["big"]), 3, ".nii.gz")
        assert take_fingerprint(fewer, path).cases[0].counts == (64,)

    def test_label_values_that_mean_something_else_are_counted_anew(self, tmp_path: Path) -> None:
        data, path = dataset(tmp_path, 1), tmp_path / "f.json"
        take_fingerprint(data, path)
        swapped = LabelSchema.exclusive({"background": 0, "big": 2, "small": 1, "absent": 3, "ignore": 9})
        assert take_fingerprint(replace(data, labels=swapped), path).cases[0].counts == (3, 64, 0)

    def test_it_survives_json(self, tmp_path: Path) -> None:
        found = take_fingerprint(dataset(tmp_path, 2), tmp_path / "f.json")
        assert Fingerprint.from_dict(json.loads(json.dumps(found.to_dict()))) == found

    def test_progress_counts_every_case(self, tmp_path: Path) -> None:
        steps: list[tuple[int, int]] = []
        take_fingerprint(dataset(tmp_path), tmp_path / "f.json", workers=2, progress=lambda done, total: steps.append((done, total)))
        assert steps == [(1, 3), (2, 3), (3, 3)]

    def test_all_faults_are_named_at_once(self, tmp_path: Path) -> None:
        data = dataset(tmp_path)
        for number in (0, 2):
            (tmp_path / f"{number}_image.nii.gz").write_bytes(b"no image")
        with pytest.raises(DataError, match=r"2 cases of 'things'(.|\n)*0_image(.|\n)*2_image"):
            take_fingerprint(data, tmp_path / "f.json")
        assert not (tmp_path / "f.json").exists()

    def test_a_data_set_without_cases_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no cases"):
            take_fingerprint(DataSet("none", tmp_path, (), ("MR",), LABELS, 3, ".nii.gz"), tmp_path / "f.json")

    def test_of_many_lesions_an_even_choice_is_kept(self) -> None:
        kept = module._chosen(np.arange(1, 10 * SIZES))
        assert len(kept) == SIZES
        assert (kept[0], kept[-1]) == (1, 10 * SIZES - 1)
        assert np.median(kept) == pytest.approx(5 * SIZES, rel=0.01)

    def test_large_cases_are_read_fewer_at_a_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data = dataset(tmp_path, 1)
        monkeypatch.setattr(os, "cpu_count", lambda: 6)
        assert module._workers(data.cases) == 6
        monkeypatch.setattr(module, "MEMORY", 20 * 16 * 12 * 16 * 2)
        assert module._workers(data.cases) == 2
