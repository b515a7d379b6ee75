"""Look after something for some days, in a container: with limits, and without a process while it rests.

Nothing in it tells that it runs in a container: it is a program like the others. The session below makes an archive of
it and of all that it needs (rootfs.py), pushes that as an image, and starts it. While it rests, the server is killed.
"""

import json

from runtara.sdk import RuntaraSdk, durable


@durable
def look(day: int) -> int:
    """Do the work of a day, once."""
    print(f"day {day}", flush=True)
    return day


def main() -> None:
    """Look once on each of three days."""
    with RuntaraSdk.from_env() as sdk:
        day_s = json.loads(sdk.load_input() or b"{}").get("day_s", 86_400)
        seen: list[int] = []
        for day in range(1, 4):
            if seen:
                sdk.sleep(day_s, f"until day {day}")
            seen.append(look(day))
        sdk.completed(f"looked on the days {seen}".encode())


if __name__ == "__main__":
    main()

# Session:
# $ python rootfs.py rootfs.tar 10_container.py
# rootfs.tar holds 10_container.py and python...
# $ env RUNTARA_PARK_AFTER_MS=100 runtara serve &
# $ runtara image push days rootfs.tar --command python --command /packages/10_container.py --memory 256000000 --pids 32
# days@1
# $ runtara start days --image --id week --input '{"day_s": 2}'
# week
# $ grep -m 1 slept <(runtara events week --follow 2> /dev/null)
# ... the program sleeps and has left memory, at until day 2
# $ kill -9 $(sed -E 's/.*"pid":([0-9]+).*/\1/' .data/server.json)
# $ env RUNTARA_PARK_AFTER_MS=100 runtara serve &
# $ runtara start days --image --id week --input '{"day_s": 2}' --wait
# looked on the days [1, 2, 3]
# $ runtara logs week
# day 1
# day 2
# day 3
