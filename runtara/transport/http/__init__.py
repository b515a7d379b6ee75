"""The HTTP door: REST, WebSockets and the console on one TCP port. The one door to Hypercorn, Litestar and httpx."""
