"""Where config files are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from medseg.config.errors import ConfigError, Problem, did_you_mean

_SUFFIXES = (".yaml", ".yml")
_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_configs() -> Path:
    """Folder of the configs shipped with medseg: inside an installed package, beside it in a clone."""
    installed = _PACKAGE / "_configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def find_config(config: str) -> Path:
    """The file that `config` means: a path, a file name or a bare name.

    Tried as given, then in `./configs`, then in the configs shipped with medseg, each with and without `.yaml`.

    Raises:
        ConfigError: There is none; the message names the closest of those that exist.
    """
    shipped = shipped_configs()
    found = find_in(config, [Path(), Path("configs"), shipped])
    if found is None:
        message = f"no such config (looked here, in ./configs and in {shipped})"
        raise ConfigError([Problem(config or "''", "", message, nearest_config(config, Path()))])
    return found


def find_in(config: str, folders: Iterable[Path]) -> Path | None:
    """The first existing file `folder/config`, with or without its suffix; an absolute `config` stands for itself."""
    given = os.path.expanduser(config)
    names = [given] if given.endswith(_SUFFIXES) else [given, *(given + suffix for suffix in _SUFFIXES)]
    return next((folder / name for folder in folders for name in names if os.path.isfile(folder / name)), None)


def nearest_config(config: str, folder: Path) -> str | None:
    """The suggestion for a `config` that does not exist, over the configs there are and the YAML files beside it (seen from `folder`)."""
    beside = Path(os.path.dirname(os.path.expanduser(config)))
    choices = {(beside / path.name).as_posix() for path in _yaml_files(folder / beside, "*")}
    for root in (Path("configs"), shipped_configs()):
        choices |= {path.relative_to(root).as_posix() for path in _yaml_files(root, "**/*")}
    has_suffix = config.endswith(_SUFFIXES)
    return did_you_mean(config, choices if has_suffix else {os.path.splitext(choice)[0] for choice in choices})


def _yaml_files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix in _SUFFIXES)
