"""Envelopes in the hands of workers, kept at hand so that a result need not read them again.

Filled by a load, emptied by the result; a result that comes to another replica reads the store.
"""

from cachetools import LRUCache

from smtpfleet.contracts.envelope import Envelope

LOADED_LIMIT = 20_000
"""Envelopes handed out and kept at hand for their result, about 1 KiB each; chosen above 100 leases of 100."""


class Loaded:
    """Envelopes as they were handed out under a lease. Only the lease's holder changes them, so the copy is good until its result."""

    def __init__(self) -> None:
        self._envelopes: LRUCache[tuple[int, int, str], Envelope] = LRUCache(LOADED_LIMIT)

    def put(self, shard: int, lease: int, envelope: Envelope) -> None:
        """Keeps the envelope for its result."""
        self._envelopes[(shard, lease, envelope.evpid)] = envelope

    def take(self, shard: int, lease: int, evpid: str) -> Envelope | None:
        """The envelope, once."""
        found: Envelope | None = self._envelopes.pop((shard, lease, evpid), None)
        return found
