"""What each registered component takes, read from its source without importing it (importing would load torch).

A registry is a dict literal in a folder's `__init__.py`, its values names that are imported there. The keyword-only parameters of the
class's `__init__` (found through its bases) or of the function are the component's `params`; the house supplies the others.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Optional, Union

PACKAGES = Path(__file__).resolve().parents[2]
"""The folder that holds the package `medseg`."""


@dataclass(frozen=True)
class Registry:
    """Where a registry stands, and what messages call its entries."""

    package: str
    variable: str
    noun: str


REGISTRIES = {
    "loss.terms[]": Registry("medseg.losses", "TERMS", "loss term"),
    "loss.weight_map": Registry("medseg.losses", "WEIGHT_MAPS", "weight map"),
    "network.heads.*": Registry("medseg.losses", "HEADS", "head"),
    "network": Registry("medseg.networks", "NETWORKS", "network"),
    "data.format": Registry("medseg.data", "FORMATS", "data format"),
    "data.sampling[]": Registry("medseg.data", "SAMPLERS", "sampler"),
    "data.augmentation": Registry("medseg.data", "AUGMENTATIONS", "augmentation"),
    "optimizer": Registry("medseg.training", "OPTIMIZERS", "optimizer"),
    "schedule": Registry("medseg.training", "SCHEDULES", "schedule"),
}
"""Key of a config (`[]` for any item of a list, `*` for any key of a section) -> the registry that its `name` is a key of."""


@dataclass(frozen=True)
class Parameter:
    """A keyword-only parameter: its type as a typing object and whether it must be given."""

    annotation: Any
    required: bool


@dataclass(frozen=True)
class Signature:
    """What a component takes from a config (`params`) and what medseg supplies itself (`supplied`)."""

    params: dict[str, Parameter]
    supplied: tuple[str, ...]


class SignatureError(Exception):
    """A registry or a constructor is not written as the rules above ask: a fault of medseg, not of a config."""


def names(registry: Registry) -> tuple[str, ...]:
    """The keys of a registry, in its order."""
    return tuple(_entries(PACKAGES, registry))


def keys(module: str, variable: str) -> tuple[str, ...]:
    """The keys of a dict literal that a module assigns, whatever its values are.

    Raises:
        SignatureError: There is no such dict literal with text keys.
    """
    value = _module(PACKAGES, module).assigned.get(variable)
    if not isinstance(value, ast.Dict) or not all(isinstance(key, ast.Constant) for key in value.keys):
        raise SignatureError(f"{module}.{variable} is not a dict literal with text keys")
    return tuple(str(ast.literal_eval(key)) for key in value.keys if key is not None)


def signature(registry: Registry, name: str) -> Signature:
    """The signature of a registry's entry."""
    return _signature(PACKAGES, registry, name)


def attribute(registry: Registry, name: str, attribute: str) -> Any:
    """The literal that a registered class, or the nearest base that says something of it, assigns to a class attribute; None otherwise."""
    value = _attribute(*_definition(PACKAGES, registry, name), attribute)
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:  # an expression
        return None


def _definition(packages: Path, registry: Registry, name: str) -> tuple[_Module, ast.AST]:
    found = _module(packages, registry.package).definition(_entries(packages, registry)[name])
    if found is None:
        raise SignatureError(f"{registry.package}.{registry.variable}[{name!r}] is not defined in the package")
    return found


@functools.cache
def _signature(packages: Path, registry: Registry, name: str) -> Signature:
    constructor = _constructor(*_definition(packages, registry, name))
    if constructor is None:
        return Signature({}, ())
    module, function = constructor
    arguments = function.args
    params = {
        argument.arg: Parameter(module.type_of(argument.annotation), default is None)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }
    positional = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    return Signature(params, tuple(name for name in positional if name not in ("self", "cls")))


@functools.cache
def _entries(packages: Path, registry: Registry) -> dict[str, str]:
    """Config name -> name of the class or function in the registry's module."""
    value = _module(packages, registry.package).assigned.get(registry.variable)
    if not isinstance(value, ast.Dict):
        raise SignatureError(f"{registry.package}.{registry.variable} is not a dict literal")
    entries = {}
    for key, entry in zip(value.keys, value.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str) and isinstance(entry, ast.Name)):
            raise SignatureError(f'{registry.package}.{registry.variable} has an entry that is not `"name": imported_name`')
        entries[key.value] = entry.id
    return entries


def _constructor(module: _Module, definition: ast.AST) -> tuple[_Module, ast.FunctionDef] | None:
    """The function itself, or the `__init__` that a class has or inherits within the package; None when it takes nothing."""
    if isinstance(definition, ast.FunctionDef):
        return module, definition
    if not isinstance(definition, ast.ClassDef):
        raise SignatureError(f"{module.name}: neither a class nor a function")
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return module, statement
    for base in _bases(module, definition):
        constructor = _constructor(*base)
        if constructor:
            return constructor
    return None


