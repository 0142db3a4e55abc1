from __future__ import annotations

from pathlib import Path

import pytest

from medseg.config import ConfigError, find
from medseg.config.find import find_config, shipped_configs

from .conftest import write_all


class TestFindConfig:
    @pytest.mark.parametrize("config", ["focal_tversky", "focal_tversky.yaml", "configs/focal_tversky.yaml", "configs/focal_tversky"])
    def test_takes_a_bare_name_a_file_name_or_a_path(self, configs: Path, config: str) -> None:
        assert find_config(config).resolve() == configs / "focal_tversky.yaml"

    def test_takes_an_absolute_path(self, configs: Path) -> None:
        assert find_config(str(configs / "focal_tversky")) == configs / "focal_tversky.yaml"

    def test_the_working_directory_comes_before_its_configs_folder_and_the_shipped_come_last(
        self, configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_all(tmp_path / "site", {"medseg/_configs/focal_tversky.yaml": "", "medseg/_configs/shipped.yaml": ""})
        monkeypatch.setattr(find, "_PACKAGE", tmp_path / "site" / "medseg")
        assert find_config("shipped") == tmp_path / "site/medseg/_configs/shipped.yaml"
        assert find_config("focal_tversky").resolve() == configs / "focal_tversky.yaml"
        (configs.parent / "focal_tversky.yaml").touch()
        assert find_config("focal_tversky").resolve() == configs.parent / "focal_tversky.yaml"

    def test_a_folder_of_that_name_is_no_config(self, configs: Path) -> None:
        (configs / "loss").mkdir()
        with pytest.raises(ConfigError):
            find_config("loss")

    @pytest.mark.parametrize(
        ("config", "meant"),
        [
            ("focal_tvresky", "focal_tversky"),
            ("focaltversky.yaml", "focal_tversky.yaml"),
            ("configs/focal_tverski.yaml", "configs/focal_tversky.yaml"),
        ],
    )
    def test_a_typo_is_answered_with_what_exists(self, configs: Path, config: str, meant: str) -> None:
        with pytest.raises(ConfigError, match="no such config") as caught:
            find_config(config)
        assert caught.value.problems[0].suggestion == f"did you mean {meant}?"

    @pytest.mark.parametrize("config", ["", ".", "/", "a\0b", "x" * 5000, "~nobody/x"])
    def test_impossible_names_are_ordinary_errors(self, configs: Path, config: str) -> None:
        with pytest.raises(ConfigError):
            find_config(config)


class TestShippedConfigs:
    def test_lie_inside_an_installed_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_all(tmp_path, {"medseg/_configs/x.yaml": "", "configs/of_someone_else.yaml": ""})
        monkeypatch.setattr(find, "_PACKAGE", tmp_path / "medseg")
        assert shipped_configs() == tmp_path / "medseg/_configs"

    def test_lie_beside_the_package_in_a_clone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(find, "_PACKAGE", tmp_path / "medseg")
        assert shipped_configs() == tmp_path / "configs"
