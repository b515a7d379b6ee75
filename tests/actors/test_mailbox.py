from collections.abc import Awaitable

import pytest
import trio
import trio.testing

from runtara.actors import MailboxSpec, Policy
from runtara.actors._mailbox import DeadLetters, Mailbox, open_mailbox
from runtara.actors._reply import Deadlines, Reply
from runtara.errors import InvalidInput, MailboxFull
from tests.actors.troupe import Gate, Hold, Worker, caught, idle, one


def mailbox(policy: Policy, bound: int = 2) -> Mailbox:
    return open_mailbox("a", MailboxSpec(bound=bound, policy=policy), DeadLetters())


def content(box: Mailbox) -> list[object]:
    return [message for message, _ in box.drain()]


@pytest.mark.parametrize("policy", [Policy.WAIT, Policy.REJECT])
def test_at_the_bound_mail_fits_and_one_over_it_does_not(policy: Policy) -> None:
    box = mailbox(policy)

    taken = [box.put(number, None) for number in range(3)]

    assert taken == [True, True, False]
    assert content(box) == [0, 1]


def test_the_oldest_message_makes_room_and_becomes_a_dead_letter() -> None:
    box = mailbox(Policy.DROP_OLDEST)

    taken = [box.put(number, None) for number in range(3)]

    assert taken == [True, True, True]
    assert content(box) == [1, 2]
    assert list(box.dead_letters.recent) == [("a", "dropped", 0)]


async def test_an_ask_that_makes_room_is_told_that_it_was_not_run() -> None:
    async with one(Worker, mailbox=MailboxSpec(bound=1, policy=Policy.DROP_OLDEST)) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        errors: list[BaseException] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, errors, caught(ref, 1))
            await idle()

            ref.tell_nowait(2)

        gate.open.set()
        await idle()
        assert [type(error) for error in errors] == [MailboxFull]
        assert await ref.ask(0) == 2


async def keep(errors: list[BaseException], awaitable: Awaitable[BaseException]) -> None:
    errors.append(await awaitable)


def test_a_tell_replaces_the_waiting_tell_of_the_same_key_in_its_place() -> None:
    spec = MailboxSpec(bound=2, policy=Policy.COALESCE, key=lambda message: str(message)[0])
    box = open_mailbox("a", spec, DeadLetters())

    taken = [box.put(message, None) for message in ("a1", "b1", "a2", "c1", "b2")]

    assert taken == [True, True, True, False, True]
    assert content(box) == ["a2", "b2"]


async def test_asks_never_coalesce() -> None:
    box = open_mailbox("a", MailboxSpec(bound=2, policy=Policy.COALESCE, key=lambda _: 0), DeadLetters())
    deadlines = Deadlines()
    first, second = (Reply("a", 1e9, deadlines, lambda _: None) for _ in range(2))

    taken = [box.put("x", first), box.put("x", second), box.put("x", None)]

    assert taken == [True, True, False]
    assert box.drain() == [("x", first), ("x", second)]


def test_what_was_coalesced_and_taken_may_come_again() -> None:
    box = mailbox(Policy.COALESCE)
    box.put(1, None)

    first = box.take()
    box.put(2, None)

    assert first == (1, None)
    assert content(box) == [2]


def test_control_messages_fit_always_and_are_kept_apart() -> None:
    box = mailbox(Policy.REJECT, bound=1)
    box.put("mail", None)

    box.put_control("stop")

    assert list(box.control) == ["stop"]
    assert box.depth() == 1


def test_an_idle_reader_is_woken_once_for_any_amount_of_mail() -> None:
    box, rings = mailbox(Policy.WAIT, bound=9), []
    box.notify = lambda: rings.append(1)

    for number in range(3):
        box.put(number, None)
    box.put_control("control")

    assert rings == [1]


@pytest.mark.parametrize("policy", Policy)
def test_a_mailbox_that_is_closed_and_drained_takes_nothing(policy: Policy) -> None:
    box = mailbox(policy)
    box.put(1, None)

    box.close()
    left = content(box)

    assert left == [1]
    assert not box.put(2, None)
    assert content(box) == []


def test_a_mailbox_without_room_is_no_mailbox() -> None:
    with pytest.raises(InvalidInput, match="at least 1"):
        MailboxSpec(bound=0)


def test_dead_letters_are_kept_up_to_a_bound_and_counted_beyond_it() -> None:
    letters = DeadLetters(kept=2)

    for number in range(3):
        letters.add("a", "dropped", number)
    letters.add("b", "expired", 3)

    assert [letter.message for letter in letters.recent] == [2, 3]
    assert letters.counts == {"dropped": 3, "expired": 1}


async def test_senders_that_wait_are_let_in_in_their_order() -> None:
    log: list[object] = []
    async with one(Worker, log, mailbox=MailboxSpec(bound=1)) as system, trio.open_nursery() as nursery:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        for number in range(5):
            nursery.start_soon(ref.tell, number)
            await idle()

        gate.open.set()
        await idle()

        assert log[1:] == [0, 1, 2, 3, 4]


async def test_nobody_overtakes_senders_that_wait() -> None:
    log: list[object] = []
    async with one(Worker, log, mailbox=MailboxSpec(bound=1)) as system, trio.open_nursery() as nursery:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(0)
        nursery.start_soon(ref.tell, 1)
        await idle()
        ref.slot.mailbox.take()  # there is room, and somebody waits for it

        with pytest.raises(MailboxFull):
            ref.tell_nowait(2)

        gate.open.set()
        await idle()
        ref.tell_nowait(3)
        await idle()
        assert log[1:] == [1, 3]


async def test_a_teller_that_goes_away_while_it_waits_is_not_let_in() -> None:
    log: list[object] = []
    async with one(Worker, log, mailbox=MailboxSpec(bound=1)) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.tell, 1)
            await idle()

            nursery.cancel_scope.cancel()

        gate.open.set()
        await ref.ask(2)
        assert log[1:] == [0, 2]


async def test_an_asker_that_goes_away_while_it_waits_for_room_becomes_a_dead_letter() -> None:
    async with one(Worker, mailbox=MailboxSpec(bound=1)) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.ask, 1)
            await idle()

            nursery.cancel_scope.cancel()

        gate.open.set()
        assert await ref.ask(2) == 2
        assert system.dead_letters.counts == {"expired": 1}


async def test_control_messages_are_read_before_all_other_mail() -> None:
    log: list[object] = []
    async with one(Worker, log) as system:
        ref, gate = system.ref("root/it"), Gate()
        ref.tell_nowait(Hold(gate))
        await gate.entered.wait()
        ref.tell_nowait(1)
        ref.tell_nowait(2)

        ref.slot.mailbox.put_control(99)
        gate.open.set()
        await ref.ask(3)

        assert log[1:] == [99, 1, 2, 3]