def _attribute(module: _Module, definition: ast.AST, name: str) -> ast.expr | None:
    """What a class, or a base of it within the package, assigns to a class attribute."""
    if not isinstance(definition, ast.ClassDef):
        return None
    assigned = _assignments(definition.body)
    if name in assigned:
        return assigned[name]
    return next((value for base in _bases(module, definition) if (value := _attribute(*base, name)) is not None), None)


def _assignments(body: Sequence[ast.stmt]) -> dict[str, ast.expr]:
    """Plain assignments to single names, the last of each."""
    assigned = {}
    for statement in body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            assigned.update({target.id: statement.value for target in targets if isinstance(target, ast.Name)})
    return assigned


def _bases(module: _Module, definition: ast.ClassDef) -> list[tuple[_Module, ast.AST]]:
    """The bases that lie within the package: `nn.Module` does not."""
    bases = [base.value if isinstance(base, ast.Subscript) else base for base in definition.bases]
    found = [module.definition(base.id) for base in bases if isinstance(base, ast.Name)]
    return [base for base in found if base is not None]


@functools.cache
def _module(packages: Path, name: str) -> _Module:
    base = packages.joinpath(*name.split("."))
    path = next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
    if path is None:
        raise SignatureError(f"there is no module {name}")
    return _Module(packages, name, path)


_PLAIN: dict[str, Any] = {
    "float": float, "int": int, "bool": bool, "str": str, "None": None, "Any": Any, "Path": str, "list": list, "dict": dict,
}  # fmt: skip
_GENERIC: dict[str, Any] = {
    "list": list, "List": list, "Sequence": Sequence, "Iterable": Sequence, "tuple": tuple, "Tuple": tuple,
    "dict": dict, "Dict": dict, "Mapping": Mapping, "Literal": Literal, "Optional": Optional, "Union": Union,
}  # fmt: skip


class _Module:
    """The parsed source of a module: what it imports, defines and assigns at its top level."""

    def __init__(self, packages: Path, name: str, path: Path) -> None:
        self.packages = packages
        self.name = name
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        self.imported: dict[str, tuple[str, str]] = {}
        self.defined: dict[str, ast.AST] = {}
        body = ast.parse(path.read_text(encoding="utf-8")).body
        self.assigned = _assignments(body)
        for statement in body:
            if isinstance(statement, ast.ImportFrom):
                above = package[: len(package) - statement.level + 1] if statement.level else []
                source = ".".join([*above, *([statement.module] if statement.module else [])])
                self.imported.update({alias.asname or alias.name: (source, alias.name) for alias in statement.names})
            elif isinstance(statement, ast.ClassDef | ast.FunctionDef):
                self.defined[statement.name] = statement

    def definition(self, name: str) -> tuple[_Module, ast.AST] | None:
        """Where `name` is defined or assigned, through imports within the package; None when it comes from outside."""
        if name in self.defined:
            return self, self.defined[name]
        if name in self.assigned:
            return self, self.assigned[name]
        source, original = self.imported.get(name, ("", ""))
        if source.split(".")[0] != self.name.split(".")[0]:
            return None
        return _module(self.packages, source).definition(original)

    def type_of(self, annotation: ast.expr | None) -> Any:
        """The typing object that a simple annotation stands for.

        Raises:
            SignatureError: The annotation is missing or not a simple one.
        """
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        if isinstance(annotation, ast.Constant) and annotation.value is None:
            return None
        if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
            return Union[self.type_of(annotation.left), self.type_of(annotation.right)]  # noqa: UP007 - built at run time
        if isinstance(annotation, ast.Subscript):
            return self._generic(annotation)
        name = annotation.attr if isinstance(annotation, ast.Attribute) else annotation.id if isinstance(annotation, ast.Name) else ""
        if name in _PLAIN:
            return _PLAIN[name]
        if name in _GENERIC:
            return _GENERIC[name]
        found = self.definition(name)
        if found and isinstance(found[1], ast.expr):  # an alias such as `Axis = Literal["x", "y"]`
            return found[0].type_of(found[1])
        text = ast.unparse(annotation) if annotation else "none"
        raise SignatureError(f"{self.name}: a parameter of a component has the annotation {text}, which is not a simple type")

    def _generic(self, annotation: ast.Subscript) -> Any:
        name = annotation.value.attr if isinstance(annotation.value, ast.Attribute) else getattr(annotation.value, "id", "")
        items = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if name == "Literal":
            return Literal[tuple(ast.literal_eval(item) for item in items)]
        if name not in _GENERIC:
            raise SignatureError(
                f"{self.name}: a parameter of a component has the annotation {ast.unparse(annotation)}, which is not simple"
            )
        types = tuple(... if isinstance(item, ast.Constant) and item.value is ... else self.type_of(item) for item in items)
        return _GENERIC[name][types if len(types) > 1 else types[0]]
