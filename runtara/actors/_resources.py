"""What an instance's attempts need, kept among its environment.

It is given once and kept for every launch, like the environment; so it lies there, under a name that no user may give,
and is taken out again before a program is launched. Whoever starts the same with other needs starts something else.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from runtara.decoders import decode_json

__all__ = ["RESOURCES", "join_resources", "split_resources"]

RESOURCES: Final = "RUNTARA_RESOURCES"


def join_resources(env: Mapping[str, str], resources: Mapping[str, float]) -> dict[str, str]:
    """Return the environment to keep, with the resources in it, if there are any."""
    if not resources:
        return dict(env)
    needs = {name: float(amount) for name, amount in sorted(resources.items())}
    return {**env, RESOURCES: msgspec.json.encode(needs).decode()}


def split_resources(kept: Mapping[str, str]) -> tuple[dict[str, str], dict[str, float]]:
    """Return the environment of the program, and what it needs."""
    env = dict(kept)
    needs = env.pop(RESOURCES, None)
    return env, {} if needs is None else decode_json(needs, dict[str, float])
