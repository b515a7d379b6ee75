"""The log: what a line says, what it never says, and that it is one."""

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import trio

from runtara.clock import SystemClock
from runtara.ids import InstanceKey
from runtara.logs import LOG, ContextFilter, about, about_nothing, known, mask, writing_log
from runtara.messages import SaveCheckpoint
from runtara.transport.credentials import KeyRing, TokenMint

KINDS: tuple[Literal["text", "json"], ...] = ("text", "json")
CANARY = "canary-7f3a"
INSTANT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z ")


def written(log: Callable[[], object], format: Literal["text", "json"] = "text", level: str = "debug") -> str:
    """What comes of logging."""
    stream = io.StringIO()
    with writing_log(format, level, stream):
        log()
    return stream.getvalue()


def line(event: str, /, **fields: object) -> str:
    """What an event becomes for people, without its instant."""
    text = written(lambda: LOG.info(event, extra=fields))
    assert INSTANT.match(text)
    return INSTANT.sub("", text, count=1).removesuffix("\n")


def row(event: str, /, **fields: object) -> dict[str, Any]:
    """What an event becomes for machines."""
    found: dict[str, Any] = json.loads(written(lambda: LOG.info(event, extra=fields), "json"))
    return found


def crash(text: str = "so") -> None:
    try:
        raise ValueError(text)
    except ValueError:
        LOG.exception("crashed", extra={"actor": "root/x"})


# For people -----------------------------------------------------------------------------------------------------------


def test_an_event_is_one_line_with_its_fields_in_order() -> None:
    assert (
        line("launched", tenant_id="t", instance_id="i", epoch=3) == "info launched tenant_id=t instance_id=i epoch=3"
    )


def test_a_field_without_a_value_is_left_out() -> None:
    assert line("ended", exit_code=None, instance_id="i") == "info ended instance_id=i"


def test_what_a_library_attached_for_itself_is_left_out() -> None:
    assert line("ended", _of_a_library=17, instance_id="i") == "info ended instance_id=i"


@pytest.mark.parametrize("value", ["two words", 'a"b', "a=b", "", "line\nbreak", "\x1b[1m", "back\\slash", "\u2028"])
def test_a_value_that_is_no_plain_word_is_quoted(value: str) -> None:
    said = line("x", why=value)

    assert said.isprintable()
    assert json.loads(said.removeprefix("info x why=")) == value


def test_an_instant_comes_first_and_a_traceback_last_set_off_from_the_lines() -> None:
    first, *rest = written(crash).splitlines()

    assert INSTANT.sub("", first) == "error crashed actor=root/x"
    assert rest[0] == "  Traceback (most recent call last):"
    assert rest[-1] == "  ValueError: so"


@pytest.mark.parametrize("breaking", ["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028", "\x1b[2K"])
def test_nobody_can_write_a_line_of_his_own(breaking: str) -> None:
    forged = f"end{breaking}2026-01-01 00:00:00.000Z info forged instance_id=x"

    texts = [
        written(lambda: LOG.warning(forged)),
        written(lambda: LOG.warning("x", extra={"why": forged, "more": [forged], "inside": {forged: forged}})),
        written(lambda: crash(forged)),
    ]

    for text in texts:
        starts = [line for line in text.split("\n") if line and not line.startswith("  ")]
        assert len(starts) == 1
        assert all(one.isprintable() for one in text.split("\n"))


# For machines ---------------------------------------------------------------------------------------------------------


def test_as_json_an_event_is_one_object_with_its_fields() -> None:
    found = row("launched", tenant_id="t", epoch=3, ok=True, part=1.5, nothing=None)

    instant = found.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", instant)
    assert found == {
        "level": "info",
        "logger": "runtara",
        "event": "launched",
        "tenant_id": "t",
        "epoch": 3,
        "ok": True,
        "part": 1.5,
    }


def test_as_json_a_traceback_is_a_field_of_the_same_line() -> None:
    text = written(lambda: crash("a\nb"), "json")

    assert text.count("\n") == 1
    assert json.loads(text)["exception"].endswith("ValueError: a\nb")


def test_no_field_takes_the_place_of_what_every_line_has() -> None:
    found = row("x", level="forged", logger="forged", event="forged", timestamp="forged", exception="forged")

    assert (found["level"], found["logger"], found["event"]) == ("info", "runtara", "x")
    assert found["field_level"] == found["field_timestamp"] == "forged"


def test_what_is_inside_a_value_is_shown_up_to_a_depth_and_a_number() -> None:
    found = row("x", deep=[[[["lost"]]]], many=list(range(100)), key=InstanceKey("t", "i"), path=Path("a/b"))

    assert found["deep"] == [[["..."]]]
    assert len(found["many"]) == 50
    assert (found["key"], found["path"]) == (["t", "i"], "a/b")


# What is never said ---------------------------------------------------------------------------------------------------


def credentials(folder: Path) -> list[str]:
    mint = TokenMint(folder / "secret", SystemClock(), 1_000)
    return [KeyRing(folder / "keys.json").add("acme"), mint.mint(InstanceKey("t", "i"), 3), mint.mint_for_node("n")]


