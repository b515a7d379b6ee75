from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtara.actors.instance import Arm, Launch, Limits, Stop, Track, Untrack
from runtara.errors import Fenced, InstanceNotFound
from runtara.lifecycle import Status, TerminationReason
from runtara.messages import (
    Acknowledged,
    Command,
    CompleteInstance,
    CrashInstance,
    DeclareSilent,
    EnforceSignals,
    ExitInstance,
    GetStatus,
    Heartbeat,
    InstanceInfo,
    InstanceRegistered,
    InstanceWoken,
    RecordUsage,
    RegisterInstance,
    SaveCheckpoint,
    StartInstance,
    SuspendInstance,
    TimeOutInstance,
    WakeInstance,
)
from tests.actors.world import NOW, World, claimed, managed, unmanaged

LIMITS = Limits(max_auto_restarts=3, relaunch_after_ms=100, relaunch_after_max_ms=350)
REPORTS: list[Command] = [
    CrashInstance(epoch=1, error="killed"),
    ExitInstance(epoch=1, exit_code=0),
    ExitInstance(epoch=1, exit_code=1),
    TimeOutInstance(epoch=1),
    EnforceSignals(epoch=1),
]


def relaunched(world: World, name: str = "next") -> World:
    """The next attempt, launched and registered."""
    world.wake()
    world.tell(RegisterInstance(attempt_id=name))
    return world


def launch_of(world: World) -> Launch:
    return next(effect for effect in world.effects if isinstance(effect, Launch))


# It is time ----------------------------------------------------------------------------------------------------------


def test_a_due_instance_is_claimed_for_the_next_attempt_and_launched() -> None:
    world = managed()
    world.tell(SuspendInstance(wake_at=NOW + 5))

    reply = world.wake()

    assert reply == InstanceWoken(Status.RUNNING, True)
    assert (world.row.epoch, world.row.attempt_id, world.row.wake_at) == (2, None, None)
    assert (world.row.heartbeat_at, world.row.termination_reason) == (NOW + 5, None)
    assert (world.row.claimed_at, world.row.claimed_epoch) == (NOW + 5, 2)
    assert world.effects == (Launch("ship", 2), Track(2))
    assert world.audit[-1] == "woken"


def test_a_wake_up_that_comes_twice_wakes_once() -> None:
    world = claimed()

    reply = world.ask(WakeInstance(due_at=NOW))

    assert reply == InstanceWoken(Status.RUNNING, False)
    assert world.saved is None
    assert world.effects == ()


def test_a_wake_up_for_another_instant_changes_nothing() -> None:
    world = managed()
    world.tell(SuspendInstance(wake_at=NOW + 5))
    world.now += 10

    assert world.ask(WakeInstance(due_at=NOW + 4)) == InstanceWoken(Status.SUSPENDED, False)
    assert world.saved is None


def test_a_program_that_registers_by_itself_is_not_launched() -> None:
    world = unmanaged()
    world.tell(SuspendInstance(wake_at=NOW + 5))

    assert world.wake() == InstanceWoken(Status.SUSPENDED, False)


def test_a_wake_up_before_its_time_is_armed_again_because_the_clock_was_set_back() -> None:
    world = managed()
    world.tell(SuspendInstance(wake_at=NOW + 5))
    world.now = NOW + 4

    assert world.ask(WakeInstance(due_at=NOW + 5)) == InstanceWoken(Status.SUSPENDED, False)
    assert world.saved is None
    assert world.effects == (Arm(NOW + 5),)


# Whose report counts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [WakeInstance(due_at=NOW), DeclareSilent(epoch=1), *REPORTS])
def test_news_about_an_unknown_instance_are_refused(command: Command) -> None:
    with pytest.raises(InstanceNotFound):
        World().ask(command)


@pytest.mark.parametrize("command", [DeclareSilent(epoch=1), *REPORTS])
def test_news_about_an_attempt_that_was_taken_over_by_hand_change_nothing(command: Command) -> None:
    world = managed(timeout_ms=50)
    world.ask(RegisterInstance(attempt_id="by hand"))
    world.send("cancel")

    assert world.ask(command) == Acknowledged(Status.RUNNING)
    assert world.saved is None


