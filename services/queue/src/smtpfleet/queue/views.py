"""What an operator sees of the queue: counts, one message, one envelope. Reads only, never on the path of a message.

Every answer is O(log n) plus the size of what is shown; a message is bounded by its 1000 recipients. OpenSMTPD: smtpctl show queue, show
message, show envelope.
"""

from smtpfleet.contracts import ids, keys
from smtpfleet.contracts.commands import EnvelopeState, EnvelopeView, MessageView, QueueSummary
from smtpfleet.queue.committer import agent_relay
from smtpfleet.queue.records import Locked, Unreadable, parse_envelope, parse_meta
from smtpfleet.queue.stored_form import StoredForm
from smtpfleet.runtime.store import Store


class Views:
    """Reads for admin."""

    def __init__(self, store: Store, form: StoredForm, *, shards: int) -> None:
        self._store = store
        self._form = form
        self._shards = shards

    async def summary(self) -> QueueSummary:
        """Counts over all shards. Raises StoreUnavailable."""
        names = ("messages", "envelopes", "inflight", "bouncing", "quarantined")
        totals = dict.fromkeys(names, 0)
        oldest_ms: int | None = None
        for shard in range(self._shards):
            tag = keys.tag(shard)
            counts, oldest = await self._store.read(
                [("HMGET", f"{tag}count", *names), ("ZRANGE", f"{tag}messages", 0, 0, "WITHSCORES")]
            )
            for name, value in zip(names, counts, strict=True):
                totals[name] += int(value or 0)
            if oldest:
                score = oldest[0][1] if isinstance(oldest[0], list | tuple) else oldest[1]
                oldest_ms = min(oldest_ms or int(float(score)), int(float(score)))
        pending = totals["envelopes"] - totals["inflight"] - totals["bouncing"] - totals["quarantined"]
        age_s = -1 if oldest_ms is None else max(0, (self._store.now_ms() - oldest_ms) // 1000)
        return QueueSummary(
            totals["messages"], totals["envelopes"], max(0, pending), totals["inflight"], totals["bouncing"], totals["quarantined"], age_s
        )  # fmt: skip

    async def message(self, msgid: str) -> MessageView:
        """The message with all its envelopes. Raises StoreUnavailable."""
        shard = ids.shard_of(msgid, self._shards)
        fields: dict[bytes, bytes] = await self._store.call("HGETALL", keys.message(msgid, shard))
        return await self._view(msgid, shard, fields)

    async def envelope(self, evpid: str) -> MessageView:
        """The message with just this envelope. Raises StoreUnavailable."""
        msgid, number = ids.msgid_of(evpid), evpid[ids.MSGID_LENGTH :]
        shard = ids.shard_of(msgid, self._shards)
        meta, data = await self._store.call("HMGET", keys.message(msgid, shard), "m", number)
        if meta is None or data is None:
            return MessageView(False, msgid, 0, 0, [])
        return await self._view(msgid, shard, {b"m": meta, number.encode(): data})

    async def _view(self, msgid: str, shard: int, fields: dict[bytes, bytes]) -> MessageView:
        meta = parse_meta(fields.pop(b"m", b""))
        if meta is None:
            return MessageView(False, msgid, 0, 0, [])
        envelopes = [
            await self._envelope_view(shard, msgid + number.decode(), data) for number, data in sorted(fields.items())
        ]
        return MessageView(True, msgid, meta.size_bytes, meta.created_at_ms, envelopes)

    async def _envelope_view(self, shard: int, evpid: str, data: bytes) -> EnvelopeView:
        tag = keys.tag(shard)
        found = parse_envelope(self._form, evpid, data)
        if isinstance(found, Unreadable):
            return EnvelopeView(evpid, EnvelopeState.QUARANTINED, 0, found.reason, None)
        if isinstance(found, Locked):
            return EnvelopeView(evpid, EnvelopeState.PENDING, 0, f"waits for queue key {found.key_id}", None)
        due, kind, reason = await self._store.read(
            [
                ("ZSCORE", f"{tag}due:{agent_relay(found)}", evpid),
                ("HGET", f"{tag}bounce:{ids.msgid_of(evpid)}", evpid[ids.MSGID_LENGTH :]),
                ("HGET", f"{tag}quarantine", evpid),
            ]
        )
        if reason is not None:
            return EnvelopeView(evpid, EnvelopeState.QUARANTINED, 0, reason.decode(errors="replace"), found)
        if kind not in (None, b"delayed"):
            return EnvelopeView(evpid, EnvelopeState.BOUNCING, 0, "", found)
        if due is not None:
            return EnvelopeView(evpid, EnvelopeState.PENDING, int(float(due)), "", found)
        return EnvelopeView(evpid, EnvelopeState.INFLIGHT, 0, "", found)
