"""Nothing secret is written down or said to the wrong one: canaries are hidden in a session, and looked for everywhere.

Each door has the same session, with successes and with failures of many kinds. Keys and tokens must not turn up at all
but where they were asked for; what programs keep, only in the answers whose purpose it is.
"""

import base64
import logging
from pathlib import Path
from typing import Any, Final

import pytest

from runtara import messages
from runtara.ids import InstanceKey
from runtara.store import open_store
from runtara.transport.frames import OnBehalf
from tests.actors.stage import WatchedStore
from tests.identity.doors import DOORS, REPLY, Answer, DoorRow, Visitor
from tests.transport.lobby import Lobby, open_lobby

PAYLOAD: Final = "canary-payload"
"""Hidden in whatever is the business of programs only."""

HANDED_OUT: Final = (messages.RegisterInstance,)
"""Answers that hold a credential, because it was asked for."""

SHOWN: Final = (
    messages.GetInput,
    messages.GetCheckpoint,
    messages.GetStatus,
    messages.ListEvents,
    messages.SaveCheckpoint,
    messages.TakeSignal,
    messages.PollSignals,
)
"""Answers whose purpose it is to show what programs keep."""


def hidden(what: str) -> bytes:
    return f"{PAYLOAD}-{what}".encode()


WORK: Final[list[Any]] = [
    messages.RegisterInstance(attempt_id="a"),
    messages.SaveCheckpoint(checkpoint_id="step", state=hidden("state")),
    messages.SaveCheckpoint(checkpoint_id="step", state=hidden("other-state")),
    messages.SaveCheckpoint(checkpoint_id="", state=hidden("nameless")),
    messages.SaveCheckpoint(checkpoint_id="large", state=hidden("large") * 100),
    messages.RecordEvent(subtype="note", payload=hidden("event")),
    messages.SendSignal(kind="custom", signal_id="s", name="go", payload=hidden("signal")),
    messages.SendSignal(kind="custom", signal_id="s", name="go", payload=hidden("other-signal")),
    messages.SendSignal(kind="cancel", signal_id="c", name="go", payload=hidden("wrong-signal")),
    messages.GetCheckpoint(checkpoint_id="step"),
    messages.GetInput(),
    messages.GetStatus(),
    messages.ListEvents(),
    messages.ListCheckpoints(),
    messages.ListInstances(),
    messages.ListInstances(cursor="nonsense"),
    messages.RunChore(chore="nonsense"),  # type: ignore[arg-type]  # on purpose
    messages.GetTree(),
    messages.GetHealth(),
    messages.StartInstance(program="missing", input=hidden("input")),
    messages.StartInstance(program="", input=hidden("input")),
    messages.CompleteInstance(output=hidden("output")),
    messages.CompleteInstance(output=hidden("other-output")),
    messages.SaveCheckpoint(checkpoint_id="late", state=hidden("late")),
]
"""What is asked, in this order, by whoever comes."""


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
async def test_no_canary_sings(door: DoorRow, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore(open_store(f"sqlite:///{tmp_path / 'runtara.db'}"))
    with caplog.at_level(logging.DEBUG):
        async with open_lobby(tmp_path, store) as lobby, door.open(lobby, tmp_path) as meet:
            visitors = come(lobby)
            said = {visitor: await session(meet, visitor) for visitor in visitors}

    secrets = [visitor.credential for visitor in visitors if visitor.credential]
    written = "\n".join(f"{record.getMessage()} {record.__dict__!r}" for record in caplog.records)
    kept = files_in(tmp_path)
    told = [(visitor, command, answer) for visitor, heard in said.items() for command, answer in heard]

    assert any(sings(answer.whole) for _, _, answer in told if answer.code == REPLY)
    assert {"unauthenticated", "forbidden", "invalid-input", "too-large"} <= {answer.code for _, _, answer in told}
    assert "credential-refused" in written
    assert [secret for secret in secrets if secret in written or secret.encode() in kept] == []
    assert not sings(written)
    assert not any("rti_" in answer.whole for _, command, answer in told if type(command) not in HANDED_OUT)
    assert [secret for secret in secrets for _, _, answer in told if secret in answer.whole + answer.text] == []
    leaks = [
        (type(command).__name__, answer)
        for _, command, answer in told
        if sings(answer.text) or (sings(answer.whole) and type(command) not in SHOWN)
    ]
    assert leaks == []


def sings(text: str) -> bool:
    """Whether a payload is in a text, as it is or as JSON has it."""
    return PAYLOAD in text or base64.b64encode(PAYLOAD.encode()[:12]).decode() in text


def files_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def come(lobby: Lobby) -> list[Visitor]:
    """Let people come with good credentials, with wrong ones, and with none."""
    expired = lobby.keys.add("acme", expires_at=lobby.stage.clock.now_ms() + 60_000)
    lobby.stage.clock.jump_ms(60_000)
    revoked = lobby.keys.add("acme")
    lobby.keys.revoke(lobby.keys.list()[-1].key_id)
    own = InstanceKey("acme", "one")
    return [
        Visitor(lobby.keys.add("acme")),
        Visitor(lobby.keys.add("acme", "read-only")),
        Visitor(lobby.mint.mint(own, 1), instance_id="one", is_attempt=True),
        Visitor(lobby.mint.mint(own, 7), instance_id="one", is_attempt=True),
        Visitor(lobby.mint.mint(InstanceKey("rival", "one"), 1), instance_id="one", is_attempt=True),
        Visitor(lobby.mint.mint_for_node("north"), instance_id="node"),
        Visitor(lobby.keys.add("rival"), tenant_id="rival"),
        Visitor(lobby.keys.add("rival")),
        Visitor(expired),
        Visitor(revoked),
        Visitor(f"rtk_{'c' * 12}_{'0' * 64}"),
        Visitor("rti_canary.of.nobody"),
        Visitor(None),
    ]


async def session(meet: Any, visitor: Visitor) -> list[tuple[Any, Answer]]:
    async with meet(visitor) as asker:
        return [(command, await asker.ask(command, "one")) for command in WORK]


def test_frames_and_replies_with_secrets_do_not_show_them() -> None:
    known = messages.TenantKey(key_id="0123456789ab", tenant_id="acme", created_at=1)

    assert "rtk_canary" not in repr(messages.KeyMade(secret="rtk_canary", key=known))
    assert "acme" in repr(OnBehalf(tenant_id="acme"))
