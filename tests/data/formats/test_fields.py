from __future__ import annotations

from pathlib import Path

import pytest

from medseg.data.formats.fields import applies, condition, default_id, group_rule, held_out, naming, read_ranges
from medseg.data.formats.templates import Template
from medseg.errors import DataError

FINDERS = [Template.parse("{site}/{id}_{frame}.png", "images")]
FIELDS = {"site": "Amsterdam/GE3T", "id": "a b", "frame": "07"}


class TestNames:
    def test_the_default_joins_all_fields(self) -> None:
        assert default_id({"above": "", "part": "Train_Sets/", **FIELDS}) == "Train_Sets_Amsterdam_GE3T_a b_07"

    def test_a_template_joins_some(self) -> None:
        name = naming("{site}-{id}", "case", FINDERS)
        assert name(FIELDS) == "Amsterdam_GE3T-a b"
        assert name({"id": "x"}) is None

    @pytest.mark.parametrize("text", ["{site}_*", r"{id:\d}"])
    def test_only_text_and_fields_make_names(self, text: str) -> None:
        with pytest.raises(DataError, match=r"^case: .*may hold text and \{field\} alone"):
            naming(text, "case", FINDERS)

    def test_every_template_must_capture_what_names_need(self) -> None:
        with pytest.raises(
            DataError, match=r"case: unknown field, not captured by \{site\}/\{id\}_\{frame\}\.png, 'sites'; did you mean site"
        ):
            naming("{sites}", "case", FINDERS)


class TestGroups:
    def test_a_template_names_the_patient(self) -> None:
        assert group_rule("{id}", "group", FINDERS)(FIELDS) == "a b"

    def test_ranges_of_a_number_are_patients(self) -> None:
        rule = group_rule({"frame": ["1-6", "7-12", 13]}, "group", FINDERS)
        assert [rule({"frame": frame}) for frame in ("1", "6", "007", "12", "13")] == [
            "frame 1-6", "frame 1-6", "frame 7-12", "frame 7-12", "frame 13-13",
        ]  # fmt: skip
        for frame in ("14", "x"):
            with pytest.raises(DataError, match=rf"group\.frame: '{frame}' lies in none of its ranges"):
                rule({"frame": frame})

    @pytest.mark.parametrize(
        ("group", "message"),
        [
            ({}, "must name one field"),
            ({"frame": 1, "id": 2}, "must name one field"),
            ({"fram": ["1-2"]}, "unknown field 'fram'; did you mean frame"),
        ],
    )
    def test_what_cannot_be_read_is_explained(self, group: object, message: str) -> None:
        with pytest.raises(DataError, match=f"group: .*{message}"):
            group_rule(group, "group", FINDERS)


class TestConditions:
    def test_every_field_must_have_one_of_its_values(self) -> None:
        where = condition({"site": ["a", "b"], "id": 3}, "where", ["site", "id"])
        assert [applies(where, {"site": site, "id": id}) for site, id in (("a", "3"), ("b", "3"), ("c", "3"), ("a", "4"))] == [
            True, True, False, False,
        ]  # fmt: skip
        assert applies({}, {})

    def test_unknown_fields_are_named(self) -> None:
        with pytest.raises(DataError, match="where: unknown field 'sit'; did you mean site"):
            condition({"sit": 1}, "where", ["site"])
        with pytest.raises(DataError, match="is no condition"):
            condition("site", "where", ["site"])


class TestHeldOut:
    TABLE = {"file": "meta.csv", "case": "image_id", "column": "split", "values": ["test"]}  # noqa: RUF012

    def test_a_condition_on_fields_decides(self, tmp_path: Path) -> None:
        rule = held_out({"site": "x"}, "test", ["site"])(tmp_path)
        assert (rule("a", {"site": "x"}), rule("a", {"site": "y"})) == (True, False)

    def test_a_table_decides_by_id_or_field(self, tmp_path: Path) -> None:
        (tmp_path / "meta.csv").write_text("image_id;split\ns1;train\ns2;test\ns3;test\n")
        rule = held_out(self.TABLE, "test", ["id"])(tmp_path)
        assert [rule("s1", {}), rule("s2", {}), rule("case_3", {"id": "s3"}), rule("s9", {"id": "s1"})] == [False, True, True, False]

    def test_without_the_table_there_are_no_test_cases(self, tmp_path: Path) -> None:
        assert held_out(self.TABLE, "test", ["id"])(tmp_path)("s2", {}) is False

    def test_a_table_without_the_column_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "meta.csv").write_text("image_id;splits\n")
        with pytest.raises(DataError, match=r"meta\.csv: unknown column 'split'; did you mean splits"):
            held_out(self.TABLE, "test", ["id"])(tmp_path)
        (tmp_path / "meta.csv").write_text("image_id;split\ns1;train\ns2;Test\n")
        with pytest.raises(DataError, match=r"meta\.csv: no line has test in the column split \(Test, train\); correct test\.values"):
            held_out(self.TABLE, "test", ["id"])(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"values": None}, r"test\.values: missing"),
            ({"vals": 1}, "test: unknown key 'vals'; did you mean values"),
            ({"file": "../x.csv"}, "leads out"),
        ],
    )
    def test_its_keys_are_checked(self, change: dict[str, object], message: str, tmp_path: Path) -> None:
        keys = {key: value for key, value in {**self.TABLE, **change}.items() if value is not None}
        with pytest.raises(DataError, match=message):
            held_out(keys, "test", ["id"])(tmp_path)


class TestRanges:
    @pytest.mark.parametrize(
        ("given", "ranges"),
        [(3, ((3, 3),)), ("55-70", ((55, 70),)), ([63, "55-70"], ((63, 63), (55, 70))), ("-5--2", ((-5, -2),)), ("7", ((7, 7),))],
    )
    def test_numbers_and_ranges_are_read(self, given: object, ranges: object) -> None:
        assert read_ranges(given, "key") == ranges

    @pytest.mark.parametrize("given", ["a", True, 1.5, "5-3", [], [None], "1-2-3"])
    def test_all_else_is_refused(self, given: object) -> None:
        with pytest.raises(DataError, match=r"^key: "):
            read_ranges(given, "key")