@pytest.mark.parametrize("command", [DeclareSilent(epoch=1), *REPORTS])
def test_news_about_an_earlier_launch_change_nothing(command: Command) -> None:
    world = managed(timeout_ms=50)
    world.ask(CrashInstance(epoch=1, error="exit 1"))
    relaunched(world)
    world.send("cancel")

    assert world.ask(command) == Acknowledged(Status.RUNNING)
    assert world.saved is None


@pytest.mark.parametrize("command", [DeclareSilent(epoch=1), *REPORTS])
def test_a_reported_end_counts_more_than_what_the_host_infers(command: Command) -> None:
    world = managed(timeout_ms=50)
    world.tell(CompleteInstance(output=b"done"))

    assert world.ask(command) == Acknowledged(Status.COMPLETED)
    assert (world.saved, world.rows.output) == (None, b"done")


@pytest.mark.parametrize("command", [DeclareSilent(epoch=1), *REPORTS])
def test_a_program_that_ends_because_it_was_parked_changes_nothing(command: Command) -> None:
    world = managed(timeout_ms=50)
    world.tell(SuspendInstance(wake_at=NOW + 5))

    assert world.ask(command) == Acknowledged(Status.SUSPENDED)
    assert world.saved is None


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (CrashInstance(epoch=1, error="killed"), Status.SUSPENDED),
        (ExitInstance(epoch=1, exit_code=1), Status.SUSPENDED),
        (ExitInstance(epoch=1, exit_code=0), Status.COMPLETED),
        (TimeOutInstance(epoch=1), Status.FAILED),
        (EnforceSignals(epoch=1), Status.SUSPENDED),
    ],
)
def test_a_report_about_a_launch_counts_for_the_attempt_that_its_process_has_registered_anew(
    command: Command, status: Status
) -> None:
    world = managed(timeout_ms=50)
    world.ask(RegisterInstance(attempt_id="reconnected"), epoch=1)
    if isinstance(command, EnforceSignals):
        world.send("shutdown")

    reply = world.ask(command)

    assert reply == Acknowledged(status)
    with pytest.raises(Fenced):
        world.ask(Heartbeat(), epoch=1)


def test_the_process_of_an_attempt_that_registered_anew_is_stopped_under_the_number_of_its_launch() -> None:
    world = managed()
    world.ask(RegisterInstance(attempt_id="reconnected"), epoch=1)

    world.ask(CompleteInstance(), epoch=2)

    assert world.effects == (Untrack(), Stop(1, "leave"))


# Exits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [claimed, managed])
@pytest.mark.parametrize(("output", "stored"), [(b"done", b"done"), (b"", b""), (None, b"")])
def test_a_program_that_ends_with_zero_has_completed(
    make: Callable[[], World], output: bytes | None, stored: bytes
) -> None:
    world = make()
    world.now += 9

    reply = world.ask(ExitInstance(epoch=1, exit_code=0, output=output, error="a warning"))

    info = world.ask(GetStatus())
    assert reply == Acknowledged(Status.COMPLETED)
    assert (world.rows.output, world.row.error, world.row.exit_code) == (stored, None, 0)
    assert isinstance(info, InstanceInfo)
    assert (info.status, info.exit_code, info.finished_at) == (Status.COMPLETED, 0, NOW + 9)
    assert world.audit[-1] == "completed"


def test_a_program_that_never_used_the_sdk_and_ends_badly_has_failed() -> None:
    world = claimed()

    reply = world.ask(ExitInstance(epoch=1, exit_code=3, output=b"half", error="no such file \udcff"))

    assert reply == Acknowledged(Status.FAILED)
    assert world.row.termination_reason is TerminationReason.APPLICATION_ERROR
    assert (world.row.exit_code, world.row.error, world.rows.output) == (3, "no such file ?", None)


def test_a_program_that_fails_without_a_word_is_told_by_its_exit_code() -> None:
    world = claimed()

    world.ask(ExitInstance(epoch=1, exit_code=3))

    assert world.row.error == "the program has ended with exit code 3 and no word on stderr"


