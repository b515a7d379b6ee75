"""`runtara doctor`: whether this machine, these settings and this data folder are fit for a server."""

import sys
from typing import Final

import click
import msgspec

from runtara.cli._findings import FINDINGS, Finding, State
from runtara.cli._findings_of_machine import MACHINE
from runtara.cli._findings_of_server import SERVER, Scene
from runtara.cli._reach import Reach, client_options, load_given
from runtara.cli._tables import json_option, print_json, print_rows
from runtara.errors import ConfigError
from runtara.settings import Settings

__all__ = ["doctor"]

_CHECKED_FIRST: Final = "settings"


@click.command()
@json_option
@client_options
def doctor(reach: Reach, as_json: bool) -> None:
    """Look at everything that a server needs, and say what to do where something is wrong.

    The exit code is 1 if anything fails. Nothing is changed.
    """
    findings = _examine(reach)
    if as_json:
        print_json(findings)
    else:
        print_rows(FINDINGS, findings)
    if any(finding.state is State.FAIL for finding in findings):
        sys.exit(1)


def _examine(reach: Reach) -> list[Finding]:
    try:
        settings = load_given(data_dir=reach.where.data_dir)
    except ConfigError as error:
        found = Finding(_CHECKED_FIRST, State.FAIL, str(error), "the checks below take the default settings")
        settings = Settings()
    else:
        found = _settings(settings)
    scene = Scene(settings, reach)
    return [found, *(check(settings) for check in MACHINE), *(check(scene) for check in SERVER)]


def _settings(settings: Settings) -> Finding:
    """Name the settings that are not as they are by default; their values may hold a password."""
    other = [
        field.encode_name
        for field in msgspec.structs.fields(Settings)
        if getattr(settings, field.name) != getattr(Settings(), field.name)
    ]
    said = f"from the environment or options: {', '.join(other)}" if other else "all as they are by default"
    return Finding(_CHECKED_FIRST, State.OK, said)
