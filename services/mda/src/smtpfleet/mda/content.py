"""The content of one message in pieces, whole or not at all, for deliveries that do not take it as one.

A small message is one piece; a large one is read from queue as it is used and never in memory as a whole. The header lines of ours are
not part of it. Used by single.py.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from smtpfleet.contracts import wire
from smtpfleet.mda.delivery import Delivery
from smtpfleet.runtime.bus import BusUnavailable

ReadContent = Callable[[str, int], AsyncIterator[bytes]]
"""The chunks of msgid, so many (WorkClient.read_content)."""


class ContentUnreadable(Exception):
    """The rest of a message cannot be read now, or it ends before its time; the text is for the log."""


async def pieces(delivery: Delivery, read_content: ReadContent) -> AsyncGenerator[bytes, None]:
    """CRLF line ends. Raises ContentUnreadable: whatever was begun with it is to be undone."""
    if not delivery.is_large:
        yield delivery.content
        return
    taken_bytes = 0
    try:
        async for chunk in read_content(delivery.msgid, delivery.chunk_count):
            taken_bytes += len(chunk)
            yield chunk
    except (BusUnavailable, wire.RemoteFault, wire.UnknownVersion, wire.Malformed) as error:
        raise ContentUnreadable(f"content cannot be read: {error}") from None
    if taken_bytes != delivery.size_bytes:
        raise ContentUnreadable(f"content has {taken_bytes} bytes, its message record says {delivery.size_bytes}")
