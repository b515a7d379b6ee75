"""What of a peer's bytes goes on to the parser (interim: everything)."""

__all__ = ["RequestFilter"]


class RequestFilter:
    """Passes everything."""

    has_more = False
    is_in_body = False
    is_in_head = False
    is_transparent = False
    is_between = True

    def feed(self, data: bytes) -> bytes:
        """Return what may go on."""
        return data

    def become_transparent(self) -> None:
        """Check nothing more."""
        self.is_transparent = True
        self.is_between = False
