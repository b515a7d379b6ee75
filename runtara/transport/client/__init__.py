"""What every door to a server has in common on the client's side: calls, their connection, and the thread for both.

`door` is what programs hold; `calls` knows what is unanswered, `link` keeps a connection up, `engine` runs all links of
a process. A folder per kind of connection (`quic`, `websocket`, `http`) says how its bytes travel, and nothing else.
"""

__all__ = []
