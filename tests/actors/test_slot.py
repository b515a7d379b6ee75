from itertools import pairwise

import pytest
import trio

from runtara.actors import MailboxSpec, System, child, open_system, supervisor
from runtara.actors._slot import Slot, State, current_frame, nobody
from runtara.errors import ActorStopped, AskCycle
from tests.actors.troupe import Boom, Run, Worker, one


async def slots(system: System, count: int) -> list[Slot]:
    return [Slot(system, f"s{number}", "service", MailboxSpec()) for number in range(count)]


async def test_who_waits_for_nobody_may_be_asked() -> None:
    async with open_system(supervisor("root")) as system:
        a, b, c = await slots(system, 3)
        b.waits_for.append(c)

        a.check_cycle(b)


@pytest.mark.parametrize("length", [1, 2, 3, 30])
async def test_a_chain_that_leads_back_is_a_cycle(length: int) -> None:
    async with open_system(supervisor("root")) as system:
        chain = await slots(system, length)
        for asker, asked in pairwise(chain):
            asker.waits_for.append(asked)

        with pytest.raises(AskCycle, match=f"s{length - 1} asks s0, which waits for s{length - 1}"):
            chain[-1].check_cycle(chain[0])


async def test_circles_among_others_do_not_hold_up_the_search() -> None:
    async with open_system(supervisor("root")) as system:
        a, b, c = await slots(system, 3)
        b.waits_for.extend([c, b])
        c.waits_for.append(b)

        a.check_cycle(b)


async def test_what_ended_says_what_it_failed_with() -> None:
    async with open_system(supervisor("root")) as system:
        (slot,) = await slots(system, 1)
        slot.ended(Boom("why"))

        slot.close()

        assert slot.state is State.STOPPED
        assert str(slot.stopped()) == "s0 has stopped (it failed with Boom('why')) and did not read the message"


async def test_a_good_end_after_a_bad_one_is_a_good_end() -> None:
    async with open_system(supervisor("root")) as system:
        (slot,) = await slots(system, 1)
        slot.ended(Boom("once"))
        slot.started()
        slot.ended(None)

        slot.close()

        assert "failed" not in str(slot.stopped())
        assert isinstance(slot.failure, Boom)


async def test_a_place_has_one_reference_whoever_fills_it() -> None:
    async with one(Worker) as system:
        slot = system.ref("root/it").slot

        assert slot.ref() == system.ref("root/it")


async def test_code_on_nobodys_behalf_has_no_frame_and_leaves_the_frame_as_it_was() -> None:
    async with one(Worker) as system:

        def look(_: Worker) -> list[object]:
            outside = current_frame.get()
            with nobody():
                inside = current_frame.get()
            return [outside is not None, inside, current_frame.get() is outside]

        assert await system.ref("root/it").ask(Run(look)) == [True, None, True]


async def test_a_place_that_is_closed_refuses_mail() -> None:
    async with open_system(supervisor("root", child("it", Worker))) as system:
        ref = system.ref("root/it")

    with pytest.raises(ActorStopped):
        ref.tell_nowait(1)
    with pytest.raises(ActorStopped):
        await ref.tell(1)
    await trio.lowlevel.checkpoint()
