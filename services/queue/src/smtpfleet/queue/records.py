"""Reading messages and envelopes from the store: the one place that knows how a record is parsed.

A record that cannot be read is a value, not an exception: the caller quarantines what is Unreadable, lets wait what is Locked, and goes
on with the rest.
"""

from collections.abc import Sequence

from msgspec import Struct

from smtpfleet.contracts import ids, keys, wire
from smtpfleet.contracts.envelope import Envelope
from smtpfleet.queue.stored_form import Damaged, KeyMissing, StoredForm
from smtpfleet.runtime.store import Store


class Meta(Struct, frozen=True):
    """The `m` field of a message: token|size|chunks|home|created."""

    token: str
    size_bytes: int
    chunk_count: int
    home: str
    created_at_ms: int


class Unreadable(Struct, frozen=True):
    """An envelope that cannot be decoded, and why."""

    evpid: str
    reason: str


class Locked(Struct, frozen=True):
    """An envelope that is, or whose content is, sealed with a key this replica has not got: nothing is wrong with it."""

    evpid: str
    key_id: str


class Record(Struct, frozen=True):
    """A message's meta and those of its envelopes that were asked for and are there."""

    msgid: str
    meta: Meta
    envelopes: list[Envelope]
    unreadable: list[Unreadable]
    locked: list[Locked]

    @property
    def items(self) -> "list[Envelope | Unreadable | Locked]":
        """Whatever there is of what was asked for."""
        return [*self.envelopes, *self.unreadable, *self.locked]


def parse_meta(data: bytes) -> Meta | None:
    """The meta, or None where it is not one."""
    try:
        token, size, chunks, home, created = data.decode().split("|")
        return Meta(token, int(size), int(chunks), home, int(created))
    except ValueError:
        return None


def parse_envelope(form: StoredForm, evpid: str, data: bytes) -> Envelope | Unreadable | Locked:
    """The envelope, checked to be the one the key says it is."""
    unpacked = form.unpack_envelope(evpid, data)
    if isinstance(unpacked, KeyMissing):
        return Locked(evpid, unpacked.key_id)
    if isinstance(unpacked, Damaged):
        return Unreadable(evpid, unpacked.reason)
    try:
        envelope = wire.decode(unpacked, Envelope)
    except (wire.Malformed, wire.UnknownVersion, wire.RemoteFault) as error:
        return Unreadable(evpid, str(error)[:200])
    if envelope.evpid != evpid:
        return Unreadable(evpid, f"stored under {evpid} but says {envelope.evpid[:24]!r}")
    return envelope


async def read_records(store: Store, form: StoredForm, shards: int, evpids: Sequence[str]) -> list[Record]:
    """The messages of these envelopes, in one round trip; what is gone is left out. Raises StoreUnavailable.

    A message whose meta cannot be read yields all its asked envelopes as unreadable.
    """
    wanted: dict[str, list[str]] = {}
    for evpid in evpids:
        wanted.setdefault(ids.msgid_of(evpid), []).append(evpid)
    replies = await store.read(
        [
            (
                "HMGET",
                keys.message(msgid, ids.shard_of(msgid, shards)),
                "m",
                *(evpid[ids.MSGID_LENGTH :] for evpid in of_message),
            )
            for msgid, of_message in wanted.items()
        ]
    )
    return [
        record
        for (msgid, of_message), reply in zip(wanted.items(), replies, strict=True)
        if not isinstance(reply, Exception) and (record := _record(form, msgid, of_message, reply)) is not None
    ]


def _record(form: StoredForm, msgid: str, evpids: list[str], reply: list[bytes | None]) -> Record | None:
    if reply[0] is None:
        return None
    meta = parse_meta(reply[0])
    if meta is None:
        reason = "the message's record cannot be read"
        return Record(msgid, Meta("", 0, 0, "", 0), [], [Unreadable(evpid, reason) for evpid in evpids], [])
    parsed = [
        parse_envelope(form, evpid, data) for evpid, data in zip(evpids, reply[1:], strict=True) if data is not None
    ]
    return Record(
        msgid,
        meta,
        [item for item in parsed if isinstance(item, Envelope)],
        [item for item in parsed if isinstance(item, Unreadable)],
        [item for item in parsed if isinstance(item, Locked)],
    )
