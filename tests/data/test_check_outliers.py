from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.data.case import Case
from medseg.data.check_case import Finding
from medseg.data.check_outliers import FEWEST, unusual_intensities, unusual_orientations, unusual_spacings


def findings(count: int = 12) -> list[Finding]:
    """Ordinary cases, a little different from one another."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        finding = Finding(Case(f"c{index}", (Path(f"c{index}.nii.gz"),), None, f"c{index}", 1))
        finding.spacing = tuple(np.array([0.8, 0.8, 3.0]) * np.exp(0.05 * rng.standard_normal(3)))
        finding.orientation = "LPS"
        finding.ranges = ((-1000 + 5 * rng.standard_normal(), 1500 + 100 * rng.standard_normal()),)
        found.append(finding)
    return found


class TestSpacings:
    def test_ordinary_cases_are_left_alone(self) -> None:
        assert unusual_spacings(findings()) == []

    def test_a_voxel_of_another_size_is_told_with_the_usual_one(self) -> None:
        found = findings()
        found[4].spacing = (0.8, 0.8, 0.5)
        (fault,) = unusual_spacings(found)
        assert (fault.severity, fault.case) == ("warning", "c4")
        assert "0.8 x 0.8 x 0.5 mm, the others usually of 0.80" in fault.message

    def test_twice_as_large_is_the_least(self) -> None:
        for factor, expected in ((1.8, 0), (2.3, 1)):
            found = findings()
            found[0].spacing = (0.8, 0.8 * factor, 3.0)
            assert len(unusual_spacings(found)) == expected

    def test_a_mixed_set_is_left_alone(self) -> None:
        found = findings()
        for finding, thickness in zip(found, [0.5, 1, 1, 2, 2.5, 3, 3, 4, 5, 5, 6, 1.5], strict=True):
            finding.spacing = (0.8, 0.8, thickness)
        assert unusual_spacings(found) == []

    def test_few_cases_have_no_usual_size(self) -> None:
        found = findings(FEWEST - 1)
        found[0].spacing = (9.0, 9.0, 9.0)
        assert unusual_spacings(found) == []

    def test_unreadable_cases_do_not_count(self) -> None:
        found = findings()
        found[0].spacing = None
        assert unusual_spacings(found) == []


class TestOrientations:
    def test_the_odd_one_is_told(self) -> None:
        found = findings()
        found[3].orientation = "RAS"
        (fault,) = unusual_orientations(found)
        assert (fault.case, fault.message) == ("c3", "is stored as RAS, nearly all others as LPS")

    def test_a_mixed_set_pictures_and_few_cases_are_left_alone(self) -> None:
        found = findings()
        found[3].orientation = found[4].orientation = "RAS"
        assert unusual_orientations(found) == []
        few = findings(FEWEST - 1)
        few[0].orientation = "RAS"
        assert unusual_orientations(few) == []
        for finding in found:
            finding.orientation = ""
        assert unusual_orientations(found) == []


class TestIntensities:
    def test_ordinary_cases_are_left_alone(self) -> None:
        assert unusual_intensities(findings(), ("CT",)) == []

    def test_units_without_their_offset_are_told(self) -> None:
        found = findings()
        found[2].ranges = ((24.0, 2524.0),)
        (fault,) = unusual_intensities(found, ("CT",))
        assert fault.case == "c2"
        assert "CT has intensities of 24 to 2524, the others usually of -99" in fault.message

    def test_another_scale_is_told(self) -> None:
        found = findings()
        found[5].ranges = ((0.0, 1.0),)
        assert [fault.case for fault in unusual_intensities(found, ("CT",))] == ["c5"]

    def test_scanners_with_units_of_their_own_are_left_alone(self) -> None:
        found = findings()
        for index, finding in enumerate(found):
            finding.ranges = ((0.0, float(10 ** (index % 5))),)
        assert unusual_intensities(found, ("MR",)) == []

    def test_a_second_kind_of_image_is_a_mixed_set(self) -> None:
        found = findings()
        for finding in found[:3]:
            finding.ranges = ((0.0, 1.0),)
        assert unusual_intensities(found, ("CT",)) == []

    def test_channels_are_looked_at_one_by_one_and_named(self) -> None:
        found = findings()
        for index, finding in enumerate(found):
            finding.ranges = (finding.ranges[0], (0.0, 100.0 if index == 7 else 1.0))
        (fault,) = unusual_intensities(found, ("CT", "PET"))
        assert (fault.case, fault.message.startswith("PET")) == ("c7", True)

    def test_a_constant_image_few_cases_and_missing_channels_are_left_alone(self) -> None:
        found = findings()
        found[0].ranges = ((7.0, 7.0),)
        found[1].ranges = ()
        assert unusual_intensities(found, ("CT",)) == []
        few = findings(FEWEST - 1)
        few[0].ranges = ((0.0, 1.0),)
        assert unusual_intensities(few, ("CT",)) == []
