"""A launched program that knows nothing of this package: it says what docs/reference/protocol.md says, byte by byte."""

from pathlib import Path

from runtara.lifecycle import Status
from runtara.messages import ListEvents, SendSignal
from tests.test_host import KEY, ended, opened, start, until

PROGRAM = """import asyncio, os, sys, uuid
import msgspec.msgpack
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import StreamDataReceived

assert "runtara" not in sys.modules
environment = os.environ


class Frames(QuicConnectionProtocol):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.rest, self.frames = b"", asyncio.Queue()

    def quic_event_received(self, event):
        if isinstance(event, StreamDataReceived):
            self.rest += event.data
            while len(self.rest) >= 4 and len(self.rest) >= 4 + (length := int.from_bytes(self.rest[:4], "big")):
                self.frames.put_nowait(msgspec.msgpack.decode(self.rest[4 : 4 + length]))
                self.rest = self.rest[4 + length :]

    def say(self, frame):
        data = msgspec.msgpack.encode(frame)
        self._quic.send_stream_data(0, len(data).to_bytes(4, "big") + data)
        self.transmit()

    async def hear(self, kind):
        while (frame := await self.frames.get())["type"] != kind:
            assert frame["type"] in ("Pushed", "Renewed"), frame
        return frame

    async def ask(self, **command):
        self.say({"type": "Ask", "id": 1, "command": command})
        return (await self.hear("Answer"))["reply"]


async def main():
    host, _, port = environment["RUNTARA_SERVER_ADDR"].rpartition(":")
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["runtara/2"], server_name=environment["RUNTARA_SERVER_NAME"]
    )
    configuration.load_verify_locations(environment["RUNTARA_CA_FILE"])
    async with connect(host, int(port), configuration=configuration, create_protocol=Frames) as server:
        await server.wait_connected()
        server._quic.get_next_available_stream_id()
        server.say({
            "type": "Hello",
            "tenant_id": environment["RUNTARA_TENANT_ID"],
            "instance_id": environment["RUNTARA_INSTANCE_ID"],
            "credential": environment["RUNTARA_TOKEN"],
            "epoch": int(environment["RUNTARA_EPOCH"]),
        })
        await server.hear("Welcome")
        attempt = await server.ask(type="RegisterInstance", attempt_id=uuid.uuid4().hex)
        assert attempt["epoch"] == int(environment["RUNTARA_EPOCH"])
        given = (await server.ask(type="GetInput"))["input"]
        saved = await server.ask(type="SaveCheckpoint", checkpoint_id="first", state=given + b"!", request=1)
        state = saved["state"] if saved["found"] else given + b"!"
        nap = await server.ask(type="Sleep", checkpoint_id="nap", duration_ms=50, park=True, request=2)
        if nap["parked"]:
            return
        found = await server.ask(type="TakeSignal", name="go", place="here", park=True)
        if found["parked"]:
            return
        await server.ask(type="CompleteInstance", output=state + found["signal"]["payload"])


asyncio.run(main())
"""


async def test_a_program_in_another_language_saves_parks_is_woken_and_completes(tmp_path: Path) -> None:
    program = tmp_path / "foreign.py"
    program.write_text(PROGRAM)

    async with opened(tmp_path) as host:
        await start(host, str(program), input=b"given")
        await until(host, KEY, lambda info: info.termination_reason == "waiting-signal")
        await host.runtime.dispatch.call(KEY, SendSignal(kind="custom", name="go", signal_id="s", payload=b" and sent"))
        info = await ended(host)
        await host.drain()  # it has completed before it has ended
        events = (await host.runtime.dispatch.call(KEY, ListEvents())).events

    assert (info.status, info.output, info.error) == (Status.COMPLETED, b"given! and sent", None)
    wanted = ("registered", "slept", "suspended", "completed")
    assert [event.type for event in events if event.type in wanted] == [
        "registered",
        "slept",
        "registered",
        "suspended",
        "registered",
        "completed",
    ]


PLAIN = """import base64, http.client, json, os, sys, urllib.parse, uuid

environment = os.environ
place = urllib.parse.urlsplit(environment["RUNTARA_HTTP_URL"])
server = http.client.HTTPConnection(place.hostname, place.port)


def ask(verb, what, **body):
    path = f"/api/v1/instances/{environment['RUNTARA_INSTANCE_ID']}/{what}"
    headers = {"Authorization": f"Bearer {environment['RUNTARA_TOKEN']}", "Content-Type": "application/json"}
    server.request(verb, path, json.dumps(body) if body else None, headers)
    answer = server.getresponse()
    found = json.load(answer)
    assert answer.status == 200, found
    return found


attempt = ask("POST", "register", attempt_id=uuid.uuid4().hex)
assert attempt["epoch"] == int(environment["RUNTARA_EPOCH"])
given = base64.b64decode(ask("GET", "input")["input"])
saved = ask("POST", "checkpoint", checkpoint_id="first", state=base64.b64encode(given + b"!").decode())
nap = ask("POST", "sleep", checkpoint_id="nap", duration_ms=50, park=True)
if nap["parked"]:
    sys.exit()
found = ask("POST", "signals/take", name="go", place="here", park=True)
if found["parked"]:
    sys.exit()
output = base64.b64decode(saved["state"]) + base64.b64decode(found["signal"]["payload"])
ask("POST", "completed", output=base64.b64encode(output).decode())
"""
"""It has nothing but the standard library of its language, as a script with curl would."""


async def test_a_program_that_speaks_no_quic_does_the_same_over_http(tmp_path: Path) -> None:
    program = tmp_path / "plain.py"
    program.write_text(PLAIN)

    async with opened(tmp_path) as host:
        await start(host, str(program), input=b"given")
        await until(host, KEY, lambda info: info.termination_reason == "waiting-signal")
        await host.runtime.dispatch.call(KEY, SendSignal(kind="custom", name="go", signal_id="s", payload=b" and sent"))
        info = await ended(host)
        await host.drain()

    assert (info.status, info.output, info.error) == (Status.COMPLETED, b"given! and sent", None)
