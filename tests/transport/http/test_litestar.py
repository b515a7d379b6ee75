"""What Litestar answers, and that nobody waits for it who does not ask for it."""

from pathlib import Path

import trio

from tests.house.source import run_python
from tests.transport.http.house import open_house

STARTED = """
import sys
import runtara.host
print("litestar" in sys.modules)
"""


def test_a_server_starts_without_it(tmp_path: Path) -> None:
    done = run_python("-c", STARTED, cwd=tmp_path)

    assert (done.stdout, done.stderr) == ("False\n", "")


async def test_many_who_are_the_first_to_ask_for_it_get_their_answers(tmp_path: Path) -> None:
    answers = []

    async with open_house(tmp_path) as house, trio.open_nursery() as nursery:

        async def ask(verb: str, path: str) -> None:
            answers.append(await house.ask(verb, path))

        for _ in range(5):
            nursery.start_soon(ask, "GET", "/nothing/here")
            nursery.start_soon(ask, "DELETE", "/instances")
            nursery.start_soon(ask, "GET", "/instances/nobody")

    offered = [set(answer.headers["allow"].split(", ")) for answer in answers if answer.status_code == 405]
    assert offered == [{"GET", "HEAD", "OPTIONS", "POST"}] * 5
    assert [answer.status_code for answer in answers].count(404) == 10
