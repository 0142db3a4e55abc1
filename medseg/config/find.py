"""Where config files are looked for."""

from __future__ import annotations

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
    folders = [Path(), Path("configs"), shipped_configs()]
    found = find_in(config, folders)
    if found is None:
        message = f"no such config (looked here, in ./configs and in {folders[-1]})"
        raise ConfigError([Problem(config, "", message, nearest_config(config, folders[1:]) or "`ls configs` lists them")])
    return found


def find_in(config: str, folders: Iterable[Path]) -> Path | None:
    """The first existing file `folder/config`, with or without its suffix; an absolute `config` stands for itself."""
    given = Path(config).expanduser()
    names = [given] if given.suffix in _SUFFIXES else [given, *(given.with_name(given.name + suffix) for suffix in _SUFFIXES if given.name)]
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def nearest_config(config: str, folders: Iterable[Path]) -> str | None:
    """The suggestion for a config that does not exist, over the YAML files in `folders` and below."""
    folders = [*folders, Path(config).expanduser().parent]
    below = [path.relative_to(folder) for folder in folders[:-1] for path in folder.rglob("*") if path.suffix in _SUFFIXES]
    beside = [path for path in folders[-1].glob("*") if path.suffix in _SUFFIXES]
    names = [path.as_posix() for path in (*below, *beside)]
    bare = [path.with_suffix("").as_posix() for path in (*below, *beside)]
    return did_you_mean(config, names if Path(config).suffix in _SUFFIXES else bare)
