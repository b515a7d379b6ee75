"""Everything that can be set, read from the environment in one place."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from runtara.decoders import convert
from runtara.errors import ConfigError
from runtara.settings._program import ProgramSettings
from runtara.settings._system import Settings
from runtara.settings._values import PREFIX

__all__ = [
    "ProgramSettings",
    "Settings",
    "building_environment",
    "collector_is_named",
    "configuration_folder",
    "inherited_environment",
    "is_given",
    "load_program_settings",
    "load_settings",
]

P = TypeVar("P", bound=ProgramSettings)

_OF_PROGRAMS = {field.encode_name for field in msgspec.structs.fields(ProgramSettings)} | {
    PREFIX + name
    for name in "INPUT_FILE OUTPUT_FILE WORK_DIR LAUNCH_ID HTTP_URL TEST_DATABASE_URL TEST_REQUIRE".split()
}
"""Variables that programs and the test suite read; a system leaves them alone."""

_NETWORK = {"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
"""How an installer gets to the network; proxies are written in small letters too."""

_taken: dict[str, str] = {}
"""The credential that was taken out of the environment, so that the program's own children do not inherit it."""


def load_program_settings(kind: type[P], environment: Mapping[str, str] | None = None, **overrides: object) -> P:
    """Return the settings of a program, of a kind of `ProgramSettings`, from the process's own environment by default.

    `overrides`, by field name, take precedence.

    Other ``RUNTARA_`` names are left alone: they may be those of a newer host. Raises `ConfigError` for a value that
    does not fit, and where there is no instance id.
    """
    if environment is None:
        name = PREFIX + "TOKEN"
        if name in os.environ:
            _taken[name] = os.environ.pop(name)
        environment = os.environ | _taken
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    values: dict[str, object] = {name: environment[name] for name in names.values() if name in environment}
    values |= {names[field]: value for field, value in overrides.items()}
    if not values.get(PREFIX + "INSTANCE_ID"):
        raise ConfigError(f"{PREFIX}INSTANCE_ID is not set: name the instance that this program is")
    try:
        return convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting has an unusable value: {error}") from None


def load_settings(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Return the settings found in `environment` (the process's own by default), with `overrides` by field name.

    Raises `ConfigError` for a value that does not fit, and for a ``RUNTARA_`` name that is not known, with the
    nearest one that is.
    """
    given = os.environ if environment is None else environment
    found = {name: value for name, value in given.items() if name.startswith(PREFIX)}
    names = {field.encode_name: field.name for field in msgspec.structs.fields(Settings)}
    for name in found.keys() - names.keys() - _OF_PROGRAMS:
        raise ConfigError(f"unknown setting {name}{_nearest(name, names)}")
    values: dict[str, object] = {name: value for name, value in found.items() if name in names}
    for field, value in overrides.items():
        name = PREFIX + field.upper()
        if name not in names:
            raise ConfigError(f"unknown setting {field!r}{_nearest(name, names, said=names.__getitem__)}")
        values[name] = value
    try:
        return convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting has an unusable value: {error}") from None


def is_given(field: str, environment: Mapping[str, str] | None = None) -> bool:
    """Return whether `environment` (the process's own by default) says what a setting is."""
    return PREFIX + field.upper() in (os.environ if environment is None else environment)


def inherited_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what launched programs inherit of `environment` (the process's own by default): nothing that is secret."""
    given = os.environ if environment is None else environment
    return {name: given[name] for name in ("PATH", "LANG", "TZ", "HOME") if name in given}


def collector_is_named(environment: Mapping[str, str] | None = None) -> bool:
    """Return whether OpenTelemetry's variables in `environment` (the process's own by default) say where traces go."""
    given = os.environ if environment is None else environment
    return any(given.get(f"OTEL_EXPORTER_OTLP_{name}") for name in ("ENDPOINT", "TRACES_ENDPOINT"))


def configuration_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return where a person keeps what is set for themselves, as `environment` (the process's own by default) says."""
    given = os.environ if environment is None else environment
    base = Path(given.get("XDG_CONFIG_HOME", ""))
    return (base if base.is_absolute() else Path(given.get("HOME", "/")) / ".config") / "runtara"


def building_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what an installer is told of `environment` (the process's own by default).

    That is what launched programs inherit, and where packages come from: the settings of pip, proxies, authorities.
    """
    given = os.environ if environment is None else environment
    told = {name: value for name, value in given.items() if name.startswith("PIP_") or name.upper() in _NETWORK}
    return inherited_environment(given) | told


def _nearest(name: str, names: Mapping[str, str], said: Callable[[str], str] = str) -> str:
    """Return a question after the nearest name, as it is to be `said`."""
    close = difflib.get_close_matches(name.removeprefix(PREFIX), [known.removeprefix(PREFIX) for known in names], n=1)
    return f": did you mean {said(PREFIX + close[0])}?" if close else ""
