"""A real host with its HTTP door on loopback, and a client that asks it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import trio

from runtara.host import Host, open_host
from runtara.messages import ImageInfo
from runtara.settings import Settings
from runtara.transport.credentials import KeyRing

__all__ = ["House", "open_house"]

PATIENCE_S = 60.0


class House:
    """The host, and the client."""

    def __init__(self, host: Host, client: httpx.AsyncClient, folder: Path) -> None:
        self.host = host
        self.client = client
        self.folder = folder

    @property
    def keys(self) -> KeyRing:
        return KeyRing(self.folder / "data" / "keys.json")

    def write_program(self, name: str, text: str = "") -> None:
        """Write a program that the host may launch."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    async def ask(self, verb: str, path: str, **options: Any) -> httpx.Response:
        """Send a request to the API."""
        return await self.client.request(verb, f"/api/v1{path}", **options)

    async def register(self, instance_id: str, attempt_id: str = "first") -> Any:
        """Have an attempt begin; return what it is told."""
        answer = await self.ask("POST", f"/instances/{instance_id}/register", json={"attempt_id": attempt_id})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, verb: str, path: str, **options: Any) -> tuple[int, str, str]:
        """Send a request that is refused; return the status, the code and the text of its problem."""
        answer = await self.ask(verb, path, **options)
        problem = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (problem["status"], problem["request_id"]) == (
            answer.status_code,
            answer.headers["runtara-request-id"],
        )
        return answer.status_code, problem["code"], problem["detail"]

    async def push(self, name: str, content: bytes, digest: str, **more: str) -> ImageInfo:
        """Push an executable."""
        query = {"name": name, "kind": "executable", "digest": digest, **more}
        answer = await self.ask("POST", "/images/upload", params=query, content=content)
        assert answer.status_code in (200, 201), answer.text
        return msgspec.json.decode(answer.content, type=ImageInfo)


@asynccontextmanager
async def open_house(folder: Path, *, patience: float = PATIENCE_S, **settings: Any) -> AsyncIterator[House]:
    """Open a host in a folder."""
    given: dict[str, Any] = {
        "data_dir": str(folder / "data"),
        "database_url": "memory://",
        "programs": str(folder),
        "quic_port": 0,
        "env_http_port": 0,
        "relaunch_after_ms": 1,
    }
    with trio.fail_after(patience):
        async with (
            open_host(Settings(**given | settings)) as host,
            httpx.AsyncClient(base_url=host.http_address, timeout=patience, trust_env=False, verify=False) as client,
        ):
            yield House(host, client, folder)
