"""The ways of the matrix, and the servers behind them."""

from tests.doors.matrix import memory_server, postgres_server, sqlite_server, way

__all__ = ["memory_server", "postgres_server", "sqlite_server", "way"]
