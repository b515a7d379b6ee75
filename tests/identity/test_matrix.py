"""Every operation with every credential at every door over every store, each with the one outcome that is right.

What is right is worked out here from the columns of the table (`caller`, `right`), by rules of its own; nothing is
asked of the gate. One test goes through all operations with one credential.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from runtara import messages
from runtara.endpoints import ENDPOINTS, ROLES, Endpoint
from runtara.ids import InstanceKey
from runtara.store import NodeSpec, open_store
from runtara.transport.credentials import not_accepted
from tests.actors.operations import EXAMPLES
from tests.actors.stage import WatchedStore, key_of
from tests.identity.doors import DOORS, REPLY, DoorRow, Visitor
from tests.transport.lobby import LIFETIME_MS, Lobby, open_lobby

Rule = Callable[[Endpoint], str]
"""The outcome that is right for an operation: `REPLY`, or a wire code."""

STORES: Final = ("memory", "sqlite", "postgres")
CREATES: Final = (messages.StartInstance, messages.ForkInstance)

# What is right --------------------------------------------------------------------------------------------------------

GOOD_FOR: Final = {
    "admin": {"read", "read-images", "push", "operate", "administer"},
    "operator": {"read", "read-images", "operate"},
    "read-only": {"read", "read-images"},
    "image-push": {"read-images", "push"},
}
"""Roles and rights once more, so that a change of the table is noticed."""


def by_role(role: str) -> Rule:
    """A key asks as nobody's attempt: it may look at what programs do, but not do it for them."""

    def right(row: Endpoint) -> str:
        if row.right not in GOOD_FOR[role]:
            return "forbidden"
        begins = row.command is messages.RegisterInstance
        return "fenced" if row.caller == "program" and not begins else REPLY

    return right


def of_own_attempt(row: Endpoint) -> str:
    return "forbidden" if row.caller in ("manager", "worker") else REPLY


def of_older_attempt(row: Endpoint) -> str:
    return {"manager": "forbidden", "worker": "forbidden", "program": "fenced", "both": REPLY}[row.caller]


def of_another_instance(row: Endpoint) -> str:
    """A token shows nothing of other instances; what is about none of them is answered."""
    if row.caller in ("manager", "worker"):
        return "forbidden"
    return "instance-not-found" if "{instance_id}" in row.path else REPLY


def nobody(_row: Endpoint) -> str:
    return "unauthenticated"


# Who comes ------------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A credential: how a visitor comes by it, what is done to it once the visitor is in, and what is right then."""

    visitor: Callable[[Lobby, str], Visitor]
    right: Rule
    spoil: Callable[[Lobby], object] | None = None
    fresh: bool = False
    """Whether the credential is of one instance, so that each operation needs a visitor of its own."""


def key(role: str = "admin", **more: Any) -> Callable[[Lobby, str], Visitor]:
    return lambda lobby, _name: Visitor(lobby.keys.add("acme", role, **more))  # type: ignore[arg-type]  # one of Role


def token(about: str | None = None, epoch: int = 1, tenant_id: str = "acme") -> Callable[[Lobby, str], Visitor]:
    def visitor(lobby: Lobby, name: str) -> Visitor:
        own = InstanceKey(tenant_id, about or name)
        return Visitor(lobby.mint.mint(own, epoch), instance_id=own.instance_id, is_attempt=True)

    return visitor


def expiring_key(lobby: Lobby, _name: str) -> Visitor:
    return Visitor(lobby.keys.add("acme", expires_at=lobby.stage.clock.now_ms() + LIFETIME_MS))


def expire(lobby: Lobby) -> None:
    lobby.stage.clock.jump_ms(LIFETIME_MS)


def revoke(lobby: Lobby) -> None:
    lobby.keys.revoke(lobby.keys.list()[-1].key_id)


def rotate(lobby: Lobby) -> None:
    lobby.keys.rotate(lobby.keys.list()[-1].key_id)


def before(visitor: Callable[[Lobby, str], Visitor], spoil: Callable[[Lobby], object]) -> Callable[..., Visitor]:
    """The same, spoiled before the visitor comes."""

    def spoiled(lobby: Lobby, name: str) -> Visitor:
        found = visitor(lobby, name)
        spoil(lobby)
        return found

    return spoiled


CASES: Final = {
    **{f"own key of role {role}": Case(key(role), by_role(role)) for role in ROLES},
    "token of the own instance": Case(token(), of_own_attempt, fresh=True),
    "token of an older attempt": Case(token(), of_older_attempt, fresh=True),
    "token of another instance": Case(token("other"), of_another_instance),
    "token of another tenant": Case(token("other", tenant_id="rival"), nobody),
    "key of another tenant": Case(lambda lobby, _: Visitor(lobby.keys.add("rival")), nobody),
    "expired token": Case(before(token("other"), expire), nobody),
    "expired key": Case(before(expiring_key, expire), nobody),
    "revoked key": Case(before(key(), revoke), nobody),
    "rotated key": Case(before(key(), rotate), nobody),
    "key that is revoked on an open connection": Case(key(), nobody, revoke),
    "key that is rotated on an open connection": Case(key(), nobody, rotate),
    "key that expires on an open connection": Case(expiring_key, nobody, expire),
    "token that expires on an open connection": Case(token("other"), nobody, expire),
    "none": Case(lambda _lobby, _name: Visitor(None), nobody),
}


