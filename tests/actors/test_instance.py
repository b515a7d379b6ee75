from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from runtara.actors import instance
from runtara.actors._instance_events import AttemptClaimed
from runtara.actors.instance import (
    Arm,
    Disarm,
    Enforce,
    InstanceState,
    Launch,
    Limits,
    Stop,
    Track,
    Untrack,
    decide,
    derive,
    needs_of,
)
from runtara.endpoints import ENDPOINTS
from runtara.errors import Fenced, InstanceNotFound, RuntaraError
from runtara.ids import InstanceKey
from runtara.lifecycle import FINAL, TRANSITIONS, Status, TerminationReason, Trigger, next_status
from runtara.messages import (
    Acknowledged,
    AcknowledgeSignal,
    Call,
    CheckpointSaved,
    Command,
    CompleteInstance,
    CrashInstance,
    DeclareSilent,
    EnforceSignals,
    ExitInstance,
    FailInstance,
    FinishInstance,
    GetCheckpoint,
    GetInput,
    GetStatus,
    Heartbeat,
    InstanceRegistered,
    PollSignals,
    RecordEvent,
    RecordRetry,
    RecordUsage,
    RegisterInstance,
    RestInstance,
    SaveCheckpoint,
    SaveCheckpoints,
    SendSignal,
    SignalAccepted,
    SignalKind,
    SignalTaken,
    Sleep,
    SleepStarted,
    StartInstance,
    StepResult,
    SuspendInstance,
    TakeSignal,
    TimeOutInstance,
    WakeInstance,
)
from runtara.records import Instance
from tests.actors.world import KEY, NOW, World, managed, unmanaged

OWNER_ONLY: list[Command] = [
    SaveCheckpoint(checkpoint_id="a", state=b"1"),
    Sleep(checkpoint_id="a", duration_ms=1),
    Heartbeat(),
    CompleteInstance(),
    FailInstance(error="no"),
    SuspendInstance(),
    RestInstance(subtype="why", checkpoint_id="a", duration_ms=1),
    FinishInstance(results=(StepResult(checkpoint_id="a", state=b"1"),)),
    RecordEvent(subtype="note"),
    PollSignals(),
    TakeSignal(name="go", place="p"),
    AcknowledgeSignal(signal_id="s"),
    RecordRetry(checkpoint_id="a", attempt=1),
    SaveCheckpoints(checkpoints=(("a", b"1"),)),
]
FREE_READS: list[Command] = [GetCheckpoint(checkpoint_id="a"), GetStatus(), GetInput()]
INTERNAL = {
    WakeInstance,
    DeclareSilent,
    CrashInstance,
    ExitInstance,
    TimeOutInstance,
    EnforceSignals,
    RecordUsage,
    SaveCheckpoints,
}
"""What is only said between actors."""


# The tables ----------------------------------------------------------------------------------------------------------


def test_every_command_to_an_instance_has_exactly_one_decision() -> None:
    to_instances = {row.command for row in ENDPOINTS.values() if row.owner == "instance"}

    assert set(instance._DECIDE) == to_instances | INTERNAL


def test_the_commands_of_the_holder_are_those_tested_here() -> None:
    assert {type(command) for command in OWNER_ONLY} == instance._OWNER_ONLY


@pytest.mark.parametrize("command", [*OWNER_ONLY, *FREE_READS, SendSignal(kind="cancel", signal_id="s")])
def test_an_instance_that_does_not_exist_is_not_found(command: Command) -> None:
    with pytest.raises(InstanceNotFound) as caught:
        World().ask(command, epoch=1)

    assert str(caught.value) == "there is no instance 'order-7': check its id, or start it first"


def test_somebody_elses_instance_reads_like_an_unknown_one() -> None:
    texts = []
    for tenant_id in ("acme", "rival"):
        key = InstanceKey(tenant_id, "order-7")
        with pytest.raises(InstanceNotFound) as caught:
            decide(InstanceState.from_snapshot(key, None), Call(key, GetStatus()), NOW)
        texts.append(str(caught.value))

    assert texts[0] == texts[1]


