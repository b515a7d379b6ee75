"""The engine that launches nothing: for tests of whole systems, and for trying things out.

A program is a function of this process, by the name under which it was given, or else a line of what would happen,
with semicolons between:

    say TEXT, warn TEXT    written to stdout, to stderr
    output TEXT, echo      leave TEXT, or the input, as the output
    sleep SECONDS          of trio's clock
    hang                   until it is stopped
    deaf                   asked to end, go on until killed
    exit CODE, crash       end; else a line ends well

Everything is kept in memory for as long as the engine lives, which may be longer than a system: a system that is opened
again with the same engine finds its attempts, as lost ones where they ran when the other one ended.
"""

import signal
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal

import trio

from runtara.actors.runners._contract import Ended, HostFailed, Plan
from runtara.errors import NotFound
from runtara.ids import InstanceKey

__all__ = ["FakeAttempt", "FakeEngine", "FakeProgram", "FakeRun"]

_TAIL_BYTES: Final = 4_096
_STREAMS: Final = ("stdout", "stderr")


class FakeRun:
    """What a program has: all that a process would find around it."""

    def __init__(self, plan: Plan, write: Callable[[str, bytes], None]) -> None:
        self.key: Final = plan.key
        self.epoch: Final = plan.epoch
        self.input: Final = plan.input
        self.env: Final = {**plan.env, **plan.ours}
        self.output: bytes | None = None
        """What it leaves."""
        self.deaf = False
        """Whether it goes on when it is asked to end."""
        self._write = write

    def say(self, data: bytes) -> None:
        """Write to stdout."""
        self._write("stdout", data)

    def warn(self, data: bytes) -> None:
        """Write to stderr."""
        self._write("stderr", data)


FakeProgram = Callable[[FakeRun], Awaitable[int]]
"""Returns the exit code; what it raises is a crash with code 1. It is cancelled where a process would be killed."""


class FakeAttempt:
    """A program that is said to run."""

    def __init__(
        self, run: FakeRun, grace: float, end: Callable[[int | None], Ended], let_go: Callable[["FakeAttempt"], None]
    ) -> None:
        self.key: Final = run.key
        self.epoch: Final = run.epoch
        self._run = run
        self._grace = grace
        self._scope = trio.CancelScope()
        self._code: int | None = None
        self._asked = trio.Event()
        self._over = trio.Event()
        self._ended: Ended | None = None
        self._end = end
        self._let_go = let_go

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def stop(self, how: Literal["ask", "kill", "destroy"]) -> None:
        """Ask it to end, or end it."""
        if how == "ask":
            self._asked.set()
        else:
            self._kill(signal.SIGKILL)

    async def wait_ended(self) -> Ended:
        """Wait until it has ended."""
        await self._over.wait()
        assert self._ended is not None, "it is over, so its end is known"
        return self._ended

    async def forget(self) -> None:
        """Let go of it."""
        self._let_go(self)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Do nothing: there is nothing but memory."""

    async def live(self, program: FakeProgram) -> None:
        """Run the program to its end."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._end_when_asked)
                    self._code = await self._exit_code(program)
                    nursery.cancel_scope.cancel()
        finally:  # without a code, where the engine is stopped: then nobody has seen its end
            self._ended = self._end(self._code)
            self._over.set()

    async def _exit_code(self, program: FakeProgram) -> int:
        try:
            return await program(self._run)
        except Exception:  # noqa: BLE001  # a process that raises does not take its host along
            self._run.warn(traceback.format_exc().encode())
            return 1

    async def _end_when_asked(self) -> None:
        await self._asked.wait()
        if self._run.deaf:
            await trio.sleep(self._grace)
        self._kill(signal.SIGKILL if self._run.deaf else signal.SIGTERM)

    def _kill(self, number: signal.Signals) -> None:
        if not self.over:
            self._code = -number
            self._scope.cancel()


