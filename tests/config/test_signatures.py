from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from medseg.config import signatures
from medseg.config.signatures import REGISTRIES, Registry, SignatureError, names, signature

from .conftest import write_all

TERMS, NETWORKS, FORMATS = REGISTRIES["loss.terms[]"], REGISTRIES["network"], REGISTRIES["data.format"]


def module_type(tmp_path: Path, annotation: str) -> Any:
    """What the annotation of a parameter is read as."""
    path = (
        write_all(tmp_path, {"p/m.py": f"from typing import Literal\nAlias = Literal['a', 'b']\ndef f(*, x: {annotation}): ...\n"})
        / "p/m.py"
    )
    module = signatures._Module(tmp_path, "p.m", path)
    function = module.defined["f"]
    assert isinstance(function, ast.FunctionDef)
    return module.type_of(function.args.kwonlyargs[0].annotation)


@pytest.mark.usefixtures("package")
class TestSignature:
    def test_names_are_the_keys_in_order(self) -> None:
        assert names(TERMS) == ("dice", "focal_tversky", "focal")

    def test_params_are_the_keyword_only_parameters_of_a_class_and_the_house_supplies_the_rest(self) -> None:
        found = signature(TERMS, "focal_tversky")
        assert list(found.params) == ["fn_weight", "fp_weight", "exponent", "smooth"]
        assert found.params["smooth"].annotation is float
        assert found.supplied == ("num_classes",)

    def test_an_inherited_constructor_is_found_through_the_bases(self) -> None:
        assert list(signature(TERMS, "dice").params) == ["smooth", "class_weights"]

    def test_renamed_relative_and_quoted_things_are_understood(self) -> None:
        assert signature(TERMS, "focal").params["alpha"].annotation == float | None
        assert signature(NETWORKS, "segresnet").params["upsample"].annotation == Literal["nearest", "deconv"]

    def test_functions_work_like_classes_and_aliases_are_followed(self) -> None:
        found = signature(NETWORKS, "unet")
        assert found.supplied == ("in_channels", "num_outputs")
        assert found.params["norm"].annotation == Literal["instance", "batch"]

    def test_a_parameter_without_default_is_required(self) -> None:
        params = signature(NETWORKS, "segresnet").params
        assert {name: parameter.required for name, parameter in params.items()} == {"filters": True, "upsample": False}

    def test_a_class_without_constructor_takes_nothing(self) -> None:
        assert signature(FORMATS, "decathlon") == signatures.Signature({}, ())


class TestAttribute:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [("own", "sigmoid"), ("inherited", "sigmoid"), ("none_again", None), ("base", None), ("function", None), ("computed", None)],
    )
    def test_the_text_of_a_class_or_of_its_nearest_base(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str | None
    ) -> None:
        source = """
from torch import nn
class Base(nn.Module):
    activation: str | None = None
class Own(Base):
    activation = "sigmoid"
class Inherited(Own):
    sibling = "other"
class NoneAgain(Own):
    activation = None
class Computed(Base):
    activation = "soft" + "max"
def function(): ...
T = {"own": Own, "inherited": Inherited, "none_again": NoneAgain, "base": Base, "computed": Computed, "function": function}
"""
        write_all(tmp_path, {"p/__init__.py": source})
        monkeypatch.setattr(signatures, "PACKAGES", tmp_path)
        assert signatures.attribute(Registry("p", "T", "thing"), name, "activation") == expected


class TestTypes:
    @pytest.mark.parametrize(
        ("annotation", "expected"),
        [
            ("float", float), ("bool", bool), ("int | None", int | None), ("Optional[int]", int | None),
            ("Literal['a', 2]", Literal["a", 2]),
            ("Sequence[int]", Sequence[int]), ("list[float] | None", list[float] | None),
            ("Mapping[str, int | list[int]]", Mapping[str, int | list[int]]),
            ("tuple[float, float]", tuple[float, float]), ("tuple[int, ...]", tuple[int, ...]), ("'int | str'", int | str), ("Path", str),
            ("Alias", Literal["a", "b"]), ("Alias | None", Literal["a", "b"] | None),
            ("dict[str, Any]", dict[str, Any]), ("typing.Any", Any),
        ],
    )  # fmt: skip
    def test_simple_annotations_become_typing_objects(self, tmp_path: Path, annotation: str, expected: object) -> None:
        assert module_type(tmp_path, annotation) == expected

    @pytest.mark.parametrize("annotation", ["nn.Module", "Callable[[int], int]", "torch.Tensor | None"])
    def test_others_are_a_fault_of_the_code(self, tmp_path: Path, annotation: str) -> None:
        with pytest.raises(SignatureError, match="annotation"):
            module_type(tmp_path, annotation)


class TestFaultsOfTheCode:
    @pytest.mark.parametrize(
        ("source", "says"),
        [
            ("T = dict(a=1)", "not a dict literal"),
            ("", "not a dict literal"),
            ("T = {'a': lambda: 0}", "not `"),
            ("T = {**other}", "not `"),
            ("from torch.nn import Linear\nT = {'a': Linear}", "not defined in the package"),
            ("def f(*, x): ...\nT = {'a': f}", "annotation none"),
            ("f = 3\nT = {'a': f}", "neither a class nor a function"),
        ],
    )
    def test_are_told_by_what_is_wrong(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str) -> None:
        write_all(tmp_path, {"p/__init__.py": source})
        monkeypatch.setattr(signatures, "PACKAGES", tmp_path)
        with pytest.raises(SignatureError, match=says):
            signature(Registry("p", "T", "thing"), "a")

    def test_a_missing_module_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(signatures, "PACKAGES", tmp_path)
        with pytest.raises(SignatureError, match="no module q"):
            names(Registry("q", "T", "thing"))


class TestRealRegistries:
    """The package itself keeps the rules that the parser relies on."""

    @pytest.mark.parametrize("key", REGISTRIES)
    def test_every_entry_has_a_signature(self, key: str) -> None:
        entries = names(REGISTRIES[key])
        assert entries
        for name in entries:
            signature(REGISTRIES[key], name)

    @pytest.mark.parametrize("key", REGISTRIES)
    def test_what_the_source_says_is_what_python_sees(self, key: str) -> None:
        import importlib
        import inspect

        registry = REGISTRIES[key]
        entries = getattr(importlib.import_module(registry.package), registry.variable)
        assert tuple(entries) == names(registry)
        for name, entry in entries.items():
            parameters = inspect.signature(entry).parameters.values()
            keyword_only = {one.name: one.default is one.empty for one in parameters if one.kind is one.KEYWORD_ONLY}
            assert {param: found.required for param, found in signature(registry, name).params.items()} == keyword_only
            assert not any(one.kind is one.VAR_KEYWORD for one in parameters)

    def test_the_attributes_that_the_source_says_are_those_of_the_classes(self) -> None:
        import importlib

        terms = importlib.import_module("medseg.losses").TERMS
        for attribute in ("activation", "sibling"):
            assert {name: signatures.attribute(TERMS, name, attribute) for name in terms} == {
                name: getattr(term, attribute) for name, term in terms.items()
            }
        assert len({signatures.attribute(TERMS, name, "activation") for name in terms}) == 3