@pytest.mark.parametrize("command", OWNER_ONLY)
@pytest.mark.parametrize("epoch", [None, 0, 2])
def test_only_the_attempt_that_holds_the_instance_speaks_for_it(command: Command, epoch: int | None) -> None:
    world = unmanaged()

    with pytest.raises(Fenced):
        world.ask(command, epoch)


@pytest.mark.parametrize("command", OWNER_ONLY)
def test_a_stale_attempt_of_a_finished_instance_is_fenced_first(command: Command) -> None:
    world = unmanaged()
    world.ask(RegisterInstance(attempt_id="second"))
    world.tell(CompleteInstance())

    with pytest.raises(Fenced):
        world.ask(command, epoch=1)


@pytest.mark.parametrize("command", FREE_READS)
@pytest.mark.parametrize("epoch", [None, 0, 1, 2])
def test_reads_are_answered_to_everybody_in_any_status(command: Command, epoch: int | None) -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))
    world.tell(CompleteInstance(output=b"done"))

    world.ask(command, epoch)

    assert world.saved is None


# All statuses, all triggers ------------------------------------------------------------------------------------------


def _in(status: Status) -> World:
    """A managed instance in a status, with a wake-up that is due where it can have one."""
    if status is Status.PENDING:
        world = World()
        world.ask(StartInstance(program="ship", timeout_ms=1_000))
        return world
    world = managed(timeout_ms=1_000)
    if status is Status.SUSPENDED:
        world.tell(SuspendInstance(wake_at=world.now))
    elif status is Status.CANCELLED:
        world.send("cancel")
        world.acknowledge("cancel")
    elif status is not Status.RUNNING:
        world.tell(CompleteInstance() if status is Status.COMPLETED else FailInstance(error="no"))
    return world


def _at_rest_by_itself() -> World:
    world = unmanaged()
    world.tell(SuspendInstance())
    return world


def _send(world: World, kind: SignalKind) -> None:
    world.send(kind)
    if any(signal.kind == kind for signal in world.state.signals):
        world.acknowledge(kind)


def _lose_the_last(world: World) -> object:
    world.limits = Limits(max_auto_restarts=0)
    return world.ask(CrashInstance(epoch=world.row.epoch, error="exit 1"))


DRIVE: dict[Trigger, Callable[[World], object]] = {
    Trigger.REGISTERED: lambda world: world.ask(RegisterInstance(attempt_id="second")),
    Trigger.CHECKPOINTED: lambda world: world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1")),
    Trigger.SLEPT: lambda world: world.tell(Sleep(checkpoint_id="a", duration_ms=1, park=True)),
    Trigger.PAUSED: lambda world: _send(world, "pause"),
    Trigger.SHUT_DOWN: lambda world: _send(world, "shutdown"),
    Trigger.SUSPENDED: lambda world: world.tell(SuspendInstance()),
    Trigger.WOKEN: lambda world: world.ask(WakeInstance(due_at=world.row.wake_at or world.now)),
    Trigger.RESUMED: lambda world: _send(world, "resume"),
    Trigger.COMPLETED: lambda world: world.tell(CompleteInstance()),
    Trigger.FAILED: lambda world: world.tell(FailInstance(error="no")),
    Trigger.CRASHED: lambda world: world.ask(CrashInstance(epoch=world.row.epoch, error="exit 1")),
    Trigger.WENT_SILENT: lambda world: world.ask(DeclareSilent(epoch=world.row.epoch)),
    Trigger.TIMED_OUT: lambda world: world.ask(TimeOutInstance(epoch=world.row.epoch)),
    Trigger.GAVE_UP: _lose_the_last,
    Trigger.CANCELLED: lambda world: _send(world, "cancel"),
}
"""How each trigger comes about."""

WITHOUT_COMMAND = {
    (Status.PENDING, Trigger.FAILED): "there is no attempt that could say so",
    (Status.PENDING, Trigger.CRASHED): "there is no attempt that could",
    (Status.PENDING, Trigger.GAVE_UP): "there is no attempt to lose",
    (Status.SUSPENDED, Trigger.GAVE_UP): "the loss that was one too many has ended it already",
}
"""Legal, but nothing leads there now; each with its reason."""


def test_every_trigger_is_driven() -> None:
    assert set(DRIVE) == set(Trigger)


