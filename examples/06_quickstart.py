"""The quick start: process items one by one, save a checkpoint after each, and end with a result.

Kill it wherever you like and start it again: it takes up the state that was saved last, skips the items that are done,
and ends with the same output. It needs a server on this machine: `runtara serve`, started in the same folder.

Who knows this program from the reference's page finds it line by line, but for one: there, an item is saved and then
processed, so whoever is killed in between skips it for good. Here it is processed and then saved.
"""

import json

from runtara.sdk import InstanceCancelled, RuntaraSdk, SignalType

State = dict[str, int]

ITEMS = [("apples", 3, 40), ("bread", 1, 320), ("coffee", 2, 550), ("dates", 12, 25)]
"""What is in the basket: what, how many, and the price of one in cents."""


def process_item(state: State, item: tuple[str, int, int]) -> State:
    """Return the state with one more item in it."""
    name, count, price = item
    print(f"processing {name}", flush=True)
    return state | {name: count * price}


def work(sdk: RuntaraSdk) -> None:
    """Process every item with a checkpoint."""
    sdk.connect()
    sdk.register()

    my_state: State = {}
    for number, item in enumerate(ITEMS):
        existing = sdk.get_checkpoint(f"item-{number}")
        if existing is not None:
            my_state = json.loads(existing)  # resuming: restore the state and skip
            continue

        my_state = process_item(my_state, item)  # fresh execution
        result = sdk.checkpoint(f"item-{number}", json.dumps(my_state).encode())

        if result.should_cancel:
            sdk.acknowledge(SignalType.CANCEL)
            raise InstanceCancelled("the basket was cancelled")
        if result.should_pause:
            sdk.suspended()
            return

    sdk.completed(json.dumps(my_state | {"total": sum(my_state.values())}).encode())


if __name__ == "__main__":
    work(RuntaraSdk.localhost("my-instance", "my-tenant"))

# Session:
# $ python 06_quickstart.py
# processing apples
# processing bread
# processing coffee
# processing dates
# $ runtara status my-instance --tenant my-tenant | grep ^output
# output         {"apples": 120, "bread": 320, "coffee": 1100, "dates": 300, "total": 1840}
