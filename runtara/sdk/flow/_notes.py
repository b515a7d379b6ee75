"""What a run writes into the log of its instance, for whoever asks how it stands."""

from typing import Final

import msgspec

__all__ = ["FAILURE", "REST", "RestNote"]

FAILURE: Final = "flow::failure"
"""Subtype of the event that keeps why a run has failed: a `TaskFailure`, as JSON."""

REST: Final = "flow::rest"
"""Subtype of the event that keeps in what a run rests: a `RestNote`, as JSON."""


class RestNote(msgspec.Struct, frozen=True, kw_only=True):
    """In what a run rests."""

    place: str
    wake_at: int | None = None
    """In milliseconds since 1970 UTC; of a delay by itself, the instance knows it."""
    signal_name: str | None = None
