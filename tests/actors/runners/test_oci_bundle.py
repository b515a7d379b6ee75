from typing import Any

import msgspec
import pytest

from runtara.actors.runners._oci_bundle import Box, config_of, host_name_of

BOX = Box(
    argv=("/program", "one"),
    env={"A": "1"},
    cwd="/work",
    host_name="order-7",
    machine="x86_64",
    place="/mnt",
    first_uid=1_000_000,
    tmp_bytes=1 << 20,
)


def config(**more: Any) -> dict[str, Any]:
    return config_of(msgspec.structs.replace(BOX, **more))


def test_a_program_has_no_power_at_all() -> None:
    process = config()["process"]

    assert process["noNewPrivileges"] is True
    assert process["capabilities"] == {
        kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")
    }
    assert process["user"] == {"uid": 1000, "gid": 1000, "umask": 0o077}
    assert (process["args"], process["env"], process["cwd"]) == (["/program", "one"], ["A=1"], "/work")


def test_its_users_are_nobody_of_the_hosts_or_the_only_one_that_there_is() -> None:
    many, one = config()["linux"], config(first_uid=None)

    assert many["uidMappings"] == many["gidMappings"] == [{"containerID": 0, "hostID": 1_000_000, "size": 65_536}]
    assert one["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 0, "size": 1}]
    assert one["process"]["user"]["uid"] == 0


def test_the_network_is_that_of_the_stage_and_everything_else_its_own() -> None:
    kinds = {namespace["type"] for namespace in config()["linux"]["namespaces"]}

    assert kinds == {"cgroup", "ipc", "mount", "pid", "user", "uts"}
    assert not [namespace for namespace in config()["linux"]["namespaces"] if "path" in namespace]


def test_nothing_of_the_host_is_mounted_but_what_was_put_together_for_it() -> None:
    mounts = {mount["destination"]: mount for mount in config(has_resolv_conf=True)["mounts"]}

    assert {mount["source"] for mount in mounts.values() if mount["type"] == "bind"} == {
        "/mnt/data",
        "/mnt/work",
        "/mnt/resolv.conf",
    }
    assert set(mounts) == {"/proc", "/dev", "/dev/shm", "/tmp", "/data", "/data/work", "/etc/resolv.conf"}
    assert "ro" in mounts["/etc/resolv.conf"]["options"]
    for mount in mounts.values():
        assert "nosuid" in mount["options"]
        assert "noexec" in mount["options"]
    assert config()["root"] == {"path": "/mnt/rootfs", "readonly": True}


def test_limits_are_said_only_where_there_is_a_group_to_hold_them() -> None:
    limits = {"memory_bytes": 1 << 26, "cpus": 0.5, "pids": 9}

    assert "resources" not in config(**limits)["linux"]
    found = config(**limits, cgroup="/runtara/x", limits_swap=True)["linux"]
    assert found["cgroupsPath"] == "/runtara/x"
    assert found["resources"]["memory"] == {"limit": 1 << 26, "swap": 1 << 26}
    assert found["resources"]["cpu"] == {"quota": 50_000, "period": 100_000}
    assert found["resources"]["pids"] == {"limit": 9}
    assert "memory" not in config(cgroup="/runtara/x")["linux"]["resources"]


@pytest.mark.parametrize(
    ("instance", "name"),
    [("order-7", "order-7"), ("Ünï.Cörn_1", "n-c-rn-1"), ("...", "instance"), ("x" * 100, "x" * 63)],
)
def test_a_host_name_looks_like_the_instance(instance: str, name: str) -> None:
    assert host_name_of(instance) == name
