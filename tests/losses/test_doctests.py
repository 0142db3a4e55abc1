"""The examples in the docstrings hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import medseg.losses

MODULES = ["medseg.losses", *(module.name for module in pkgutil.walk_packages(medseg.losses.__path__, "medseg.losses."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_family_has_examples() -> None:
    tried = {name: doctest.testmod(importlib.import_module(name)).attempted for name in MODULES}
    assert all(tried[f"medseg.losses.terms.{family}"] > 0 for family in ("distribution", "region", "compound"))
