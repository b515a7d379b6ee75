"""Write a report again and again: a schedule starts an instance at each of its instants, and each of them once.

The schedule is kept where the instances are. If the system is away when a start is due, `catch_up` says what becomes of
it: here all that was missed is made up for.
"""

from queue import Queue

from runtara.messages import DeleteSchedule, GetSchedule, PauseSchedule, PutSchedule, SchedulePlan, StartInstance
from runtara.sdk import RuntaraSdk, embedded

written: Queue[str] = Queue()
"""Ids of the instances that have run, as they come."""


def report(sdk: RuntaraSdk) -> bytes:
    """Write one report, for whoever the input names."""
    written.put(sdk.instance_id)
    return b"a report for " + (sdk.load_input() or b"nobody")


def main() -> None:
    """Let three reports be written."""
    plan = SchedulePlan(
        start=StartInstance(program="report", input=b"the office"),
        every_ms=1_000,  # or cron="30 6 * * MON-FRI", timezone="Europe/Berlin"
        catch_up="all",
    )
    with embedded.open(url="memory://", programs={"report": report}) as system:
        door = system.open_door("manager", "default")
        put = door.call_from_thread(PutSchedule(name="reports", plan=plan))
        print("the same again changes nothing:", door.call_from_thread(PutSchedule(name="reports", plan=plan)) == put)

        names = [written.get() for _ in range(3)]
        print("each has an id of its own:", len(set(names)), names[0].partition(".")[0])
        print(system.wait(names[0]).output)

        paused = door.call_from_thread(PauseSchedule(name="reports"))
        print("paused, so the next start is", paused.next_at)
        print("refused so far:", door.call_from_thread(GetSchedule(name="reports")).last_error)
        print("it was there to be deleted:", door.call_from_thread(DeleteSchedule(name="reports")).deleted)
        door.close()


if __name__ == "__main__":
    main()

# Output:
# the same again changes nothing: True
# each has an id of its own: 3 reports
# b'a report for the office'
# paused, so the next start is None
# refused so far: None
# it was there to be deleted: True
