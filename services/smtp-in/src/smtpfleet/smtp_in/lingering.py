"""The last moment of a connection that we end: what the peer still sends is read and thrown away, so that it hears our last reply.

A socket that is closed with bytes unread is reset by the kernel, and the peer may lose what it has not read (RFC 1122 §4.2.2.13): a 552 or
a 421 would look like a broken connection, and the message would come again. Ours is plain TCP alone, as TLS cannot half close. Bounded in
time and bytes, since the peer may be the reason for the end. Made by server when a session closes that has not said QUIT.
"""

import asyncio

LINGER_S = 2.0
"""A few round trips. Chosen; Postfix and nginx wait as long or longer."""
LINGER_BYTES = 1024 * 1024
"""What a fast peer may have on its way when our reply leaves. Chosen."""


class Lingering:
    """Of one transport, whose writing side it closes at once."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left_bytes = LINGER_BYTES
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.close)
        transport.write_eof()

    def take(self, size_bytes: int) -> None:
        """The peer has sent more."""
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            self._transport.close()

    def end(self) -> None:
        """The connection is gone."""
        self._timer.cancel()