@pytest.mark.parametrize("trigger", DRIVE)
@pytest.mark.parametrize("status", Status)
def test_every_trigger_does_in_every_status_what_the_table_says(status: Status, trigger: Trigger) -> None:
    # Of a launched program, a resume makes no more than a wake-up: it goes on when its turn has come.
    world = _in(status) if (status, trigger) != (Status.SUSPENDED, Trigger.RESUMED) else _at_rest_by_itself()
    expected = None if (status, trigger) in WITHOUT_COMMAND else next_status(status, trigger)
    before, told = world.row, world.audit.count(trigger)

    try:
        DRIVE[trigger](world)
    except RuntaraError:
        assert expected is None
        assert world.row == before

    assert world.row.status is (expected or status)
    # A checkpoint changes no status, and is its own record.
    expected_lines = 1 if expected is not None and trigger is not Trigger.CHECKPOINTED else 0
    assert world.audit.count(trigger) - told == expected_lines


@pytest.mark.parametrize("trigger", Trigger)
@pytest.mark.parametrize("status", Status)
def test_no_event_moves_an_instance_against_the_table(status: Status, trigger: Trigger) -> None:
    state = _in(status).state
    event = AttemptClaimed(trigger, 9, NOW)

    if trigger in TRANSITIONS[status]:
        after = instance.evolve(state, event)
        assert after.instance is not None
        assert after.instance.status is TRANSITIONS[status][trigger]
    else:
        with pytest.raises(AssertionError):
            instance.evolve(state, event)


# Everything at once --------------------------------------------------------------------------------------------------

IDS = st.sampled_from(["a", "b", "go"])
"""Checkpoints, places and names of signals: few, so that they meet."""
STATES = st.sampled_from([b"", b"1", b"2"])
SPANS = st.sampled_from([0, 1, 50, 1_000])
ATTEMPTS = st.sampled_from(["first", "second", "third"])
SIGNAL_IDS = st.integers(0, 30).map("s{}".format)

PROGRAM = st.one_of(
    st.builds(SaveCheckpoint, checkpoint_id=IDS, state=STATES),
    st.builds(Sleep, checkpoint_id=IDS, state=STATES, duration_ms=SPANS, park=st.booleans()),
    st.builds(Sleep, checkpoint_id=IDS, until=SPANS.map(NOW.__add__), park=st.booleans()),
    st.builds(TakeSignal, name=IDS, place=IDS, timeout_ms=st.none() | SPANS, park=st.booleans()),
    st.builds(AcknowledgeSignal, signal_id=SIGNAL_IDS),
    st.builds(RecordRetry, checkpoint_id=IDS, attempt=st.integers(1, 3), retry_after_ms=st.none() | SPANS),
    st.builds(RecordEvent, subtype=IDS),
    st.sampled_from([Heartbeat(), PollSignals(), GetStatus(), GetInput()]),
    st.builds(GetCheckpoint, checkpoint_id=IDS),
)
RESULTS = st.dictionaries(IDS, STATES, max_size=2).map(
    lambda states: tuple(StepResult(checkpoint_id=name, state=state) for name, state in states.items())
)
SUBTYPES = st.none() | st.just("why")


@st.composite
def delays(draw: st.DrawFn) -> RestInstance:
    """Draw a rest for a delay, which is no result beside."""
    delay, results = draw(IDS), draw(RESULTS)
    others = tuple(result for result in results if result.checkpoint_id != delay)
    return RestInstance(results=others, subtype=draw(SUBTYPES), checkpoint_id=delay, duration_ms=draw(SPANS))


REST = st.one_of(
    st.builds(SuspendInstance, wake_at=st.none() | SPANS.map(NOW.__add__)),
    st.builds(RestInstance, results=RESULTS, subtype=SUBTYPES, wake_at=st.none() | SPANS.map(NOW.__add__)),
    delays(),
)
END = st.one_of(
    st.builds(CompleteInstance, output=STATES),
    st.builds(FinishInstance, results=RESULTS, output=STATES),
    st.builds(FailInstance, error=IDS),
)
INSTANCE_WIDE = st.builds(SendSignal, kind=st.sampled_from(["pause", "resume", "shutdown"]), signal_id=SIGNAL_IDS)
CANCEL = st.builds(SendSignal, kind=st.just("cancel"), signal_id=SIGNAL_IDS)
CUSTOM = st.builds(SendSignal, kind=st.just("custom"), signal_id=SIGNAL_IDS, name=IDS)


