"""What is deployed fits Kubernetes' schemas, and is allowed exactly what the engine does."""

from pathlib import Path
from typing import Any

import pytest
import trio
import yaml

from runtara.actors.runners import HostFailed
from runtara.ids import InstanceKey
from tests.actors.runners.cluster import Fault, validate
from tests.actors.runners.yard import KEY, open_yard
from tests.house.source import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
NAMED: list[tuple[str, dict[str, Any]]] = [
    (f"{path.relative_to(FOLDER)}-{manifest['kind']}-{manifest['metadata']['name']}", manifest)
    for path in sorted(FOLDER.rglob("*.yaml"))
    for manifest in yaml.safe_load_all(path.read_text())
]


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Every manifest of a kind."""
    return [manifest for _, manifest in NAMED if manifest["kind"] == kind]


@pytest.mark.parametrize("manifest", [pytest.param(manifest, id=name) for name, manifest in NAMED])
def test_every_manifest_fits_its_schema(manifest: dict[str, Any]) -> None:
    validate(manifest)


def test_every_part_is_there() -> None:
    kinds = {manifest["kind"] for _, manifest in NAMED}

    assert kinds == {
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Secret",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    }


def test_what_is_named_in_one_manifest_is_made_in_another() -> None:
    (binding,), (role,), (nodes,), (secret,) = map(of_kind, ("RoleBinding", "Role", "StatefulSet", "Secret"))
    accounts = {
        (account["metadata"]["namespace"], account["metadata"]["name"]) for account in of_kind("ServiceAccount")
    }
    spec = nodes["spec"]["template"]["spec"]
    env = {variable["name"]: variable for variable in spec["containers"][0]["env"]}

    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert {(subject["namespace"], subject["name"]) for subject in binding["subjects"]} <= accounts
    assert (nodes["metadata"]["namespace"], spec["serviceAccountName"]) in accounts
    assert (role["metadata"]["namespace"], env["RUNTARA_KUBERNETES_SERVICE_ACCOUNT"]["value"]) in accounts
    assert env["RUNTARA_KUBERNETES_NAMESPACE"]["value"] == role["metadata"]["namespace"]
    assert env["RUNTARA_DATABASE_URL"]["valueFrom"]["secretKeyRef"]["name"] == secret["metadata"]["name"]
    assert nodes["spec"]["serviceName"] in {service["metadata"]["name"] for service in of_kind("Service")}


def test_a_service_does_not_set_what_would_be_refused_as_an_unknown_setting() -> None:
    (nodes,) = of_kind("StatefulSet")

    assert nodes["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()

    assert "USER 10001" in lines
    assert of_kind("StatefulSet")[0]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001


async def test_the_role_allows_exactly_what_the_engine_does(tmp_path: Path) -> None:
    async with open_yard(tmp_path) as yard:
        await yard.wait(lambda cluster: cluster.watches == 2)
        plan = yard.plan("echo ready; sleep 1000")
        await yard.engine.launch(plan)
        await yard.wait_written("ready")
        await yard.engine.launch(plan)
        attempt = await yard.launch("echo again; sleep 1000", epoch=2)
        await yard.wait_written("again")
        for how in ("ask", "kill", "destroy"):
            attempt.stop(how)
        await yard.end(attempt)
        assert await yard.engine.adopt() == []
        yard.cluster.faults.append(Fault("patch", "jobs", 403))
        with pytest.raises(HostFailed), trio.fail_after(60):
            await yard.launch(key=InstanceKey(KEY.tenant_id, "other"))

        used = set(yard.cluster.rights)

    (role,) = of_kind("Role")
    allowed = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used == allowed
