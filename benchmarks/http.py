"""HTTP on loopback: a status asked for by 64 clients that keep their connections, and an image pushed in one request.

The server is a process of its own; so is the client. A client here writes requests as bytes and reads no more of an
answer than where it ends, so that it is the server that is measured.
"""

import gc
import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from runtara.transport.connection_file import read_connection_file

CLIENTS = 64
SECONDS = 5.0
RATE = 1_500
"""Requests a second for which the time until the answer is taken."""
IMAGE_MIB = 300
MIB = 1024 * 1024


def status() -> float:
    """Status requests per second, 64 clients."""
    taken = _ask()
    return len(taken) / SECONDS


def status_p99() -> float:
    """Milliseconds until the answer that 99 of 100 requests get sooner, where as many come as the goal says.

    Each client asks at its own instants, and the time counts from these, also where the answer before came late.
    """
    taken = sorted(_ask(every=CLIENTS / RATE))
    return taken[len(taken) * 99 // 100] * 1000


def status_per_core() -> float:
    """The same requests per second of the server's own processor time: what one core does that does nothing else."""
    with _server() as (port, pid):
        _register(port)
        before = _processor_s(pid)
        taken = trio.run(_load, port)
        return len(taken) / (_processor_s(pid) - before)


def upload() -> float:
    """MB per second of an image whose bytes are the body."""
    return _upload()[0]


def upload_growth() -> float:
    """MiB of memory that the server has grown by meanwhile, at most."""
    return _upload()[1]


def _ask(every: float | None = None) -> list[float]:
    with _server() as (port, _):
        _register(port)
        return trio.run(_load, port, every)


async def _load(port: int, every: float | None = None) -> list[float]:
    gc.freeze()  # to collect what is here takes tens of milliseconds, which would count as the server's
    taken: list[float] = []
    end = trio.current_time() + SECONDS
    async with trio.open_nursery() as nursery:
        for number in range(CLIENTS):
            begin = trio.current_time() + (every or 0) * number / CLIENTS
            nursery.start_soon(_client, port, (begin, end), taken, every)
    return taken


async def _client(port: int, span: tuple[float, float], taken: list[float], every: float | None) -> None:
    request = f"GET /api/v1/instances/one HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        stream.setsockopt(6, 1, 1)  # TCP_NODELAY
        began, end = span
        while began < end:
            await trio.sleep_until(began)
            await stream.send_all(request)
            answer = b""
            while not answer.endswith(b"}"):  # the body is one JSON object
                answer += await stream.receive_some(65_536)
            assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
            taken.append(trio.current_time() - began)
            began = trio.current_time() if every is None else began + every


def _register(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"attempt_id": "first"})
    connection.request("POST", "/api/v1/instances/one/register", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


def _upload() -> tuple[float, float]:
    with _server() as (port, pid), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        digest = _write_image(path)
        before = _memory(pid, "VmRSS")
        target = f"/api/v1/images/upload?name=image&kind=executable&digest={digest}"
        connection = http.client.HTTPConnection("127.0.0.1", port, blocksize=MIB)
        began = time.perf_counter()
        with path.open("rb") as file:
            connection.request("POST", target, file, {"Content-Length": str(path.stat().st_size)})
            answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        rate = path.stat().st_size / 1e6 / (time.perf_counter() - began)
        connection.close()
        return rate, (_memory(pid, "VmHWM") - before) / MIB


def _write_image(path: Path) -> str:
    found, part = hashlib.sha256(b"#!"), os.urandom(MIB)
    with path.open("wb") as file:
        file.write(b"#!")
        for number in range(IMAGE_MIB):
            piece = number.to_bytes(4, "big") + part[4:]
            file.write(piece)
            found.update(piece)
    return found.hexdigest()


@contextmanager
def _server() -> Iterator[tuple[int, int]]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "runtara", "serve", "-q", "--port", "0", "--http-port", "0"]
        with subprocess.Popen([*command, "--data-dir", folder, "--programs", folder], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            server.stdout.readline()
            found = read_connection_file(Path(folder))
            assert found is not None
            assert found.http_address is not None
            try:
                yield int(found.http_address.rpartition(":")[2]), server.pid
            finally:
                server.terminate()


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, what: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))
