"""The blocking face of the management client: every call blocks its thread, and no other."""

from typing import Self

from runtara.sdk.management._host import Host
from runtara.sdk.management._instances import Instances

__all__ = ["Management"]


class Management(Instances, Host):
    """A way to manage the instances, images and schedules of one tenant, for programs that block.

    `with` closes it at the end. One client may be used from any number of threads.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
