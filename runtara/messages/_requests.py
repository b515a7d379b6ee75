"""What makes a message a question: the type of its reply, for type checkers."""

from typing import Generic, TypeVar

__all__ = ["R_co", "Request"]

R_co = TypeVar("R_co", covariant=True)


class Request(Generic[R_co]):
    """A message whose reply is an `R`; mixed into message types so that type checkers know what an ask returns."""

    __slots__ = ()
