"""A cluster of one machine: Kubernetes' API over real HTTP, and containers that are processes of this machine.

It keeps Jobs, Pods and Secrets with versions, tells their changes to whoever watches, holds what is posted to the
published schemas, and does what Kubernetes does with it: a Job that is not suspended gets a Pod, a Pod's script is
executed with the given variables and files, and whoever deletes something deletes what it owns. Faults come by order.
"""

import base64
import copy
import functools
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import kubernetes_validate

from runtara.transport.certificates import Identity

__all__ = ["VERSION", "Cluster", "Fault", "open_cluster", "validate"]

VERSION = "1.31"
"""Whose published schemas manifests are held to."""
_MESSAGE_MAX = 4_096
_GROUPS = {"jobs": "batch", "pods": "", "secrets": ""}
_PATH = re.compile(
    r"/(?:api/v1|apis/batch/v1)/namespaces/(?P<namespace>[\w-]+)/(?P<kind>jobs|pods|secrets)"
    r"(?:/(?P<name>[\w.-]+)(?:/(?P<sub>log))?)?\Z"
)
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def validate(manifest: dict[str, Any]) -> None:
    """Hold a manifest to the schema of its kind; unknown fields are errors, too."""
    kubernetes_validate.validate(manifest, VERSION, strict=True)


class Fault(NamedTuple):
    """What goes wrong with the next request that fits."""

    verb: str
    """As in a Role, or ``*``."""
    kind: str
    status: int
    """What is answered; 0 for a connection that is dropped, -1 for one that is dropped when all was done."""


