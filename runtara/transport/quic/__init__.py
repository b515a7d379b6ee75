"""QUIC: the door for programs in other processes and on other machines.

This folder is the one door to aioquic. `protocol` is a connection without any I/O, for both roles; `listener` tells the
connections of a server's socket apart; `server` and `client` move their datagrams.
"""

__all__ = []
