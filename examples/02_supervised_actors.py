"""Actors under supervision, without any durability: the oven breaks, and the bakery goes on."""

import trio

from runtara.actors import Actor, Backoff, Down, child, draw_tree, hears, open_system, supervisor
from runtara.errors import ActorFailed, InvalidInput


class Oven(Actor):
    """Bakes; breaks when it gets too hot, and is started again, cold."""

    def __init__(self) -> None:
        self.baked = 0

    def describe(self) -> dict[str, int]:
        """Return what the tree shows of the oven."""
        return {"baked": self.baked}

    @hears(int)
    def bake(self, degrees: int) -> str:
        """Bake a bread."""
        if degrees < 100:
            raise InvalidInput(f"{degrees} degrees bake nothing")  # a refusal: the oven is fine
        if degrees > 300:
            raise RuntimeError("fuse blown")  # a bug: the oven starts anew
        self.baked += 1
        return f"bread number {self.baked}"


class Baker(Actor):
    """Hears when the oven breaks."""

    async def on_start(self) -> None:
        """Watch the oven."""
        self.system.ref("root/oven").watch(self.ref)

    @hears(Down)
    def down(self, news: Down) -> None:
        """Say what happened."""
        print(f"baker: {news.path} is down, {news.failure}; comes back: {news.restarts}")


async def main() -> None:
    """Bake at some temperatures."""
    tree = supervisor("root", child("oven", Oven), child("baker", Baker), backoff=Backoff(first=0.01))
    async with open_system(tree) as system:
        for degrees in (220, 50, 220, 900, 220):
            try:
                print(await system.ref("root/oven").ask(degrees))
            except (InvalidInput, ActorFailed) as error:
                print(f"{type(error).__name__}: {error}")
        print(draw_tree(system.inspect()))


trio.run(main)

# Output:
# bread number 1
# InvalidInput: 50 degrees bake nothing
# bread number 2
# ActorFailed: root/oven crashed while it handled the message: RuntimeError('fuse blown')
# baker: root/oven is down, fuse blown; comes back: True
# bread number 1
# root     supervisor running
# ├ oven   service    running    mail 0/1024  handled 5  restarts 1  last failure RuntimeError('fuse blown')  baked 1
# └ baker  service    running    mail 0/1024  handled 1
