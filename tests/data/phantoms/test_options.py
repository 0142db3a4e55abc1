"""What `lesions_3d` can do beside the plain phantom."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.data.phantoms import Phantom, openms
from medseg.errors import DataError

SMALL: dict[str, Any] = {"kind": "lesions_3d", "cases": 4, "test_cases": 1, "size": [56, 64, 48]}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestPlainPhantoms:
    @pytest.mark.parametrize(
        ("kind", "folder"),
        [("lesions_2d", "lesions_2d-0f2c0e485b"), ("lesions_3d", "lesions_3d-a402828ea0"), ("organs_3d", "organs_3d-b5ea322af0")],
    )
    def test_keep_their_folders_whatever_else_there_is(self, kind: Any, folder: str) -> None:
        assert Phantom(kind=kind).folder_name == folder

    def test_keep_their_voxels(self) -> None:
        sample = Phantom(kind="lesions_3d").sample(0)
        digest = hashlib.sha256(sample.label.tobytes()).hexdigest()
        assert (digest[:16], sample.others, sample.scanner, sample.artefact) == (PLAIN_LABEL, (), None, "")

    def test_have_no_tables(self, tmp_path: Path) -> None:
        root = Phantom(**{**SMALL, "cases": 1, "test_cases": 0, "size": [32, 32, 32]}).read(tmp_path).root
        assert not list(root.glob("*.csv"))


PLAIN_LABEL = "0d64dbd93e6759e0"


class TestFolder:
    def test_every_option_names_another_folder(self) -> None:
        variants: list[dict[str, Any]] = [
            {},
            {"lesions": "realistic"},
            {"scanners": 1},
            {"scanners": 2},
            {"scanners": 2, "group_by": "scanner"},
            {"artefacts": 0.2},
            {"channels": 2},
        ]
        assert len({Phantom(**SMALL, **variant).folder_name for variant in variants}) == len(variants)

    def test_the_same_seed_gives_the_same_case_and_more_cases_leave_it(self) -> None:
        options: dict[str, Any] = {"lesions": "realistic", "scanners": 2, "artefacts": 0.5, "channels": 2}
        first = Phantom(**SMALL, **options).sample(1)
        again = Phantom(**{**SMALL, "cases": 9}, **options).sample(1)
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.label, again.label)
        assert np.array_equal(first.others[0], again.others[0])

    def test_what_was_done_stands_in_the_tables(self, tmp_path: Path) -> None:
        data = Phantom(**SMALL, scanners=2, artefacts=1.0, channels=3, group_by="scanner").read(tmp_path)
        rows = table(data.root / "cases.csv")
        assert [(row["part"], row["scanner"]) for row in rows] == [(p, s) for p, s in zip(["train"] * 4 + ["test"], "01010", strict=True)]
        assert all(row["artefact"] for row in rows)
        assert [int(row["lesion_voxels"]) for row in rows[:4]] == [np.count_nonzero(case.read_label()[0]) for case in data.cases]
        assert [case.group for case in data.cases] == ["scanner0", "scanner1", "scanner0", "scanner1"]
        assert not data.faults
        assert data.channels == ("FLAIR", "T1", "T2")

    def test_without_grouping_every_case_is_a_patient(self, tmp_path: Path) -> None:
        data = Phantom(**SMALL, scanners=2).read(tmp_path)
        assert len({case.group for case in data.cases}) == 4


class TestRealisticLesions:
    def test_a_case_looks_like_a_patient_in_mm(self) -> None:
        phantom = Phantom(kind="lesions_3d", lesions="realistic", seed=2)
        samples = [sample for sample in map(phantom.sample, range(3)) if sample.label.any()]
        assert {tuple(sorted(sample.image.shape)) for sample in samples} == {(96, 112, 128)}
        shapes = [shape for sample in samples for shape in openms.shapes_of(sample.label, (1.5, 1.5, 1.5))]
        assert 15 <= len(shapes) / len(samples) <= openms.COUNTS[-1]
        assert 10 <= np.median([shape.volume for shape in shapes]) <= 50  # those below half a voxel, 1.7 mm^3, are not seen
        assert 0.75 <= np.median([shape.sphericity for shape in shapes if 20 <= shape.volume < 60]) <= 1.0

    def test_round_ones_are_others(self) -> None:
        first, second = (Phantom(**SMALL, lesions=kind).sample(1).label for kind in ("round", "realistic"))
        assert not np.array_equal(first, second)


class TestScanners:
    def test_sites_differ_in_grid_orientation_and_units_and_one_site_does_not(self) -> None:
        phantom = Phantom(kind="lesions_3d", size=[84, 96, 72], scanners=3, seed=1)
        samples = [phantom.sample(index) for index in range(6)]
        assert [sample.scanner for sample in samples] == [0, 1, 2, 0, 1, 2]

        def looks(index: int) -> tuple[Any, ...]:
            sample = samples[index]
            assert sample.affine is not None
            spacing = np.linalg.norm(sample.affine[:3, :3], axis=0).round(3)
            return (sample.image.shape, tuple(spacing), nib.aff2axcodes(sample.affine))

        assert [looks(index) for index in range(3)] == [looks(index) for index in range(3, 6)]
        assert len({looks(index) for index in range(3)}) >= 2
        units = [np.percentile(sample.image, 90) for sample in samples]
        assert all(0.6 < units[index] / units[index + 3] < 1.6 for index in range(3))
        assert max(units[:3]) > 1.5 * min(units[:3])


class TestChannels:
    def test_tissues_and_lesions_have_their_contrasts(self) -> None:
        sample = Phantom(**SMALL, channels=3, contrast=16.0).sample(1)
        assert len(sample.others) == 2
        flair, t1, t2 = (image.astype(float) for image in (sample.image, *sample.others))
        lesion = sample.label > 0
        tissue = (t1 > np.percentile(t1, 70)) & ~lesion
        assert flair[lesion].mean() > flair[tissue].mean()
        assert t1[lesion].mean() < t1[tissue].mean()
        assert t2[lesion].mean() > t2[tissue].mean()

    def test_more_of_them_leave_the_first_ones_as_they_were(self) -> None:
        one, two, three = (Phantom(**SMALL, channels=count, artefacts=1.0).sample(2) for count in (1, 2, 3))
        assert np.array_equal(one.label, two.label)
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(two.others[0], three.others[0])


class TestArtefacts:
    def test_the_case_beneath_stays_the_same(self) -> None:
        plain, spoilt = (Phantom(**SMALL, artefacts=rate).sample(2) for rate in (0.0, 1.0))
        assert (plain.artefact == "", spoilt.artefact == "") == (True, False)
        assert not np.array_equal(plain.image, spoilt.image)
        assert np.array_equal(plain.affine, spoilt.affine)
        assert plain.noise == spoilt.noise


class TestParameters:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"kind": "organs_3d", "scanners": 2}, "scanners can be set for lesions_3d only"),
            ({"kind": "lesions_2d", "lesions": "realistic"}, "lesions can be set for lesions_3d only"),
            ({"kind": "lesions_3d", "lesions": "real"}, "choose from round, realistic"),
            ({"kind": "lesions_3d", "channels": 4}, "choose from 1, 2, 3"),
            ({"kind": "lesions_3d", "scanners": -1}, "scanners >= 0"),
            ({"kind": "lesions_3d", "artefacts": 1.5}, "artefacts from 0 to 1"),
            ({"kind": "lesions_3d", "group_by": "scanner"}, "at least 2 scanners"),
        ],
    )
    def test_bad_ones_are_named(self, params: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            Phantom(**params)
