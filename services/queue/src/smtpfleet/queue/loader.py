"""Loads: envelopes of a lease with their content, from the cache where it is good, else from the store.

What cannot be worked on never reaches a worker: expired envelopes are failed here under the worker's lease, unreadable ones are
quarantined, those whose key is missing wait, removed ones leave the lease. OpenSMTPD: queue_envelope_load and the expiry in scheduler.c.
"""

from smtpfleet.contracts import ids, keys
from smtpfleet.contracts.commands import (
    BATCH_BYTES,
    INLINE_CONTENT_LIMIT_BYTES,
    LoadedMessage,
    LoadEnvelopes,
    LoadReply,
)
from smtpfleet.contracts.envelope import Envelope
from smtpfleet.queue.cache import CachedMessage, EnvelopeCache
from smtpfleet.queue.loaded import Loaded
from smtpfleet.queue.records import Locked, Meta, Record, Unreadable, read_records
from smtpfleet.queue.results import Results
from smtpfleet.queue.stored_form import Damaged, KeyMissing, StoredForm
from smtpfleet.runtime.store import Store


class Loader:
    """Answers LoadEnvelopes."""

    def __init__(
        self,
        store: Store,
        form: StoredForm,
        cache: EnvelopeCache,
        loaded: Loaded,
        results: Results,
        *,
        replica: str,
        shards: int,
    ) -> None:
        self._store = store
        self._form = form
        self._cache = cache
        self._loaded = loaded
        self._results = results
        self._replica = replica
        self._shards = shards

    async def load(self, request: LoadEnvelopes) -> LoadReply:
        """What can be loaded. Raises StoreUnavailable."""
        now_ms = self._store.now_ms()
        cached, rest = self._from_cache(request)
        records = cached + (await read_records(self._store, self._form, self._shards, rest) if rest else [])
        expired = [e for record in records for e in record.envelopes if e.expires_at_ms <= now_ms]
        unreadable = [u for record in records for u in record.unreadable]
        locked = [item for record in records for item in record.locked]
        found = {item.evpid for record in records for item in record.items}
        missing = [evpid for evpid in request.evpids if evpid not in found]
        live = [(record, [e for e in record.envelopes if e.expires_at_ms > now_ms]) for record in records]
        live = [(record, envelopes) for record, envelopes in live if envelopes]
        contents = await self._contents([record for record, _ in live])
        contents |= await self._known_damaged([record for record, _ in live])

        messages: list[LoadedMessage] = []
        later: list[str] = []
        for record, envelopes in live:
            content = contents.get(record.msgid)
            if content is None and record.meta.size_bytes <= INLINE_CONTENT_LIMIT_BYTES:
                later += [envelope.evpid for envelope in envelopes]
            elif isinstance(content, KeyMissing):
                locked += [Locked(envelope.evpid, content.key_id) for envelope in envelopes]
            elif isinstance(content, Damaged) or (content == b"" and record.meta.size_bytes > 0):
                reason = f"the message's content {content.reason if isinstance(content, Damaged) else 'is gone'}"
                unreadable += [Unreadable(envelope.evpid, reason) for envelope in envelopes]
            else:
                for envelope in envelopes:
                    self._loaded.put(request.shard, request.lease, envelope)
                chunk_count = record.meta.chunk_count if content is None else 0
                messages.append(
                    LoadedMessage(record.msgid, record.meta.size_bytes, content or b"", chunk_count, envelopes)
                )
        if expired or unreadable or locked or missing:
            await self._results.dismiss(
                request.shard, request.lease, expired=expired, unreadable=unreadable, locked=locked, missing=missing
            )
        return LoadReply(messages, later)

    def _from_cache(self, request: LoadEnvelopes) -> tuple[list[Record], list[str]]:
        if request.home != self._replica:
            return [], request.evpids
        by_message: dict[str, tuple[CachedMessage, list[Envelope]]] = {}
        rest = []
        for evpid in request.evpids:
            msgid = ids.msgid_of(evpid)
            entry = by_message.get(msgid)
            if entry is None:
                message = self._cache.committed(msgid)
                if message is None:
                    rest.append(evpid)
                    continue
                entry = by_message[msgid] = (message, [])
            envelope = entry[0].envelopes.get(evpid)
            if envelope is None:
                rest.append(evpid)
            else:
                entry[1].append(envelope)
        return [_as_record(message, envelopes) for message, envelopes in by_message.values()], rest

    async def _contents(self, records: list[Record]) -> dict[str, bytes | KeyMissing | Damaged]:
        """Contents that travel inline, as many as fit one reply and at least one; empty where the store has lost it."""
        contents: dict[str, bytes | KeyMissing | Damaged] = {}
        to_read: list[str] = []
        room = BATCH_BYTES
        for record in records:
            size_bytes = record.meta.size_bytes
            if size_bytes > INLINE_CONTENT_LIMIT_BYTES or (room < size_bytes and room < BATCH_BYTES):
                continue
            room -= size_bytes
            cached = self._cache.content(record.msgid)
            if cached is not None and cached.content:
                contents[record.msgid] = cached.content
            else:
                to_read.append(record.msgid)
        if to_read:
            replies = await self._store.read(
                [("LRANGE", keys.content(msgid, ids.shard_of(msgid, self._shards)), 0, -1) for msgid in to_read]
            )
            for msgid, reply in zip(to_read, replies, strict=True):
                if not isinstance(reply, Exception):
                    contents[msgid] = self._form.unpack_content(msgid, reply)
        return contents

    async def _known_damaged(self, records: list[Record]) -> dict[str, Damaged]:
        """Large messages of which an earlier attempt found a chunk damaged: their content is read by workers, not here."""
        large = [record.msgid for record in records if record.meta.size_bytes > INLINE_CONTENT_LIMIT_BYTES]
        if not large:
            return {}
        replies = await self._store.read(
            [("GET", keys.damaged(msgid, ids.shard_of(msgid, self._shards))) for msgid in large]
        )
        return {
            msgid: Damaged(reply.decode())
            for msgid, reply in zip(large, replies, strict=True)
            if isinstance(reply, bytes)
        }


def _as_record(message: CachedMessage, envelopes: list[Envelope]) -> Record:
    return Record(message.msgid, Meta("", message.size_bytes, message.chunk_count, "", 0), envelopes, [], [])
