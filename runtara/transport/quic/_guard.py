"""One aioquic connection, made safe against its peer. No I/O.

As it comes, aioquic slides its windows on the highest offset *seen* (690 bytes made a server hold 511 MiB), keeps
received ranges in a linear list, and buffers half a megabyte of handshake for whoever asks. Here windows slide on what
was consumed, ranges and handshake bytes are bounded, and streams of kinds that nobody uses are refused.

All this reaches into private methods. Hence the exact version, checked here, and `runtara.transport.quic._proof`, which
attacks a connection in memory before a server opens its socket.
"""

import ssl
from typing import Any, Final

import aioquic
from aioquic.buffer import Buffer  # type: ignore[attr-defined]  # they offer what they import themselves
from aioquic.quic.connection import QuicConnection, QuicConnectionError, QuicReceiveContext
from aioquic.quic.packet import QuicErrorCode
from aioquic.quic.packet_builder import QuicPacketBuilder, QuicPacketBuilderStop
from aioquic.quic.stream import QuicStream
from aioquic.tls import Encoding, Epoch  # type: ignore[attr-defined]  # likewise

from runtara.errors import ConfigError
from runtara.transport.close_codes import FLOOD

Epoch.__hash__ = object.__hash__  # type: ignore[method-assign]  # in C: it is looked up twenty times per datagram

__all__ = ["AIOQUIC", "CRYPTO_MAX_BYTES", "FRAGMENTS_MAX", "Buffer", "GuardedConnection", "check_version"]

AIOQUIC: Final = "1.7.2"
"""The version whose private methods are guarded here."""

FRAGMENTS_MAX: Final = 256
"""Most separate pieces of one stream that may wait for what is missing between them."""

CRYPTO_MAX_BYTES: Final = 64 * 1024
"""Most handshake bytes of a peer, at each level of encryption."""

_ACK_AFTER: Final = 0.02
"""How long an acknowledgement may wait for something to travel with; peers are told to expect 0.025."""


def check_version(found: str = aioquic.__version__) -> None:
    """Raise `ConfigError` unless aioquic is the version that the guards were written for."""
    if found != AIOQUIC:
        raise ConfigError(f"aioquic {found} is installed, and its guards are for {AIOQUIC}: install aioquic=={AIOQUIC}")


