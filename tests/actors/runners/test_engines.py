"""The settings name the engine; what each is made of comes from them."""

from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from runtara.actors.runners.engines import ENGINES, open_engine
from runtara.actors.runners.kubernetes import KubernetesEngine
from runtara.actors.runners.native import NativeEngine
from runtara.actors.runners.ray import RayEngine
from runtara.errors import ConfigError
from runtara.settings import Settings, load_settings


def test_there_is_an_engine_for_every_value_of_the_setting() -> None:
    assert ENGINES.keys() == set(get_args(get_type_hints(Settings)["runner"]))


def test_programs_are_processes_unless_something_else_was_said(tmp_path: Path) -> None:
    assert isinstance(open_engine(Settings(data_dir=str(tmp_path)), "node-1"), NativeEngine)


def test_a_setting_has_programs_run_on_ray(tmp_path: Path) -> None:
    settings = load_settings({"RUNTARA_RUNNER": "ray", "RUNTARA_RAY_ADDRESS": "127.0.0.1:6379"})

    assert isinstance(open_engine(settings, "node-1"), RayEngine)


def test_a_setting_has_programs_run_as_jobs(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\n"
        "clusters: [{name: here, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "users: [{name: me, user: {}}]\ncontexts: [{name: here, context: {cluster: here, user: me}}]\n"
    )
    settings = load_settings({"RUNTARA_RUNNER": "kubernetes", "RUNTARA_KUBERNETES_CONFIG_FILE": str(config)})

    assert isinstance(open_engine(settings, "node-1"), KubernetesEngine)


def test_a_node_whose_name_cannot_be_a_label_is_told_so(tmp_path: Path) -> None:
    settings = load_settings({"RUNTARA_RUNNER": "kubernetes", "RUNTARA_KUBERNETES_CONFIG_FILE": "/nowhere"})

    with pytest.raises(ConfigError, match="label"):
        open_engine(settings, "node:1")


def test_an_engine_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="unusable"):
        load_settings({"RUNTARA_RUNNER": "docker"})
