"""Requests that no application may see, each with the status that it is refused with."""

from typing import Final

from runtara.settings import Settings
from runtara.transport.http._hosts import is_host, names_of

__all__ = ["BODIES", "HEADS", "WEBSOCKET", "get", "ours", "post"]

_NAMES: Final = names_of(Settings(), "127.0.0.1")

SMUGGLED: Final = b"GET /admin HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ours(value: bytes) -> bool | None:
    """Whether the server of these tests may be called so."""
    return is_host(value, _NAMES, "127.0.0.1")


def get(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: localhost") -> bytes:
    """Return a head: the first line, the host, more lines."""
    return b"\r\n".join([first, *([host] if host else []), *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", first: bytes = b"POST / HTTP/1.1") -> bytes:
    """Return a request with a body."""
    return get(*lines, first=first) + body


CHUNKED: Final = b"Transfer-Encoding: chunked"

WEBSOCKET: Final = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)


def _without(field: bytes, *instead: bytes) -> tuple[bytes, ...]:
    return (*(line for line in WEBSOCKET if not line.startswith(field)), *instead)


HEADS: Final[dict[str, tuple[bytes, int]]] = {
    # Ends of lines
    "bare LF everywhere": (b"GET / HTTP/1.1\nHost: localhost\n\n", 400),
    "bare LF after the first line": (b"GET / HTTP/1.1\nHost: localhost\r\n\r\n", 400),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n", 400),
    "bare LF at the end": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\n", 400),
    "bare LF hides a length": (post(b"X: y\nContent-Length: 39", body=SMUGGLED), 400),
    "bare CR in a value": (get(b"X: a\rb"), 400),
    "bare CR ends a field": (b"GET / HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n", 400),
    "CR CR LF": (b"GET / HTTP/1.1\r\r\nHost: localhost\r\n\r\n", 400),
    "CR LF first": (b"\r\n" + get(), 400),
    "empty head": (b"\r\n\r\n", 400),
    "LF first": (b"\n" + get(), 400),
    "form feed in a value": (get(b"X: a\x0cb"), 400),
    "vertical tab after a name": (get(b"Transfer-Encoding:\x0bchunked"), 400),
    # The first line
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "no target": (get(first=b"GET HTTP/1.1"), 400),
    "two spaces": (get(first=b"GET  / HTTP/1.1"), 400),
    "tab for a space": (get(first=b"GET\t/ HTTP/1.1"), 400),
    "space in the target": (get(first=b"GET /a b HTTP/1.1"), 400),
    "space after the version": (get(first=b"GET / HTTP/1.1 "), 400),
    "space before the method": (get(first=b" GET / HTTP/1.1"), 400),
    "version in small letters": (get(first=b"GET / http/1.1"), 400),
    "version with two digits": (get(first=b"GET / HTTP/1.10"), 400),
    "version without digits": (get(first=b"GET / HTTP/1."), 400),
    "HTTP/1.2": (get(first=b"GET / HTTP/1.2"), 505),
    "HTTP/2.0": (get(first=b"GET / HTTP/2.0"), 505),
    "HTTP/0.9 said": (get(first=b"GET / HTTP/0.9"), 505),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "TLS in the clear": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "SSH": (b"SSH-2.0-OpenSSH_9.9\r\n", 400),
    "a WebSocket frame": (b"\x81\x85\x00\x00\x00\x00hello", 400),
    "NUL in the target": (get(first=b"GET /\x00 HTTP/1.1"), 400),
    "a letter beyond ASCII in the target": (get(first="GET /ü HTTP/1.1".encode()), 400),
    "target of another server": (get(first=b"GET http://localhost/ HTTP/1.1"), 400),
    "target of another server, in capitals": (get(first=b"GET HTTP://localhost/ HTTP/1.1"), 400),
    "target without a scheme": (get(first=b"GET localhost:80 HTTP/1.1"), 400),
    "target is a file": (get(first=b"GET file:///etc/passwd HTTP/1.1"), 400),
    "target is a query": (get(first=b"GET ?a HTTP/1.1"), 400),
    "asterisk": (get(first=b"GET * HTTP/1.1"), 400),
    "OPTIONS *": (get(first=b"OPTIONS * HTTP/1.1"), 400),
    "fragment": (get(first=b"GET /a#b HTTP/1.1"), 400),
    "broken encoding": (get(first=b"GET /%zz HTTP/1.1"), 400),
    "encoding that ends too soon": (get(first=b"GET /% HTTP/1.1"), 400),
    "backslash for a path": (get(first=b"GET \\ HTTP/1.1"), 400),
    "CONNECT": (get(first=b"CONNECT localhost:443 HTTP/1.1"), 405),
    "CONNECT with a path": (get(first=b"CONNECT / HTTP/1.1"), 405),
    "TRACE": (get(first=b"TRACE / HTTP/1.1"), 405),
    "TRACK": (get(first=b"TRACK / HTTP/1.1"), 405),
    "method in small letters": (get(first=b"get / HTTP/1.1"), 405),
    "unknown method": (get(first=b"PROPFIND / HTTP/1.1"), 405),
    "method is no token": (get(first=b"G(T / HTTP/1.1"), 400),
    "method of an address": (get(first=b"GET@ / HTTP/1.1"), 400),
    "method without an end": (b"A" * 40 + b" / HTTP/1.1\r\n\r\n", 400),
    "long target": (get(first=b"GET /" + b"a" * 8192 + b" HTTP/1.1"), 414),
    "target that never ends": (b"GET /" + b"a" * 20_000, 414),
    "long target of another server": (get(first=b"GET http://" + b"a" * 9000 + b" HTTP/1.1"), 414),
    # Names and values
    "continued line": (get(b"X: a", b" b"), 400),
    "continued line with a tab": (get(b"X: a", b"\tb"), 400),
    "continued first field": (b"GET / HTTP/1.1\r\n Host: localhost\r\n\r\n", 400),
    "continued length": (post(b"Content-Length:", b" 5", body=b"hello"), 400),
    "space before a colon": (post(b"Content-Length : 5", body=b"hello"), 400),
    "tab before a colon": (post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"), 400),
    "no colon": (get(b"nonsense"), 400),
    "no name": (get(b": value"), 400),
    "space in a name": (get(b"X Y: z"), 400),
    "a letter beyond ASCII in a name": (get("Ü: z".encode()), 400),
    "a name that looks like another": (get(b"Content-Length\xa0: 5"), 400),
    "bracket in a name": (get(b"X[]: z"), 400),
    "NUL in a name": (get(b"X\x00: z"), 400),
    "NUL in a value": (get(b"X: a\x00b"), 400),
    "escape in a value": (get(b"X: a\x1bb"), 400),
    "delete in a value": (get(b"X: a\x7fb"), 400),
    "NUL before chunked": (get(b"Transfer-Encoding: \x00chunked"), 400),
    "too many fields": (get(*[b"X: y"] * 64), 431),
    "too many bytes": (get(b"X: " + b"y" * 16_384), 431),
    "too many bytes in many fields": (get(*[b"X: " + b"y" * 400] * 50), 431),
    "a field that never ends": (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, 431),
    # The host
    "no host": (get(host=b""), 400),
    "empty host": (get(host=b"Host:"), 400),
    "two hosts": (get(b"Host: localhost"), 400),
    "two hosts in other letters": (get(b"hOST: evil.example"), 400),
    "two hosts in one": (get(host=b"Host: localhost, evil.example"), 400),
    "host with a user": (get(host=b"Host: localhost@evil.example"), 400),
    "host with a path": (get(host=b"Host: localhost/x"), 400),
    "host with a scheme": (get(host=b"Host: http://localhost"), 400),
    "host without its port": (get(host=b"Host: localhost:"), 400),
    "host with a port of letters": (get(host=b"Host: localhost:http"), 400),
    "host with a bracket": (get(host=b"Host: [::1"), 400),
    "host of no address": (get(host=b"Host: [::1::2]"), 400),
    "somebody else's host": (get(host=b"Host: evil.example"), 421),
    "somebody else's host with our port": (get(host=b"Host: evil.example:8002"), 421),
    "somebody else's host below ours": (get(host=b"Host: localhost.evil.example"), 421),
    "somebody else's host before ours": (get(host=b"Host: evil.localhost"), 421),
    "somebody else's address": (get(host=b"Host: 192.0.2.1"), 421),
    "the address of nobody": (get(host=b"Host: 0.0.0.0:8002"), 421),
    "another way to write loopback": (get(host=b"Host: 2130706433"), 421),
    # How long the body is
    "length and chunks": (post(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), 400),
    "chunks and length": (post(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED), 400),
    "length and chunks in small letters": (post(b"content-length: 5", b"transfer-encoding: chunked"), 400),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "twice the same length": (post(b"Content-Length: 5", b"Content-Length: 5"), 400),
    "two lengths in one": (post(b"Content-Length: 5, 5"), 400),
    "length with a sign": (post(b"Content-Length: +5"), 400),
    "negative length": (post(b"Content-Length: -1"), 400),
    "length with a space inside": (post(b"Content-Length: 1 0"), 400),
    "length in hexadecimal": (post(b"Content-Length: 0x10"), 400),
    "length with an underscore": (post(b"Content-Length: 1_0"), 400),
    "length with a point": (post(b"Content-Length: 5.0"), 400),
    "empty length": (post(b"Content-Length:"), 400),
    "huge length": (post(b"Content-Length: 18446744073709551621"), 400),
    "length in other digits": (post("Content-Length: ٥".encode()), 400),
    "unknown coding": (post(b"Transfer-Encoding: gzip"), 400),
    "coding that hides": (post(b"Transfer-Encoding: xchunked"), 400),
    "chunked is not last": (post(b"Transfer-Encoding: chunked, identity"), 400),
    "chunked is not alone": (post(b"Transfer-Encoding: gzip, chunked"), 400),
    "two codings": (post(CHUNKED, b"Transfer-Encoding: identity"), 400),
    "twice chunked": (post(CHUNKED, CHUNKED), 400),
    "chunked with a parameter": (post(b"Transfer-Encoding: chunked;q=1"), 400),
    "chunked in quotes": (post(b'Transfer-Encoding: "chunked"'), 400),
    "empty coding": (post(b"Transfer-Encoding:"), 400),
    "identity": (post(b"Transfer-Encoding: identity"), 400),
    "chunked before HTTP/1.1": (post(CHUNKED, first=b"POST / HTTP/1.0", body=b"0\r\n\r\n"), 400),
    # What else is asked for
    "upgrade to HTTP/2": (
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        400,
    ),
    "upgrade to HTTP/2 without settings": (get(b"Connection: Upgrade", b"Upgrade: h2c"), 400),
    "settings of HTTP/2": (get(b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), 400),
    "upgrade to TLS": (get(b"Connection: Upgrade", b"Upgrade: TLS/1.0"), 400),
    "upgrade to one of two": (get(*_without(b"Upgrade", b"Upgrade: websocket, h2c")), 400),
    "two upgrades": (get(*WEBSOCKET, b"Upgrade: h2c"), 400),
    "upgrade of a POST": (get(*WEBSOCKET, first=b"POST / HTTP/1.1"), 400),
    "upgrade before HTTP/1.1": (get(*WEBSOCKET, first=b"GET / HTTP/1.0"), 400),
    "upgrade with a body": (get(*WEBSOCKET, b"Content-Length: 5") + b"hello", 400),
    "upgrade with an empty body": (get(*WEBSOCKET, b"Content-Length: 0"), 400),
    "upgrade with chunks": (get(*WEBSOCKET, CHUNKED) + b"0\r\n\r\n", 400),
    "upgrade that is not in the connection": (get(*_without(b"Connection", b"Connection: keep-alive")), 400),
    "upgrade without a connection": (get(*_without(b"Connection")), 400),
    "upgrade of a connection that closes": (get(*_without(b"Connection", b"Connection: upgrade, close")), 400),
    "upgrade without a key": (get(*_without(b"Sec-WebSocket-Key")), 400),
    "upgrade with a short key": (get(*_without(b"Sec-WebSocket-Key", b"Sec-WebSocket-Key: c2hvcnQ=")), 400),
    "upgrade with two keys": (get(*WEBSOCKET, b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400),
    "upgrade with letters beyond ASCII": (get(*WEBSOCKET, b"Sec-WebSocket-Protocol: \xff"), 400),
    "upgrade to an old version": (get(*_without(b"Sec-WebSocket-V", b"Sec-WebSocket-Version: 8")), 426),
    "upgrade without a version": (get(*_without(b"Sec-WebSocket-V")), 426),
    "expectation": (post(b"Expect: a miracle", b"Content-Length: 5"), 417),
    "two expectations": (post(b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5"), 400),
}

BODIES: Final[dict[str, tuple[bytes, int]]] = {
    "no size": (post(CHUNKED, body=b"\r\nhello"), 400),
    "size of letters": (post(CHUNKED, body=b"xyz\r\nhello"), 400),
    "size with a prefix": (post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"), 400),
    "size with a sign": (post(CHUNKED, body=b"+5\r\nhello\r\n0\r\n\r\n"), 400),
    "negative size": (post(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"), 400),
    "size after a space": (post(CHUNKED, body=b" 5\r\nhello\r\n0\r\n\r\n"), 400),
    "size before a space": (post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"), 400),
    "huge size": (post(CHUNKED, body=b"ffffffffffffffff\r\nhello"), 400),
    "size that overflows": (post(CHUNKED, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
    "size that never ends": (post(CHUNKED, body=b"0" * 300), 400),
    "bare LF after a size": (post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"), 400),
    "bare CR after a size": (post(CHUNKED, body=b"5\rhello\r\n0\r\n\r\n"), 400),
    "bare LF after a chunk": (post(CHUNKED, body=b"5\r\nhello\n0\r\n\r\n"), 400),
    "more than was said": (post(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n"), 400),
    "less than was said": (post(CHUNKED, body=b"5\r\nhel\r\n0\r\n\r\n" + SMUGGLED), 400),
    "bare LF in an extension": (post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
    "bare CR in an extension": (post(CHUNKED, body=b"5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
    "control character in an extension": (post(CHUNKED, body=b"5;\x00\r\nhello\r\n0\r\n\r\n"), 400),
    "long extension": (post(CHUNKED, body=b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n"), 400),
    "many long extensions": (post(CHUNKED, body=(b"1;" + b"a" * 200 + b"\r\nx\r\n") * 100), 400),
    "trailer without a colon": (post(CHUNKED, body=b"0\r\nnonsense\r\n\r\n"), 400),
    "continued trailer": (post(CHUNKED, body=b"0\r\nX: a\r\n b\r\n\r\n"), 400),
    "bare LF after a trailer": (post(CHUNKED, body=b"0\r\nX: a\n\r\n"), 400),
    "bare LF for a trailer": (post(CHUNKED, body=b"0\r\n\n"), 400),
    "length in a trailer": (post(CHUNKED, body=b"0\r\nContent-Length: 5\r\n\r\n"), 400),
    "host in a trailer": (post(CHUNKED, body=b"0\r\nX: a\r\nhost: evil.example\r\n\r\n"), 400),
    "many trailers": (post(CHUNKED, body=b"0\r\n" + b"X: a\r\n" * 20 + b"\r\n"), 400),
    "long trailers": (post(CHUNKED, body=b"0\r\nX: " + b"a" * 5000 + b"\r\n\r\n"), 400),
    "second request is bad": (get() + get(host=b"Host: evil.example"), 421),
    "request behind a body is bad": (post(b"Content-Length: 5", body=b"hello" + b"GET / HTTP/1.1\n\n"), 400),
    "request behind chunks is bad": (post(CHUNKED, body=b"0\r\n\r\n" + get(first=b"TRACE / HTTP/1.1")), 405),
    "more than the length": (post(b"Content-Length: 5", body=b"hello\r\n"), 400),
    "frame before the WebSocket is open": (get(*WEBSOCKET) + b"\x81\x80\x00\x00\x00\x00", 400),
}
