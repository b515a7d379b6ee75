"""One browser for all tests of the console, and a folder for the pictures that they keep."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.chromium import run_chromium

__all__ = ["chromium", "pictures"]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a running browser."""
    with run_chromium(tmp_path_factory.mktemp("chromium")) as address:
        yield address


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots are kept: below ``RUNTARA_TEST_ARTIFACTS``, or else where pytest keeps what it has made."""
    chosen = os.environ.get("RUNTARA_TEST_ARTIFACTS")
    folder = tmp_path_factory.mktemp("pictures") if chosen is None else Path(chosen) / "console"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
