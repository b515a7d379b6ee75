"""What the values of settings look like."""

from typing import Annotated

from msgspec import Meta

__all__ = ["PREFIX", "Count", "Milliseconds", "Port", "Span"]

PREFIX = "RUNTARA_"
"""What the environment variable of every setting begins with."""

Milliseconds = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=1)]
Span = Annotated[int, Meta(ge=0)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
