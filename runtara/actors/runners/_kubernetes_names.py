"""How attempts are named and found in Kubernetes, and which images may be launched there.

Ids become names here: cleaned, cut, and told apart by a digest, so that no two instances ever share a Job. The ids
themselves are in annotations, which may hold any text.
"""

import hashlib
import re
from typing import Final

from runtara.actors.runners._kubernetes_objects import Job
from runtara.errors import Forbidden, NotFound
from runtara.ids import InstanceKey

__all__ = [
    "ATTEMPT",
    "INSTANCE",
    "NODE",
    "check_image",
    "digest_of",
    "identify",
    "labels_of",
    "name_of",
    "notes_of",
    "selector_of_instance",
    "selector_of_node",
]

NODE: Final = "runtara.dev/node"
"""Label: who has launched it."""
INSTANCE: Final = "runtara.dev/instance"
"""Label: digest of the instance's key."""
ATTEMPT: Final = "runtara.dev/attempt"
"""Label: name of the Job."""
_TENANT: Final = "runtara.dev/tenant-id"
_INSTANCE_ID: Final = "runtara.dev/instance-id"
_EPOCH: Final = "runtara.dev/epoch"

_MANAGED: Final = {"app.kubernetes.io/managed-by": "runtara"}
_NAME_MAX: Final = 63


_PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST: Final = r"[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*"
_IMAGE: Final = re.compile(
    rf"(?:(?:{_HOST}(?::[0-9]{{1,5}})?|\[[0-9a-fA-F:]+\](?::[0-9]{{1,5}})?)/)?{_PART}(?:/{_PART})*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?\Z",
    re.ASCII,
)


def check_image(program: str, allowed: tuple[str, ...]) -> None:
    """Raise `NotFound` for what is no reference to an image, and `Forbidden` for one that may not be launched."""
    if not _IMAGE.match(program):
        raise NotFound(f"{program!a} is no container image: name one like registry.example.org/team/program:1.2")
    if allowed and not any(_is_below(program, prefix) for prefix in allowed):
        raise Forbidden(f"image {program!r} may not be launched here: allowed is what begins with {', '.join(allowed)}")


def _is_below(program: str, prefix: str) -> bool:
    """Whether the image begins with the prefix, and not in the middle of a word: not acme-evil for acme."""
    rest = program.removeprefix(prefix)
    return program.startswith(prefix) and (prefix[-1:] in "/:@" or rest[:1] in ("", "/", ":", "@"))


def digest_of(key: InstanceKey) -> str:
    """Return what stands for an instance in labels and names; the length keeps (a, bc) and (ab, c) apart."""
    text = f"{len(key.tenant_id)}:{key.tenant_id}:{key.instance_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def name_of(key: InstanceKey, epoch: int) -> str:
    """Return the name of an attempt's Job, a DNS label; the same attempt has the same name whoever launches it."""
    end = f"-{digest_of(key)[:12]}-e{epoch}"
    words = re.sub(r"[^a-z0-9]+", "-", key.instance_id.lower())
    return f"{words[: _NAME_MAX - len(end)].strip('-') or 'run'}{end}"


def labels_of(key: InstanceKey, epoch: int, node: str) -> dict[str, str]:
    """Return the labels of everything that is made for an attempt."""
    return {**_MANAGED, NODE: node, INSTANCE: digest_of(key), ATTEMPT: name_of(key, epoch)}


def notes_of(key: InstanceKey, epoch: int) -> dict[str, str]:
    """Return the annotations of everything that is made for an attempt."""
    return {_TENANT: key.tenant_id, _INSTANCE_ID: key.instance_id, _EPOCH: str(epoch)}


def identify(job: Job) -> tuple[InstanceKey, int] | None:
    """Return which attempt a Job is; None where its annotations and its name do not agree."""
    notes = job.metadata.annotations
    epoch = notes.get(_EPOCH, "")
    if not re.fullmatch(r"[0-9]{1,18}", epoch) or _TENANT not in notes or _INSTANCE_ID not in notes:
        return None
    key = InstanceKey(notes[_TENANT], notes[_INSTANCE_ID])
    return (key, int(epoch)) if name_of(key, int(epoch)) == job.metadata.name else None


def selector_of_node(node: str) -> str:
    """Return what selects everything that a node has launched."""
    return ",".join(f"{name}={value}" for name, value in {**_MANAGED, NODE: node}.items())


def selector_of_instance(key: InstanceKey) -> str:
    """Return what selects everything of an instance, whoever has launched it."""
    return ",".join(f"{name}={value}" for name, value in {**_MANAGED, INSTANCE: digest_of(key)}.items())