class GuardedConnection(QuicConnection):
    """A QUIC connection whose peer gets what was agreed, and no more.

    `stream_window` and `connection_window` are how much the peer may send that was not consumed yet.
    """

    def __init__(self, *, stream_window: int, connection_window: int, streams: int, **options: Any) -> None:
        super().__init__(**options)
        self.stream_window = stream_window
        self.connection_window = connection_window
        self.fragments_max = FRAGMENTS_MAX
        self.granted = 0
        """Bytes that the peer may send beyond the windows."""
        self.consumed = 0
        """Bytes of streams that were used, or that nobody will ask for any more."""
        self._slide_at = 0
        """What must have been consumed before the window of the connection slides."""
        self._crowd = streams // 4 or 16
        """Streams from which on aioquic is given the occasion to forget those that are over."""
        self._received_since_ack = 0
        self._ack_delay = _ACK_AFTER
        self._local_max_streams_bidi.value = self._local_max_streams_bidi.sent = streams
        self._local_max_streams_uni.value = self._local_max_streams_uni.sent = 0
        self._logger = self._loss._logger = _Quiet()  # type: ignore[assignment]  # noqa: SLF001 - all it is asked for

    @property
    def begun(self) -> bool:
        """Whether there is a peer: before the first datagram aioquic knows no address and has no keys."""
        return bool(self._network_paths)

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate that the peer has shown, as DER."""
        certificate = self.tls._peer_certificate  # noqa: SLF001 - not offered
        return None if certificate is None else certificate.public_bytes(Encoding.DER)

    @property
    def peer_chain(self) -> list[bytes]:
        """The same, and the certificates of those who have signed it."""
        own = self.tls._peer_certificate  # noqa: SLF001 - not offered
        chain = [] if own is None else [own, *self.tls._peer_certificate_chain]  # noqa: SLF001 - likewise
        return [certificate.public_bytes(Encoding.DER) for certificate in chain]

    @property
    def is_closing(self) -> bool:
        """Whether the connection was closed, told or not."""
        return self._close_event is not None

    @property
    def held(self) -> int:
        """How much of what the peer sent is, at most, held in memory: what was not consumed, gaps included."""
        return self._local_max_data.used - self.consumed

    @property
    def unsent(self) -> int:
        """How many bytes were given to streams and not acknowledged yet."""
        return sum(len(stream.sender._buffer) for stream in self._streams.values())  # noqa: SLF001 - not offered

    def consume(self, stream_id: int, count: int) -> None:
        """Take note that `count` further bytes of a stream were used, and let the peer send as many more."""
        self.consumed += count
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            facts = stream.__dict__  # lives and dies with the stream
            taken = facts["taken"] = facts.get("taken", 0) + count
            self._slide_stream(stream, taken)
        if self.consumed >= self._slide_at:
            self._slide()

    def widen(self, stream_window: int, connection_window: int) -> None:
        """Let the peer send more from now on; a stream's window opens when the peer has used half of it."""
        self.stream_window, self.connection_window = stream_window, connection_window
        self._slide()

    def grant(self, stream_id: int, size: int) -> None:
        """Let the peer send `size` bytes beyond the window on a stream, or (0) no more of them."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        facts = stream.__dict__
        self.granted += size - facts.get("granted", 0)
        facts["granted"] = size
        self._slide_stream(stream, facts.get("taken", 0))
        self._slide()

    def _slide_stream(self, stream: QuicStream, taken: int) -> None:
        limit = taken + self.stream_window + stream.__dict__.get("granted", 0)
        if limit - stream.max_stream_data_local >= self.stream_window // 2:
            stream.max_stream_data_local = limit

    def _slide(self) -> None:
        limit = self.consumed + self.connection_window + self.granted
        if limit - self._local_max_data.value >= self.connection_window // 2:
            self._local_max_data.value = limit
        half = self.connection_window - self.connection_window // 2
        self._slide_at = self._local_max_data.value - self.granted - half

    def has_news(self, now: float) -> bool:
        """Return whether there may be anything to send: asking is much cheaper than letting aioquic find nothing."""
        if not self._handshake_confirmed or self._close_pending or self._probe_pending or self._ping_pending:
            return True
        path, limit = self._network_paths[0], self._local_max_data
        if path.remote_challenges or not path.is_validated or len(self._network_paths) > 1:
            return True
        if limit.value != limit.sent or self._handshake_done_pending or self._retire_connection_ids:
            return True
        ack_at = self._spaces[Epoch.ONE_RTT].ack_at
        if ack_at is not None and ack_at <= now:
            return True
        streams = self._local_max_streams_bidi
        if streams.sent - streams.used < streams.value - streams.sent or len(self._streams_queue) > self._crowd:
            return True
        return any(map(_has_news, self._streams_queue))

    def rest(self) -> None:
        """Take note that there is nothing to send, so that nobody is to come back at the time at which it might leave.

        aioquic sets that time with the last datagram, and looks whether it still holds when it is asked for the next.
        A timer that stays in the past would have the pump turn in circles.
        """
        self._pacing_at = None

    def hasten_ack(self) -> None:
        """Have a waiting acknowledgement leave with what is sent now."""
        space = self._spaces.get(Epoch.ONE_RTT)
        if space is not None and space.ack_at is not None:
            space.ack_at = 0.0

    # Guards: each of these replaces a private method of aioquic, and `_proof` shows that it is called.

    def _initialize(self, peer_cid: bytes) -> None:
        """As aioquic does it; a server that knows authorities of clients asks for a certificate, which may be none."""
        super()._initialize(peer_cid)
        asks = not self._is_client and self._configuration.verify_mode == ssl.CERT_OPTIONAL
        self.tls._request_client_certificate = asks  # noqa: SLF001 - not offered

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """Handle a datagram; every second one is acknowledged at once, a single one may wait for an answer."""
        super().receive_datagram(data, addr, now)
        space = self._spaces.get(Epoch.ONE_RTT)
        if space is None or space.ack_at is None:
            self._received_since_ack = 0
            return
        self._received_since_ack += 1
        if self._received_since_ack > 1:
            self._received_since_ack = 0
            space.ack_at = now

    def _write_application(self, builder: QuicPacketBuilder, network_path: Any, now: float) -> None:
        """As aioquic does it, without trying another packet when everything was in the one before."""
        if self._handshake_confirmed:
            start, is_first = builder.start_packet, True

            def start_packet(*args: Any) -> None:
                nonlocal is_first
                if not (is_first or any(map(_has_news, self._streams_queue))):
                    raise QuicPacketBuilderStop
                is_first = False
                start(*args)

            builder.start_packet = start_packet  # type: ignore[method-assign,assignment]  # lives no longer than this call
        super()._write_application(builder, network_path, now)

    def _write_stream_limits(self, builder: Any, space: Any, stream: QuicStream) -> None:
        if stream.max_stream_data_local != stream.max_stream_data_local_sent:
            receiver = stream.receiver
            seen, receiver.highest_offset = receiver.highest_offset, 0  # what would double the window
            try:
                super()._write_stream_limits(builder, space, stream)
            finally:
                receiver.highest_offset = seen

    def _write_connection_limits(self, builder: Any, space: Any) -> None:
        limit = self._local_max_data
        used, limit.used = limit.used, 0  # likewise
        try:
            super()._write_connection_limits(builder, space)
        finally:
            limit.used = used

    def _handle_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(start)
        super()._handle_stream_frame(context, frame_type, buf)
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if len(stream.receiver._ranges) > self.fragments_max:  # noqa: SLF001 - not offered
            self.close(error_code=FLOOD, reason_phrase="too many fragments")
        elif stream.receiver.highest_offset * 2 > stream.max_stream_data_local:
            self._slide_stream(stream, stream.__dict__.get("taken", 0))  # it may have been widened since it was opened

    def _handle_reset_stream_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        stream_id = buf.pull_uint_var()
        buf.seek(start)
        stream = self._streams.get(stream_id)
        was_finished = stream is not None and stream.receiver.is_finished
        super()._handle_reset_stream_frame(context, frame_type, buf)
        stream = self._streams.get(stream_id)
        if stream is not None and not was_finished:
            receiver = stream.receiver
            receiver._buffer.clear()  # noqa: SLF001 - nobody will read it, and the stream may live on for long
            self.consumed += receiver.highest_offset - receiver.starting_offset()
            self._slide()

    def _handle_crypto_frame(self, context: QuicReceiveContext, frame_type: int, buf: Buffer) -> None:
        start = buf.tell()
        end = buf.pull_uint_var() + buf.pull_uint_var()
        buf.seek(start)
        ranges = self._crypto_streams[context.epoch].receiver._ranges  # noqa: SLF001 - not offered
        if end > CRYPTO_MAX_BYTES or len(ranges) > FRAGMENTS_MAX:
            raise QuicConnectionError(
                error_code=QuicErrorCode.CRYPTO_BUFFER_EXCEEDED,
                frame_type=frame_type,
                reason_phrase="too much handshake",
            )
        super()._handle_crypto_frame(context, frame_type, buf)


def _has_news(stream: QuicStream) -> bool:
    sender = stream.sender
    if not sender.buffer_is_empty and not len(sender._pending) and not sender._pending_eof:  # noqa: SLF001 - not offered
        sender.buffer_is_empty = True  # as aioquic would find in its next round
    return (
        not sender.buffer_is_empty
        or sender.reset_pending
        or stream.receiver.stop_pending
        or stream.max_stream_data_local != stream.max_stream_data_local_sent
    )


class _Quiet:
    """What a hostile peer makes a connection say is counted by the server, and written nowhere."""

    def debug(self, *_: object) -> None: ...

    def info(self, *_: object) -> None: ...

    def warning(self, *_: object) -> None: ...