@pytest.mark.parametrize("format", KINDS)
def test_a_credential_is_masked_wherever_it_stands(tmp_path: Path, format: Literal["text", "json"]) -> None:
    for secret in credentials(tmp_path):

        def log(secret: str = secret) -> None:
            LOG.info(f"look: {secret}, at this")
            LOG.info("asked %s", secret)
            LOG.info("x", extra={"why": f"it was '{secret}'", "inside": {"a": [secret], secret: 1}})
            LOG.info("x", extra={"error": ValueError(f"bad credential {secret}")})
            LOG.info("x", extra={"header": f"Authorization: Bearer {secret[4:]}"})
            with about(request_id=secret):
                crash(f"with {secret}")

        text = written(log, format)

        assert secret[4:] not in text
        assert text.count("***") >= 8


@pytest.mark.parametrize("format", KINDS)
@pytest.mark.parametrize("name", ["credential", "token", "Authorization", "cookie", "set_cookie", "password", "secret"])
def test_a_field_that_is_called_secret_is_one(format: Literal["text", "json"], name: str) -> None:
    text = written(lambda: LOG.info("x", extra={name: CANARY, "headers": {name: CANARY}}), format)

    assert CANARY not in text


@pytest.mark.parametrize("format", KINDS)
@pytest.mark.parametrize(
    "value",
    [
        CANARY.encode(),
        bytearray(CANARY.encode()),
        memoryview(CANARY.encode()),
        [CANARY.encode()],
        {"state": CANARY.encode()},
        SaveCheckpoint(checkpoint_id="c", state=CANARY.encode(), request=1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_the_users_is_not_written(format: Literal["text", "json"], value: object) -> None:
    text = written(lambda: LOG.info("x", extra={"what": value}), format)

    assert CANARY not in text
    assert "bytes>" in text or "<SaveCheckpoint>" in text


def test_only_what_looks_like_a_credential_is_masked() -> None:
    assert mask("start_rtk of part_info, sort_kind=3 (artk_9)") == "start_rtk of part_info, sort_kind=3 (artk_9)"


# What a call is about -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", KINDS)
def test_lines_carry_what_the_call_is_about(format: Literal["text", "json"]) -> None:
    def log() -> None:
        with about(request_id="r", tenant_id="t"), about(instance_id="i"):
            logging.getLogger("runtara.runner").info("launched", extra={"instance_id": "own"})
        LOG.info("later")

    first, second = written(log, format).splitlines()

    assert all(word in first for word in ("request_id", "tenant_id", "own"))
    assert "instance_id=i" not in first
    assert "tenant_id" not in second


async def test_each_task_is_about_its_own() -> None:
    seen: dict[str, object] = {}

    async def task(name: str) -> None:
        with about(instance_id=name):
            await trio.lowlevel.checkpoint()
            seen[name] = known()["instance_id"]

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(task, name)

    assert seen == {"a": "a", "b": "b", "c": "c"}
    assert known() == {}


def test_what_is_begun_on_nobodys_behalf_is_about_nothing() -> None:
    with about(instance_id="i"):
        with about_nothing():
            assert known() == {}
        assert known() == {"instance_id": "i"}


def test_a_log_of_somebody_elses_making_can_have_the_fields_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s %(instance_id)s %(epoch)s"))
    handler.addFilter(ContextFilter())
    logger = logging.getLogger("somebody.else")
    logger.addHandler(handler)
    try:
        with about(instance_id="i", epoch=3):
            logger.warning("hello", extra={"epoch": 4})
    finally:
        logger.removeHandler(handler)

    assert stream.getvalue() == "hello i 4\n"


# Setting up -----------------------------------------------------------------------------------------------------------


def test_what_is_below_the_level_is_left_out() -> None:
    def log() -> None:
        LOG.info("ready")
        logging.getLogger("runtara.host").warning("oops")

    assert INSTANT.sub("", written(log, level="warning")) == "warning oops\n"


def test_of_other_libraries_warnings_are_written_alike() -> None:
    def log() -> None:
        logging.getLogger("a.library").info("chatter")
        logging.getLogger("a.library").warning("something\nis wrong")

    assert INSTANT.sub("", written(log)) == 'warning "something\\nis wrong"\n'


def test_it_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with writing_log():
        LOG.info("ready")

    assert capsys.readouterr().err.endswith("info ready\n")


def test_behind_the_block_everything_is_as_it_was() -> None:
    root = logging.getLogger()
    before = LOG.level, LOG.propagate, list(LOG.handlers), list(root.handlers), root.level

    with writing_log("json", "debug"):
        pass

    assert (LOG.level, LOG.propagate, LOG.handlers, root.handlers, root.level) == before


def test_whoever_embeds_a_system_keeps_his_log_and_does_not_load_ours() -> None:
    code = (
        "import logging, sys\nfrom runtara.sdk import embedded\n"
        "with embedded.open(url='memory://') as system: system.sdk('one').__enter__().__exit__(None, None, None)\n"
        "assert 'structlog' not in sys.modules\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('runtara').handlers\n"
        "assert logging.getLogger('runtara').level == logging.NOTSET"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
