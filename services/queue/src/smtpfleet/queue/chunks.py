"""Content in chunks: appended ahead of the commit, dropped with an aborted transaction, read back one by one.

Chunks that are never committed carry a time to live in the store itself, so nothing has to look for orphans.
"""

from smtpfleet.contracts import ids, keys
from smtpfleet.contracts.commands import AppendContent, CommitVerdict, ContentChunk, DropContent, ReadContent
from smtpfleet.queue.scripts import APPEND, DROP
from smtpfleet.runtime.store import Store, StoreFull, StoreUnavailable


class Chunks:
    """Chunk operations on the store."""

    def __init__(self, store: Store, *, shards: int) -> None:
        self._store = store
        self._shards = shards

    def _tag(self, msgid: str) -> str:
        return keys.tag(ids.shard_of(msgid, self._shards))

    async def append(self, request: AppendContent) -> CommitVerdict:
        """Takes a chunk; harmless to repeat."""
        try:
            answer: bytes = await self._store.run(
                APPEND,
                [self._tag(request.msgid)],
                [request.msgid, request.token, request.index, request.data, keys.UNCOMMITTED_TTL_S],
            )
        except StoreFull:
            return CommitVerdict.FULL
        except StoreUnavailable:
            return CommitVerdict.FAILED
        return CommitVerdict(answer.decode())

    async def drop(self, request: DropContent) -> None:
        """Removes the chunks of an aborted transaction; where the store is away their time to live does it."""
        try:
            await self._store.run(DROP, [self._tag(request.msgid)], [request.msgid, request.token])
        except StoreUnavailable:
            return

    async def read(self, request: ReadContent) -> ContentChunk:
        """One chunk, empty where there is none. Raises StoreUnavailable."""
        shard = ids.shard_of(request.msgid, self._shards)
        data = await self._store.call("LINDEX", keys.content(request.msgid, shard), request.index)
        return ContentChunk(data or b"")
