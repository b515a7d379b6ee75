"""The ways of the matrix, and the servers behind them."""

from tests.doors.matrix import (
    memory_quic_server,
    memory_tcp_server,
    postgres_quic_server,
    postgres_tcp_server,
    sqlite_quic_server,
    sqlite_tcp_server,
    way,
)

__all__ = [
    "memory_quic_server",
    "memory_tcp_server",
    "postgres_quic_server",
    "postgres_tcp_server",
    "sqlite_quic_server",
    "sqlite_tcp_server",
    "way",
]
