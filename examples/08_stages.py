"""Work through eight stages, each of which is a checkpoint; in the middle, wait for the word to go on.

What 07_three_nodes.py has servers launch. When the server that has launched it is killed, another one launches it
again, and it goes on behind the last stage that was saved.
"""

import json

from runtara.sdk import RuntaraSdk


def main() -> None:
    """Be one instance."""
    with RuntaraSdk.from_env() as sdk:
        sdk.register()
        patience = json.loads(sdk.load_input() or b"0")  # in seconds
        for stage in range(8):
            if sdk.get_checkpoint(f"stage {stage}") is None:
                print(f"attempt {sdk.epoch} works through stage {stage}", flush=True)
                sdk.checkpoint(f"stage {stage}", b"")
            if stage == 4:
                sdk.wait_for_signal("go on", timeout=patience)
        sdk.completed(b"done")


if __name__ == "__main__":
    main()

# Session:
# $ runtara run 08_stages.py
# attempt 1 works through stage 0
# ...
# attempt 1 works through stage 7
# done