def test_a_program_that_used_the_sdk_and_ends_badly_has_crashed_and_is_launched_again() -> None:
    world = managed()

    reply = world.ask(ExitInstance(epoch=1, exit_code=3, error="out of memory"))

    assert reply == Acknowledged(Status.SUSPENDED)
    assert (world.row.termination_reason, world.row.exit_code, world.row.losses) == (TerminationReason.CRASHED, 3, 1)
    assert world.rows.events[-1].payload == b"out of memory"
    world.wake()
    assert (world.row.status, world.row.exit_code) == (Status.RUNNING, None)


def test_a_program_that_has_ever_registered_crashes_also_where_its_last_attempt_did_not_get_that_far() -> None:
    world = managed()
    world.ask(CrashInstance(epoch=1, error="killed"))
    world.wake()

    world.ask(ExitInstance(epoch=3, exit_code=1))

    assert (world.row.status, world.row.losses) == (Status.SUSPENDED, 2)


@pytest.mark.parametrize("code", [0, 1])
def test_a_cancel_that_the_program_did_not_answer_decides_when_it_exits(code: int) -> None:
    world = managed()
    world.send("cancel")

    assert world.ask(ExitInstance(epoch=1, exit_code=code)) == Acknowledged(Status.CANCELLED)


# Time-outs -----------------------------------------------------------------------------------------------------------


def test_an_attempt_that_runs_for_too_long_fails_its_instance_and_is_stopped() -> None:
    world = managed(timeout_ms=5_000)
    world.now += 5_000

    reply = world.ask(TimeOutInstance(epoch=1))

    assert reply == Acknowledged(Status.FAILED)
    assert world.row.termination_reason is TerminationReason.TIMEOUT
    assert world.row.error == "it ran for longer than the 5000 ms that it had: give it more, or less to do"
    assert world.effects == (Untrack(), Stop(1, "ask"))
    assert world.audit[-1] == "timed-out"


def test_an_instance_without_a_limit_never_times_out() -> None:
    world = managed()

    assert world.ask(TimeOutInstance(epoch=1)) == Acknowledged(Status.RUNNING)
    assert launch_of(claimed()).timeout_at is None


def test_the_first_launch_has_the_whole_time() -> None:
    assert launch_of(claimed(timeout_ms=5_000)).timeout_at == NOW + 5_000


def test_rests_do_not_count() -> None:
    world = managed(timeout_ms=5_000)
    world.now += 1_000
    world.tell(SuspendInstance(wake_at=NOW + 60_000))

    world.wake()

    assert (world.row.ran_ms, world.row.claimed_at) == (1_000, NOW + 60_000)
    assert launch_of(world).timeout_at == NOW + 60_000 + 4_000


def test_the_running_time_of_all_attempts_adds_up_to_the_end() -> None:
    world = managed(timeout_ms=5_000)
    for _ in range(3):
        world.now += 1_000
        world.tell(SuspendInstance(wake_at=world.now + 10))
        relaunched(world)
    world.now += 500

    world.tell(CompleteInstance())

    assert (world.row.ran_ms, world.row.claimed_at) == (3_500, None)


@pytest.mark.parametrize("loss", [CrashInstance(epoch=1, error="killed"), DeclareSilent(epoch=1)])
def test_a_lost_attempt_has_run_for_as_long_as_it_was_heard_of(loss: Command) -> None:
    world = managed(timeout_ms=5_000)
    world.now += 1_000
    world.tell(SaveCheckpoint(checkpoint_id="a", state=b""))
    world.now += 60_000

    world.ask(loss)
    world.wake()

    assert world.row.ran_ms == 1_000
    assert launch_of(world).timeout_at == world.now + 4_000


def test_time_under_somebody_elses_hands_does_not_count() -> None:
    world = managed(timeout_ms=5_000)
    world.now += 1_000
    world.ask(RegisterInstance(attempt_id="by hand"))
    world.now += 60_000

    world.tell(SuspendInstance(wake_at=world.now))

    assert world.row.ran_ms == 1_000


def test_a_clock_that_is_set_back_gives_no_time() -> None:
    world = managed(timeout_ms=5_000)
    world.now -= 60_000

    world.tell(SuspendInstance(wake_at=world.now))

    assert world.row.ran_ms == 0


# Silence and crashes -------------------------------------------------------------------------------------------------


