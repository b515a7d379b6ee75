"""What is posted to Kubernetes for an attempt: pure functions from a plan to the manifests of its Job and Secret."""

import base64
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from runtara.actors.runners._contract import Plan
from runtara.actors.runners._kubernetes_names import labels_of, name_of, notes_of
from runtara.actors.runners._kubernetes_objects import CONTAINER
from runtara.actors.runners._kubernetes_options import KubernetesOptions

__all__ = ["INPUT_MAX_BYTES", "Manifest", "job_manifest", "secret_manifest"]

Manifest: TypeAlias = dict[str, Any]  # JSON, as deep as Kubernetes' own schemas, which the tests hold it to

INPUT_MAX_BYTES: Final = 900 * 1024
"""Largest input that is given as a file, since a Secret holds 1 MiB; programs ask for larger ones with the SDK."""

_SECRET_NAMES: Final = frozenset({"RUNTARA_TOKEN"})
"""Variables of ours that are credentials."""
_OUTPUT_FILE: Final = "/dev/termination-log"
_INPUT_FOLDER: Final = "/run/runtara/input"
_WORK_FOLDER: Final = "/run/runtara/work"


def job_manifest(plan: Plan, options: KubernetesOptions) -> Manifest:
    """Return the Job of an attempt. It is made suspended, since its Secret can only be made once it is there."""
    metadata = _metadata(plan, options)
    spec = _pod_spec(plan, options, metadata["name"])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "suspend": True,
            "backoffLimit": 0,  # whether there is another attempt is for the instance to decide
            "completions": 1,
            "parallelism": 1,
            "template": {
                "metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]},
                "spec": spec,
            },
        },
    }


def secret_manifest(plan: Plan, options: KubernetesOptions, job_uid: str) -> Manifest:
    """Return the Secret of an attempt, which goes with its Job: its credential and its input."""
    metadata = _metadata(plan, options)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": job_uid, "controller": True}
    data = {name: value.encode() for name, value in _secrets_of(plan).items()}
    if _is_file(plan.input):
        data["input"] = plan.input or b""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {**metadata, "ownerReferences": [owner]},
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


def _metadata(plan: Plan, options: KubernetesOptions) -> Manifest:
    return {
        "name": name_of(plan.key, plan.epoch),
        "namespace": options.namespace,
        "labels": labels_of(plan.key, plan.epoch, options.node),
        "annotations": notes_of(plan.key, plan.epoch),
    }


def _pod_spec(plan: Plan, options: KubernetesOptions, name: str) -> Manifest:
    volumes: list[Manifest] = [{"name": "work", "emptyDir": {}}]
    if _is_file(plan.input):
        items = [{"key": "input", "path": "input"}]
        volumes.append({"name": "input", "secret": {"secretName": name, "items": items, "defaultMode": 0o444}})
    spec: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(options.kill_grace_ms / 1000),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(plan, options, name)],
        "volumes": volumes,
    }
    if options.service_account is not None:
        spec["serviceAccountName"] = options.service_account
    if options.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in options.image_pull_secrets]
    return spec


def _container(plan: Plan, options: KubernetesOptions, name: str) -> Manifest:
    mounts: list[Manifest] = [{"name": "work", "mountPath": _WORK_FOLDER}]
    if _is_file(plan.input):
        mounts.append({"name": "input", "mountPath": _INPUT_FOLDER, "readOnly": True})
    needs = _quantities({**options.resources, **plan.resources})
    return {
        "name": CONTAINER,
        "image": plan.program,
        "env": _environment(plan, name),
        "resources": {"requests": needs, "limits": needs},
        "volumeMounts": mounts,
        "terminationMessagePath": _OUTPUT_FILE,
        "terminationMessagePolicy": "File",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _environment(plan: Plan, secret: str) -> list[Manifest]:
    secrets = _secrets_of(plan)
    plain = {
        "PYTHONUNBUFFERED": "1",
        **plan.env,
        "RUNTARA_TENANT_ID": plan.key.tenant_id,
        "RUNTARA_INSTANCE_ID": plan.key.instance_id,
        "RUNTARA_EPOCH": str(plan.epoch),
        **plan.ours,
        "RUNTARA_OUTPUT_FILE": _OUTPUT_FILE,
        "RUNTARA_WORK_DIR": _WORK_FOLDER,
    }
    if _is_file(plan.input):
        plain["RUNTARA_INPUT_FILE"] = f"{_INPUT_FOLDER}/input"
    given = [{"name": name, "value": _literal(value)} for name, value in plain.items() if name not in secrets]
    return given + [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}} for name in sorted(secrets)
    ]


def _secrets_of(plan: Plan) -> dict[str, str]:
    return {name: value for name, value in plan.ours.items() if name in _SECRET_NAMES}


def _is_file(content: bytes | None) -> bool:
    return content is not None and len(content) <= INPUT_MAX_BYTES


def _literal(value: str) -> str:
    """Return the value as it has to be written, since Kubernetes would replace $(NAME) in it."""
    return value.replace("$", "$$")


def _quantities(resources: Mapping[str, float]) -> dict[str, str]:
    """Return resources as Kubernetes counts them: thousandths of a core, and whole numbers of anything else."""
    return {
        name: f"{math.ceil(amount * 1000)}m" if name == "cpu" else str(math.ceil(amount))
        for name, amount in sorted(resources.items())
    }
