"""Content in chunks: appended ahead of the commit, dropped with an aborted transaction, read back one by one.

Chunks that are never committed carry a time to live in the store itself, so nothing has to look for orphans.
"""

import contextlib

from smtpfleet.contracts import ids, keys
from smtpfleet.contracts.commands import AppendContent, CommitVerdict, ContentChunk, DropContent, ReadContent
from smtpfleet.queue.scripts import APPEND, DROP
from smtpfleet.queue.stored_form import KeyMissing, StoredForm
from smtpfleet.runtime.maillog import MailLog
from smtpfleet.runtime.store import Store, StoreFull, StoreUnavailable


class Chunks:
    """Chunk operations on the store."""

    def __init__(self, store: Store, form: StoredForm, log: MailLog, *, shards: int) -> None:
        self._store = store
        self._form = form
        self._log = log
        self._shards = shards

    def _tag(self, msgid: str) -> str:
        return keys.tag(ids.shard_of(msgid, self._shards))

    async def append(self, request: AppendContent) -> CommitVerdict:
        """Takes a chunk; harmless to repeat."""
        try:
            data = self._form.pack_content(request.msgid, request.index, request.data)
            answer: bytes = await self._store.run(
                APPEND,
                [self._tag(request.msgid)],
                [request.msgid, request.token, request.index, data, keys.UNCOMMITTED_TTL_S],
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
        """One chunk; empty where there is none or it cannot be read, and then the attempt fails for now. Raises StoreUnavailable.

        A damaged one is remembered, so that the next load quarantines the message.
        """
        shard = ids.shard_of(request.msgid, self._shards)
        data = await self._store.call("LINDEX", keys.content(request.msgid, shard), request.index)
        if not data:
            return ContentChunk(b"")
        content = self._form.unpack_content(request.msgid, [data], request.index)
        if isinstance(content, bytes):
            return ContentChunk(content)
        if isinstance(content, KeyMissing):
            self._log.error("content waits for its key", msgid=request.msgid, queue_key=content.key_id)
            return ContentChunk(b"")
        self._log.error("content cannot be read", msgid=request.msgid, chunk=request.index, reason=content.reason)
        with contextlib.suppress(StoreFull):  # then the next attempt finds it
            key = keys.damaged(request.msgid, shard)
            await self._store.call("SET", key, f"chunk {request.index} {content.reason}", "EX", keys.DAMAGED_TTL_S)
        return ContentChunk(b"")
