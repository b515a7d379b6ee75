"""What comes to a server's socket, told apart: which datagram is for which connection, and who may begin a new one.

Owns the table of connection ids, and the caps on connections. A newcomer must prove its address (Retry) while many are
in the middle of their handshake. It moves no bytes: a pump hands datagrams in and sends what is outgoing.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler

from runtara.transport.addresses import party_of
from runtara.transport.certificates import ClientAuthorities
from runtara.transport.quic._configuration import configure_server
from runtara.transport.quic._guard import Buffer
from runtara.transport.quic.protocol import ServerTls, Wire, accept_wire

__all__ = ["Listener", "ListenerLimits"]

_INITIAL_MIN_BYTES: Final = 1_200
"""What the first datagram of a connection has at least, so that an answer never outgrows its question."""


class ListenerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections there may be."""

    half_open: int = 1_024
    """In the middle of their handshake; from a quarter of it on, newcomers must prove their address."""
    total: int = 10_000
    per_address: int = 256
    """From one address (one /64 of IPv6), unless it is loopback."""
    streams: int = 64
    """Streams that a client may have open on one connection."""


class Listener:
    """All connections of one socket. `counts` says what became of newcomers that were not let in."""

    def __init__(self, tls: ServerTls, limits: ListenerLimits) -> None:
        self.counts: Counter[str] = Counter()
        self.is_open = True
        """Whether newcomers are let in."""
        self._tls = tls
        self.renew()
        self._cid_bytes = self.configuration.connection_id_length
        self._limits = limits
        self._retry = QuicRetryTokenHandler()
        self._routes: dict[bytes, Wire] = {}
        self._cids: dict[Wire, set[bytes]] = {}
        self._half_open: set[Wire] = set()
        self._places: dict[Wire, str | None] = {}
        self._crowds: Counter[str] = Counter()
        self._replies: list[tuple[bytes, Any]] = []

    def renew(self) -> None:
        """Show newcomers what the files hold now. Raises `ConfigError`; then all stays as it was."""
        ca_file = self._tls.client_ca_file
        authorities = None if ca_file is None else ClientAuthorities(Path(ca_file))
        self.configuration, self._authorities = configure_server(self._tls), authorities

    @property
    def total(self) -> int:
        """How many connections there are."""
        return len(self._cids)

    @property
    def half_open(self) -> int:
        """How many of them have not finished their handshake."""
        return len(self._half_open)

    def receive(self, datagram: bytes, address: Any, now: float) -> Wire | None:
        """Hand a datagram to its connection, and return that; None where there is none and none was begun."""
        if not datagram:
            return None
        if datagram[0] & 0x80:
            return self._receive_long(datagram, address, now)
        wire = self._routes.get(datagram[1 : 1 + self._cid_bytes])
        if wire is None:
            self.counts["unknown-connection"] += 1
            return None
        wire.receive(datagram, address, now)
        return wire

    def outgoing(self) -> list[tuple[bytes, Any]]:
        """Return what is to be sent to those who have no connection."""
        replies, self._replies = self._replies, []
        return replies

    def settled(self, wire: Wire) -> None:
        """Take note that the handshake of a connection is done."""
        self._half_open.discard(wire)

    def forget(self, wire: Wire) -> None:
        """Know a connection no more; harmless when repeated."""
        for cid in self._cids.pop(wire, ()):
            self._routes.pop(cid, None)
        self._half_open.discard(wire)
        place = self._places.pop(wire, None)
        if place is not None:
            self._crowds[place] -= 1
            if not self._crowds[place]:
                del self._crowds[place]

    # Newcomers

    def _receive_long(self, datagram: bytes, address: Any, now: float) -> Wire | None:
        try:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=self._cid_bytes)
        except ValueError:
            self.counts["garbage"] += 1
            return None
        wire = self._routes.get(header.destination_cid)
        if wire is None:
            wire = self._newcomer(header, datagram, address, now)
        if wire is not None:
            wire.receive(datagram, address, now)
            if not wire.is_alive:  # its first datagram was noise, made to look like a beginning
                self.counts["garbage"] += 1
                self.forget(wire)
                return None
        return wire

    def _newcomer(self, header: QuicHeader, datagram: bytes, address: Any, now: float) -> Wire | None:
        if len(datagram) < _INITIAL_MIN_BYTES or header.packet_type is QuicPacketType.VERSION_NEGOTIATION:
            self.counts["garbage"] += 1
            return None
        versions = self.configuration.supported_versions
        if header.version not in versions:
            self.counts["version"] += 1
            answer = encode_quic_version_negotiation(
                source_cid=header.destination_cid, destination_cid=header.source_cid, supported_versions=versions
            )
            self._replies.append((answer, address))
            return None
        if header.packet_type is not QuicPacketType.INITIAL:
            self.counts["unknown-connection"] += 1
            return None
        original, retried = self._prove(header, address, now)
        return None if original is None else self._admit(header, original, retried, address)

    def _prove(self, header: QuicHeader, address: Any, now: float) -> tuple[bytes | None, bytes | None]:
        """Return the ids that the newcomer has begun with and was told to go on with; nothing if it must come again."""
        if header.token:
            try:
                original = self._retry.validate_token(
                    address=address, destination_cid=header.destination_cid, token=header.token, now=now
                )
            except ValueError:
                self.counts["token"] += 1
                self._refuse(header, address, QuicErrorCode.INVALID_TOKEN)
                return None, None
            return original, header.destination_cid
        if 4 * self.half_open < self._limits.half_open:
            return header.destination_cid, None
        self.counts["retry"] += 1
        self._ask_for_proof(header, address, now)
        return None, None

    def _ask_for_proof(self, header: QuicHeader, address: Any, now: float) -> None:
        source = os.urandom(self._cid_bytes)
        token = self._retry.create_token(
            address=address,
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source,
            now=now,
        )
        assert header.version is not None  # it is one of those we support
        answer = encode_quic_retry(
            version=header.version,
            source_cid=source,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )
        self._replies.append((answer, address))

    def _admit(self, header: QuicHeader, original: bytes, retried: bytes | None, address: Any) -> Wire | None:
        place = party_of(address[0])
        if self.half_open >= self._limits.half_open:
            self.counts["half-open"] += 1  # unanswered: they come again by themselves, and every answer costs
            return None
        if not self.is_open or self.total >= self._limits.total or self._is_crowded(place):
            self.counts["refused"] += 1
            self._refuse(header, address, QuicErrorCode.CONNECTION_REFUSED)
            return None
        wire = accept_wire(
            self.configuration,
            address,
            original=original,
            retried=retried,
            streams=self._limits.streams,
            authorities=self._authorities,
        )
        self._cids[wire] = set()
        self._half_open.add(wire)
        self._places[wire] = place
        if place is not None:
            self._crowds[place] += 1
        wire.on_route = lambda cid, on: self._route(wire, cid, on)
        for cid in (header.destination_cid, wire.cid):
            self._route(wire, cid, True)
        return wire

    def _is_crowded(self, place: str | None) -> bool:
        return place is not None and self._crowds[place] >= self._limits.per_address

    def _route(self, wire: Wire, cid: bytes, on: bool) -> None:
        cids = self._cids.get(wire)
        if cids is None:
            return
        if on:
            cids.add(cid)
            self._routes[cid] = wire
        else:
            cids.discard(cid)
            self._routes.pop(cid, None)

    def _refuse(self, header: QuicHeader, address: Any, code: int) -> None:
        """Answer an Initial packet with a close, remembering nothing."""
        assert header.version is not None  # it is one of those we support
        crypto = CryptoPair()
        crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
        builder = QuicPacketBuilder(
            host_cid=header.destination_cid,
            is_client=False,
            max_datagram_size=_INITIAL_MIN_BYTES,
            peer_cid=header.source_cid,
            version=header.version,
        )
        builder.start_packet(QuicPacketType.INITIAL, crypto)
        frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=25)
        for number in (code, QuicFrameType.PADDING, 0):
            frame.push_uint_var(number)
        datagrams, _ = builder.flush()
        self._replies.extend((datagram, address) for datagram in datagrams)
