"""The house's rules that a machine can check."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "medseg"

SHARED = {"errors", "files"}
MAY_IMPORT = {
    "config": set(),
    "losses": {"config"},
    "networks": {"config"},
    "metrics": set(),
    "html": set(),
    "data": {"config", "html"},
    "inference": {"config", "networks", "data"},
    "evaluation": {"config", "metrics", "data", "html"},
    "training": {"config", "losses", "networks", "data", "metrics", "inference", "evaluation"},
}
LIBRARIES = {
    "config": {"yaml", "omegaconf"},
    "losses": {"torch", "numpy", "scipy", "triton"},
    "metrics": {"torch", "torchmetrics", "numpy", "scipy", "skimage"},
}


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return names | {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}


@pytest.mark.parametrize("folder", MAY_IMPORT)
class TestImportTable:
    def test_rooms_import_only_what_the_table_allows(self, folder: str) -> None:
        rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
        for path in (PACKAGE / folder).rglob("*.py"):
            used = {name.split(".")[1] for name in imports(path) if name.startswith("medseg.")}
            assert used & rooms <= MAY_IMPORT[folder] | {folder}, path
            assert used <= rooms | SHARED, path

    def test_the_light_rooms_use_only_their_libraries(self, folder: str) -> None:
        if folder not in LIBRARIES:
            return
        for path in (PACKAGE / folder).rglob("*.py"):
            tops = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names) - {"medseg", ""}
            assert tops <= LIBRARIES[folder], path


class TestFiles:
    def test_every_room_is_in_the_table(self) -> None:
        assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(MAY_IMPORT)

    def test_files_stay_small(self) -> None:
        lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
        assert max(lengths.values()) <= 400, max(lengths, key=lambda path: lengths[path])

    def test_nothing_unpickles(self) -> None:
        for path in PACKAGE.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "weights_only=False" not in text.replace("save_checkpoint(temporary, weights_only=False)", ""), path
            assert "allow_pickle=True" not in text, path
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                    assert any(keyword.arg == "weights_only" for keyword in node.keywords), path
