"""How content and envelopes lie in the store: as they are, compressed (zstd), sealed (keyring), or compressed and then sealed.

What is stored says itself what it is, so mail queued before a change of the configuration stays readable. Content never holds a NUL
(mail/dots.py) and an envelope begins with its wire version, so a first byte of 0 marks a form: 0, kind, then the packed bytes; anything
else is stored as it is, also by versions before this one. Envelopes are not compressed: 250 bytes shrink by an eighth.
Decides nothing about mail. Called by whatever writes to or reads from the store. OpenSMTPD: compress_gzip.c and crypto.c in queue_backend.c.
"""

from collections.abc import Sequence

import zstandard
from msgspec import Struct

from smtpfleet.contracts import ids
from smtpfleet.queue.keyring import BadSeal, KeyRing, UnknownKey
from smtpfleet.runtime import metrics
from smtpfleet.runtime.store import StoreUnavailable

MARK = 0
COMPRESSED = 1
SEALED = 2
"""Bits of the kind."""
_HEAD_BYTES = 2
LEVEL = 1
"""Of zstd. Measured on 4 KiB of text: level 1 to 58 % in 13 µs, 3 to 57 % in 20 µs; 256 KiB: to 42 % in 0.9 ms, to 38 % in 1.6 ms."""
UNPACKED_LIMIT_BYTES = 8 * 1024 * 1024
"""No stored piece is larger: each came over the bus (deploy/etc/nats.conf, max_payload). Damaged data may claim anything."""

_compressed = metrics.counter("queue_compressed_bytes", "Content before and after compression", ("side",))


class NoKey(StoreUnavailable):
    """The configuration wants encryption and there is no key: as good as a store that takes no writes."""


class KeyMissing(Struct, frozen=True):
    """Sealed with a key this replica has not got; readable again once it has."""

    key_id: str


class Damaged(Struct, frozen=True):
    """Not what was stored, and why we think so."""

    reason: str


class StoredForm:
    """Packs what is written as the configuration says, unpacks whatever is read."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self._compressor: zstandard.ZstdCompressor | None = None
        self._decompressor = zstandard.ZstdDecompressor()
        self._seals = False
        self.may_write = False
        """Not before the first configuration: it may want encryption. Not without a key where it does."""

    def configure(self, *, compression: bool, encryption: bool) -> None:
        """What the configuration says; counts for what is written from now on."""
        self._compressor = zstandard.ZstdCompressor(level=LEVEL) if compression else None
        self._seals = encryption
        self.may_write = bool(self._ring.ids) or not encryption

    @property
    def lacks_key(self) -> bool:
        """Whether the configuration wants encryption and nobody gave us a key."""
        return self._seals and not self._ring.ids

    def pack_content(self, msgid: str, index: int, data: bytes) -> bytes:
        """Chunk `index` of the message as it is to be stored. Raises NoKey."""
        if not self.may_write:
            raise NoKey("queue encryption without a key")
        kind = 0
        if self._compressor is not None:
            smaller = self._compressor.compress(data)
            if len(smaller) + _HEAD_BYTES < len(data):
                _compressed.labels("plain").inc(len(data))
                _compressed.labels("stored").inc(len(smaller))
                kind, data = COMPRESSED, smaller
        if self._seals:
            return self._seal(kind | SEALED, msgid, f"content {msgid} {index}", data)
        # A NUL gets in by no listener of ours; were there one, it must not be taken for the mark.
        return bytes((MARK, kind)) + data if kind or data[:1] == b"\0" else data

    def pack_envelope(self, evpid: str, data: bytes) -> bytes:
        """The encoded envelope as it is to be stored. Raises NoKey."""
        if not self.may_write:
            raise NoKey("queue encryption without a key")
        if not self._seals:
            return data
        return self._seal(SEALED, ids.msgid_of(evpid), f"envelope {evpid}", data)

    def unpack_content(self, msgid: str, chunks: Sequence[bytes], first: int = 0) -> bytes | KeyMissing | Damaged:
        """The content in these chunks, the first of which has index `first`."""
        parts: list[bytes] = []
        for index, data in enumerate(chunks, first):
            part = self._unpack(msgid, "content", f" {index}", data) if data[:1] == b"\0" else data
            if not isinstance(part, bytes):
                return part
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def unpack_envelope(self, evpid: str, data: bytes) -> bytes | KeyMissing | Damaged:
        """The encoded envelope."""
        if data[:1] != b"\0":
            return data
        return self._unpack(ids.msgid_of(evpid), "envelope", evpid[ids.MSGID_LENGTH :], data)

    def _seal(self, kind: int, msgid: str, name: str, data: bytes) -> bytes:
        head = bytes((MARK, kind))
        return head + self._ring.seal(msgid, head + name.encode(), data)

    def _unpack(self, msgid: str, what: str, rest: str, data: bytes) -> bytes | KeyMissing | Damaged:
        if len(data) < _HEAD_BYTES or data[1] & ~(COMPRESSED | SEALED):
            return Damaged("stored in a form this version does not know")
        head, kind, data = data[:_HEAD_BYTES], data[1], data[_HEAD_BYTES:]
        if kind & SEALED:
            try:
                data = self._ring.open(msgid, head + f"{what} {msgid}{rest}".encode(), data)
            except UnknownKey as error:
                return KeyMissing(str(error))
            except BadSeal:
                return Damaged("does not decrypt: changed, or moved here from elsewhere")
        return self._decompress(data) if kind & COMPRESSED else data

    def _decompress(self, data: bytes) -> bytes | Damaged:
        try:
            if not 0 <= zstandard.frame_content_size(data) <= UNPACKED_LIMIT_BYTES:
                return Damaged("does not decompress: claims an impossible size")
            return self._decompressor.decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            return Damaged(f"does not decompress: {error}")
