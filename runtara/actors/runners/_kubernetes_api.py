"""The door to Kubernetes: the few calls of its client that the engine makes, with types, and as tasks can make them.

The client blocks, so every call has a thread and a bound in time. Nothing of the client leaves this module: answers are
read into our own structs, failures become `ApiFailed`.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
import trio

from runtara.actors._specs import Backoff
from runtara.actors.runners._kubernetes_manifest import Manifest
from runtara.actors.runners._kubernetes_objects import CONTAINER, Job, Page, Pod
from runtara.actors.runners._kubernetes_options import KubernetesOptions
from runtara.decoders import decode_json
from runtara.errors import ConfigError

__all__ = ["API_BACKOFF", "ApiFailed", "Cluster", "Kind", "Listing", "Stream", "patiently", "read_stream"]

Kind: TypeAlias = Literal["jobs", "pods"]
_Thing = TypeVar("_Thing")
_Item = TypeVar("_Item", Job, Pod)

API_BACKOFF: Final = Backoff(first=0.2, most=10.0)
"""Between tries while the cluster does not answer, or not as it should."""
CALL_TRIES: Final = 5
"""How often a call is made before its failure is somebody else's business."""
WATCH_S: Final = 60
"""How long the cluster keeps a watch open; then it is asked again."""
_SILENCE_S: Final = 15.0
"""How long after that a connection that says nothing is taken for dead."""
_PAGE: Final = 500
_CONNECTIONS: Final = 64
_CALLS: Final = trio.CapacityLimiter(16)
"""Threads for short calls, of all engines together; they come back within `request_timeout_ms`."""
_STREAMS: Final = trio.CapacityLimiter(_CONNECTIONS)
"""Threads for watches and logs that are followed; a stream is closed under its thread when its task is cancelled."""
_TRY_AGAIN: Final = (408, 429)


class ApiFailed(Exception):
    """The cluster has refused (the status says why), or has not answered (there is no status)."""

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status: Final = status

    @property
    def may_pass(self) -> bool:
        """Whether the same call may succeed later."""
        return self.status is None or self.status >= 500 or self.status in _TRY_AGAIN


class Listing(NamedTuple, Generic[_Item]):
    """All there was at a moment, and the moment's name, from which a watch goes on."""

    items: list[_Item]
    version: str


class Stream:
    """An answer that goes on: lines of a watch, pieces of a log. Read in a thread; closed from anywhere."""

    def __init__(self, response: Any) -> None:  # of urllib3, which comes with the client
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces as they arrive. Raises `ApiFailed` when the connection breaks."""
        with _failures_as_ours():
            yield from self._response.stream(amt=65_536)

    def lines(self) -> Iterator[bytes]:
        """Yield whole lines as they arrive."""
        rest = b""
        for piece in self:
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line for line in whole if line)

    def close(self) -> None:
        """End the stream, also for a thread that waits for its next piece."""
        # Whatever state the connection is in, it is not needed any more; closing it would wait for who reads it.
        with suppress(OSError, ValueError, RuntimeError, AttributeError):
            self._response.connection.sock.shutdown(SHUT_RDWR)

    def release(self) -> None:
        """Let go of the connection, in the thread that has read the stream."""
        self._response.close()
        self._response.release_conn()


class _failures_as_ours:  # noqa: N801 - reads as a word in a with statement
    """Turns what the client and its HTTP library raise into `ApiFailed`."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        if isinstance(error, ApiException):
            raise ApiFailed(error.status or None, _words(error.status, error.reason, error.body)) from error
        if isinstance(error, HTTPError | OSError):
            raise ApiFailed(None, f"the cluster does not answer: {error}") from error


