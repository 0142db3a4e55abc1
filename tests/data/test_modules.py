"""From the data section of a config to loaders."""

from __future__ import annotations

import ast
import inspect
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

import medseg.data
from medseg.config.schema import Component, CopyPasteConfig, DataConfig, SamplerConfig
from medseg.data import AUGMENTATIONS, DATA_MODULES, FORMATS, SAMPLERS
from medseg.data.modules import OrganDataModule, SegmentationDataModule, SmallLesionDataModule
from medseg.data.preparation import CaseArrays, PreparedCase, Preparer
from medseg.errors import DataError


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("phantoms")


@pytest.fixture
def config(phantoms: Path) -> DataConfig:
    """Ten tiny pictures with small lesions, three more to test on."""
    return DataConfig(
        format=Component("phantom", {"kind": "lesions_2d", "cases": 10, "test_cases": 3, "size": [40, 40]}),
        patch_size=[16, 16],
        root=str(phantoms),
        store=str(phantoms / "prepared"),
        batch_size=4,
        patches_per_epoch=8,
    )


@pytest.fixture
def config_3d(phantoms: Path) -> DataConfig:
    return DataConfig(
        format=Component("phantom", {"kind": "organs_3d", "cases": 4, "test_cases": 0, "size": [32, 32, 32]}),
        patch_size=[16, 16, 16],
        module="organ",
        root=str(phantoms),
        store=str(phantoms / "prepared"),
        folds=2,
        normalisation="ct",
        patches_per_epoch=4,
    )


def on_rank(data: SegmentationDataModule, rank: int, world_size: int) -> SegmentationDataModule:
    """Pretends that a trainer with several processes holds the module."""
    data.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank,
        world_size=world_size,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        fit_loop=SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=0))),
    )
    return data