# The matrix -----------------------------------------------------------------------------------------------------------


def cells() -> list[Any]:
    """Doors, stores and credentials; a gate knows no store, so the fast tests are content with one of them."""
    return [
        pytest.param(door, store, name, id=f"{door.name}-{store}-{name}", marks=[] if store == "memory" else SLOW)
        for door in DOORS
        for store in STORES
        for name in CASES
    ]


SLOW: Final = [pytest.mark.slow]


@asynccontextmanager
async def lobby_over(store: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Lobby]:
    url = "memory://" if store == "memory" else f"sqlite:///{folder / 'runtara.db'}"
    if store == "postgres":
        url = request.getfixturevalue("database")
    async with open_lobby(folder, WatchedStore(open_store(url, NodeSpec(name="matrix")))) as lobby:
        yield lobby


@pytest.mark.parametrize(("door", "store", "name"), cells())
async def test_an_operation_has_the_one_outcome_that_is_right(
    door: DoorRow, store: str, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    case = CASES[name]
    async with lobby_over(store, request, tmp_path) as lobby, door.open(lobby, tmp_path) as meet:
        await prepare(lobby, "other")
        if case.fresh:
            found = {row.command: await alone(lobby, meet, case, row, name) for row in ENDPOINTS.values()}
        else:
            async with meet(case.visitor(lobby, "")) as asker:
                if case.spoil is not None:
                    await asker.ask(messages.GetHealth(), "other")
                    case.spoil(lobby)
                found = {
                    row.command: await asker.ask(EXAMPLES[row.command], await named(lobby, row))
                    for row in ENDPOINTS.values()
                }

    wrong = {
        command.__name__: (answer.code, answer.text, case.right(ENDPOINTS[command]))
        for command, answer in found.items()
        if answer.code != case.right(ENDPOINTS[command])
    }
    assert wrong == {}
    if case.right is nobody and name != "none":
        assert {answer.text for answer in found.values()} == {str(not_accepted())}


async def alone(lobby: Lobby, meet: Any, case: Case, row: Endpoint, name: str) -> Any:
    """Have a visitor who has a token of one instance ask one thing about it."""
    about = await named(lobby, row, running=True)
    visitor = case.visitor(lobby, about)
    if name == "token of an older attempt":
        await lobby.stage.ask(about, messages.RegisterInstance(attempt_id="newer"))
    async with meet(visitor) as asker:
        return await asker.ask(EXAMPLES[row.command], about)


async def named(lobby: Lobby, row: Endpoint, *, running: bool = False) -> str:
    """Return an instance that an operation may be about: one that runs, or none yet where one is to be made."""
    about = f"of-{row.command.__name__}"
    if running or row.command not in CREATES:
        await prepare(lobby, about)
    return about


async def prepare(lobby: Lobby, about: str) -> None:
    """Let an instance run that every example can be said to; one to fork from is there, too."""
    for name in {about, EXAMPLES[messages.ForkInstance].source}:
        status = lobby.stage.ask(name, EXAMPLES[messages.RegisterInstance])
        epoch = (await status).epoch
        if name == about or epoch == 1:
            await lobby.stage.ask(name, EXAMPLES[messages.SaveCheckpoint], epoch)
            await lobby.stage.ask(name, EXAMPLES[messages.SendSignal])


# Other tenants --------------------------------------------------------------------------------------------------------

ABOUT_ONE: Final = [
    row for row in ENDPOINTS.values() if row.owner in ("instance", "reader") and "{instance_id}" in row.path
]
"""What is about an instance that is there."""


@pytest.mark.parametrize(
    ("door", "store"),
    [
        pytest.param(door, store, id=f"{door.name}-{store}", marks=[] if store == "memory" else SLOW)
        for door in DOORS
        for store in STORES
    ],
)
async def test_to_another_tenant_every_instance_looks_like_one_that_does_not_exist(
    door: DoorRow, store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    async with lobby_over(store, request, tmp_path) as lobby, door.open(lobby, tmp_path) as meet:
        await prepare(lobby, "acmes")
        before = await lobby.stage.ask("acmes", messages.GetStatus())
        async with meet(Visitor(lobby.keys.add("rival"), tenant_id="rival")) as asker:
            rows = [row for row in ABOUT_ONE if row.command is not messages.RegisterInstance]
            theirs = {row.command: await asker.ask(EXAMPLES[row.command], "acmes") for row in rows}
            unknown = {row.command: await asker.ask(EXAMPLES[row.command], "nowhere") for row in rows}
            fork = messages.ForkInstance(source="acmes", input=b"")
            forks = [await asker.ask(command, "copy") for command in (fork, messages.ForkInstance(source="nowhere"))]
        after = await lobby.stage.ask("acmes", messages.GetStatus())

    for command, answer in theirs.items():
        assert answer._replace(text=answer.text.replace("acmes", "nowhere")) == unknown[command], command.__name__
    assert forks[0].code == forks[1].code != REPLY
    assert forks[0].text.replace("acmes", "nowhere") == forks[1].text
    assert after == before
    assert key_of("acmes").tenant_id == "acme"


def test_every_operation_is_in_the_matrix_and_every_role_and_right_is_known() -> None:
    assert set(EXAMPLES) == set(ENDPOINTS)
    assert {role: set(rights) for role, rights in ROLES.items()} == GOOD_FOR
    assert {row.right for row in ENDPOINTS.values()} <= set.union(*GOOD_FOR.values())
