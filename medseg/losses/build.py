"""From the `loss:` section of a config to a loss; every fault is reported at once."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, get_args, get_type_hints

from medseg.config.errors import Problem, did_you_mean
from medseg.config.heads import idle_head, wrong_head, wrong_name
from medseg.config.losses import idle_balance, idle_settings, ignored_label, meant, wrong_activation
from medseg.config.schema import Component, LossConfig, TermConfig, WeightSchedule
from medseg.losses.errors import LossConfigError
from medseg.losses.outputs import Head
from medseg.losses.setting import Setting
from medseg.losses.term import Term
from medseg.losses.weight_maps import WeightSource
from medseg.losses.weighted import WeightedLoss

_SOURCE = "build_loss"

Made = TypeVar("Made")


def build(
    config: Mapping[str, Any] | LossConfig,
    num_classes: int,
    registry: Mapping[str, type[Term]],
    weight_maps: Mapping[str, type[WeightSource]],
    heads: Mapping[str, Any],
    head_kinds: Mapping[str, type[Head]],
) -> WeightedLoss:
    """Build a loss of entries of the registries of terms, weight maps and heads; see `medseg.losses.build_loss`."""
    builder = _Builder(registry, weight_maps)
    builder.read_heads(heads, head_kinds)
    loss = builder.loss(config, num_classes)
    if loss is None or builder.problems:
        raise LossConfigError(builder.problems)
    return loss


class _Builder:
    """Reads a config, collecting what is wrong with it."""

    def __init__(self, registry: Mapping[str, type[Term]], weight_maps: Mapping[str, type[WeightSource]]) -> None:
        self.registry, self.weight_maps = registry, weight_maps
        self.heads: dict[str, tuple[str | None, Head | None]] = {}
        self.problems: list[Problem] = []

    def problem(self, key: str, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(_SOURCE, key, message, suggestion))

    def loss(self, config: Mapping[str, Any] | LossConfig, num_classes: int) -> WeightedLoss | None:
        section = self.fields(config, LossConfig, "loss")
        setting = self.setting(section, num_classes)
        ignore_index = section.get("ignore_index")
        if ignore_index is not None and (not isinstance(ignore_index, int) or isinstance(ignore_index, bool)):
            self.problem("loss.ignore_index", f"must be an integer or null, got {ignore_index!r}")
        fault = ignored_label(section.get("activation"), ignore_index)
        if fault is not None:
            self.problem("loss.ignore_index", *fault)
        terms = section.get("terms", [])
        if not isinstance(terms, list | tuple) or not terms:
            if "terms" in section:
                self.problem("loss.terms", "must be a list of at least one term")
            terms = []
        self.balance(section, len(terms))
        self.idle_heads(terms)
        self.idle_settings(section, terms)
        built = [self.term(term, setting, f"loss.terms[{index}]") for index, term in enumerate(terms)]
        source = self.weight_map(section.get("weight_map"), setting)
        if setting is None or self.problems:
            return None
        balance = section.get("balance") == "gradient"
        terms = [term for term in built if term is not None]
        return WeightedLoss(terms, setting, ignore_index, balance=balance, weight_source=source)

    def balance(self, section: dict[str, Any], terms: int) -> None:
        every = section.get("share_every", 0)
        if not isinstance(every, int) or isinstance(every, bool) or every < 0:
            self.problem("loss.share_every", f"must be an integer, at least 0, got {every!r}")
        fault = idle_balance(section.get("balance"), section.get("share_every"), terms)
        if fault is not None:
            self.problem("loss.balance", *fault)

    def idle_settings(self, section: dict[str, Any], terms: Sequence[Any]) -> None:
        """Settings without effect, once it is known which terms there are."""
        names = [_of(term, "name") for term in terms]
        if not names or not all(isinstance(name, str) and name in self.registry for name in names):
            return
        for key, fault in idle_settings(section, {key for name in names for key in self.registry[name].looks_at}):
            self.problem(f"loss.{key}", *fault)

    def setting(self, section: dict[str, Any], num_classes: int) -> Setting | None:
        hints = get_type_hints(LossConfig)
        fine = True
        for key in ("activation", "reduce_over", "empty", "balance"):
            choices = get_args(hints[key])
            if key in section and section[key] not in choices:
                near = did_you_mean(str(section[key]), choices)
                self.problem(f"loss.{key}", f"must be {' or '.join(choices)}, got {section[key]!r}", near)
                fine = False
        background = section.get("include_background", False)
        if not isinstance(background, bool):
            self.problem("loss.include_background", f"must be true or false, got {background!r}")
            fine = False
        if section.get("activation") == "softmax" and num_classes < 2:
            self.problem("loss.activation", "softmax over one channel is always 1", "use sigmoid, or two classes")
            fine = False
        if not isinstance(num_classes, int) or num_classes < 1:
            self.problem("num_classes", f"must be a positive integer, got {num_classes!r}")
            fine = False
        if not fine or "activation" not in section:
            return None
        options = {key: section[key] for key in ("include_background", "reduce_over", "empty") if key in section}
        return Setting(num_classes, section["activation"], **options)

    def term(self, config: Any, setting: Setting | None, key: str) -> tuple[str, float | WeightSchedule, Term] | None:
        if not isinstance(config, Mapping | TermConfig):
            self.problem(key, f"must be a mapping with a name, got {config!r}")
            return None
        section = self.fields(config, TermConfig, key)
        weight = self.weight(section.get("weight", 1.0), f"{key}.weight")
        component = self.component(section, self.registry, key, "loss term")
        if setting is None or component is None or weight is None:
            return None
        name, params = component
        fault = wrong_activation(name, self.registry[name].activation, self.registry[name].sibling, setting.activation)
        if fault is not None:
            self.problem(f"{key}.name", *fault)
            return None
        make, given, kinds = self.registry[name], section.get("head"), {head: kind for head, (kind, _) in self.heads.items()}
        fault = wrong_head(name, make.kinds, make.needs_head, given, kinds)
        if fault is not None:
            self.problem(f"{key}.head", *fault)
            return None
        head = None if given is None else self.heads[given][1]
        if given is not None and head is None:  # its own fault is reported
            return None
        term = self.made(partial(make, setting, head) if make.kinds else partial(make, setting), params, key)
        return None if term is None else (name, weight, term)

    def read_heads(self, heads: Mapping[str, Any], registry: Mapping[str, type[Head]]) -> None:
        """Build the heads; one that cannot be built stays, as None, so that its terms are not reported too."""
        for name, config in heads.items():
            key = f"network.heads.{name}"
            fault = wrong_name(name)
            if fault is not None:
                self.problem(key, *fault)
            component = self.component(self.fields(config, Component, key), registry, key, "head")
            head = None if component is None else self.made(partial(registry[component[0]], name), component[1], key)
            self.heads[name] = (None if component is None else component[0], head)

    def idle_heads(self, terms: Sequence[Any]) -> None:
        used = [_of(term, "head") for term in terms]
        for name in self.heads:
            fault = idle_head(name, used)
            if fault is not None:
                self.problem(f"network.heads.{name}", *fault)

    def weight_map(self, config: Any, setting: Setting | None) -> WeightSource | None:
        key = "loss.weight_map"
        if config is None:
            return None
        if not isinstance(config, Mapping | Component):
            self.problem(key, f"must be a mapping with a name, or null, got {config!r}")
            return None
        component = self.component(self.fields(config, Component, key), self.weight_maps, key, "weight map")
        if setting is None or component is None:
            return None
        make: Callable[..., WeightSource] = self.weight_maps[component[0]]
        return self.made(partial(make, setting), component[1], key)

    def component(self, section: dict[str, Any], registry: Mapping[str, Any], key: str, noun: str) -> tuple[str, dict[str, Any]] | None:
        """Name and parameters of a section that names an entry of a registry; None if there is no such entry or it takes others."""
        name, params = section.get("name"), section.get("params") or {}
        if name is None:
            return None
        if name not in registry:
            self.problem(f"{key}.name", f"there is no {noun} {name!r}", meant(str(name), registry) or f"one of {', '.join(registry)}")
            return None
        if not isinstance(params, Mapping):
            self.problem(f"{key}.params", f"must be a mapping, got {params!r}")
            return None
        known = {p.name: p.annotation for p in inspect.signature(registry[name]).parameters.values() if p.kind is p.KEYWORD_ONLY}
        for param, value in params.items():
            if known.get(param) in ("bool", bool) and not isinstance(value, bool):
                self.problem(f"{key}.params.{param}", f"must be true or false, got {value!r}")
        unknown = [param for param in params if param not in known]
        for param in unknown:
            self.problem(
                f"{key}.params.{param}", f"{name} has no such parameter", did_you_mean(str(param), known) or f"it takes {', '.join(known)}"
            )
        return None if unknown else (name, dict(params))

    def made(self, make: Callable[..., Made], params: dict[str, Any], key: str) -> Made | None:
        """A component of checked parameters; None if it refuses their values."""
        try:
            return make(**params)
        except (TypeError, ValueError) as error:
            self.problem(f"{key}.params", str(error))
            return None

    def weight(self, weight: Any, key: str) -> float | WeightSchedule | None:
        if _is_number(weight):
            if 0 <= weight < math.inf:
                return float(weight)
            self.problem(key, f"must be finite and at least 0, got {weight}")
            return None
        if not isinstance(weight, Mapping | WeightSchedule):
            self.problem(key, f"must be a number or a schedule, got {weight!r}")
            return None
        before = len(self.problems)
        section = self.fields(weight, WeightSchedule, key)
        if section.get("schedule", "linear") not in ("linear", "cosine"):
            self.problem(f"{key}.schedule", f"must be linear or cosine, got {section['schedule']!r}")
        for end in ("start", "end"):
            if end in section and not (_is_number(section[end]) and 0 <= section[end] < math.inf):
                self.problem(f"{key}.{end}", f"must be a finite number, at least 0, got {section[end]!r}")
        if "epochs" in section and not (isinstance(section["epochs"], int) and section["epochs"] >= 1):
            self.problem(f"{key}.epochs", f"must be an integer, at least 1, got {section['epochs']!r}")
        return None if len(self.problems) > before else WeightSchedule(**section)

    def fields(self, config: Any, schema: Any, key: str) -> dict[str, Any]:
        """The given fields of a section, checked for unknown and missing ones."""
        if isinstance(config, schema):
            return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        if not isinstance(config, Mapping):
            self.problem(key, f"must be a mapping, got {config!r}")
            return {}
        fields = {field.name: field for field in dataclasses.fields(schema)}
        for name in config:
            if name not in fields:
                self.problem(f"{key}.{name}", "unknown key", did_you_mean(str(name), fields))
        for name, field in fields.items():
            if name not in config and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self.problem(f"{key}.{name}", "is missing")
        return {name: config[name] for name in config if name in fields}


def _of(term: Any, key: str) -> Any:
    """What an item of `loss.terms` says under a key; None if it says nothing, or is no term."""
    return term.get(key) if isinstance(term, Mapping) else getattr(term, key, None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
