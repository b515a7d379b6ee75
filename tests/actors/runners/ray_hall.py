"""A Ray cluster of several nodes in this machine, and halls in it: an engine each, with programs to launch."""

import inspect
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from runtara.actors.runners.ray import RayEngine, RayOptions
from tests.actors.runners.hall import Hall, serving
from tests.ports import free_port
from tests.requirements import require

__all__ = ["RayHall", "Town", "open_ray_hall", "open_town"]

require("ray", "programs are launched on a real Ray cluster: pip install ray", found=find_spec("ray"))

_STORE_BYTES = 80 * 1024 * 1024
"""Ray refuses to have less."""
_QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}
"""So that it is soon known that a node is dead."""
_BEGINNING_S = 240
"""How long Ray's processes may take to begin: on a busy machine longer than Ray would wait for them."""
_AGENTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
_PATIENT = {
    "RAY_raylet_start_wait_time_s": _BEGINNING_S,
    "RAY_worker_register_timeout_seconds": _BEGINNING_S,
    "RAY_agent_register_timeout_ms": _BEGINNING_S * 1000,
    "RAY_gcs_server_port_wait_time_s": _BEGINNING_S,
    "RAY_gcs_rpc_server_connect_timeout_s": _BEGINNING_S,
    "RAY_py_gcs_connect_timeout_s": _BEGINNING_S,
}


class Town:
    """The cluster. Its first node runs no programs, and is where this process is connected to Ray."""

    def __init__(self, cluster: Any) -> None:
        self.cluster = cluster
        self.address: str = cluster.address
        self._nodes: list[Any] = []

    def add_nodes(self, *what: dict[str, float]) -> None:
        """Start nodes that have two cores each, and what else is said."""
        for resources in what:
            node = self.cluster.add_node(wait=False, num_cpus=2, resources=resources, **_size())
            self._nodes.append(node)
        self.cluster.wait_for_nodes(_BEGINNING_S)

    def nodes(self) -> dict[str, str]:
        """What each node has that others have not."""
        import ray

        return {
            node["NodeID"]: name
            for node in ray.nodes()
            for name in node["Resources"]
            if name in ("east", "west", "doomed")
        }

    def attempts(self) -> dict[str, str]:
        """The node of each actor that launches programs and lives."""
        return {row["Name"]: row["Address"]["NodeID"] for row in self._actors()}

    def kill_process(self, name: str) -> None:
        """Kill the process of an actor."""
        (pid,) = (row["Pid"] for row in self._actors() if row["Name"] == name)
        os.kill(pid, signal.SIGKILL)

    def _actors(self) -> list[Any]:
        from ray._private.state import actors

        return [row for row in actors().values() if row["State"] == "ALIVE" and row["Name"].startswith("runtara-")]

    def kill_node(self, node_id: str) -> None:
        """Kill all processes of a node that are Ray's own, at once."""
        node = next(node for node in self._nodes if node.node_id == node_id)
        self._nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


@contextmanager
def open_town() -> Iterator[Town]:
    """Have a cluster for the length of the block."""
    import ray
    from ray._private import services
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patches:
        warnings.simplefilter("ignore")  # Ray's own
        patches.setenv("RAY_USAGE_STATS_ENABLED", "0")  # it would tell its makers
        for name, seconds in _PATIENT.items():
            patches.setenv(name, str(seconds))
        patches.setattr(services, "get_node", _patiently(services.get_node))
        patches.setattr(services, "start_raylet", _with_port(services.start_raylet))
        head = {"num_cpus": 0, "include_dashboard": False, **_size()}
        handler = signal.getsignal(signal.SIGTERM)
        cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": _QUICK})
        try:
            yield Town(cluster)
        finally:
            ray.shutdown()
            cluster.shutdown()
            signal.signal(signal.SIGTERM, handler)  # Ray's own would go on being that of all tests


def _size() -> dict[str, int]:
    """How large a node is, and where its agents listen: one that has to wait until they say where gives up too soon."""
    return {"object_store_memory": _STORE_BYTES, **{name: free_port() for name in _AGENTS}}


def _with_port(start_raylet: Callable[..., Any]) -> Callable[..., Any]:
    """Have a node find where its agent listens before that says so; Ray tells it of the others' ports only."""
    from ray._raylet import (  # type: ignore[attr-defined]  # compiled
        DASHBOARD_AGENT_LISTEN_PORT_NAME,
        persist_port,
    )

    signature = inspect.signature(start_raylet)

    def start(*args: Any, **more: Any) -> Any:
        given = signature.bind(*args, **more).arguments
        port = given["dashboard_agent_listen_port"]
        persist_port(given["session_dir"], given["node_id"], DASHBOARD_AGENT_LISTEN_PORT_NAME, port)
        return start_raylet(*args, **more)

    return start


def _patiently(get_node: Callable[..., Any]) -> Callable[..., Any]:
    """Have Ray go on asking for a node that has just been started; it gives up after half a minute, at the first no."""

    def ask(*args: Any) -> Any:
        until = time.monotonic() + _BEGINNING_S
        while True:
            try:
                return get_node(*args)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                threading.Event().wait(0.2)

    return ask


class RayHall(Hall):
    """A folder of programs, and an engine that launches them on the cluster; the others in the same namespace."""

    def __init__(self, folder: Path, town: Town, **options: Any) -> None:
        super().__init__(folder)
        self.town = town
        given: dict[str, Any] = {
            "address": town.address,
            "node": "here",
            "programs": str(self.programs),
            "output_max_bytes": 1 << 20,
            "log_bytes": 1 << 20,
            "kill_grace_ms": 60_000,
            "cpus": 0.25,
            "namespace": folder.name,
            "placement_timeout": 200.0,
        }
        self.options = RayOptions(**given | options)
        self.engine: Any = RayEngine(self.options)

    def other(self, **options: Any) -> "RayHall":
        """A hall on the same folder, and in the same namespace."""
        return RayHall(self.folder, self.town, **options)


def open_ray_hall(folder: Path, town: Town, **options: Any) -> AbstractAsyncContextManager[RayHall]:
    """Have an engine that launches programs on Ray (see `serving`)."""
    return serving(RayHall(folder, town, **options))
