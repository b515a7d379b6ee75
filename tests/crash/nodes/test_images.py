"""Images that several nodes share: whichever of them launches an instance, it is launched once."""

from collections import Counter
from pathlib import Path

from runtara.messages import ListEvents, StartInstance
from runtara.sdk.images import push_image
from tests.crash.nodes.fleet import LEDGER, LONG_MS, Fleet

PROGRAM = """import os
from runtara.sdk import RuntaraSdk

ledger = os.open(os.environ["FLEET_LEDGER"], os.O_WRONLY | os.O_APPEND)
with RuntaraSdk.from_env() as sdk:
    name = os.environ["RUNTARA_INSTANCE_ID"]
    for step in range(2):
        if sdk.get_checkpoint(f"step {step}") is None:
            os.write(ledger, f"row {name} {step} {sdk.epoch}\\n".encode())
            sdk.checkpoint(f"step {step}", b"")
        sdk.sleep(1.5, f"rest after {step}")
    sdk.completed(b"done")
"""

NAMES = [f"shared-{number}" for number in range(4)]


def test_s34_two_schedulers_on_one_database_launch_each_rest_of_an_image_once(fleet: Fleet, tmp_path: Path) -> None:
    more = {"RUNTARA_IMAGES_DIR": str(tmp_path / "images"), "RUNTARA_PARK_AFTER_MS": "1"}
    one, two = fleet.start(2, RUNTARA_NODE_LEASE_MS=LONG_MS, **more)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    doors = [fleet.manager(node) for node in (one, two)]
    push_image(doors[0], "shared", program)

    for name in NAMES:
        for door in doors:  # the same start at both of them is one instance
            start = StartInstance(program="shared", image=True, env={LEDGER: str(fleet.ledger)})
            door.beside(name).call_from_thread(start)
    fleet.await_completed(one, NAMES)

    rows = Counter((name, step) for name, step, _ in fleet.lines("row"))
    assert rows == Counter((name, step) for name in NAMES for step in range(2))
    for name in NAMES:
        page = doors[0].beside(name).call_from_thread(ListEvents(limit=1000))
        launches = [event.epoch for event in page.events if event.type == "woken"]
        begun = [event.epoch for event in page.events if event.type == "registered"]
        assert launches == begun == [1, 2, 3], f"{name} was launched as {launches}, and began as {begun}"