class Status(Exception):
    """An answer that is a refusal."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Container:
    """A process that is a Pod's only container."""

    def __init__(self, cluster: "Cluster", pod: dict[str, Any], script: Path) -> None:
        self.cluster, self.pod = cluster, pod
        self.folder = cluster.folder / pod["metadata"]["name"]
        self.folder.mkdir()
        self.message = self.folder / "message"
        self.message.touch()
        self.log = bytearray()
        self.over = False
        spec = pod["spec"]["containers"][0]
        self.places = {spec["terminationMessagePath"]: str(self.message)}
        self._mount(spec)
        self.env = dict(self._variables(spec))
        self.process = subprocess.Popen(
            ["/bin/sh", str(script)],
            env={"PATH": os.defpath, **self.env},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def _mount(self, spec: dict[str, Any]) -> None:
        volumes = {volume["name"]: volume for volume in self.pod["spec"]["volumes"]}
        for mount in spec["volumeMounts"]:
            place = self.folder / mount["name"]
            place.mkdir()
            self.places[mount["mountPath"]] = str(place)
            for item in volumes[mount["name"]].get("secret", {}).get("items", ()):
                secret = self.cluster.objects["secrets"][volumes[mount["name"]]["secret"]["secretName"]]
                (place / item["path"]).write_bytes(base64.b64decode(secret["data"][item["key"]]))

    def _variables(self, spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for variable in spec["env"]:
            if "valueFrom" in variable:
                reference = variable["valueFrom"]["secretKeyRef"]
                data = self.cluster.objects["secrets"][reference["name"]]["data"][reference["key"]]
                yield variable["name"], base64.b64decode(data).decode()
                continue
            value = re.sub(
                r"\$\$|\$\((\w+)\)", lambda found: "$" if found[0] == "$$" else "REPLACED", variable["value"]
            )
            for inside, outside in self.places.items():
                value = value.replace(inside, outside)
            yield variable["name"], value

    def _live(self) -> None:
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        code = self.process.wait()
        self.kill(signal.SIGKILL)  # a container ends with its first process, and all others with it
        reader.join()
        with self.cluster.changed:
            self.over = True
            self.cluster.ended(self.pod["metadata"]["name"], 128 - code if code < 0 else code)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            while data := os.read(stdout.fileno(), 65_536):
                with self.cluster.changed:
                    self.log += data
                    self.cluster.changed.notify_all()

    def kill(self, number: int) -> None:
        """Signal everything in the container."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Cluster:
    """All there is. Whoever touches it holds `changed`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changed = threading.Condition(threading.RLock())
        self.objects: dict[str, dict[str, dict[str, Any]]] = {"jobs": {}, "pods": {}, "secrets": {}}
        self.history: list[tuple[int, str, str, str]] = []
        """Version, kind, type of event, object."""
        self.version = 1_000
        self.oldest = 0
        """Changes before that version are not told any more."""
        self.images: dict[str, Path] = {}
        self.containers: dict[str, Container] = {}
        self.faults: list[Fault] = []
        self.slow: tuple[str, str] | None = None
        """Verb and kind of a request that is not looked at while ``held``; also ``follow`` and ``tell``, for logs."""
        self.held = False
        self.requests: list[tuple[str, str, Any]] = []
        """Verb, path and body of every request."""
        self.rights: set[tuple[str, str, str]] = set()
        """Group, resource and verb of every request: what its sender must be allowed."""
        self.has_room = True
        self.is_lost = False
        """Whether the machine that Pods run on does not hear anything."""
        self.makes_pods = True
        self.page = 1_000
        self.watches = 0
        self.broken = 0
        self.closing = False

    def wait(self, condition: Callable[["Cluster"], Any]) -> Any:
        """Wait until something is the case, and return it."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self), timeout=60), "it was waited for in vain"
            return condition(self)

    # Objects ----------------------------------------------------------------------------------------------------------

    def note(self, kind: str, event: str, item: dict[str, Any]) -> None:
        """Give an object its next version, and tell those who watch."""
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, kind, event, json.dumps(item)))
        self.changed.notify_all()

    def create(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        """Make an object, and what follows from it."""
        validate(item)
        name = item["metadata"]["name"]
        if name in self.objects[kind]:
            raise Status(409, f'{kind} "{name}" already exists')
        item["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z"}
        item.setdefault("status", {})
        self.objects[kind][name] = item
        self.note(kind, "ADDED", item)
        self.reconcile()
        return item

    def patch(self, kind: str, name: str, change: dict[str, Any]) -> dict[str, Any]:
        """Change the spec of an object."""
        item = self.find(kind, name)
        item["spec"] |= change["spec"]
        self.note(kind, "MODIFIED", item)
        self.reconcile()
        return item

    def find(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object."""
        if name not in self.objects[kind]:
            raise Status(404, f'{kind} "{name}" not found')
        return self.objects[kind][name]

    def delete(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Delete an object, as the body says."""
        item = self.find(kind, name)
        uid = body.get("preconditions", {}).get("uid", item["metadata"]["uid"])
        if uid != item["metadata"]["uid"]:
            raise Status(409, f"the UID in the precondition ({uid}) does not match")
        if kind == "pods":
            self.delete_pod(item, body.get("gracePeriodSeconds", item["spec"]["terminationGracePeriodSeconds"]))
            return item
        if kind == "jobs":
            assert body["propagationPolicy"] == "Background", "or its Pods would stay"
        self.remove(kind, name)
        for other in ("pods", "secrets"):
            for owned in [*self.objects[other].values()]:
                if any(owner["uid"] == uid for owner in owned["metadata"].get("ownerReferences", ())):
                    self.delete(other, owned["metadata"]["name"], {})
        return item

    def remove(self, kind: str, name: str) -> None:
        """Take an object away."""
        item = self.objects[kind].pop(name)
        self.note(kind, "DELETED", item)

    # What controllers and machines do ---------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Have Pods for Jobs, and containers for Pods."""
        for job in [*self.objects["jobs"].values()]:
            owned = any(job["metadata"]["uid"] == pod["metadata"]["ownerReferences"][0]["uid"] for pod in self.pods())
            if not job["spec"]["suspend"] and not owned and not job["status"] and self.makes_pods:
                self.make_pod(job)
        for pod in self.pods():
            if pod["status"]["phase"] == "Pending":
                self.place(pod)

    def pods(self) -> list[dict[str, Any]]:
        """All Pods."""
        return [*self.objects["pods"].values()]

    def make_pod(self, job: dict[str, Any]) -> None:
        """Make the Pod of a Job."""
        template = copy.deepcopy(job["spec"]["template"])
        owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
        owner |= {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
        template["metadata"] |= {
            "name": f"{job['metadata']['name']}-{uuid.uuid4().hex[:5]}",
            "ownerReferences": [owner],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] |= {"uid": str(uuid.uuid4())}
        pod["status"] = {"phase": "Pending"}
        self.objects["pods"][pod["metadata"]["name"]] = pod
        self.note("pods", "ADDED", pod)

    def place(self, pod: dict[str, Any]) -> None:
        """Have a Pod's container run, if there is room and an image."""
        image = pod["spec"]["containers"][0]["image"]
        if not self.has_room:
            message = "0/1 nodes are available: 1 Insufficient cpu."
            self.tell(pod, conditions=[self.condition("PodScheduled", "False", "Unschedulable", message)])
        elif image not in self.images:
            self.tell(pod, state={"waiting": {"reason": "ImagePullBackOff", "message": f'pulling "{image}" failed'}})
        else:
            self.containers[pod["metadata"]["name"]] = Container(self, pod, self.images[image])
            self.tell(pod, phase="Running", state={"running": {"startedAt": "2026-01-01T00:00:01Z"}})

    @staticmethod
    def condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
        """A condition of an object."""
        return {"type": kind, "status": status, "reason": reason, "message": message}

    def tell(self, pod: dict[str, Any], state: dict[str, Any] | None = None, **status: Any) -> None:
        """Change the status of a Pod."""
        if state is not None:
            status["containerStatuses"] = [{"name": "program", "state": state}]
        if pod["status"] | status != pod["status"]:
            pod["status"] |= status
            self.note("pods", "MODIFIED", pod)

    def ended(self, name: str, code: int) -> None:
        """Write down how a container has ended."""
        pod, container = self.objects["pods"].get(name), self.containers[name]
        if pod is None:
            self.changed.notify_all()
            return
        if pod["status"]["phase"] == "Failed":  # it was evicted, and may have been deleted before its program was gone
            self.go(pod)
            self.changed.notify_all()
            return
        terminated: dict[str, Any] = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        if message := container.message.read_bytes()[-_MESSAGE_MAX:]:
            terminated["message"] = message.decode(errors="replace")
        self.tell(pod, phase="Failed" if code else "Succeeded", state={"terminated": terminated})
        self.finish(pod, bool(code))

    def finish(self, pod: dict[str, Any], failed: bool) -> None:
        """Write into its Job how a Pod has ended; then it goes, if it was deleted."""
        job = self.objects["jobs"].get(pod["metadata"]["ownerReferences"][0]["name"])
        if job is not None:
            kind, reason = ("Failed", "BackoffLimitExceeded") if failed else ("Complete", "CompletionsReached")
            job["status"] = {"conditions": [self.condition(kind, "True", reason, "")]}
            self.note("jobs", "MODIFIED", job)
        self.go(pod)

    def go(self, pod: dict[str, Any]) -> None:
        """Have a Pod gone whose program is, if it was deleted."""
        if "deletionTimestamp" in pod["metadata"] and pod["metadata"]["name"] in self.objects["pods"]:
            self.remove("pods", pod["metadata"]["name"])

    def delete_pod(self, pod: dict[str, Any], grace_s: float) -> None:
        """Ask a Pod's program to end, and kill it when its grace is over; without a grace it is gone at once."""
        name = pod["metadata"]["name"]
        container = self.containers.get(name)
        if container is None or container.over or grace_s == 0:
            self.remove("pods", name)
            if container is not None:
                container.kill(signal.SIGKILL)
            return
        if "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:02Z"
            self.note("pods", "MODIFIED", pod)
        if self.is_lost:
            return
        container.kill(signal.SIGTERM)
        timer = threading.Timer(grace_s, container.kill, (signal.SIGKILL,))
        timer.daemon = True
        timer.start()

    def evict(self, pod: dict[str, Any]) -> None:
        """Take a Pod away from its machine."""
        conditions = [self.condition("DisruptionTarget", "True", "TerminationByKubelet", "The node was low on memory.")]
        terminated = {"terminated": {"exitCode": 137, "reason": "Error"}}
        self.tell(pod, terminated, phase="Failed", reason="Evicted", message="low on memory", conditions=conditions)
        self.containers[pod["metadata"]["name"]].kill(signal.SIGKILL)
        self.finish(pod, True)

    # The API ----------------------------------------------------------------------------------------------------------

    def page_of(self, kind: str, query: dict[str, str]) -> dict[str, Any]:
        """A page of what a selector fits."""
        items = [item for item in self.objects[kind].values() if fits(item, query.get("labelSelector", ""))]
        begin, limit = int(query.get("continue", 0)), min(self.page, int(query.get("limit", self.page)))
        more = {"continue": str(begin + limit)} if begin + limit < len(items) else {}
        found = {"kind": "List", "items": items[begin : begin + limit]}
        return {**found, "metadata": {"resourceVersion": str(self.version), **more}}

    def news(self, kind: str, selector: str, after: int) -> list[tuple[int, str]]:
        """What has changed after a version, as lines of a watch."""
        found = []
        for version, of_kind, event, text in self.history:
            if version > after and of_kind == kind and fits(json.loads(text), selector):
                found.append((version, f'{{"type": "{event}", "object": {text}}}\n'))
        return found

    def break_watches(self) -> None:
        """Cut the connections of all who watch or follow."""
        with self.changed:
            self.broken += 1
            self.changed.notify_all()

    def forget_history(self) -> None:
        """Know nothing any more of what has happened so far."""
        with self.changed:
            self.history.clear()
            self.oldest = self.version + 1

    def hold(self, verb: str, kind: str) -> None:
        """Let a request wait, if it is the slow one, until nothing is `held` any more."""
        if self.slow == (verb, kind):
            self.slow, self.held = None, True
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.held)

    def let_go(self) -> None:
        """Look at the request that is held, as things are now."""
        with self.changed:
            self.held = False
            self.changed.notify_all()

    def fault(self, verb: str, kind: str) -> Fault | None:
        """Return what goes wrong with a request."""
        for fault in self.faults:
            if fault.verb in ("*", verb) and fault.kind in ("*", kind):
                self.faults.remove(fault)
                return fault
        return None


def fits(item: dict[str, Any], selector: str) -> bool:
    """Whether the labels of an object are as a selector says."""
    labels = item["metadata"].get("labels", {})
    for term in filter(None, selector.split(",")):
        name, differs, value = re.fullmatch(r"([^=!]+)(!?)=+(.*)", term).groups()  # type: ignore[union-attr]  # or fail
        if (labels.get(name) == value) == bool(differs):
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster: Cluster

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do(self) -> None:
        path, _, text = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(text))
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
        found = _PATH.match(path)
        assert found, f"{path} is not of this API"
        kind, name, sub = found["kind"], found["name"], found["sub"]
        verb = self.verb(name, query)
        cluster = self.cluster
        with cluster.changed:
            cluster.requests.append((verb, path, body))
            cluster.rights.add((_GROUPS[kind], f"{kind}/{sub}" if sub else kind, verb))
            cluster.changed.notify_all()
            fault = cluster.fault(verb, kind)
            cluster.hold("follow" if query.get("follow", "").lower() == "true" else verb, kind)
        try:
            if fault is not None and fault.status > 0:
                raise Status(fault.status, "an internal error, by order")
            if fault is not None and fault.status == 0:
                self.drop()
            elif verb == "watch":
                self.watch(kind, query)
            elif sub == "log":
                self.follow(name, query)
            else:
                with cluster.changed:
                    answer = json.dumps(self.answer(verb, kind, name, query, body)).encode()
                if fault is not None:
                    self.drop()
                else:
                    self.send(200, answer)
        except Status as refusal:
            status = {"kind": "Status", "status": "Failure", "message": str(refusal), "code": refusal.code}
            self.send(refusal.code, json.dumps(status).encode())
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = do  # noqa: N815 - as the server calls them

    def verb(self, name: str | None, query: dict[str, str]) -> str:
        """The word for what is asked, as Roles have it."""
        if self.command == "GET":
            return "get" if name else "watch" if query.get("watch", "").lower() == "true" else "list"
        return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[self.command]

    def answer(self, verb: str, kind: str, name: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """Do what is asked."""
        cluster = self.cluster
        return {
            "create": lambda: cluster.create(kind, body),
            "get": lambda: cluster.find(kind, name),
            "list": lambda: cluster.page_of(kind, query),
            "patch": lambda: cluster.patch(kind, name, body),
            "delete": lambda: cluster.delete(kind, name, body or {}),
        }[verb]()

    def send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def drop(self) -> None:
        self.close_connection = True

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def watch(self, kind: str, query: dict[str, str]) -> None:
        cluster, after, selector = self.cluster, int(query["resourceVersion"]), query.get("labelSelector", "")
        self.begin()
        if after < cluster.oldest:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            self.chunk(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            self.chunk(b"")
            return
        with cluster.changed:
            broken = cluster.broken
            cluster.watches += 1
            cluster.changed.notify_all()
        while True:
            with cluster.changed:
                news = cluster.news(kind, selector, after)
                if not news:
                    cluster.changed.wait()
                if cluster.broken != broken or cluster.closing:
                    self.drop()
                    return
            for version, line in news:
                self.chunk(line.encode())
                after = version

    def follow(self, name: str, query: dict[str, str]) -> None:
        cluster, sent = self.cluster, 0
        with cluster.changed:
            cluster.find("pods", name)
            container = cluster.containers.get(name)
            if container is None:
                raise Status(400, f'container "program" in pod "{name}" is waiting to start')
            broken = cluster.broken
        self.begin()
        while True:
            with cluster.changed:
                data = bytes(container.log[sent:])
                over = container.over or query.get("follow", "").lower() != "true"
                if not data and not over:
                    cluster.changed.wait()
                if cluster.broken != broken or cluster.closing:
                    self.drop()
                    return
            if data:
                with cluster.changed:
                    cluster.hold("tell", "pods")
                self.chunk(data)
                sent += len(data)
            elif over:
                self.chunk(b"")
                return


@contextmanager
def open_cluster(folder: Path, identity: Identity | None = None) -> Iterator[Cluster]:
    """Have a cluster for the length of the block, over TLS with an identity; its kubeconfig lies in the folder."""
    cluster = Cluster(folder / "machine")
    cluster.folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": cluster}))
    server.daemon_threads = True
    if identity is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(identity.cert_file, identity.key_file)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    (folder / "kubeconfig").write_text(json.dumps(_kubeconfig(server.server_port, identity)))
    try:
        yield cluster
    finally:
        with cluster.changed:
            cluster.closing = True
            cluster.changed.notify_all()
        for container in cluster.containers.values():
            container.kill(signal.SIGKILL)
            container.thread.join()
        server.shutdown()
        server.server_close()
        thread.join()


def _kubeconfig(port: int, identity: Identity | None) -> dict[str, Any]:
    where: dict[str, Any] = {"server": f"http://127.0.0.1:{port}"}
    if identity is not None:
        where = {"server": f"https://localhost:{port}", "certificate-authority": str(identity.ca_file)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": where}],
        "users": [{"name": "test", "user": {"token": "anybody"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
