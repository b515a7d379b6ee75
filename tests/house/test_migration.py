"""The page for those who come from the Rust SDK is true: the names on the right exist, and so do the defaults."""

import re
from collections.abc import Iterator

import msgspec
import pytest

from runtara import errors, sdk
from tests.house.source import ROOT

PAGE = ROOT / "docs" / "how-to" / "migrate-from-rust.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def names(cell: str) -> list[str]:
    """What a cell has in ticks."""
    return re.findall(r"`([^`]+)`", cell)


def exists(dotted: str) -> bool:
    """Whether a program that imports the SDK has this name."""
    first, *rest = dotted.split(".")
    found = getattr(sdk, first, None) or getattr(errors, first, None)
    for part in rest:
        found = getattr(found, part, None)
    return found is not None


def promised() -> Iterator[str]:
    """Every name that the page says is here."""
    for there, here, _ in [*rows("Names"), *rows("Errors")]:
        assert names(there), f"a row of the page names nothing of the Rust SDK: {here}"
        assert names(here), f"the page has no name for {there}"
        yield from names(here)


@pytest.mark.parametrize("name", sorted(set(promised())))
def test_a_name_of_the_page_is_a_name_of_the_package(name: str) -> None:
    assert exists(name)
    if name.startswith("RuntaraSdk."):
        assert exists(f"Async{name}")


def test_a_name_that_is_not_there_would_be_found_out() -> None:
    assert not exists("RuntaraSdk.checkpiont")
    assert not exists("Checkpoint")


def test_the_variables_have_the_defaults_that_the_page_says() -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(sdk.SdkConfig)}

    said = {names(variable)[0]: here.strip("`") for variable, _, here in rows("Variables")}

    assert said == {name: "required" if fields[name].required else str(fields[name].default).lower() for name in said}
