"""What is known of one tenant that somebody watches: the latest changes, how much gets done, and who watches what."""

import trio

from runtara.actors._feed_board import Board
from runtara.actors._feed_follow import Follower
from runtara.actors._feed_meter import Meter
from runtara.ids import new_id
from runtara.live import Outlet

__all__ = ["Tenant", "new_boot"]


def new_boot() -> str:
    """Return a name for a span in which nothing is forgotten."""
    return new_id()[:12]


class Tenant:
    """One tenant."""

    def __init__(self, now: float) -> None:
        self.board = Board(new_boot())  # of its own: what was before it was known is not known
        self.meter = Meter(now)
        self.metrics: dict[tuple[Outlet, int], None] = {}
        self.followers: dict[tuple[Outlet, int], tuple[str, Follower, trio.CancelScope]] = {}
        self.forgetting: trio.CancelScope | None = None

    @property
    def is_watched(self) -> bool:
        """Whether anybody watches it."""
        return bool(self.board.watches or self.metrics or self.followers)

    def wake(self, instance_id: str | None) -> None:
        """Have those look who follow an instance, or all of them."""
        for followed, follower, _ in self.followers.values():
            if instance_id is None or followed == instance_id:
                follower.changed()
