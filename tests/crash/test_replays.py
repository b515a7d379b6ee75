"""Replays of programs that look for signals, without any kill: what the campaign does not ask for."""

from pathlib import Path

from runtara.sdk import RuntaraSdk, embedded


def test_a_look_that_found_nothing_finds_nothing_in_a_replay(tmp_path: Path) -> None:
    def program(sdk: RuntaraSdk) -> tuple[bool, bool]:
        looked = sdk.poll_custom_signal("go") is not None
        if not sdk.is_resumed:
            system.custom_signal("one", "go", b"now")
        return looked, sdk.wait_for_signal("go", timeout=0.01) is not None

    with embedded.open(str(tmp_path)) as system:
        with system.sdk("one") as sdk:
            first = program(sdk)
        with system.sdk("one") as sdk:
            replayed = program(sdk)

    assert first == (False, True)
    assert replayed == first
