from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from medseg.errors import RunError
from medseg.inference.export import export_run, read_package
from medseg.inference.export.package import CARD, DESCRIPTION, LICENCE, MOST_TEXT, WEIGHTS
from medseg.inference.load import load_predictor, read_run
from tests.inference.runs import LABELS, config, save_run

STEPS = {"thresholds": {"low": 0.3}, "minimum_size": {"high": 4.0}, "largest_component": ["low"], "fill_holes": []}

Members = dict[str, bytes]


class Executes:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return export_run(save_run(tmp_path / "run"), tmp_path / "tiny.medseg", "package", licence="CC-BY-4.0")


def members(package: Path) -> Members:
    with zipfile.ZipFile(package) as file:
        return {name: file.read(name) for name in file.namelist()}


def pack(path: Path, parts: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def described(parts: Members, change: Callable[[dict], object]) -> Members:
    description = json.loads(parts[DESCRIPTION])
    change(description)
    return parts | {DESCRIPTION: json.dumps(description).encode()}


class TestPackage:
    def test_a_run_comes_back_whole(self, tmp_path: Path, package: Path) -> None:
        run, packed = read_run(tmp_path / "run"), read_run(package)
        assert packed.path == package
        assert (packed.channels, packed.labels, packed.suffix) == (run.channels, run.labels, run.suffix)
        assert packed.config.network == run.config.network
        assert packed.weights.keys() == run.weights.keys()
        assert all(torch.equal(packed.weights[name], tensor) for name, tensor in run.weights.items())

    def test_it_predicts_what_the_run_does(self, tmp_path: Path, package: Path) -> None:
        image = torch.randn(1, 1, 8, 8, 8)
        with torch.no_grad():
            assert torch.equal(load_predictor(package, "cpu").network(image), load_predictor(tmp_path / "run", "cpu").network(image))

    def test_post_processing_and_statistics_travel(self, tmp_path: Path) -> None:
        run = save_run(tmp_path / "run", config=config(normalisation="ct"))
        path = run / "checkpoints" / "best.ckpt"
        content = torch.load(path, weights_only=True)
        content["medseg"]["statistics"] = {"low": [0.0], "high": [1.0], "mean": [0.5], "std": [0.25]}
        torch.save(content, path)
        (run / "postprocessing.json").write_text(json.dumps(STEPS))
        packed = read_package(export_run(run, tmp_path / "x.medseg", "package"))
        assert packed.statistics == content["medseg"]["statistics"]
        assert packed.postprocessing is not None
        assert packed.postprocessing.to_dict() == STEPS

    def test_folders_of_the_training_machine_stay_there(self, tmp_path: Path) -> None:
        values = config(root="/home/someone/secret")
        packed = export_run(save_run(tmp_path / "run", config=values), tmp_path / "x.medseg", "package")
        assert all(b"secret" not in content for content in members(packed).values())

    def test_stale_scores_stay_out_of_its_card_and_that_is_said(self, tmp_path: Path) -> None:
        run, text = save_run(tmp_path / "run"), io.StringIO()
        (run / "evaluation").mkdir()
        (run / "evaluation" / "summary.json").write_text(json.dumps({"metrics": {}, "postprocessing": None, "split": "test"}))
        (run / "postprocessing.json").write_text(json.dumps(STEPS))
        packed = export_run(run, tmp_path / "x.medseg", "package", console=Console(file=text))
        assert "Not scored with this post-processing" in members(packed)[CARD].decode()
        assert f"run medseg evaluate {run}" in text.getvalue()

    def test_card_and_licence_are_in_it(self, package: Path) -> None:
        parts = members(package)
        assert parts[LICENCE] == b"CC-BY-4.0\n"
        assert b"CC-BY-4.0" in parts[CARD]

    def test_the_same_run_makes_the_same_file(self, tmp_path: Path, package: Path) -> None:
        again = export_run(tmp_path / "run", tmp_path / "again.medseg", "package", licence="CC-BY-4.0")
        assert again.read_bytes() == package.read_bytes()

    def test_a_package_can_be_packed_again(self, tmp_path: Path, package: Path) -> None:
        again = export_run(package, tmp_path / "again.medseg", "package")
        assert members(again)[WEIGHTS] == members(package)[WEIGHTS]

    def test_heads_are_counted(self, tmp_path: Path, package: Path) -> None:
        parts = described(members(package), lambda d: d.update(heads={"distance": 2}))
        assert read_package(pack(tmp_path / "x", parts)).heads == {"distance": 2}


class TestRefusals:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"gone\.medseg: no such model package"):
            read_package(tmp_path / "gone.medseg")

    @pytest.mark.parametrize("part", [WEIGHTS, CARD, LICENCE])
    def test_a_changed_member_is_found(self, tmp_path: Path, package: Path, part: str) -> None:
        parts = members(package)
        parts[part] = parts[part][:-1] + bytes([parts[part][-1] ^ 1])
        with pytest.raises(RunError, match=f"its {part} is not what was packed"):
            read_package(pack(tmp_path / "x", parts))

    @pytest.mark.parametrize("lost", [300, 20_000])
    def test_a_truncated_one_is_no_checkpoint_either(self, package: Path, lost: int) -> None:
        package.write_bytes(package.read_bytes()[:-lost])
        with pytest.raises(RunError, match=r"tiny\.medseg: .*model package.*copy it again") as caught:
            read_run(package)
        assert "\n" not in str(caught.value)
        assert "PytorchStreamReader" not in str(caught.value)

    def test_a_file_that_is_there_is_replaced_only_where_that_is_asked_for(self, tmp_path: Path, package: Path) -> None:
        package.write_bytes(b"mine")
        with pytest.raises(RunError, match=r"tiny\.medseg: exists already; give another name, or --overwrite"):
            export_run(tmp_path / "run", package, "package")
        with pytest.raises(RunError, match=r"tiny\.medseg: exists already"):
            export_run(tmp_path / "run", tmp_path, "package")
        assert package.read_bytes() == b"mine"
        export_run(tmp_path / "run", package, "package", overwrite=True)
        assert read_run(package).path == package

    def test_a_truncated_file_is_damaged(self, package: Path) -> None:
        package.write_bytes(package.read_bytes()[:-300])
        with pytest.raises(RunError, match=r"tiny\.medseg.*(damaged|truncated)"):
            read_package(package)

    def test_whatever_bit_flips_the_weights_are_those_that_were_packed_or_none(self, tmp_path: Path, package: Path) -> None:
        wanted, content, refused = read_package(package).weights, package.read_bytes(), 0
        for seed in range(80):
            place = int(np.random.default_rng(seed).integers(len(content)))
            (tmp_path / "x").write_bytes(content[:place] + bytes([content[place] ^ 1 << seed % 8]) + content[place + 1 :])
            try:
                found = read_package(tmp_path / "x").weights
            except RunError:
                refused += 1
            else:
                assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())
        assert refused > 60

    @pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "extra.txt", "weights.pt/../../evil"])
    def test_other_members_are_refused(self, tmp_path: Path, package: Path, name: str) -> None:
        with pytest.raises(RunError, match="and nothing else"):
            read_package(pack(tmp_path / "x", members(package) | {name: b"x"}))

    def test_a_member_that_is_missing_or_there_twice_is_refused(self, tmp_path: Path, package: Path) -> None:
        parts = members(package)
        with pytest.raises(RunError, match="must hold"):
            read_package(pack(tmp_path / "x", {name: content for name, content in parts.items() if name != CARD}))
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(package, "a") as file:
            file.writestr(DESCRIPTION, b"{}")
        with pytest.raises(RunError, match="nothing else"):
            read_package(package)

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path, package: Path) -> None:
        bomb = members(package) | {CARD: bytes(MOST_TEXT + 1)}
        path = pack(tmp_path / "x", bomb, zipfile.ZIP_DEFLATED)
        with pytest.raises(RunError, match="compressed"):
            read_package(path)
        with zipfile.ZipFile(tmp_path / "y", "w") as file:
            for name, content in bomb.items():
                file.writestr(name, content, zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED)
        with pytest.raises(RunError, match=f"{CARD} would take"):
            read_package(tmp_path / "y")

    def test_another_compression_is_refused(self, tmp_path: Path, package: Path) -> None:
        with zipfile.ZipFile(tmp_path / "x", "w") as file:
            for name, content in members(package).items():
                file.writestr(name, content, zipfile.ZIP_BZIP2 if name == CARD else zipfile.ZIP_STORED)
        with pytest.raises(RunError, match="method that medseg never uses"):
            read_package(tmp_path / "x")

    def test_a_pickle_is_never_executed(self, tmp_path: Path, package: Path) -> None:
        evil = io.BytesIO()
        torch.save({"weight": Executes(tmp_path / "executed")}, evil)
        parts = members(package) | {WEIGHTS: evil.getvalue()}
        digest = hashlib.sha256(evil.getvalue()).hexdigest()
        parts = described(parts, lambda d: d["sha256"].update({WEIGHTS: digest}))
        with pytest.raises(RunError, match="cannot be loaded safely"):
            read_package(pack(tmp_path / "x", parts))
        assert not (tmp_path / "executed").exists()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda d: d.update(format=2), "format 2"),
            (lambda d: d.pop("labels"), "incomplete.*labels"),
            (lambda d: d.update(suffix="/../x"), "label files cannot end"),
            (lambda d: d["config"]["data"].update(patch_sise=3), "patch_sise"),
            (lambda d: d.update(postprocessing=STEPS | {"fill_holes": ["spleen"]}), "spleen"),
            (lambda d: d.pop("sha256"), "not what was packed"),
        ],
    )
    def test_a_description_that_does_not_fit_is_refused(self, tmp_path: Path, package: Path, change: Callable, message: str) -> None:
        with pytest.raises(RunError, match=message):
            read_package(pack(tmp_path / "x", described(members(package), change)))

    @pytest.mark.parametrize("text", [b"[]", b"{", b"[" * 100_000])
    def test_a_description_that_is_none_is_refused(self, tmp_path: Path, package: Path, text: bytes) -> None:
        with pytest.raises(RunError, match="x: "):
            read_package(pack(tmp_path / "x", members(package) | {DESCRIPTION: text}))


class TestExport:
    def test_a_folder_gets_a_file_named_after_the_run(self, tmp_path: Path) -> None:
        assert export_run(save_run(tmp_path / "run"), tmp_path, "package") == tmp_path / "tiny.medseg"
        assert read_package(tmp_path / "tiny.medseg").labels == LABELS

    def test_another_suffix_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"ends in \.medseg; name it x\.medseg"):
            export_run(save_run(tmp_path / "run"), tmp_path / "x.zip", "package")