REPORT = st.one_of(
    st.builds(CrashInstance, epoch=st.just(0), error=IDS, counts=st.booleans()),
    st.builds(ExitInstance, epoch=st.just(0), exit_code=st.integers(0, 1)),
    st.sampled_from([TimeOutInstance(epoch=0), EnforceSignals(epoch=0)]),
)
REPORTS = (DeclareSilent, CrashInstance, ExitInstance, TimeOutInstance, EnforceSignals)


LONG_LIFE = 16
"""Steps before a random life may end."""


class Lives(RuleBasedStateMachine):
    """Random lives of an instance between several attempts, managers, a scheduler and a clock that jumps."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.armed: int | None = None
        self.tracked: int | None = None
        self.launched: int | None = None
        """The epoch of the process that the host has, as far as nobody has stopped it."""
        self.launches: list[int] = []
        self.cancel_accepted = False
        self.first_answers: dict[tuple[str, str], object] = {}
        self.taken: list[str] = []
        self.steps = 0

    @initialize(start=st.booleans(), timeout_ms=st.sampled_from([None, 1_000]), restarts=st.integers(0, 3))
    def begin(self, start: bool, timeout_ms: int | None, restarts: int) -> None:
        self.world.limits = Limits(max_auto_restarts=restarts, relaunch_after_ms=10, relaunch_after_max_ms=25)
        started = StartInstance(program="ship", input=b"", timeout_ms=timeout_ms)
        self.ask(started if start else RegisterInstance(attempt_id="first"))

    @rule(program=st.sampled_from(["ship", "fly"]), data=st.none() | STATES)
    def start(self, program: str, data: bytes | None) -> None:
        self.ask(StartInstance(program=program, input=data))

    @rule(attempt_id=ATTEMPTS, checkpoint_id=st.none() | IDS, back=st.none() | st.integers(0, 1))
    def register(self, attempt_id: str, checkpoint_id: str | None, back: int | None) -> None:
        epoch = None if back is None else self.world.row.epoch - back
        self.ask(RegisterInstance(attempt_id=attempt_id, checkpoint_id=checkpoint_id), epoch)

    @rule(start=st.booleans())
    def put_another_one_in_its_place(self, start: bool) -> None:
        if self.steps <= LONG_LIFE:
            return
        self.steps = 0
        old, name = self.world.row, f"new-{self.world.row.epoch}"
        command: Command = RegisterInstance(attempt_id=name, replace=True)
        if start:
            command = StartInstance(program="ship", input=b"", replace=True, request_id=name)
        self.cancel_accepted = False
        self.first_answers.clear()
        self.taken.clear()
        self.world.ask(command)
        for effect in self.world.effects:
            self._follow(effect)
        assert (self.world.row.epoch, self.world.row.version) == (old.epoch + 1, old.version + 1)

    @rule(command=PROGRAM)
    def work(self, command: Command) -> None:
        self.ask(command, self.world.row.epoch)

    @rule(attempt_id=ATTEMPTS, signal_id=SIGNAL_IDS)
    def go_on(self, attempt_id: str, signal_id: str) -> None:
        if self.armed is not None:
            self.wake(late=1)
        if self.world.row.termination_reason is TerminationReason.PAUSED:
            self.ask(SendSignal(kind="resume", signal_id=signal_id))
        if self.world.row.status is not Status.RUNNING or self.world.row.attempt_id is None:
            self.ask(RegisterInstance(attempt_id=attempt_id))

    @rule(command=REST)
    def rest(self, command: Command) -> None:
        self.ask(command, self.world.row.epoch)

    @rule(command=END | CANCEL)
    def end(self, command: Command) -> None:
        if self.steps > LONG_LIFE:
            self.ask(command, None if isinstance(command, SendSignal) else self.world.row.epoch)

    @rule(command=PROGRAM | REST | END, epoch=st.none() | st.integers(0, 9))
    def say_as_somebody_else(self, command: Command, epoch: int | None) -> None:
        if epoch != self.world.row.epoch:
            self.ask(command, epoch)

    @rule(command=INSTANCE_WIDE)
    def send(self, command: SendSignal) -> None:
        self.ask(command)

    @rule(command=CUSTOM)
    def send_custom(self, command: SendSignal) -> None:
        self.ask(command)

    @rule()
    def obey(self) -> None:
        for signal in self.world.state.signals[:1]:
            self.ask(AcknowledgeSignal(signal_id=signal.signal_id), self.world.row.epoch)

    @rule(late=SPANS)
    def wake(self, late: int) -> None:
        if self.armed is not None:
            due_at, self.armed = self.armed, None
            self.world.now = max(self.world.now, due_at + late - 1)
            self.ask(WakeInstance(due_at=due_at))

    @rule(due_at=SPANS.map(NOW.__add__))
    def wake_for_nothing(self, due_at: int) -> None:
        if due_at != self.armed:
            self.ask(WakeInstance(due_at=due_at))

    @rule(back=st.integers(0, 1))
    def declare_silent(self, back: int) -> None:
        self.ask(DeclareSilent(epoch=self.world.row.epoch - back))

    @rule(report=REPORT, back=st.integers(0, 1))
    def report(self, report: Command, back: int) -> None:
        epoch = self.launched if self.launched is not None and not back else self.world.row.epoch - back
        if self.steps > LONG_LIFE or not isinstance(report, TimeOutInstance | ExitInstance):
            self.ask(replace(report, epoch=epoch))

    @rule(span=st.integers(-500, 500))
    def let_time_pass(self, span: int) -> None:
        self.world.now += span

    def ask(self, command: Command, epoch: int | None = None) -> None:
        """Send a command, follow its effects and hold it to the promises."""
        world = self.world
        self.steps += 1
        before = world.rows.instance
        reply: object = None
        try:
            reply = world.ask(command, epoch)
        except RuntaraError as refusal:
            reply = refusal
        for effect in world.effects:
            self._follow(effect)
        if before is not None:
            self._check_step(before, command, epoch, reply)
        if world.rows.instance is not None:
            self._check_answer(command, reply)

    def _follow(self, effect: instance.Effect) -> None:
        if isinstance(effect, Arm):
            self.armed = effect.wake_at
        elif isinstance(effect, Disarm):
            assert self.armed is not None, "there was nothing to disarm"
            self.armed = None
        elif isinstance(effect, Track):
            self.tracked = effect.epoch
        elif isinstance(effect, Untrack):
            self.tracked = None
        elif isinstance(effect, Launch):
            assert effect.epoch not in self.launches, "an epoch is launched once"
            self.launched = effect.epoch
            self.launches.append(effect.epoch)
        elif isinstance(effect, Stop):
            assert effect.epoch in self.launches, "only what was launched is stopped"
            gone = effect.epoch == self.launched and effect.how != "leave"
            self.launched = None if gone else self.launched
        elif isinstance(effect, Enforce):
            assert effect.epoch == self.launched, "only a process that lives is told to hurry"

    def _check_step(self, before: Instance, command: Command, epoch: int | None, reply: object) -> None:
        after = self.world.row
        assert after.version == before.version + (self.world.saved is not None)
        assert after.epoch >= before.epoch
        assert after.started_at == (before.started_at or after.started_at)
        if before.status in FINAL:
            assert after == before
        if self._is_said_by_somebody_else(before, command, epoch):
            assert isinstance(reply, Fenced | Acknowledged | InstanceRegistered)
            assert after == before
        if before.termination_reason is TerminationReason.PAUSED and after.termination_reason is None:
            assert isinstance(command, SendSignal)
            assert command.kind == "resume"
        assert after.losses <= self.world.limits.max_auto_restarts
        assert after.losses >= before.losses or (self.world.saved is not None and self.world.saved.checkpoints)
        if isinstance(command, WakeInstance) and self.world.saved is not None:
            assert self.world.now >= command.due_at == before.wake_at
        if before.program and before.status is Status.RUNNING and before.attempt_id is None and after.attempt_id:
            assert after.epoch == before.epoch
        if isinstance(reply, RuntaraError) and after.status is not Status.CANCELLED:
            assert after == before

    @staticmethod
    def _is_said_by_somebody_else(before: Instance, command: Command, epoch: int | None) -> bool:
        """Whether it is said for an attempt, and not for the one that holds the instance."""
        if isinstance(command, DeclareSilent):
            return before.status is not Status.RUNNING or command.epoch != before.epoch
        if isinstance(command, REPORTS):
            return before.status is not Status.RUNNING or command.epoch != before.claimed_epoch
        registers = isinstance(command, RegisterInstance) and epoch is not None
        return epoch != before.epoch and (registers or type(command) in instance._OWNER_ONLY)

    def _check_answer(self, command: Command, reply: object) -> None:
        if isinstance(command, SaveCheckpoint) and isinstance(reply, CheckpointSaved):
            value = reply.state if reply.found else command.state
            assert value == self._first("state", command.checkpoint_id, value)
            if reply.custom_signal is not None:
                signal_id = reply.custom_signal.signal_id
                assert signal_id == self._first("custom", command.checkpoint_id, signal_id)
        if isinstance(command, Sleep) and isinstance(reply, SleepStarted):
            stored = self.world.rows.checkpoints[command.checkpoint_id]
            assert reply.wake_at == (self.world.now if stored.wake_at is None else stored.wake_at)
            assert self._first("state", command.checkpoint_id, stored.state) == stored.state
        if isinstance(command, RestInstance | FinishInstance) and isinstance(reply, Acknowledged):
            self._check_results(command)
        if isinstance(command, TakeSignal) and isinstance(reply, SignalTaken) and (reply.signal or reply.timed_out):
            assert reply == self._first("taken", command.place, reply)
        if isinstance(command, SendSignal) and isinstance(reply, SignalAccepted):
            self.cancel_accepted |= command.kind == "cancel" and reply.created
        if self.world.saved is not None:
            self.taken.extend(wait.signal_id for wait in self.world.saved.waits if wait.signal_id is not None)

    def _check_results(self, command: RestInstance | FinishInstance) -> None:
        if self.world.saved is None:
            return  # sent again, or it rests for this very instant already
        for result in command.results:
            name, state = result.checkpoint_id, result.state
            assert self.world.rows.checkpoints[name].state == state == self._first("state", name, state)
        if isinstance(command, RestInstance) and command.checkpoint_id is not None:
            stored = self.world.rows.checkpoints[command.checkpoint_id]
            wake_at = self.world.now if stored.wake_at is None else stored.wake_at
            assert wake_at == self._first("delay", command.checkpoint_id, wake_at) or stored.wake_at is None
            self._first("state", command.checkpoint_id, stored.state)
            if self.world.row.termination_reason is TerminationReason.SLEEPING:
                assert self.world.row.wake_at == stored.wake_at

    def _first(self, kind: str, name: str, answer: object) -> object:
        return self.first_answers.setdefault((kind, name), answer)

    @invariant()
    def effects_are_what_a_restart_would_derive(self) -> None:
        row = self.world.rows.instance
        if row is not None:
            due = row.wake_at if row.program and row.status in (Status.PENDING, Status.SUSPENDED) else None
            assert self.armed == due
            assert self.tracked == (row.epoch if row.status is Status.RUNNING else None)
            if row.status is Status.RUNNING:
                assert row.claimed_epoch in (self.launched, None)
                assert (row.claimed_at is not None) == (row.claimed_epoch is not None)
            if row.program and row.status is Status.RUNNING and row.attempt_id is None:
                assert row.claimed_epoch == row.epoch

    @invariant()
    def what_is_stored_is_enough_to_do_it_all_again(self) -> None:
        row = self.world.rows.instance
        if row is not None:
            done = Lives()
            done.launches = self.launches
            done.launched = row.claimed_epoch
            for effect in derive(self.world.state):
                if not isinstance(effect, Launch | Disarm):
                    done._follow(effect)
            launches = [effect.epoch for effect in derive(self.world.state) if isinstance(effect, Launch)]
            waits_for_launch = row.status is Status.RUNNING and row.program is not None and row.attempt_id is None
            assert (done.armed, done.tracked) == (self.armed, self.tracked)
            assert launches == ([self.launched] if waits_for_launch else [])

    @invariant()
    def an_accepted_cancel_leaves_only_one_end(self) -> None:
        if self.cancel_accepted:
            assert self.world.row.status in (Status.RUNNING, Status.CANCELLED)

    @invariant()
    def only_a_running_instance_owes_an_answer_to_a_signal(self) -> None:
        row = self.world.rows.instance
        if row is not None and row.status in (Status.PENDING, Status.SUSPENDED):
            assert all(signal.kind == "custom" for signal in self.world.state.signals)

    @invariant()
    def signals_are_taken_once_and_in_order(self) -> None:
        signals = [self.world.rows.signals[signal_id] for signal_id in self.taken]
        assert len(set(self.taken)) == len(self.taken)
        for name in {signal.name for signal in signals}:
            order = [signal.seq for signal in signals if signal.name == name]
            assert order == sorted(order)

    @invariant()
    def signals_are_numbered_in_order_of_arrival(self) -> None:
        assert [signal.seq for signal in self.world.rows.signals.values()] == list(
            range(1, len(self.world.rows.signals) + 1)
        )

    @invariant()
    def the_audit_log_tells_the_status(self) -> None:
        if self.world.rows.instance is not None:
            status = Status.PENDING
            for line in self.world.rows.events:
                if line.type in set(Trigger):
                    status = TRANSITIONS[status][Trigger(line.type)]
            assert status is self.world.row.status

    @invariant()
    def times_and_reasons_fit_the_status(self) -> None:
        row = self.world.rows.instance
        if row is not None:
            assert (row.finished_at is not None) == (row.status in FINAL)
            due = row.status is Status.SUSPENDED and row.program is not None and row.wake_at is not None
            assert due or (row.termination_reason is not None) == (row.status in {*FINAL, Status.SUSPENDED})
            assert row.wake_at is None or row.status in (Status.PENDING, Status.SUSPENDED)
            if row.finished_at is not None:
                assert row.finished_at >= (row.started_at or row.created_at)


class MoreLives(Lives):
    """The same, more often."""


Lives.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
MoreLives.TestCase.settings = settings(max_examples=300, stateful_step_count=50)
test_random_lives_keep_every_promise = Lives.TestCase
test_more_random_lives_keep_every_promise = pytest.mark.slow(MoreLives.TestCase)


# Bursts --------------------------------------------------------------------------------------------------------------

CALLS = st.lists(
    PROGRAM | REST | END | CUSTOM | INSTANCE_WIDE | CANCEL | st.builds(RegisterInstance, attempt_id=ATTEMPTS),
    max_size=12,
)


def _run(commands: list[Command], burst: int) -> World:
    """Send commands as attempt 1, `burst` of them to a commit."""
    world = unmanaged()
    for start in range(0, len(commands), burst):
        world.ask_burst([Call(KEY, command, 1) for command in commands[start : start + burst]])
    return world


@given(commands=CALLS)
def test_a_burst_stores_what_its_calls_would_have_stored_one_by_one(commands: list[Command]) -> None:
    one_by_one, at_once = _run(commands, 1), _run(commands, 32)

    assert replace(at_once.row, version=0) == replace(one_by_one.row, version=0)
    assert at_once.rows.checkpoints == one_by_one.rows.checkpoints
    assert at_once.rows.signals == one_by_one.rows.signals
    assert at_once.rows.waits == one_by_one.rows.waits
    assert at_once.rows.events == one_by_one.rows.events
    assert at_once.rows.output == one_by_one.rows.output
    assert at_once.replies == one_by_one.replies


def test_a_burst_grows_the_version_by_one() -> None:
    world = unmanaged()

    world.ask_burst([Call(KEY, SaveCheckpoint(checkpoint_id=name, state=b""), 1) for name in "abc"])

    assert world.row.version == 2
    assert list(world.rows.checkpoints) == ["a", "b", "c"]


def test_what_is_not_in_memory_is_named_before_it_is_needed() -> None:
    world = unmanaged()
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b"1"))

    needs = needs_of(world.state, Call(KEY, GetCheckpoint(checkpoint_id="a")))

    assert needs == (instance.Need("checkpoint", "a"),)
    assert needs_of(world.state, Call(KEY, GetCheckpoint(checkpoint_id="b"))) == ()
    assert needs_of(world.state, Call(KEY, Heartbeat(), 1)) == ()