class Cluster:
    """A namespace of a cluster. Every method blocks, for `request_timeout_ms` at most; each may raise `ApiFailed`."""

    def __init__(self, options: KubernetesOptions) -> None:
        """Read how to connect. Raises `ConfigError` where that is not to be found, or the library is missing."""
        try:
            from kubernetes import client
        except ImportError as missing:
            raise ConfigError(
                "the library for Kubernetes is not installed: pip install 'runtara[kubernetes]'"
            ) from missing
        configuration = _configure(options)
        configuration.retries = False  # tries are counted here
        configuration.connection_pool_maxsize = _CONNECTIONS
        api = client.ApiClient(configuration)
        self._batch: Final = client.BatchV1Api(api)
        self._core: Final = client.CoreV1Api(api)
        self._namespace: Final = options.namespace
        self._timeout: Final = options.request_timeout_ms / 1000

    def create_job(self, manifest: Manifest) -> Job:
        """Make a Job; status 409 where there is one of that name."""
        return decode_json(self._call(self._batch.create_namespaced_job, body=manifest), Job)

    def read_job(self, name: str) -> Job:
        """Return a Job; status 404 where there is none."""
        return decode_json(self._call(self._batch.read_namespaced_job, name=name), Job)

    def release_job(self, name: str) -> Job:
        """Have a suspended Job begin."""
        body = {"spec": {"suspend": False}}
        return decode_json(self._call(self._batch.patch_namespaced_job, name=name, body=body), Job)

    def create_secret(self, manifest: Manifest) -> None:
        """Make a Secret; status 409 where there is one of that name."""
        self._call(self._core.create_namespaced_secret, body=manifest)

    def delete_job(self, name: str, uid: str) -> None:
        """Delete a Job and, in the background, its Pods and its Secret; one that is gone, or another, is left alone."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        self._delete(self._batch.delete_namespaced_job, name=name, body=body)

    def delete_pod(self, name: str, uid: str, grace_s: int | None) -> None:
        """Delete a Pod, giving its program so many seconds, or its own grace; with 0, do not wait for its machine."""
        body = {"preconditions": {"uid": uid}} | ({} if grace_s is None else {"gracePeriodSeconds": grace_s})
        self._delete(self._core.delete_namespaced_pod, name=name, body=body)

    def list_jobs(self, selector: str) -> Listing[Job]:
        """Return all Jobs that the selector fits."""
        return self._list(self._batch.list_namespaced_job, selector, Page[Job])

    def list_pods(self, selector: str) -> Listing[Pod]:
        """Return all Pods that the selector fits."""
        return self._list(self._core.list_namespaced_pod, selector, Page[Pod])

    def watch(self, kind: Kind, selector: str, version: str) -> Stream:
        """Return the changes after a version; status 410 where that is too long ago."""
        function = self._batch.list_namespaced_job if kind == "jobs" else self._core.list_namespaced_pod
        return self._open(
            function,
            label_selector=selector,
            resource_version=version,
            watch=True,
            allow_watch_bookmarks=True,
            timeout_seconds=WATCH_S,
        )

    def read_log(self, pod: str, *, follow: bool) -> Stream:
        """Return what a Pod's program has written, and, if it is followed, what it will write until it ends."""
        return self._open(self._core.read_namespaced_pod_log, name=pod, container=CONTAINER, follow=follow)

    def _list(self, function: Callable[..., Any], selector: str, page_type: type[Page[_Item]]) -> Listing[_Item]:
        items: list[_Item] = []
        more: dict[str, str] = {}
        while True:
            page = decode_json(self._call(function, label_selector=selector, limit=_PAGE, **more), page_type)
            items.extend(page.items)
            if not page.metadata.more:
                return Listing(items, page.metadata.resource_version)
            more = {"_continue": page.metadata.more}

    def _delete(self, function: Callable[..., Any], **arguments: Any) -> None:
        try:
            self._call(function, **arguments)
        except ApiFailed as failed:
            if failed.status not in (404, 409):  # it is gone, or another has its name by now
                raise

    def _call(self, function: Callable[..., Any], **arguments: Any) -> bytes:
        """Make a call; return the body of the answer, unread by the client: its own models are slow and strict."""
        with _failures_as_ours():
            response = function(
                namespace=self._namespace, _preload_content=False, _request_timeout=self._timeout, **arguments
            )
            try:
                data = bytes(response.data)
            finally:
                response.release_conn()
        if not 200 <= response.status < 300:
            raise ApiFailed(response.status, _words(response.status, response.reason, data))
        return data

    def _open(self, function: Callable[..., Any], **arguments: Any) -> Stream:
        timeout = (self._timeout, WATCH_S + _SILENCE_S)
        with _failures_as_ours():
            response = function(
                namespace=self._namespace, _preload_content=False, _request_timeout=timeout, **arguments
            )
            if not 200 <= response.status < 300:
                data = bytes(response.data)
                response.release_conn()
                raise ApiFailed(response.status, _words(response.status, response.reason, data))
        return Stream(response)


def _configure(options: KubernetesOptions) -> Any:  # a Configuration of the client's, which has no usable types
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if options.kubeconfig is None and options.context is None:
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(
                config_file=options.kubeconfig,
                context=options.context,
                client_configuration=configuration,
                persist_config=False,
            )
    except (config.ConfigException, OSError) as unusable:
        raise ConfigError(
            f"it is not known where the Kubernetes cluster is: {unusable}; run inside a Pod, or name a kubeconfig"
        ) from unusable
    return configuration


class _Refusal(msgspec.Struct):
    message: str = ""


def _words(status: object, reason: object, body: object) -> str:
    """Return what a refusal says, without the headers and the JSON around it."""
    message = ""
    if isinstance(body, bytes | str):
        with suppress(msgspec.DecodeError):
            message = decode_json(body, _Refusal).message
    return f"the cluster answers {status}: {message or reason}"


# As tasks make calls --------------------------------------------------------------------------------------------------


async def patiently(function: Callable[..., _Thing], *arguments: object, tries: int | None = CALL_TRIES) -> _Thing:
    """Make a call in a thread, and again with a back-off while it may succeed; without `tries`, until it does.

    When its task is cancelled nobody waits for its thread, which ends in its time. Raises `ApiFailed`.
    """
    failures = 0
    while True:
        try:
            return await trio.to_thread.run_sync(function, *arguments, abandon_on_cancel=True, limiter=_CALLS)
        except ApiFailed as failed:
            failures += 1
            if not failed.may_pass or failures == tries:
                raise
        await trio.sleep(API_BACKOFF.delay(failures, random.random))


async def read_stream(
    open_it: Callable[[], Stream], pieces: Callable[[Stream], Iterator[bytes]], take: Callable[[bytes], None]
) -> None:
    """Open a stream and have every piece taken, in the loop, until it ends. Raises `ApiFailed`.

    When cancelled, the stream is closed and its thread waited for: it comes back at once, or, while it connects, within
    `request_timeout_ms`.
    """
    opened: list[Stream] = []

    def read() -> None:
        stream = open_it()
        opened.append(stream)
        try:
            trio.from_thread.check_cancelled()  # what was cancelled before could not be closed
            for piece in pieces(stream):
                trio.from_thread.run_sync(take, piece)
        finally:
            stream.release()

    async def close_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            for stream in opened:
                stream.close()

    failure: ApiFailed | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(close_when_cancelled)
        try:
            await trio.to_thread.run_sync(read, limiter=_STREAMS)
        except ApiFailed as failed:  # raised outside, lest the nursery wraps it
            failure = failed
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
