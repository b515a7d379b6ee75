"""Images, schedules and keys of one tenant at a real host, as another tenant sees them: not at all.

Instances are in the matrix; these have names of their own, and owners that only a host has.
"""

import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from runtara import messages
from runtara.host import Host, open_host
from runtara.messages import SchedulePlan, StartInstance
from runtara.settings import Settings
from runtara.transport.credentials import KeyRing
from runtara.transport.frames import Hello, Refusal
from tests.requirements import require
from tests.transport.lobby import Guest

if sys.platform != "linux":
    require("linux", "programs are launched as processes of Linux")

CONTENT: Final = b"#!/bin/sh\n"
DIGEST: Final = hashlib.sha256(CONTENT).hexdigest()
PLAN: Final = SchedulePlan(start=StartInstance(program="report", image=True), every_ms=3_600_000, paused=True)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Host, KeyRing]]:
    data = folder / "data"
    settings = Settings(
        data_dir=str(data), database_url="memory://", quic_port=0, env_http_port=0, require_credentials=True
    )
    async with open_host(settings) as host:
        yield host, KeyRing(data / "keys.json")


def meet(host: Host, key: str, tenant_id: str) -> Guest:
    guest = Guest(host.gate, "127.0.0.1")
    guest.greet(Hello(tenant_id=tenant_id, instance_id="manager", credential=key))
    return guest


async def furnish(guest: Guest) -> None:
    """Have a tenant own an image, a schedule, and (by the way) keys."""
    push = messages.PushImage(name="report", kind="executable", digest=DIGEST, size=len(CONTENT))
    await guest.ask(push)
    await guest.ask(messages.WriteImage(digest=DIGEST, offset=0, data=CONTENT))
    pushed = await guest.ask(push)
    assert isinstance(pushed, messages.ImagePushed)
    assert pushed.image is not None
    assert isinstance(await guest.ask(messages.PutSchedule(name="nightly", plan=PLAN)), messages.ScheduleInfo)


def about(name: str, key_id: str) -> list[Any]:
    """Whatever can be asked about a thing by its name."""
    return [
        messages.GetImage(image=name),
        messages.ListImageVersions(image=name),
        messages.ReadImage(image=name),
        messages.UseImageVersion(image=f"{name}@1"),
        messages.DeleteImage(image=name),
        messages.StartInstance(program=name, image=True),
        messages.GetSchedule(name=name),
        messages.PauseSchedule(name=name),
        messages.DeleteSchedule(name=name),
        messages.RotateKey(key_id=key_id),
        messages.RevokeKey(key_id=key_id),
        messages.ReadLog(),
    ]


@pytest.mark.parametrize("name", ["report", "nightly"])
async def test_to_another_tenant_a_thing_looks_like_one_that_does_not_exist(tmp_path: Path, name: str) -> None:
    async with opened(tmp_path) as (host, keys):
        owner = meet(host, keys.add("acme"), "acme")
        await furnish(owner)
        key_id = keys.list()[-1].key_id
        rival = meet(host, keys.add("rival"), "rival")

        theirs = [await rival.ask(command) for command in about(name, key_id)]
        unknown = [await rival.ask(command) for command in about("nothing", "0" * 12)]
        lists = [
            await rival.ask(command)
            for command in (messages.ListImages(), messages.ListSchedules(), messages.ListKeys())
        ]
        kept = [
            await owner.ask(messages.GetImage(image="report")),
            await owner.ask(messages.GetSchedule(name="nightly")),
        ]

    assert [shown(answer, name, key_id) for answer in theirs] == [
        shown(answer, "nothing", "0" * 12) for answer in unknown
    ]
    assert sum(isinstance(answer, Refusal) for answer in theirs) >= 9
    assert lists[0].images == lists[1].schedules == ()
    assert [key.tenant_id for key in lists[2].keys] == ["rival"]
    assert [type(answer) for answer in kept] == [messages.ImageInfo, messages.ScheduleInfo]
    assert keys_left(tmp_path, key_id)


def shown(answer: Any, name: str, key_id: str) -> str:
    """An answer as it looks, but for what it is about and the number of the call."""
    text = f"{answer.code} {answer.message}" if isinstance(answer, Refusal) else repr(answer)
    return text.replace(name, "THING").replace(key_id, "KEY")


def keys_left(folder: Path, key_id: str) -> bool:
    return key_id in {key.key_id for key in KeyRing(folder / "data" / "keys.json").list()}


async def test_whoever_knows_the_digest_of_anothers_image_must_still_have_its_content(tmp_path: Path) -> None:
    async with opened(tmp_path) as (host, keys):
        await furnish(meet(host, keys.add("acme"), "acme"))
        rival = meet(host, keys.add("rival"), "rival")

        begun = await rival.ask(messages.PushImage(name="stolen", kind="executable", digest=DIGEST, size=len(CONTENT)))
        read = await rival.ask(messages.ReadImage(image="stolen"))

    assert (begun.offset, begun.image) == (0, None)
    assert read.code == "not-found"


async def test_an_admin_keeps_the_keys_of_its_tenant_through_the_gate(tmp_path: Path) -> None:
    async with opened(tmp_path) as (host, keys):
        first = host.first_key
        assert first is not None
        admin = meet(host, first.read_text().strip(), "default")

        made = await admin.ask(messages.AddKey(role="read-only", request_id="r"))
        again = await admin.ask(messages.AddKey(role="read-only", request_id="r"))
        reader = meet(host, made.secret, "default")
        looks = await reader.ask(messages.ListInstances())
        forbidden = await reader.ask(messages.AddKey(role="admin"))
        rotated = await admin.ask(messages.RotateKey(key_id=made.key.key_id))
        late = await reader.ask(messages.ListInstances())
        locked = await admin.ask(messages.RevokeKey(key_id=keys.list()[0].key_id))

    assert again == made
    assert isinstance(looks, messages.InstancePage)
    assert (forbidden.code, "read-only" in forbidden.message) == ("forbidden", True)
    assert rotated.key.role == "read-only"
    assert reader.turned_away == "unauthenticated" if late is None else late.code == "unauthenticated"
    assert locked.code == "invalid-state"
