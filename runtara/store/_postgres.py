"""A store in a PostgreSQL database, which several nodes may share."""

import contextlib
from collections.abc import Iterator, Mapping

from runtara import __version__
from runtara.errors import StoreInUse
from runtara.store._postgres_door import SQL, Connection, Error, PostgresLimits, connect, explain, name_of
from runtara.store._postgres_listener import PostgresListener
from runtara.store._postgres_migrate import migrate
from runtara.store._postgres_reader import PostgresReader
from runtara.store._postgres_writer import PostgresWriter, displaced
from runtara.store._tenure import NodeSpec, Tenure

__all__ = ["PostgresStore"]


class PostgresStore:
    """Keeps instances in the schema `runtara` of the database at `url`, which is made when the writer is opened.

    Writer and readers may be opened in different threads; each belongs to its own.
    """

    inline = False
    ends_with_process = False

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

    def agree(self, offers: Mapping[str, bytes]) -> dict[str, tuple[bytes, int]]:
        """Return content and version of what all nodes agree on, after those offers were kept that are the first."""
        with self._connection(opening=True) as connection:
            migrate(connection, self.url)
            for name, content in offers.items():
                connection.execute(SQL["offer_document"], {"name": name, "content": content})
            rows = connection.execute(SQL["read_documents"], binary=True).fetchall()
        return {name: (bytes(content), version) for name, content, version in rows}

    def publish(self, name: str, content: bytes, version: int) -> bool:
        """Keep a new version of what all nodes agree on, and tell them; False where `version` is not the last."""
        names = {"name": name, "content": content, "version": version}
        with self._connection() as connection:
            return bool(connection.execute(SQL["write_document"], names).fetchall())

    @contextlib.contextmanager
    def _connection(self, *, opening: bool = False) -> Iterator[Connection]:
        try:
            with contextlib.closing(connect(self._url, self._limits)) as connection:
                yield connection
        except Error as error:
            raise explain(error, self._url, opening=opening) from error

    def open_listener(self) -> PostgresListener:
        """Return a new listener. Raises `StoreUnavailable`."""
        return PostgresListener(self._url, self._limits, self.tenure)

    def open_reader(self) -> PostgresReader:
        """Return a new reader. Raises `StoreUnavailable`, `StoreTooNew` or `StoreCorrupt`."""
        return PostgresReader(self._url, self._limits, self.tenure)