class Recorder(LightningModule):
    """Keeps what the trainer hands over."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.trained: list[tuple[int, dict[str, Any]]] = []
        self.validated: list[Any] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.trained.append((self.current_epoch, batch))
        return self.weight.sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: SegmentationDataModule, epochs: int = 2) -> Recorder:
    recorder = Recorder()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(recorder, datamodule=data)
    return recorder


class TestRegistries:
    def test_names_are_those_of_the_design(self) -> None:
        assert set(FORMATS) == {"decathlon", "nnunet", "folders", "cases", "table", "recipe", "phantom"}
        assert set(DATA_MODULES) == {"small_lesion", "organ"}
        assert set(AUGMENTATIONS) == {"nnunet", "light", "none", "ultrasound", "fundus", "dermoscopy", "microscopy", "xray"}
        assert set(SAMPLERS) == {"random", "foreground", "class", "case", "lesion", "hard_case"}

    def test_they_are_literals_that_can_be_read_without_importing(self) -> None:
        tree = ast.parse(Path(inspect.getfile(medseg.data)).read_text(encoding="utf-8"))
        found = {node.target.id: node.value for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
        for name in ("FORMATS", "AUGMENTATIONS", "SAMPLERS", "DATA_MODULES"):
            value = found[name]
            assert isinstance(value, ast.Dict)
            assert all(isinstance(entry, ast.Name) for entry in value.values)

    def test_the_modules_differ_in_what_patches_are_centred_on(self) -> None:
        assert SmallLesionDataModule.centred_on == "lesion"
        assert OrganDataModule.centred_on == "class"


class TestStages:
    def test_stages_are_disjoint_and_complete(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(replace(config, test_fraction=0.2), seed=0)
        train, val, test = (data.case_ids(stage) for stage in ("train", "val", "test"))  # type: ignore[arg-type]
        cases = [case.id for case in (*data.dataset.cases, *data.dataset.test_cases)]
        assert sorted(train + val + test) == sorted(cases)
        assert len(test) == 2 + 3
        assert [case.id for case in data.cases("test")] == test

    def test_unlabelled_test_cases_are_not_scored(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        first, *others = data.dataset.test_cases
        data.dataset = replace(data.dataset, test_cases=(replace(first, label=None), *others))
        assert data.case_ids("test") == [case.id for case in others]

    def test_splits_follow_their_own_seed(self, config: DataConfig) -> None:
        one, same, other = (
            SmallLesionDataModule(replace(config, split_seed=split_seed), seed).case_ids("val")
            for seed, split_seed in ((0, 0), (1, 0), (0, 5))
        )
        assert one == same != other

    def test_written_splits_can_be_given_back(self, config: DataConfig, tmp_path: Path) -> None:
        data = SmallLesionDataModule(replace(config, test_fraction=0.2, fold=1, split_seed=4), seed=0)
        data.write_splits(tmp_path / "splits.json")
        again = SmallLesionDataModule(replace(config, fold=1, split_file=str(tmp_path / "splits.json")), seed=0)
        assert again.splits == data.splits

    def test_a_split_file_of_nnunet_is_read(self, config: DataConfig, tmp_path: Path) -> None:
        names = [case.id for case in SmallLesionDataModule(config, seed=0).dataset.cases]
        (tmp_path / "splits_final.json").write_text(json.dumps([{"train": names[2:], "val": names[:2]}]))
        data = SmallLesionDataModule(replace(config, split_file=str(tmp_path / "splits_final.json")), seed=0)
        assert data.case_ids("val") == names[:2]


class TestLoaders:
    def test_training_batches_have_the_agreed_form(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        data.setup("fit")
        batches = list(data.train_dataloader())
        assert len(batches) == 2
        for batch in batches:
            assert batch["image"].shape == (4, 1, 16, 16)
            assert batch["image"].dtype == torch.float32
            assert batch["label"].shape == (4, 1, 16, 16)
            assert batch["label"].dtype == torch.uint8
            assert set(batch["case"]) <= set(data.case_ids("train"))
            assert torch.isfinite(batch["image"]).all()

    def test_3d_batches_have_the_agreed_form(self, config_3d: DataConfig) -> None:
        data = OrganDataModule(config_3d, seed=0)
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        assert batch["image"].shape == batch["label"].shape == (2, 1, 16, 16, 16)

    def test_every_case_of_a_stage_is_scored_once(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        data.setup("fit")
        data.setup("test")
        for loader, stage in ((data.val_dataloader(), "val"), (data.test_dataloader(), "test")):
            cases = list(loader)
            assert [case.case.id for case in cases] == data.case_ids(stage)  # type: ignore[arg-type]
            assert all(isinstance(case, PreparedCase) and case.reference is not None for case in cases)

    @pytest.mark.parametrize("cache_gib", [0.0, 4.0])
    def test_loader_processes_and_memory_do_not_change_the_data(self, config: DataConfig, cache_gib: float) -> None:
        plain, workers = (
            SmallLesionDataModule(replace(config, **options), seed=0) for options in ({}, {"workers": 1, "cache_gib": cache_gib})
        )
        for data in (plain, workers):
            data.setup("fit")
        for one, two in zip(plain.train_dataloader(), workers.train_dataloader(), strict=True):
            assert one["case"] == two["case"]
            assert torch.equal(one["image"], two["image"])
            assert torch.equal(one["label"], two["label"])
        for one, two in zip(plain.val_dataloader(), workers.val_dataloader(), strict=True):
            np.testing.assert_array_equal(one.image, two.image)

    def test_few_whole_cases_are_read_ahead(self, config: DataConfig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(medseg.data.modules, "CASE_WORKERS", 1)
        data = SmallLesionDataModule(replace(config, workers=2), seed=0)
        data.setup("fit")
        loader = data.val_dataloader()
        assert (loader.num_workers, loader.prefetch_factor) == (1, 1)
        assert data.train_dataloader().num_workers == 2

    def test_the_config_says_what_patches_are_centred_on(self, config: DataConfig) -> None:
        one = {"patch_size": [1, 1], "patches_per_epoch": 40, "batch_size": 1, "augmentation": Component("none")}
        data = SmallLesionDataModule(replace(config, sampling=[SamplerConfig("foreground")], **one), seed=0)
        data.setup("fit")
        assert all(batch["label"].max() == 1 for batch in data.train_dataloader())

    def test_half_of_the_patches_are_centred_on_foreground(self, config: DataConfig) -> None:
        config = replace(config, patch_size=[1, 1], patches_per_epoch=200, batch_size=1, augmentation=Component("none"))
        data = SmallLesionDataModule(config, seed=0)
        data.setup("fit")
        found = sum(int(batch["label"].max()) for batch in data.train_dataloader())
        assert 100 <= found <= 110  # lesions fill less than 2 %

    def test_the_global_batch_is_shared_by_the_ranks(self, config: DataConfig) -> None:
        whole = SmallLesionDataModule(config, seed=0)
        ranks = [on_rank(SmallLesionDataModule(config, seed=0), rank, 2) for rank in range(2)]
        for data in (whole, *ranks):
            data.setup("fit")
        for batch, first, second in zip(whole.train_dataloader(), *(data.train_dataloader() for data in ranks), strict=True):
            assert len(first["image"]) == len(second["image"]) == 2
            assert torch.equal(batch["image"][0::2], first["image"])
            assert torch.equal(batch["image"][1::2], second["image"])

    def test_the_ranks_score_each_case_once(self, config: DataConfig) -> None:
        ranks = [on_rank(SmallLesionDataModule(config, seed=0), rank, 3) for rank in range(3)]
        scored = []
        for data in ranks:
            data.setup("validate")
            scored += [case.case.id for case in data.val_dataloader()]
        assert sorted(scored) == ranks[0].case_ids("val")

    def test_loading_leaves_the_global_generator_alone(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        data.setup("fit")
        state = torch.get_rng_state()
        list(data.train_dataloader())
        list(data.val_dataloader())
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning")  # of Lightning 2.6 under torch 2.14
class TestTrainer:
    @pytest.mark.parametrize("workers", [0, 1])
    def test_each_epoch_has_patches_of_its_own(self, config: DataConfig, workers: int) -> None:
        recorder = fit(SmallLesionDataModule(replace(config, workers=workers), seed=0))
        assert [epoch for epoch, _ in recorder.trained] == [0, 0, 1, 1]
        first, later = recorder.trained[0][1]["image"], recorder.trained[2][1]["image"]
        assert not torch.equal(first, later)

    def test_training_again_gives_the_same_patches(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        first, second = fit(data), fit(SmallLesionDataModule(config, seed=0))
        for (_, one), (_, two) in zip(first.trained, second.trained, strict=True):
            assert torch.equal(one["image"], two["image"])
        third = fit(SmallLesionDataModule(config, seed=1))
        assert not torch.equal(first.trained[0][1]["image"], third.trained[0][1]["image"])

    def test_whole_cases_reach_the_module_as_they_are(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        recorder = fit(data, epochs=1)
        assert [case.case.id for case in recorder.validated] == data.case_ids("val")
        assert all(isinstance(case.image, np.ndarray) for case in recorder.validated)

    def test_cases_are_prepared_once_for_all_folds_and_normalisations(
        self, config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = replace(config, store=str(tmp_path))
        prepared: list[str] = []
        arrays = Preparer.arrays

        def counted(self: Preparer, case: Any, labels: Any) -> CaseArrays:
            prepared.append(case.id)
            return arrays(self, case, labels)

        monkeypatch.setattr(Preparer, "arrays", counted)
        for options in ({}, {"fold": 1}, {"normalisation": "ct"}, {"workers": 1}):
            fit(SmallLesionDataModule(replace(config, **options), seed=0), epochs=1)
        data = SmallLesionDataModule(config, seed=0)
        assert sorted(prepared) == sorted(data.case_ids("train") + data.case_ids("val"))

    @pytest.mark.parametrize("options", [{}, {"copy_paste": CopyPasteConfig(1.0)}])
    def test_the_device_makes_the_same_patches_as_the_loader(self, config: DataConfig, options: dict[str, Any]) -> None:
        here, there = (fit(SmallLesionDataModule(replace(config, augment_on=on, **options), seed=0)) for on in ("worker", "device"))
        for (_, one), (_, two) in zip(here.trained, there.trained, strict=True):
            assert torch.equal(one["label"], two["label"])
            torch.testing.assert_close(one["image"], two["image"], rtol=1e-4, atol=1e-4)

    def test_lesions_are_copied_where_the_config_asks_for_it(self, config: DataConfig) -> None:
        plain, pasted = (
            SmallLesionDataModule(replace(config, copy_paste=options, augmentation=Component("none")), seed=0)
            for options in (None, CopyPasteConfig(1.0))
        )
        for data in (plain, pasted):
            data.setup("fit")
        foreground = [[int((data.patches[n]["label"] > 0).sum()) for n in range(20)] for data in (plain, pasted)]
        assert all(two >= one for one, two in zip(*foreground, strict=True))
        assert sum(foreground[1]) > sum(foreground[0])

    def test_a_resumed_run_goes_on_with_the_patches_of_its_epoch(self, config: DataConfig) -> None:
        data = on_rank(SmallLesionDataModule(replace(config, workers=1), seed=0), 0, 1)
        data.setup("fit")
        data.trainer.fit_loop.epoch_progress.current.processed = 3  # type: ignore[union-attr]
        (first, *_) = data.train_dataloader()
        assert torch.equal(first["image"][0], data.patches[3 * len(data.patches)]["image"])


class TestStatistics:
    def test_ct_measures_the_training_cases_only(self, config_3d: DataConfig) -> None:
        folds = [OrganDataModule(replace(config_3d, fold=fold), seed=0) for fold in range(2)]
        statistics = [data.preparer.statistics for data in folds]
        assert statistics[0] != statistics[1]
        assert folds[0].statistics == statistics[0]

    def test_statistics_of_a_checkpoint_are_not_measured_again(self, config_3d: DataConfig) -> None:
        data = OrganDataModule(config_3d, seed=0)
        given = {"low": [0.0], "high": [1.0], "mean": [0.0], "std": [1.0]}
        data.statistics = given
        data.setup("validate")
        (first, *_) = list(data.val_dataloader())
        assert data.statistics is given
        assert first.image.min() == 0
        assert first.image.max() == 1

    def test_other_normalisations_need_none(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        data.setup("fit")
        assert data.statistics is None


class TestFaults:
    def test_a_missing_root_says_what_to_set(self, config: DataConfig) -> None:
        with pytest.raises(DataError, match=r"data\.root is not set"):
            SmallLesionDataModule(replace(config, format=Component("nnunet"), root=None), seed=0)

    def test_a_root_that_does_not_exist_is_named(self, config: DataConfig, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"nowhere: there is no such folder.*data\.root"):
            SmallLesionDataModule(replace(config, format=Component("nnunet"), root=str(tmp_path / "nowhere")), seed=0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"patch_size": [16, 16, 16]}, r"data\.patch_size.*2-D"),
            ({"spacing": [1.0, 1.0, 1.0]}, r"data\.spacing.*2-D"),
            ({"patches_per_epoch": 3}, r"data\.patches_per_epoch=3.*data\.batch_size=4"),
            ({"fold": 5}, r"data\.fold=5.*5 folds"),
            ({"augmentation": Component("light", {"scale": [2.0, 1.0]})}, r"data\.augmentation\.params: scale"),
        ],
    )
    def test_what_does_not_fit_together_is_refused_at_once(self, config: DataConfig, options: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            SmallLesionDataModule(replace(config, **options), seed=0)

    def test_a_batch_that_the_devices_cannot_share_is_refused(self, config: DataConfig) -> None:
        data = on_rank(SmallLesionDataModule(config, seed=0), 0, 3)
        data.setup("fit")
        with pytest.raises(DataError, match=r"data\.batch_size=4.*3"):
            data.train_dataloader()

    def test_training_without_any_foreground_is_refused(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        empty = next(case for case in data.dataset.cases if not np.any(case.read_label()[0]))
        data.splits.folds[0]["train"] = [empty.id]
        with pytest.raises(DataError, match=r"data\.sampling.*none of the 1 training cases has"):
            data.setup("fit")

    def test_a_stage_without_cases_is_refused(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(config, seed=0)
        data.dataset = replace(data.dataset, test_cases=())
        with pytest.raises(DataError, match=r"no test cases; set data\.test_fraction"):
            data.setup("test")

    def test_a_normalisation_for_each_channel_fits_the_channels(self, config: DataConfig) -> None:
        with pytest.raises(DataError, match=r"data\.normalisation=.*1 names"):
            SmallLesionDataModule(replace(config, normalisation=["zscore", "unit"]), seed=0)
        SmallLesionDataModule(replace(config, normalisation=["unit"]), seed=0)

    def test_what_cannot_augment_on_the_device_is_refused_there(self, config: DataConfig) -> None:
        data = SmallLesionDataModule(replace(config, augmentation=Component("fundus"), augment_on="device"), seed=0)
        data.setup("fit")
        with pytest.raises(DataError, match=r"data\.augment_on=device.*fundus"):
            data.train_dataloader()

    def test_preparing_names_the_first_faults_and_counts_the_rest(self, config: DataConfig, tmp_path: Path) -> None:
        broken = replace(config, root=str(tmp_path), store=str(tmp_path / "prepared"))
        data = SmallLesionDataModule(broken, seed=0)
        for case in data.dataset.cases[:7]:
            case.images[0].write_bytes(b"no picture")
        with pytest.raises(DataError, match=r"7 cases.*medseg check") as caught:
            data.prepare_cases()
        message = str(caught.value)
        assert str(data.dataset.cases[0].images[0]) in message
        assert "... and 2 more" in message

    @pytest.mark.parametrize("module", [SmallLesionDataModule, OrganDataModule])
    def test_a_spacing_that_leaves_no_lesion_is_blamed_and_not_the_labels(
        self, config: DataConfig, module: type[SegmentationDataModule]
    ) -> None:
        data = module(replace(config, spacing=[1000.0, 1000.0]), seed=0)
        with pytest.raises(DataError, match=r"data\.spacing=\[1000\.0, 1000\.0\] leaves none of the [1-9]\d* lesions.*1 x 1 voxels"):
            data.setup("fit")

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("what", ["image", "index", "label of a resampled case"])
    def test_a_loaders_process_tells_of_damage_in_one_line(self, what: str, workers: int, config: DataConfig, tmp_path: Path) -> None:
        spacing = [1.5, 1.5] if what.startswith("label") else None
        own = replace(config, root=str(tmp_path), store=str(tmp_path / "prepared"), workers=workers, cache_gib=0, spacing=spacing)
        data = SmallLesionDataModule(own, seed=0)
        data.setup("fit")
        for path in (tmp_path / "prepared").glob(f"*/cases/*/{'index.bin' if what == 'index' else 'image.b2nd'}"):
            path.write_bytes(b"x" * path.stat().st_size) if spacing is None else None
        for case in data.cases("val") if spacing else ():
            assert isinstance(case.label, Path)
            case.label.write_bytes(b"no picture")
        loader = data.val_dataloader() if spacing else data.train_dataloader()
        with pytest.raises(DataError) as error:
            list(loader)
        assert str(error.value).startswith(str(tmp_path))
        assert "\n" not in str(error.value)

    def test_only_cases_of_the_run_are_prepared(self, config: DataConfig, tmp_path: Path) -> None:
        data = SmallLesionDataModule(replace(config, root=str(tmp_path), store=str(tmp_path / "prepared")), seed=0)
        unused = data.splits.folds[0]["train"].pop()
        next(case for case in data.dataset.cases if case.id == unused).images[0].write_bytes(b"no picture")
        data.prepare_cases()


class TestRealData:
    def test_hippocampi_of_any_scanner_look_alike(self, real_data: Path) -> None:
        config = DataConfig(Component("decathlon"), [16, 16, 16], root=str(real_data / "Task04_Hippocampus"))
        data = OrganDataModule(config, seed=0)
        cases = data.cases("val")
        highest = [case.read_image()[0].max() for case in cases]
        assert max(highest) > 1000 * min(highest)
        for case in cases:
            image = data.preparer.prepare(case, data.dataset.labels).image
            assert abs(image.mean(dtype=np.float64)) < 1e-4
            assert image.std(dtype=np.float64) == pytest.approx(1, abs=1e-4)

    def test_a_scan_in_another_orientation_comes_back_to_its_own_grid(self, real_data: Path) -> None:
        config = DataConfig(Component("nnunet"), [16, 16, 16], root=str(real_data / "Dataset501_OpenMS"), folds=3)
        data = SmallLesionDataModule(config, seed=0)
        prepared = data.preparer.prepare(data.cases("val")[0], data.dataset.labels)
        assert prepared.geometry.orientation != prepared.original.orientation
        assert prepared.label is not None
        restored = data.preparer.restore(torch.from_numpy(prepared.label[None]), prepared)
        np.testing.assert_array_equal(restored[0].numpy(), prepared.reference)

    def test_tiles_of_one_photograph_stay_together(self, real_data: Path) -> None:
        config = DataConfig(Component("folders"), [64, 64], root=str(real_data / "idrid_tiles512"), normalisation="unit")
        data = SmallLesionDataModule(config, seed=0)
        groups = [{case.group for case in data.cases(stage)} for stage in ("train", "val")]  # type: ignore[arg-type]
        assert groups[0]
        assert groups[1]
        assert not groups[0] & groups[1]
        image = data.preparer.prepare(data.cases("train")[0], data.dataset.labels).image
        assert image.shape[0] == data.channels == 3
        assert 0 <= image.min() < image.max() <= 1
