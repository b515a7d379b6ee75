"""HTTP: the door for browsers, for programs in any language, and for whoever cannot send UDP.

`server` accepts connections and sees to it that a peer gets what is its due and no more; what is asked is answered by
an application of the usual interface (ASGI).
"""

__all__ = []
