import os
import socket
from typing import get_args

import pytest

from runtara.actors.runners._oci_network import HELPERS, link_of
from runtara.errors import Forbidden
from runtara.records import Network

ADDRESS = "RUNTARA_SERVER_ADDR"


def test_every_network_is_known_here() -> None:
    assert {*HELPERS, "none", "host"} == set(get_args(Network))


def test_each_server_is_behind_a_door_of_its_own_on_the_loopback() -> None:
    link = link_of("none", {ADDRESS: "127.0.0.1:8001,[::1]:8001,localhost:9000"})

    assert link.apart
    assert link.env == {ADDRESS: "127.0.0.1:8001,127.0.0.2:8001,127.0.0.3:9000"}
    assert link.doors == [("127.0.0.1", 8001), ("127.0.0.2", 8001), ("127.0.0.3", 9000)]
    assert link.servers[:2] == [("127.0.0.1", 8001), ("::1", 8001)]
    assert (link.helper, link.name_servers) == (None, None)


def test_a_name_that_means_both_kinds_of_loopback_means_the_one_at_which_servers_listen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = [(socket.AF_INET6, 2, 17, "", ("::1", 9000, 0, 0)), (socket.AF_INET, 2, 17, "", ("127.0.0.1", 9000))]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: both)  # what /etc/hosts makes of it on many machines

    assert link_of("none", {ADDRESS: "localhost:9000"}).servers == [("127.0.0.1", 9000)]


def test_a_program_that_is_told_of_no_server_has_no_door() -> None:
    assert link_of("none", {}).doors == []
    assert link_of("none", {}).env == {}


def test_a_container_with_a_network_of_its_own_is_told_of_no_http_door_which_it_could_not_reach() -> None:
    ours = {ADDRESS: "127.0.0.1:8001", "RUNTARA_HTTP_URL": "http://127.0.0.1:8002"}

    assert link_of("none", ours).env == {ADDRESS: "127.0.0.1:8001", "RUNTARA_HTTP_URL": ""}
    assert link_of("host", ours).env == {}


def test_on_the_network_of_the_host_a_server_is_where_it_is() -> None:
    link = link_of("host", {ADDRESS: "127.0.0.1:8001"})

    assert not link.apart
    assert (link.doors, link.env) == ([], {})


@pytest.mark.parametrize("network", HELPERS)
def test_a_helper_does_not_lead_to_the_loopback_of_the_host(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    found = {}
    for name, user in (("root", 0), ("user", 1000)):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        found[name] = link_of(network, {}).helper or []

    assert all({"--no-map-gw", "--disable-host-loopback"} & set(command) for command in found.values())
    assert "{userns}" not in " ".join(found["root"])
    assert "{userns}" in " ".join(found["user"])
    assert all(command[0] == f"/usr/bin/{network}" for command in found.values())
    assert (link_of(network, {}).name_servers or "").startswith("nameserver ")


@pytest.mark.parametrize("network", HELPERS)
def test_a_helper_that_is_missing_is_named(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)

    with pytest.raises(Forbidden, match=f"{network}, which is not on this host"):
        link_of(network, {})


def test_a_server_whose_name_nobody_knows_is_a_failure_of_the_host() -> None:
    with pytest.raises(OSError, match=r"known|resolution|address"):
        link_of("none", {ADDRESS: "no-such-host.invalid:8001"})
