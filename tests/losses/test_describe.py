"""What `medseg losses` prints."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

import medseg.losses
from medseg.losses import HEADS, TERMS, WEIGHT_MAPS, LossConfigError, describe
from medseg.losses.describe import listing
from medseg.losses.plot import BOTH, FOUND, INVENTED
from tests.losses.problems import NEED_MORE

OTHERS = [name for registry in ("WEIGHT_MAPS", "HEADS") for name in getattr(medseg.losses, registry, {})]
description = functools.cache(describe.description)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


class TestListing:
    def test_every_term_stands_once_under_its_family(self) -> None:
        text = listing()
        for name, term in TERMS.items():
            assert len(re.findall(rf"^  {name}  ", text, re.MULTILINE)) == 1
            family = (inspect.getmodule(term).__doc__ or "").partition("\n")[0]
            before = text[: text.index(f"\n  {name}  ")]
            heading = before.rpartition("\n\n")[2].partition("\n  ")[0]
            assert " ".join(heading.split()) == family

    def test_limits_of_the_activation_are_told(self) -> None:
        items = re.split(r"\n  (?=\w)", listing())
        for name, term in TERMS.items():
            (item,) = [item for item in items if item.startswith(f"{name}  ")]
            assert (f"[{term.activation} only]" in " ".join(item.split())) == (term.activation is not None)

    def test_the_other_registries_follow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Map:
            """Weighs every voxel alike."""

        monkeypatch.setattr(medseg.losses, "WEIGHT_MAPS", {"flat": Map}, raising=False)
        assert "Weight maps, for loss.weight_map\n  flat  Weighs every voxel alike." in listing()

    @pytest.mark.parametrize("columns", ["60", "80", "120"])
    def test_it_fits_the_terminal(self, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        assert max(map(len, listing().splitlines()[1:])) <= int(columns)


class TestDescription:
    @pytest.mark.parametrize("name", TERMS)
    def test_every_term_has_a_short_first_line_and_all_its_parts(self, name: str) -> None:
        text = description(name)
        assert text.startswith(f"{name}: ")
        assert len((inspect.getdoc(TERMS[name]) or "").partition("\n")[0]) <= 120
        for heading in ("Parameters", "Shape", "Empty foreground", "Precision", "Source", "Plot, with the default parameters"):
            assert text.count(f"\n\n{heading}\n") == 1, heading
        assert not re.search(r"\\[A-Za-z]|\$|>>>", text)

    @pytest.mark.parametrize("name", TERMS)
    def test_every_parameter_has_type_default_and_words(self, name: str) -> None:
        lines = description(name).partition("\n\nParameters\n")[2].partition("\n\n")[0].splitlines()
        parameters = [one for one in inspect.signature(TERMS[name]).parameters.values() if one.kind is one.KEYWORD_ONLY]
        shown = [index for index, line in enumerate(lines) if re.match(r"  \S", line)]
        assert [lines[index].split(":")[0].strip() for index in shown] == ([one.name for one in parameters] or ["none"])
        for index, one in zip(shown, parameters, strict=False):
            types = get_type_hints(TERMS[name].__init__)
            choices = get_args(types[one.name]) if get_origin(types[one.name]) is Literal else ()
            assert (" | ".join(choices) or str(one.annotation)) in lines[index]
            assert lines[index + 1].startswith("      "), "its text"

    @pytest.mark.parametrize("name", TERMS)
    def test_every_term_on_logits_is_plotted_and_the_others_say_why_not(self, name: str) -> None:
        picture = description(name).partition("Plot, with the default parameters\n")[2]
        if name in NEED_MORE:
            assert re.match(r"  none: .*needs ", picture)
        else:
            drawn = picture.partition("+---")[0]
            assert FOUND in drawn or BOTH in drawn
            assert INVENTED in drawn or BOTH in drawn

    @pytest.mark.parametrize("name", OTHERS)
    def test_weight_maps_and_heads_are_explained_too(self, name: str) -> None:
        assert description(name).startswith(f"{name}: ")

    def test_defaults_are_written_as_a_config_writes_them(self) -> None:
        assert "  exponent: float | None = null\n" in description("focal_tversky")

    def test_a_typo_is_answered_with_the_right_name(self) -> None:
        with pytest.raises(LossConfigError, match="there is no loss term, head or weight map 'focal_tvrsky'; did you mean focal_tversky"):
            description("focal_tvrsky")
        with pytest.raises(LossConfigError, match="lists all"):
            description("zzz")

    @pytest.mark.parametrize(
        ("common", "ours"), [("IoU", "jaccard"), ("CELoss", "cross_entropy"), ("SDM", "signed_distance"), ("DiceLoss", "dice")]
    )
    def test_a_common_name_is_answered_with_ours(self, common: str, ours: str) -> None:
        with pytest.raises(LossConfigError, match=re.escape(f"{common!r}; did you mean {ours}?")):
            description(common)

    @pytest.mark.parametrize("name", TERMS)
    def test_what_empty_does_is_told_for_the_terms_that_look_at_it(self, name: str) -> None:
        assert ("Options of loss.empty" in description(name)) == ("empty" in TERMS[name].looks_at)

    @pytest.mark.parametrize("name", [*TERMS, *HEADS, *WEIGHT_MAPS])
    def test_no_name_of_the_source_code_is_shown(self, name: str) -> None:
        assert not re.search(r"`(medseg|powers|term|maps)\.|region_mean", description(name))
