"""Real data sets, end to end: train, break off, resume, predict, evaluate."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.cli import main
from medseg.config import load_config
from medseg.data.modules import read_dataset
from medseg.training.run import InterruptedRunError, resume, train
from tests.training.test_run import stop_in_epoch

pytestmark = pytest.mark.slow

SETS = {
    "hippocampus": ("Task04_Hippocampus", "imagesTr", "labelsTr", ["data.patch_size=[24,24,24]"]),
    "idrid_microaneurysm": ("idrid_tiles512", "images", "masks", ["data.patch_size=[128,128]"]),
    "openms": ("Dataset501_OpenMS", "imagesTr", "labelsTr", ["data.patch_size=[32,32,32]", "inference.window=[96,96,96]"]),
}
SHORT = ["trainer.max_epochs=2", "data.batch_size=2", "data.patches_per_epoch=4", "validation.every_epochs=2"]


def some_cases(folder: Path, case_of: str, target: Path) -> list[str]:
    """Copy the files of two cases into a folder of their own."""
    names = sorted({path.name.partition(".")[0] for path in folder.iterdir() if not path.name.startswith(".")})
    cases = sorted({name[:-5] if case_of == "openms" else name for name in names})[:2]
    target.mkdir()
    for path in folder.iterdir():
        if any(path.name.startswith((f"{case}.", f"{case}_0")) for case in cases):
            shutil.copy(path, target / path.name)
    return cases


def load_dataset_classes(config: Path) -> tuple[str, ...]:
    return read_dataset(load_config(str(config)).data).labels.classes


@pytest.mark.parametrize("name", SETS)
class TestEndToEnd:
    def test_trains_resumes_predicts_and_evaluates(
        self, name: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, images, labels, overrides = SETS[name]
        config = load_config(
            name,
            [f"data.root={real_data / folder}", f"data.store={tmp_path / 'prepared'}", f"runs_dir={tmp_path / 'runs'}", *SHORT, *overrides],
        )
        with monkeypatch.context() as patch:
            stop_in_epoch(patch, 1)
            with pytest.raises(InterruptedRunError) as caught:
                train(config)
        run = resume(Path(str(caught.value).split("medseg resume ")[1]))
        assert run.finished

        splits = json.loads(run.splits.read_text())
        groups = real_data / folder / "groups.csv"
        if groups.is_file():
            with groups.open(newline="") as file:
                group = {row["case"]: row["group"] for row in csv.DictReader(file)}
            for fold in splits["folds"]:
                assert not {group[case] for case in fold["train"]} & {group[case] for case in fold["val"]}

        cases = some_cases(real_data / folder / images, name, tmp_path / "images")
        predicted = tmp_path / "predicted"
        assert main(["predict", str(run.path), "--input", str(tmp_path / "images"), "--output", str(predicted), "--device", "cpu"]) == 0
        files = sorted(path for path in predicted.iterdir() if path.suffix != ".json")
        assert len(files) == len(cases)
        for path in files:
            reference = real_data / folder / labels / path.name
            if path.name.endswith(".nii.gz"):
                mine, theirs = nib.load(path), nib.load(reference)
                assert mine.shape == theirs.shape
                assert nib.aff2axcodes(mine.affine) == nib.aff2axcodes(theirs.affine)
                np.testing.assert_allclose(mine.affine, theirs.affine, atol=1e-3)
            else:
                with Image.open(path) as mine, Image.open(reference) as theirs:
                    assert mine.size == theirs.size

        references = tmp_path / "references"
        references.mkdir()
        for path in files:
            shutil.copy(real_data / folder / labels / path.name, references / path.name)
        shutil.copy(real_data / folder / "dataset.json", tmp_path / "dataset.json")
        command = ["evaluate", "--pred", str(predicted), "--ref", str(references), "--out", str(tmp_path / "scores")]
        classes = load_dataset_classes(run.config)
        assert main([*command, "--classes", *classes]) == 0
        with (tmp_path / "scores" / "cases.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["case_id"] for row in rows} == set(cases)
        assert {row["class_name"] for row in rows} == set(classes)


class TestCheck:
    @pytest.mark.parametrize("name", SETS)
    def test_finds_no_errors(self, name: str, real_data: Path) -> None:
        assert main(["check", name, f"data.root={real_data / SETS[name][0]}"]) == 0
