"""What those have in common who wake instances: they hear what places and slots there are, and go on."""

from math import inf

from runtara.actors._deferred import Deferred
from runtara.actors._image_caps import CapReader
from runtara.actors._launch_places import LaunchPlaces
from runtara.actors._service import hears
from runtara.actors.places import PlacesInUse, PoolBegins, SlotsIdle, StopWaking
from runtara.actors.vacancies import Vacancies
from runtara.clock import Clock
from runtara.errors import ActorStopped

__all__ = ["Waker"]


class Waker(CapReader):
    """An actor that wakes as many as there is room for."""

    AT_ONCE = False  # it says that it has stopped once it has

    def __init__(
        self, clock: Clock, places: int | None, per_tenant: int | None, vacancies: Vacancies | None = None
    ) -> None:
        super().__init__()
        self._clock = clock
        self._vacancies = vacancies or Vacancies()
        self._places = LaunchPlaces(
            inf if places is None else places, inf if per_tenant is None else per_tenant, self._caps.cap_of
        )
        self._stopped = False
        self._waiting_for_rest: list[Deferred] = []

    async def on_stop(self, failure: BaseException | None) -> None:
        """Leave nobody waiting, and let starts take no slot until the next life knows who waits."""
        self._vacancies.withdraw()
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
        had_room = self._places.idle.has_room(message.group)
        self._places.idle.believe(message.group, message.count, message.arrived)
        if message.count or message.arrived is not None:
            self.slots_changed(had_room)

    def slots_changed(self, _had_room: bool) -> None:
        """Go on with more slots, or other ones; where there was room before, nobody has waited for that."""
        self.go_on()

    @hears(PoolBegins)
    def pool_begins(self, _: PoolBegins) -> None:
        """Forget what was known of the pool's workers."""
        self._places.idle.believe_all({})
