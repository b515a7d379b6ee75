"""What those have in common who wake instances: they hear what places and slots there are, and go on."""

from math import inf

from runtara.actors._image_caps import CapReader
from runtara.actors._launch_places import LaunchPlaces
from runtara.actors._service import hears
from runtara.actors.places import PlacesInUse, PoolBegins, SlotsIdle
from runtara.actors.vacancies import Vacancies
from runtara.clock import Clock

__all__ = ["Waker"]


class Waker(CapReader):
    """An actor that wakes as many as there is room for."""

    def __init__(
        self, clock: Clock, places: int | None, per_tenant: int | None, vacancies: Vacancies | None = None
    ) -> None:
        super().__init__()
        self._clock = clock
        self._vacancies = vacancies or Vacancies()
        self._places = LaunchPlaces(
            inf if places is None else places, inf if per_tenant is None else per_tenant, self._caps.cap_of
        )

    async def on_stop(self, failure: BaseException | None) -> None:
        """Let starts take no slot until the next life knows who waits."""
        self._vacancies.withdraw()

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