def test_a_silent_launched_attempt_is_fenced_killed_and_followed_by_another() -> None:
    world = managed()
    world.now += 9

    reply = world.ask(DeclareSilent(epoch=1))

    assert reply == Acknowledged(Status.SUSPENDED)
    assert (world.row.epoch, world.row.attempt_id, world.row.wake_at) == (2, None, NOW + 109)
    assert (world.row.termination_reason, world.row.losses) == (TerminationReason.HEARTBEAT_TIMEOUT, 1)
    assert world.effects == (Untrack(), Stop(1, "kill"), Arm(NOW + 109))
    with pytest.raises(Fenced):
        world.ask(Heartbeat(), epoch=1)


def test_a_launched_program_that_has_not_registered_may_be_one_that_never_speaks() -> None:
    world = claimed()
    before = world.row

    reply = world.ask(DeclareSilent(epoch=1))

    assert reply == Acknowledged(Status.RUNNING)
    assert (world.row, world.effects) == (before, ())


def test_a_silent_program_that_registers_by_itself_is_fenced_and_may_register_again() -> None:
    world = unmanaged()

    world.ask(DeclareSilent(epoch=1))

    assert (world.row.status, world.row.epoch, world.row.wake_at) == (Status.SUSPENDED, 2, None)
    assert (world.effects, world.row.losses) == ((Untrack(),), 0)
    assert world.ask(RegisterInstance(attempt_id="first")) == InstanceRegistered(epoch=3, resumed=False)


def test_a_program_that_registers_by_itself_may_go_silent_as_often_as_it_likes() -> None:
    world = unmanaged(LIMITS)
    for number in range(10):
        world.ask(DeclareSilent(epoch=world.row.epoch))
        world.ask(RegisterInstance(attempt_id=f"attempt {number}"))

    assert world.row.status is Status.RUNNING


def test_a_silent_attempt_by_hand_is_followed_by_a_launch_and_there_is_nothing_to_kill() -> None:
    world = managed()
    world.ask(RegisterInstance(attempt_id="by hand"))

    world.ask(DeclareSilent(epoch=2))

    assert world.effects == (Untrack(), Arm(NOW + 100))


def test_a_crash_is_followed_by_another_attempt_and_its_error_is_kept_in_the_audit_log() -> None:
    world = managed()

    reply = world.ask(CrashInstance(epoch=1, error="killed \udcff", exit_code=-9))

    assert reply == Acknowledged(Status.SUSPENDED)
    assert (world.row.epoch, world.row.termination_reason) == (2, TerminationReason.CRASHED)
    assert (world.row.exit_code, world.row.losses) == (-9, 1)
    assert world.effects == (Untrack(), Stop(1, "leave"), Arm(NOW + 100))
    line = world.rows.events[-1]
    assert (line.type, line.epoch, line.payload) == ("crashed", 1, b"killed ?")


# The budget ----------------------------------------------------------------------------------------------------------


def test_each_crash_in_a_row_waits_twice_as_long_up_to_a_limit() -> None:
    world = managed(LIMITS)
    waits = []
    for _ in range(3):
        world.ask(CrashInstance(epoch=world.row.claimed_epoch or 0, error="killed"))
        assert world.row.wake_at is not None
        waits.append(world.row.wake_at - world.now)
        relaunched(world)

    assert waits == [100, 200, 350]


@pytest.mark.parametrize("make", [claimed, managed])
@pytest.mark.parametrize("silent", [False, True])
def test_an_instance_that_loses_too_many_attempts_in_a_row_fails(make: Callable[[Limits], World], silent: bool) -> None:
    world = make(LIMITS)
    for _ in range(3):
        world.ask(CrashInstance(epoch=world.row.epoch, error="killed"))
        world.wake()
    epoch = world.row.epoch
    if silent:
        world.tell(RegisterInstance(attempt_id="last"))

    report = DeclareSilent(epoch=epoch) if silent else CrashInstance(epoch=epoch, error="killed again", exit_code=-9)
    reply = world.ask(report)

    assert reply == Acknowledged(Status.FAILED)
    assert world.row.termination_reason is TerminationReason.RECOVERY_BUDGET_SPENT
    why = "heartbeat-timeout" if silent else "killed again"
    assert world.row.error == f"lost 4 attempts in a row without a new checkpoint, the last one because: {why}"
    assert world.row.exit_code == (None if silent else -9)
    assert world.effects == (Untrack(), Stop(epoch, "kill" if silent else "leave"))
    assert world.audit[-1] == "gave-up"


