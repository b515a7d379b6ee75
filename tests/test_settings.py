from pathlib import Path
from typing import get_type_hints

import msgspec
import pytest

from runtara.errors import ConfigError
from runtara.records import Network
from runtara.settings import (
    Settings,
    building_environment,
    configuration_folder,
    inherited_environment,
    is_given,
    load_settings,
)


def test_an_empty_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_READERS", "7")

    assert load_settings({}) == Settings()


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTARA_READERS", "7")

    assert load_settings().readers == 7


def test_what_the_caller_gives_wins_over_the_environment() -> None:
    assert load_settings({"RUNTARA_READERS": "7"}, readers=3).readers == 3


@pytest.mark.parametrize("name", ["RUNTARA_READRES", "RUNTARA_READER"])
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting {name}: did you mean RUNTARA_READERS"):
        load_settings({name: "1"})


def test_an_unknown_name_from_the_caller_is_refused_too() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'reader': did you mean readers\?"):
        load_settings({}, reader=1)


@pytest.mark.parametrize("value", ["0", "-1", "two", "", "1.5"])
def test_an_unusable_value_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match="RUNTARA_READERS"):
        load_settings({"RUNTARA_READERS": value})


def test_names_of_others_are_left_alone() -> None:
    assert load_settings({"RUNTARA_INSTANCE_ID": "a", "PATH": "/bin", "READERS": "7"}) == Settings()


def test_instances_are_kept_in_the_data_folder_unless_said_otherwise() -> None:
    assert load_settings({"RUNTARA_DATA_DIR": "data"}).store_url == "sqlite:///data/runtara.db"
    assert load_settings({"RUNTARA_DATABASE_URL": "memory://"}).store_url == "memory://"


def test_launched_programs_inherit_little_and_nothing_secret() -> None:
    given = {"PATH": "/bin", "HOME": "/home", "TZ": "UTC", "LD_PRELOAD": "x", "RUNTARA_TOKEN": "x", "AWS_SECRET": "x"}

    assert inherited_environment(given) == {"PATH": "/bin", "HOME": "/home", "TZ": "UTC"}


def test_what_a_person_sets_lies_where_the_environment_says() -> None:
    assert configuration_folder({"XDG_CONFIG_HOME": "/etc/me", "HOME": "/people/me"}) == Path("/etc/me/runtara")
    for unusable in ({}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "relative"}):
        assert configuration_folder({"HOME": "/people/me"} | unusable) == Path("/people/me/.config/runtara")


def test_it_is_known_what_was_given() -> None:
    assert is_given("server_addr", {"RUNTARA_SERVER_ADDR": ""})
    assert not is_given("server_addr", {"SERVER_ADDR": "a:1"})


def test_every_setting_has_a_default() -> None:
    assert not [field.name for field in msgspec.structs.fields(Settings) if field.required]


def test_an_installer_is_told_where_packages_come_from_and_no_secret() -> None:
    told = {
        "PATH": "/bin",
        "PIP_INDEX_URL": "https://packages",
        "https_proxy": "http://proxy",
        "SSL_CERT_FILE": "ca.pem",
    }

    assert building_environment(told | {"RUNTARA_TOKEN": "secret", "AWS_SECRET_ACCESS_KEY": "secret"}) == told


def test_the_networks_of_containers_are_those_that_an_image_may_ask_for() -> None:
    assert get_type_hints(Settings)["container_network"] == Network
