"""WebSocket: the door for programs where nothing but TCP gets through. The same frames as over QUIC, one per message.

`server` is an ASGI application, for the HTTP server of a host; `client` is this folder's door to trio-websocket.
"""

__all__ = []
