"""The envelope cache: copies of what this replica has committed, so that delivering it reads nothing back.

Bounded by bytes, least recently used goes first, hits and misses are counted. It is only a copy: a replica that dies with a full cache
loses nothing. Content never changes, so any copy is good. Envelopes are good only while the store names this replica as the message's
home, which a deferral ends (see ARCHITECTURE, cache coherence); `LoadEnvelopes.home` tells. OpenSMTPD: the 1024 entries of evpcache in
queue_backend.c.
"""

from cachetools import LRUCache
from msgspec import Struct

from smtpfleet.contracts.envelope import Envelope
from smtpfleet.runtime import metrics

# What one cached envelope costs beside the content: struct, strings and table entries, measured at 0.9 to 1.3 KiB.
ENVELOPE_BYTES = 1200

_lookups = metrics.counter("queue_cache_lookups", "Lookups in the envelope cache", ("what", "result"))
_bytes = metrics.gauge("queue_cache_bytes", "Bytes in the envelope cache")


class CachedMessage(Struct, frozen=True):
    """A message as committed; content is empty where it went in chunks."""

    msgid: str
    size_bytes: int
    content: bytes
    chunk_count: int
    envelopes: dict[str, Envelope]


def _cost(message: CachedMessage) -> int:
    return len(message.content) + ENVELOPE_BYTES * (1 + len(message.envelopes))


class EnvelopeCache:
    """msgid → CachedMessage, within a number of bytes."""

    def __init__(self, limit_bytes: int) -> None:
        self._messages: LRUCache[str, CachedMessage] = LRUCache(limit_bytes, getsizeof=_cost)

    def put(self, message: CachedMessage) -> None:
        """Keeps a copy, unless it is larger than the whole cache."""
        if _cost(message) <= self._messages.maxsize:
            self._messages[message.msgid] = message
            _bytes.set(self._messages.currsize)

    def committed(self, msgid: str) -> CachedMessage | None:
        """The message with its envelopes, for a request that names this replica as home."""
        found = self._messages.get(msgid)
        _lookups.labels("envelope", "hit" if found else "miss").inc()
        return found

    def content(self, msgid: str) -> CachedMessage | None:
        """The message for its content; its envelopes may be out of date."""
        found = self._messages.get(msgid)
        _lookups.labels("content", "hit" if found else "miss").inc()
        return found

    def drop(self, msgid: str) -> None:
        """Makes room: nobody will ask for it again soon."""
        self._messages.pop(msgid, None)
        _bytes.set(self._messages.currsize)