class FakeEngine:
    """Has what it was told to do happen in memory."""

    def __init__(
        self,
        programs: Mapping[str, FakeProgram] | None = None,
        *,
        kill_grace: float = 5.0,
        log_bytes: int = 1 << 20,
        output_max_bytes: int = 1 << 26,
    ) -> None:
        """Take programs by their names; a name that is none of them is a line (see the module)."""
        self._programs: Final = dict(programs or {})
        self._grace: Final = kill_grace
        self._log_bytes: Final = log_bytes
        self._output_max_bytes: Final = output_max_bytes
        self._attempts: dict[InstanceKey, FakeAttempt] = {}
        self._logs: dict[tuple[InstanceKey, str], _Log] = {}
        self._watches: dict[InstanceKey, trio.Event] = {}
        self._nursery: trio.Nursery | None = None
        self._served = trio.Event()

    def check(self, program: str) -> None:
        """Raise `NotFound` for what is neither the name of a program nor a line of what would happen."""
        if program not in self._programs:
            _steps_of(program)

    async def launch(self, plan: Plan) -> FakeAttempt:
        """Begin with a program, as soon as the engine is served; see `Engine.launch`."""
        line = " ".join(plan.image.options.command) if plan.image is not None else plan.program
        program = self._programs.get(plan.program) or _scripted(_steps_of(line))
        left = self._attempts.get(plan.key)
        if left is not None and not left.over:
            raise HostFailed(f"another attempt of {plan.key.instance_id!r} still runs")
        await self._served.wait()
        assert self._nursery is not None, "it is served"
        run = FakeRun(plan, lambda stream, data: self._write(plan.key, stream, data))
        since = self._log(plan.key, "stderr").end
        attempt = FakeAttempt(run, self._grace, lambda code: self._end(run, code, since), self._let_go)
        self._attempts[plan.key] = attempt
        self._nursery.start_soon(attempt.live, program)
        return attempt

    async def adopt(self) -> Sequence[FakeAttempt]:
        """Return every attempt that was not forgotten."""
        await trio.lowlevel.checkpoint()
        return list(self._attempts.values())

    async def read_log(self, key: InstanceKey, stream: str, offset: int, limit: int) -> tuple[bytes, int]:
        """Read from what was written."""
        await trio.lowlevel.checkpoint()
        return self._log(key, stream).read(offset, limit)

    def watch_log(self, key: InstanceKey) -> trio.Event:
        """Return an event that the next line sets."""
        return self._watches.setdefault(key, trio.Event())

    async def serve(self) -> None:
        """Have programs run, until cancelled; then those that still do are lost."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._served.set()
                await trio.sleep_forever()
        finally:
            self._nursery, self._served = None, trio.Event()

    def _end(self, run: FakeRun, code: int | None, since: int) -> Ended:
        if code is None:
            return Ended(exit_code=None, error="the engine was stopped while it ran", counts=False)
        error = self._log(run.key, "stderr").tail(since)
        output = run.output if code == 0 else None
        if output is not None and len(output) > self._output_max_bytes:
            return Ended(exit_code=1, error=f"the program's output has more than {self._output_max_bytes} bytes")
        return Ended(exit_code=code, output=output, error=error)

    def _let_go(self, attempt: FakeAttempt) -> None:
        if self._attempts.get(attempt.key) is attempt:
            del self._attempts[attempt.key]

    def _log(self, key: InstanceKey, stream: str) -> "_Log":
        assert stream in _STREAMS, f"{stream!r} is no stream"
        return self._logs.setdefault((key, stream), _Log(self._log_bytes))

    def _write(self, key: InstanceKey, stream: str, data: bytes) -> None:
        self._log(key, stream).write(data)
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.set()


class _Log:
    """The end of a stream."""

    def __init__(self, most: int) -> None:
        self.end = 0
        self._most = most
        self._kept = b""

    def write(self, data: bytes) -> None:
        self.end += len(data)
        self._kept = (self._kept + data)[-self._most :]

    def read(self, offset: int, limit: int) -> tuple[bytes, int]:
        start = self.end - len(self._kept)
        if offset < 0:
            offset = max(0, self.end + offset)
        if offset >= self.end:
            return b"", offset
        at = max(offset, start)
        return self._kept[at - start : at - start + limit], at

    def tail(self, since: int) -> str:
        data, _ = self.read(max(since, self.end - _TAIL_BYTES), _TAIL_BYTES)
        return data.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}").strip()


# Lines of what would happen -------------------------------------------------------------------------------------------

_Step = Callable[[FakeRun, str], Awaitable[int | None]]
"""Returns the exit code, where it ends the program."""


async def _say(run: FakeRun, text: str) -> None:
    run.say(f"{text}\n".encode())
    await trio.lowlevel.checkpoint()


async def _warn(run: FakeRun, text: str) -> None:
    run.warn(f"{text}\n".encode())
    await trio.lowlevel.checkpoint()


async def _output(run: FakeRun, text: str) -> None:
    run.output = text.encode()
    await trio.lowlevel.checkpoint()


async def _echo(run: FakeRun, _: str) -> None:
    run.output = run.input
    await trio.lowlevel.checkpoint()


async def _sleep(_: FakeRun, seconds: str) -> None:
    await trio.sleep(float(seconds))


async def _hang(_: FakeRun, __: str) -> None:
    await trio.sleep_forever()


async def _deaf(run: FakeRun, _: str) -> None:
    run.deaf = True
    await trio.lowlevel.checkpoint()


async def _exit(_: FakeRun, code: str) -> int:
    await trio.lowlevel.checkpoint()
    return int(code)


async def _crash(_: FakeRun, __: str) -> int:
    await trio.lowlevel.checkpoint()
    return -signal.SIGSEGV


_STEPS: Final[Mapping[str, _Step]] = {
    "say": _say,
    "warn": _warn,
    "output": _output,
    "echo": _echo,
    "sleep": _sleep,
    "hang": _hang,
    "deaf": _deaf,
    "exit": _exit,
    "crash": _crash,
}
_NUMBERS: Final = {"sleep": float, "exit": int}
"""Steps whose word is a number."""


def _steps_of(line: str) -> list[tuple[_Step, str]]:
    """Return the steps of a line. Raises `NotFound` for what is none."""
    steps = []
    for part in line.split(";"):
        verb, _, rest = part.strip().partition(" ")
        if verb not in _STEPS:
            raise NotFound(f"there is no program {line!r}, and no step {verb!r}: one of {', '.join(_STEPS)}")
        try:
            _NUMBERS.get(verb, str)(rest)
        except ValueError:
            raise NotFound(f"there is no program {line!r}: {verb} takes a number, not {rest!r}") from None
        steps.append((_STEPS[verb], rest))
    return steps


def _scripted(steps: Sequence[tuple[_Step, str]]) -> FakeProgram:
    async def program(run: FakeRun) -> int:
        for step, rest in steps:
            code = await step(run, rest)
            if code is not None:
                return code
        return 0

    return program
