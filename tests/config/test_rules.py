from __future__ import annotations

from typing import Any

import pytest

from medseg.config.build import defaults
from medseg.config.kinds import alternatives
from medseg.config.rules import RULES, check_rules
from medseg.config.schema import Config
from medseg.config.tree import wrap


def keys_of(values: dict[str, Any]) -> list[str]:
    return [problem.key for problem in check_rules(wrap(values, "x.yaml"))]


class TestSingleKeys:
    @pytest.mark.parametrize(
        ("section", "key", "value"),
        [
            ("data", "folds", 1), ("data", "fold", -1), ("data", "test_fraction", 1.0), ("data", "test_fraction", -0.1),
            ("data", "spacing", [1.0, 0.0]),
            ("data", "batch_size", 0), ("data", "patches_per_epoch", 0), ("data", "sampling", []), ("data", "store", ""),
            ("data", "workers", -1),
            ("data", "cache_gib", -1.0), ("data", "patch_size", [64, 0]), ("data", "patch_size", [64, -64]), ("data", "root", ""),
            ("trainer", "max_epochs", 0), ("trainer", "devices", 0), ("trainer", "nodes", 0), ("trainer", "gradient_clip", -1),
            ("trainer", "accumulate", 0), ("validation", "every_epochs", 0), ("inference", "overlap", 1.0), ("inference", "overlap", -0.5),
            ("inference", "batch_size", 0), ("inference", "window", [0, 4]), ("loss", "terms", []),
            ("loss", "share_every", -1),
        ],
    )  # fmt: skip
    def test_out_of_range_is_a_problem(self, section: str, key: str, value: object) -> None:
        assert keys_of({section: {key: value}}) == [f"{section}.{key}"]

    @pytest.mark.parametrize(
        ("section", "key", "value"),
        [("inference", "overlap", 0.0), ("data", "folds", 2),
         ("data", "spacing", None), ("trainer", "gradient_clip", 0.0)],
    )  # fmt: skip
    def test_the_edge_that_is_allowed_is_allowed(self, section: str, key: str, value: object) -> None:
        assert keys_of({section: {key: value}}) == []

    @pytest.mark.parametrize("name", ["focal_tversky", "run-1", "a.b", "Größe", "lr=0.1", "2024"])
    def test_names_of_folders_are_fine(self, name: str) -> None:
        assert keys_of({"name": name}) == []

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "../x", "a/b", "a\\b", "/x", ".hidden", "a b", "a\n", "-x", "C:", "x.", "x" * 101, "a\0"]
    )
    def test_names_that_leave_the_folder_or_need_quoting_are_not(self, name: str) -> None:
        assert keys_of({"name": name}) == ["name"]

    def test_every_ruled_key_exists_in_the_schema(self) -> None:
        from typing import get_type_hints

        for key in RULES:
            schema: Any = Config
            for part in key.split("."):
                assert part in get_type_hints(schema), key
                schema = alternatives(get_type_hints(schema)[part])[0]

    def test_the_defaults_keep_every_rule(self) -> None:
        assert check_rules(defaults(Config)) == []

    def test_wrong_types_are_left_to_the_checker_of_types(self) -> None:
        assert (
            keys_of({"name": 5, "data": {"folds": "x", "patch_size": "x", "spacing": ["a"]}, "loss": {"terms": {"a": 1}}, "trainer": 3})
            == []
        )


class TestBetweenKeys:
    def test_the_fold_must_exist(self) -> None:
        assert keys_of({"data": {"fold": 5, "folds": 5}}) == ["data.fold"]
        assert keys_of({"data": {"fold": 4, "folds": 5}}) == []

    def test_a_split_file_says_itself_how_many_folds_there_are(self) -> None:
        assert keys_of({"data": {"fold": 7, "folds": 5, "split_file": "splits.json"}}) == []

    @pytest.mark.parametrize("patch", [[64], [8, 8, 8, 8], []])
    def test_a_patch_has_two_or_three_axes(self, patch: list[int]) -> None:
        assert keys_of({"data": {"patch_size": patch}}) == ["data.patch_size"]

    def test_spacing_and_window_have_the_axes_of_the_patch(self) -> None:
        values = {"data": {"patch_size": [8, 8, 8], "spacing": [1.0, 1.0]}, "inference": {"window": [8, 8]}}
        assert keys_of(values) == ["data.spacing", "inference.window"]
        assert keys_of({"data": {"patch_size": [8, 8], "spacing": [1.0, 1.0]}, "inference": {"window": [8, 8]}}) == []

    def test_weights_are_not_negative_at_any_time(self) -> None:
        terms = [{"weight": -0.1}, {"weight": 0}, {"weight": {"start": -1, "end": -1, "epochs": 0}}]
        keys = ["loss.terms[0].weight", *(f"loss.terms[2].weight.{key}" for key in ("start", "end", "epochs"))]
        assert keys_of({"loss": {"terms": terms}}) == keys


class TestSampling:
    @pytest.mark.parametrize(
        ("fractions", "keys"),
        [
            ([0.5, 0.5], []),
            ([0.1] * 10, []),
            ([None], []),
            ([0.5, 0.6], ["data.sampling"]),
            ([0.5, None], ["data.sampling"]),
            ([1.5, -0.5], ["data.sampling[0].fraction", "data.sampling[1].fraction"]),
        ],
    )
    def test_the_fractions_are_shares_of_a_whole(self, fractions: list[float | None], keys: list[str]) -> None:
        items = [{"name": "random"} | ({} if share is None else {"fraction": share}) for share in fractions]
        assert keys_of({"data": {"sampling": items}}) == keys

    @pytest.mark.parametrize(("key", "value"), [("probability", 1.1), ("lesions", 0), ("classes", [])])
    def test_copy_paste_has_its_own_ranges(self, key: str, value: object) -> None:
        assert keys_of({"data": {"copy_paste": {key: value}}}) == [f"data.copy_paste.{key}"]
