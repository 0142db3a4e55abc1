"""The examples in the docstrings hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import medseg.losses
from medseg.losses import TERMS

MODULES = [
    "medseg.losses",
    *(
        module.name
        for module in pkgutil.walk_packages(medseg.losses.__path__, "medseg.losses.")
        if ".kernels" not in module.name  # which need Triton
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_every_family_has_examples() -> None:
    families = {term.__module__ for term in TERMS.values()}
    assert all(doctest.testmod(importlib.import_module(family)).attempted > 0 for family in families)
