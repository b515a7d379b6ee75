import threading

from runtara.ids import InstanceKey
from runtara.lifecycle import Status
from runtara.messages import Acknowledged, CheckpointFound, InstanceRegistered
from runtara.transport import Session


def session() -> Session:
    return Session(InstanceKey("t", "i"))


def test_a_session_learns_from_replies_who_speaks_and_how_it_stands() -> None:
    mine = session()
    assert (mine.epoch, mine.status) == (None, None)

    for reply in (
        InstanceRegistered(epoch=3, resumed=False),
        Acknowledged(Status.COMPLETED),
        CheckpointFound(found=False),
    ):
        mine.received(reply)

    assert (mine.epoch, mine.status) == (3, Status.COMPLETED)


def test_a_push_wakes_everybody_who_waits_once() -> None:
    mine, woken = session(), []
    mine.on_push(0, lambda: woken.append(1))
    mine.on_push(0, lambda: woken.append(2))

    mine.pushed(None)
    mine.pushed(None)

    assert (woken, mine.pushes) == ([1, 2], 2)


def test_who_comes_after_the_push_that_he_waits_for_is_woken_at_once() -> None:
    mine, woken = session(), []
    mine.pushed(None)

    mine.on_push(0, lambda: woken.append("missed"))
    mine.on_push(1, lambda: woken.append("next"))

    assert woken == ["missed"]


def test_who_is_forgotten_is_not_woken() -> None:
    mine, woken = session(), []

    def wake() -> None:
        woken.append(1)

    mine.on_push(0, wake)
    for _ in range(2):  # harmless when repeated
        mine.forget(wake)
    mine.pushed(None)

    assert woken == []


def test_whoever_is_woken_may_wait_again() -> None:
    mine, woken = session(), []

    def wake() -> None:
        woken.append(mine.pushes)
        mine.on_push(mine.pushes, wake)

    mine.on_push(0, wake)
    mine.pushed(None)
    mine.pushed(None)

    assert woken == [1, 2]


def test_pushes_from_several_threads_are_all_counted() -> None:
    mine = session()

    def push() -> None:
        for _ in range(200):
            mine.pushed(None)

    threads = [threading.Thread(target=push) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert mine.pushes == 800