def test_a_crash_is_one_too_many_at_once_where_none_is_allowed() -> None:
    world = managed(Limits(max_auto_restarts=0))

    world.ask(ExitInstance(epoch=1, exit_code=1, error="exit 1"))

    assert world.row.termination_reason is TerminationReason.RECOVERY_BUDGET_SPENT


def test_a_new_checkpoint_gives_the_whole_budget_again() -> None:
    world = managed(LIMITS)
    for number in range(10):
        world.tell(SaveCheckpoint(checkpoint_id=f"step-{number}", state=b""))
        world.ask(CrashInstance(epoch=world.row.epoch, error="killed"))
        assert world.row.wake_at == world.now + 100
        relaunched(world)

    assert (world.row.status, world.row.losses) == (Status.RUNNING, 1)


def test_a_loss_that_is_the_hosts_fault_does_not_count() -> None:
    world = managed(LIMITS)
    world.ask(CrashInstance(epoch=1, error="killed"))
    relaunched(world)
    for _ in range(10):
        world.ask(CrashInstance(epoch=world.row.epoch, error="the host died", counts=False))
        assert (world.row.losses, world.row.wake_at) == (1, world.now + 100)
        relaunched(world)

    assert world.row.status is Status.RUNNING


def test_a_cancel_comes_before_giving_up() -> None:
    world = managed(Limits(max_auto_restarts=0))
    world.send("cancel")

    assert world.ask(CrashInstance(epoch=1, error="killed")) == Acknowledged(Status.CANCELLED)


@given(
    st.lists(st.sampled_from(["counted", "not counted", "checkpoint", "rest"]), max_size=40),
    st.integers(0, 4),
    st.integers(1, 200),
)
def test_the_budget_is_kept_whatever_happens(steps: list[str], budget: int, first: int) -> None:
    limits = Limits(max_auto_restarts=budget, relaunch_after_ms=first, relaunch_after_max_ms=1_000)
    world, lost = managed(limits), 0
    for number, step in enumerate(steps):
        if step == "checkpoint":
            lost = 0
            world.tell(SaveCheckpoint(checkpoint_id=f"step-{number}", state=b""))
            continue
        if step == "rest":
            world.tell(SuspendInstance(wake_at=world.now))
        else:
            lost += step == "counted"
            world.ask(CrashInstance(epoch=world.row.epoch, error="killed", counts=step == "counted"))
            if lost > budget:
                break
            wait = min(first * 2 ** (lost - 1), 1_000) if step == "counted" else first
            assert world.row.wake_at == world.now + wait
        relaunched(world, f"attempt {number}")

    assert world.row.status is (Status.FAILED if lost > budget else Status.RUNNING)
    assert world.row.losses == min(lost, budget)


def test_a_plain_program_is_launched_as_it_was_started() -> None:
    world = World()
    world.ask(StartInstance(program="ship", env={"A": "1"}, timeout_ms=10))
    world.wake()

    assert world.effects == (Launch("ship", 1, NOW + 10), Track(1))


# What was used --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [CompleteInstance(output=b"done"), SuspendInstance(wake_at=NOW + 5)])
def test_what_an_attempt_has_used_is_written_once_whatever_became_of_its_instance(end: Command) -> None:
    world = managed()
    world.tell(end)
    before = world.row
    usage = RecordUsage(epoch=1, exit_code=0, memory_peak=1 << 20, cpu_seconds=0.25)

    replies = [world.ask(usage), world.ask(usage)]

    lines = [line for line in world.rows.events if line.type == "usage"]
    assert replies == [Acknowledged(before.status)] * 2
    assert [(line.epoch, msgspec.json.decode(line.payload or b"")) for line in lines] == [
        (1, {"exit_code": 0, "memory_peak": 1 << 20, "cpu_seconds": 0.25})
    ]
    assert (world.row.status, world.row.finished_at, world.row.wake_at) == (
        before.status,
        before.finished_at,
        before.wake_at,
    )
