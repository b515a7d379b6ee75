"""A form with one large file, taken apart as it arrives. The one door to the library multipart. No I/O."""

from typing import Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from runtara.errors import InvalidInput

__all__ = ["FIELD_MAX_BYTES", "Form", "boundary_of"]

FIELD_MAX_BYTES: Final = 1024 * 1024
"""Longest field beside the file."""

_FIELDS_MAX: Final = 32


def boundary_of(content_type: bytes) -> str | None:
    """Return what lies between the parts of a form; None for a body that is no form. Raises `InvalidInput`."""
    kind, options = parse_options_header(content_type.decode("latin-1"))
    if kind.lower() != "multipart/form-data":
        return None
    if not options.get("boundary"):
        raise InvalidInput("multipart/form-data without a boundary cannot be read")
    return str(options["boundary"])


class Form:
    """A form whose field `file_name` is a file, which must be the last one."""

    def __init__(self, boundary: str, file_name: str) -> None:
        self.fields: Final[dict[str, str]] = {}
        """Those that stand before the file; complete once the file has begun."""
        self.has_file = False
        """Whether the file has begun."""
        self._file_name = file_name
        self._name = ""
        self._content = bytearray()
        try:
            self._parser = PushMultipartParser(boundary, max_segment_count=_FIELDS_MAX)
        except MultipartError as error:
            raise _unreadable(error) from None

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece of the body, and return what of the file is in it. Raises `InvalidInput`."""
        found: list[bytes] = []
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin(event.name or "")
                elif self.has_file:
                    found.extend(() if event is None else (bytes(event),))
                elif event is None:
                    self._end()
                else:
                    self._grow(event)
        except MultipartError as error:
            raise _unreadable(error) from None
        return found

    def close(self) -> None:
        """Take note that the body has ended. Raises `InvalidInput` where something is missing."""
        try:
            self._parser.close()
        except MultipartError as error:
            raise _unreadable(error) from None
        if not self.has_file:
            raise InvalidInput(f"the form has no file: send it as {self._file_name}, behind all other fields")

    def _begin(self, name: str) -> None:
        if self.has_file:
            raise InvalidInput(f"{name!a:.80} comes behind the file: send the file as the last field")
        if name in self.fields:
            raise InvalidInput(f"{name!a:.80} stands twice in the form: once is enough")
        self.has_file = name == self._file_name
        self._name, self._content = name, bytearray()

    def _grow(self, data: bytearray) -> None:
        self._content += data
        if len(self._content) > FIELD_MAX_BYTES:
            raise InvalidInput(f"{self._name!a:.80} is longer than {FIELD_MAX_BYTES} bytes: shorten it")

    def _end(self) -> None:
        try:
            self.fields[self._name] = self._content.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{self._name!a:.80} of the form is not UTF-8") from None


def _unreadable(error: MultipartError) -> InvalidInput:
    return InvalidInput(f"the form cannot be read: {error}")
