"""What those have in common who wake instances: they hear what places and slots there are, and go on."""

from runtara.actors._deferred import Deferred
from runtara.actors._image_caps import CapReader
from runtara.actors._launch_places import LaunchPlaces
from runtara.actors._service import hears
from runtara.actors.places import PlacesInUse, PoolBegins, SlotsIdle, StopWaking
from runtara.errors import ActorStopped

__all__ = ["Waker"]


class Waker(CapReader):
    """An actor that wakes as many as there is room for."""

    AT_ONCE = False  # it says that it has stopped once it has

    _places: LaunchPlaces

    def __init__(self) -> None:
        super().__init__()
        self._stopped = False
        self._waiting_for_rest: list[Deferred] = []

    async def on_stop(self, failure: BaseException | None) -> None:
        """Leave nobody waiting."""
        for deferred in self._waiting_for_rest:
            deferred.fail(ActorStopped(f"{self.ref.path} has ended before all whom it woke had answered: ask again"))

    @hears(StopWaking)
    def stop_waking(self, _: StopWaking) -> Deferred | None:
        """Wake nobody any more, and answer when nobody is being woken; who is due stays so in the store."""
        self._stopped = True
        if not self._places.waking:
            return None
        deferred = Deferred()
        self._waiting_for_rest.append(deferred)
        return deferred

    def rest(self) -> None:
        """Say, if nobody is being woken any more, that it is so to those who wait for it."""
        while self._waiting_for_rest and not self._places.waking:
            self._waiting_for_rest.pop().settle(None)

    @hears(PlacesInUse)
    def places_in_use(self, message: PlacesInUse) -> None:
        """Believe the runner, who has just looked."""
        self._places.believe(message.programs)
        self.go_on()

    @hears(SlotsIdle)
    def slots_idle(self, message: SlotsIdle) -> None:
        """Wake whoever a worker can take on."""
        self._places.idle.believe(message.group, message.count, message.arrived)
        if message.count or message.arrived is not None:
            self.go_on()

    @hears(PoolBegins)
    def pool_begins(self, _: PoolBegins) -> None:
        """Forget what was known of the pool's workers."""
        self._places.idle.believe_all({})
