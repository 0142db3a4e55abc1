"""Known public data sets, each described in a file: where it is had, its terms, and how its tree is read."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from medseg.config.check import check
from medseg.config.errors import Problem, did_you_mean
from medseg.config.find import find_in, shipped_configs
from medseg.config.read import read_file, shown_path
from medseg.config.signatures import REGISTRIES, names, signature
from medseg.config.suggest import with_list
from medseg.config.tree import Node, plain
from medseg.data.case import Case, DataSet
from medseg.errors import DataError

_TEXTS = ("title", "home", "licence", "cite")
_KEYS = (*_TEXTS, "layout", "params", "notes")
_NO_LAYOUTS = ("recipe", "phantom")


class Recipe:
    """A data set that medseg knows: `configs/recipes/<name>.yaml` says which layout and parameters read it.

    A recipe holds `title`, `home` (where the data are had), `licence`, `cite`, `layout` (another data format), `params` (its parameters)
    and perhaps `notes`.

    Args:
        name: A shipped recipe, or the path of a .yaml file.
        classes: The classes to segment, in place of the recipe's.
        groups: CSV file with columns case,group, or a regular expression on ids whose first bracket is the patient, in place of the
            recipe's rule.
        channels: The channels to use, in this order, of those that the recipe names one by one. None: all.
    """

    def __init__(
        self, *, name: str, classes: list[str] | None = None, groups: str | None = None, channels: list[str] | None = None
    ) -> None:
        self._path = find_recipe(name)
        chosen = {"classes": classes, "groups": groups, "channels": channels}
        layout, params = _load(self._path, {key: value for key, value in chosen.items() if value is not None})
        from medseg.data import FORMATS  # here, since the registries' module imports this one

        try:
            self._layout = FORMATS[layout](**params)
        except DataError as error:
            raise DataError(f"recipe {shown_path(self._path)}: {error}") from error

    def read(self, root: Path) -> DataSet:
        """Read the data set as the recipe says; it takes the recipe's name.

        Raises:
            DataError: When the folder does not hold the data set in its known layout.
        """
        dataset: DataSet = self._delegate(self._layout.read, root)
        return replace(dataset, name=self._path.stem)

    def find(self, folder: Path, channels: int) -> tuple[Case, ...]:
        """List the images of a folder as cases without labels, as the recipe's layout does."""
        cases: tuple[Case, ...] = self._delegate(self._layout.find, folder, channels)
        return cases

    def _delegate(self, method: Any, *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except DataError as error:
            raise DataError(f"{error} [recipe {shown_path(self._path)}]") from error


def unfolded(section: dict[str, Any]) -> dict[str, Any]:
    """The layout that a recipe stands for, as a `data.format` section that needs no recipe; any other section as it is.

    A run keeps this, so that it predicts the same where its recipe's file is not, or has changed.

    Raises:
        DataError: When the recipe cannot be read.
    """
    if section["name"] != "recipe":
        return section
    chosen = {key: value for key, value in section["params"].items() if key != "name" and value is not None}
    layout, params = _load(find_recipe(section["params"]["name"]), chosen)
    return {"name": layout, "params": params}


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path that ends in .yaml, or the name of a shipped one.

    Raises:
        DataError: There is none; the message names the closest.
    """
    folder = shipped_configs() / "recipes"
    is_path = name.endswith((".yaml", ".yml")) or os.sep in name or "/" in name
    found = find_in(name, [Path()] if is_path else [folder]) if name else None
    if found is not None:
        return found
    if is_path:
        raise DataError(f"data.format.params.name: {name} does not exist; give a shipped recipe's name or the path of a .yaml file")
    shipped = sorted(path.stem for path in folder.glob("*.yaml"))
    suggestion = with_list(did_you_mean(name, shipped), "there are", shipped)
    raise DataError(f"data.format.params.name: there is no recipe '{name}'; {suggestion}")


def _load(path: Path, chosen: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The layout of a recipe and its parameters, checked, with what the config chose laid over them."""
    problems: list[Problem] = []
    root = read_file(path, problems)
    problems += _faults(root)
    if problems:
        raise DataError("\n".join(map(str, problems)))
    layout, params = str(root.value["layout"].value), plain(root.value["params"])
    known = signature(REGISTRIES["data.format"], layout).params
    for key in chosen:
        if key not in known:
            raise DataError(f"data.format.params.{key}: recipe {path.stem} reads the layout '{layout}', which takes no {key}; remove it")
    if "channels" in chosen and layout == "cases" and not isinstance(params["images"], dict):
        raise DataError(f"data.format.params.channels: recipe {path.stem} has all channels in one file, none can be chosen; remove it")
    return layout, params | chosen


def _faults(root: Node) -> list[Problem]:
    """What is wrong with a recipe's keys, and with its parameters by the signature of its layout."""
    values: dict[str, Node] = root.value
    problems = [
        Problem(child.origin, key, "unknown key", with_list(did_you_mean(key, _KEYS), "it takes", _KEYS))
        for key, child in values.items()
        if key not in _KEYS
    ]
    for key in _KEYS:
        if key not in values:
            if key != "notes":
                problems.append(Problem(root.origin, key, "missing", f"a recipe has {', '.join(_KEYS)}"))
        elif key == "params" and not values[key].is_section:
            problems.append(Problem(values[key].origin, key, "must be a section of keys", "give the layout's parameters"))
        elif key != "params" and not (isinstance(values[key].value, str) and values[key].value.strip()):
            problems.append(Problem(values[key].origin, key, "must be text", "write it in quotes"))
    if problems:
        return problems
    layouts = [name for name in names(REGISTRIES["data.format"]) if name not in _NO_LAYOUTS]
    layout = values["layout"]
    if layout.value not in layouts:
        suggestion = with_list(did_you_mean(layout.value, layouts), "there are", layouts)
        return [Problem(layout.origin, "layout", f"unknown layout {layout.value!r}", suggestion)]
    component = Node({"name": layout, "params": values["params"]}, root.origin)
    config = Node({"data": Node({"format": component}, root.origin)}, root.origin)
    problems = [replace(problem, key=problem.key.removeprefix("data.format.")) for problem in check(config, partial=True)]
    for key, parameter in signature(REGISTRIES["data.format"], layout.value).params.items():
        if parameter.required and key not in values["params"].value:
            problems.append(Problem(values["params"].origin, f"params.{key}", f"missing parameter of {layout.value}", "add it"))
    return problems
