"""A campaign against a whole system: a server, the programs that it launches, clients that register by themselves, and
somebody who manages them. At moments drawn from a seed one of the processes is killed, or the server is told to drain.

A cycle is one such blow, and the work that is acknowledged after it. A round is one site: some cycles, and a calm end
in which everything that was begun must come to its end.
"""

import random
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

from tests.crash.host.audit import HostAudit
from tests.crash.host.processes import Process
from tests.crash.host.server import Server
from tests.crash.host.site import ROOT, Bell, Site, launched, leave_nothing_running, open_site, shims

__all__ = ["BLOWS", "Campaign"]

WORK_S = 100.0
"""Seconds within which work must go on after a blow."""

CALM_S = 120.0
"""Seconds within which everything must end once nobody is killed any more."""

TRIES = 20
"""Looks for somebody to kill."""

CLIENTS = {
    "s0": ("sync", "quic"),
    "a0": ("asyncio", "quic"),
    "s1": ("sync", "ws"),
    "a1": ("trio", "ws"),
    "a2": ("trio", "http"),
}
"""How each of those who register by themselves waits, and by which door."""

SLOTS = 5
"""Programs that are started and have not ended: more than there are places for."""

BLOWS = {"program": 6, "server": 5, "both": 3, "opening": 2, "shim": 3, "client": 3, "drain": 1}
"""What a cycle does, and how often in as many cycles as there are altogether."""


class Campaign:
    """Runs rounds and counts what came of them."""

    def __init__(self) -> None:
        self.blows: Counter[str] = Counter()
        """Those that hit."""
        self.acks: Counter[str] = Counter()
        self.problems: list[str] = []
        self.promises: set[str] = set()
        """Those that were broken."""
        self.starts = 0
        """Of servers."""

    def run_round(self, folder: Path, seed: int, cycles: int, work: int) -> None:
        """Deal `cycles` blows to one site, after up to `work` acknowledgements each; let everything come to its end."""
        self.run_round_at(open_site(folder), seed, cycles, work)
        if not self.problems:
            shutil.rmtree(folder)  # otherwise it tells what happened

    def run_round_at(self, site: Site, seed: int, cycles: int, work: int, planted: str | None = None) -> None:
        """Do so at a site that is there already, perhaps with a bug on purpose in the server."""
        round_ = _Round(site, Server(site, planted), random.Random(seed))
        try:
            round_.run(cycles, work)
        finally:
            leave_nothing_running(site)
            self.blows += round_.blows
            self.acks += round_.audit.acks
            self.problems += round_.audit.problems
            self.promises |= round_.audit.promises
            self.starts += round_.server.starts


class _Round:
    def __init__(self, site: Site, server: Server, rng: random.Random) -> None:
        self.site = site
        self.server = server
        self.audit = HostAudit(site.journal)
        self.blows: Counter[str] = Counter()
        self._rng = rng
        self._clients: dict[str, subprocess.Popen[bytes]] = {}
        self._bell = Bell(site)

    def run(self, cycles: int, work: int) -> None:
        try:
            self.server.start()
            self._start_everybody()
            for blow, _ in zip(self._order_of_blows(), range(cycles), strict=False):
                self._await_work(self._rng.randint(1, work))
                _pause(self._rng.random() ** 2 * 0.3)
                self.blows[blow] += _DEAL[blow](self)
                if self.audit.problems:
                    return  # what is lost may keep everybody from going on
            self._await_work(1)
            self._calm_down()
        finally:
            if self.server.is_running:
                self.server.kill()
            for client in self._clients.values():
                _kill(client)
            self._bell.close()

    def _order_of_blows(self) -> Iterator[str]:
        deck = [blow for blow, often in BLOWS.items() for _ in range(often)]
        while True:
            self._rng.shuffle(deck)
            yield from deck

    # Those who work ---------------------------------------------------------------------------------------------------

    def _start_everybody(self) -> None:
        for slot in CLIENTS:
            self._start_client(slot)
        self._clients["manager"] = self._spawn("manager", str(SLOTS))

    def _start_client(self, slot: str) -> None:
        self._clients[slot] = self._spawn("client", slot, *CLIENTS[slot])

    def _spawn(self, module: str, *arguments: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"tests.crash.host.{module}", self.site.folder, *arguments]
        with (self.site.path / f"{module}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log)

    def _await_work(self, acks: int) -> None:
        """Wait until so much more was acknowledged."""
        self._bell.forget()
        self._bell.await_rings(acks, WORK_S)

    # Blows: each returns whether it hit -------------------------------------------------------------------------------

    def _kill_program(self) -> bool:
        return self._kill_one_of(launched)

    def _kill_shim(self) -> bool:
        return self._kill_one_of(shims)

    def _kill_one_of(self, find: Callable[[Site], list[Process]]) -> bool:
        """Kill one of those who live, as soon as somebody does."""
        for _ in range(TRIES):
            found = find(self.site)
            if found:
                self._rng.choice(found).send(signal.SIGKILL)
            for process in found:
                process.close()
            if found:
                return True
            _pause(self._rng.random() * 0.2)
        return False

    def _kill_server(self) -> bool:
        self.server.kill()
        self._look()
        self.server.start()
        return True

    def _kill_both(self) -> bool:
        self.server.kill()
        hit = self._kill_program()
        self._look()
        self.server.start()
        return hit

    def _kill_opening(self) -> bool:
        """Kill the server, and the next one while it starts."""
        self.server.kill()
        self.server.launch()
        _pause(self._rng.random() * 1.2)
        self.server.kill()
        self._look()
        self.server.start()
        return True

    def _kill_client(self) -> bool:
        slot = self._rng.choice(list(CLIENTS))
        _kill(self._clients[slot])
        self._start_client(slot)
        return True

    def _drain(self) -> bool:
        self._go_down()
        self.server.start()
        return True

    def _go_down(self) -> None:
        code, _ = self.server.drain()
        if code != 0:
            self.audit.problems.append(f"a drain ends well: exit code {code}, log {self.server.log}")
        self._look()

    def _look(self) -> None:
        """Audit while no server runs, so that nothing changes what is stored."""
        self.audit.catch_up()
        self.audit.look(self.site.data_dir)

    # The end ----------------------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """Begin nothing more, wait for the end of everything, and look a last time."""
        for client in self._clients.values():
            assert client.stdin is not None
            client.stdin.close()
        give_up_at = monotonic() + CALM_S
        for name, client in self._clients.items():
            try:
                code = client.wait(max(0.0, give_up_at - monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{name} does not end in {CALM_S:g} s: {self._stuck()}") from None
            if code != 0:
                self.audit.problems.append(f"no surprises: {name} ended with {code}, its log is in {self.site.folder}")
        self._go_down()
        self.audit.settle(self.site.data_dir)

    def _stuck(self) -> str:
        """Say what has not come to its end."""
        self.server.kill()
        self._look()
        self.audit.settle(self.site.data_dir)
        return "\n".join([*self.audit.problems, self.site.tails()])


_DEAL: dict[str, Callable[[_Round], bool]] = {
    "program": _Round._kill_program,
    "server": _Round._kill_server,
    "both": _Round._kill_both,
    "opening": _Round._kill_opening,
    "shim": _Round._kill_shim,
    "client": _Round._kill_client,
    "drain": _Round._drain,
}


def _kill(client: "subprocess.Popen[bytes]") -> None:
    client.kill()
    client.communicate()


def _pause(seconds: float) -> None:
    """Let a moment pass: a blow comes at random, not at an event."""
    select.select([], [], [], seconds)
