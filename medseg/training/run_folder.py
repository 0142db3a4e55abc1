"""The folder that holds everything a run was and made.

runs/<name>/<timestamp>-<id>/
config.yaml          resolved
environment.txt      versions, machine, command
splits.json          who trained, validated, tested
checkpoints/         last.ckpt, best.ckpt
metrics.csv          a row an epoch
tensorboard/         the same, as events
predictions/         label maps of the scored cases
evaluation/          cases.csv, lesions.csv, summary.json
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import RunError
from medseg.files import write_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PACKAGES = ("medseg", "torch", "lightning", "monai", "segmentation-models-pytorch", "albumentations", "torchmetrics", "omegaconf", "numpy")


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @classmethod
    def create(cls, runs_dir: Path, name: str, config_yaml: str, path: Path | None = None) -> RunFolder:
        """Make a new folder (`path` if given), exclusively and with its config: a second run never writes into the first's."""
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = path or runs_dir / name / f"{stamp}-{secrets.token_hex(2)}"
        taken = RunError(f"{folder}: exists already; resume it with `medseg resume {folder}` or remove it")
        if folder.exists():
            raise taken
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            started = cls(Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)))
        except OSError as error:
            raise RunError(f"{folder}: cannot be created ({error.strerror}); set runs_dir to a folder you can write to") from None
        write_text(started.environment, environment_text())
        write_text(started.config, config_yaml)
        started.path.chmod(0o777 & ~_umask())
        try:
            os.rename(started.path, folder)  # fails on a folder that another process filled meanwhile
        except OSError:
            shutil.rmtree(started.path)
            raise taken from None
        return cls(folder)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run by its folder."""
        run = cls(Path(path))
        if not run.path.is_dir():
            raise RunError(f"{path}: no such run folder; runs lie in runs/<name>/<timestamp>-<id>")
        if not run.config.is_file():
            raise RunError(f"{path}: no config.yaml in it, so this is not a run folder; runs lie in runs/<name>/<timestamp>-<id>")
        return run

    @contextlib.contextmanager
    def locked(self, lock: bool = True) -> Iterator[None]:
        """Keep other processes from training into this folder meanwhile (where the system has file locks).

        Raises:
            RunError: One does already.
        """
        if not lock or fcntl is None:
            yield
            return
        with (self.path / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(f"{self.path}: another process is training this run; wait for it, or stop it first") from None
            yield
        (self.path / ".lock").unlink(missing_ok=True)

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, machine and command line."""
        return self.path / "environment.txt"

    @property
    def splits(self) -> Path:
        """Case ids that train, validate and test."""
        return self.path / "splits.json"

    @property
    def last(self) -> Path:
        """Checkpoint to resume from, written after every epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """Checkpoint with the best monitored metric so far."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def metrics(self) -> Path:
        """A row an epoch."""
        return self.path / "metrics.csv"

    @property
    def predictions(self) -> Path:
        """Label maps of the cases that the closing table scores."""
        return self.path / "predictions"

    @property
    def evaluation(self) -> Path:
        """Scores of the closing table."""
        return self.path / "evaluation"

    @property
    def transfer(self) -> Path:
        """What a fine-tune loaded, adapted and skipped."""
        return self.path / "transfer.csv"

    @property
    def finished(self) -> bool:
        """Whether the run got to its closing table, the last thing written."""
        return (self.evaluation / "summary.json").is_file()


def environment_text() -> str:
    """Describe what a run needs to be repeated: command, versions, machine."""
    lines = [
        f"command: {shlex.join(sys.argv)}",
        f"folder: {os.getcwd()}",
        f"python: {platform.python_version()}",
        f"system: {platform.platform()}",
    ]
    revision = _revision()
    lines += [f"git: {revision}"] if revision else []
    lines += [f"cores: {os.cpu_count()}", *(f"{name}: {_version(name)}" for name in PACKAGES)]
    return "\n".join(lines) + "\n"


def _revision() -> str | None:
    """The commit that this code is at, `+` behind it where files differ; None outside a git repository."""
    place = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*place, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, timeout=10, check=True).stdout
        changed = subprocess.run([*place, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("+" if changed.strip() else "")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
