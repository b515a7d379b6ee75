"""What those have in common who wake instances: they hear what places and slots there are, and go on."""

from runtara.actors._image_caps import CapReader
from runtara.actors._launch_places import LaunchPlaces
from runtara.actors._service import hears
from runtara.actors.places import PlacesInUse, PoolBegins, SlotsIdle

__all__ = ["Waker"]


class Waker(CapReader):
    """An actor that wakes as many as there is room for."""

    _places: LaunchPlaces

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
