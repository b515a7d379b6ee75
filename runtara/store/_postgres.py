"""A store in a PostgreSQL database, which several nodes may share."""

from runtara import __version__
from runtara.errors import StoreInUse
from runtara.store._postgres_door import PostgresLimits, name_of
from runtara.store._postgres_listener import PostgresListener
from runtara.store._postgres_reader import PostgresReader
from runtara.store._postgres_writer import PostgresWriter, displaced
from runtara.store._tenure import NodeSpec, Tenure

__all__ = ["PostgresStore"]


class PostgresStore:
    """Keeps instances in the schema `runtara` of the database at `url`, which is made when the writer is opened.

    Writer and readers may be opened in different threads; each belongs to its own.
    """

    inline = False

    def __init__(self, url: str, node: NodeSpec | None = None, limits: PostgresLimits | None = None) -> None:
        self.url = name_of(url)
        self.tenure = Tenure(node or NodeSpec())
        self._url = url
        self._limits = limits or PostgresLimits()
        self._writer: PostgresWriter | None = None

    def open_writer(self) -> PostgresWriter:
        """Bring the schema up to date, join the nodes and return the writer.

        Raises `StoreInUse`, `StoreTooNew`, `StoreCorrupt`, `StoreFull`, `StoreUnavailable`, or `ConfigError` for a
        server that does not let us in, or may lose what it has acknowledged.
        """
        if self._writer is not None and not self._writer.closed:
            raise StoreInUse(f"this node has a writer of {self.url} already: close it first")
        if self.tenure.displaced:
            raise displaced(self.tenure, self.url)
        self._writer = PostgresWriter(self._url, self._limits, self.tenure, __version__)
        return self._writer

    def open_listener(self) -> PostgresListener:
        """Return a new listener. Raises `StoreUnavailable`."""
        return PostgresListener(self._url, self._limits, self.tenure)

    def open_reader(self) -> PostgresReader:
        """Return a new reader. Raises `StoreUnavailable`, `StoreTooNew` or `StoreCorrupt`."""
        return PostgresReader(self._url, self._limits, self.tenure)
