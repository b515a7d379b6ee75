"""What an error says: also one whose own words fail, or are no text that can be kept.

Errors come from the code of others, and must be told of whatever they are: who fails over the words of an error has
lost the error.
"""

from typing import Any

__all__ = ["hint_of", "shown", "text_of", "words_of"]


def words_of(error: BaseException) -> str:
    """Return what an error says, with everything escaped in it that is no character."""
    try:
        said = str(error)
    except Exception as failure:  # noqa: BLE001 - somebody else's __str__ may do anything
        said = f"its words cannot be told, because of a {type(failure).__name__} in its __str__"
    return _kept(said)


def text_of(error: BaseException) -> str:
    """Return the class and the words of an error."""
    return f"{type(error).__name__}: {words_of(error)}"


def shown(error: BaseException) -> str:
    """Return an error as Python shows it; its class and its words, where that fails."""
    try:
        return _kept(repr(error))
    except Exception:  # noqa: BLE001 - likewise
        return text_of(error)


def hint_of(error: BaseException) -> Any:
    """Return what an error says of when trying again may help: its `retry_after`, or None."""
    try:
        return getattr(error, "retry_after", None)
    except Exception:  # noqa: BLE001 - it may be a property, which reads what is not there
        return None


def _kept(said: str) -> str:
    return said.encode(errors="backslashreplace").decode()
