"""A large table on its way: its entries cut into parts, each a value of the bucket of tables, named by the digest of what is in it.

Under a name there is only ever one content. So a part may be written twice, kept for as long as anyone likes, and compared by its name;
a snapshot that names its parts stands for exactly these entries. Pure. config cuts (config.cut), roles join (runtime.large_tables).
"""

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice

from smtpfleet.contracts import wire

INLINE_BYTES = 16 * 1024
"""Entries up to this encoded size travel in the snapshot itself. Chosen: some 500 addresses, and hundreds of such tables fit."""
PART_BYTES = 512 * 1024
"""Encoded size a part has at most, unless one entry alone is larger. Chosen: decodes in 10 ms, which is as long as a role may be away
from its sessions, and fits a NATS of the default max_payload even where it does not compress."""
_NAME_DIGITS = 32
_ZLIB_LEVEL = 1
"""Measured with addresses: a seventh of the size at 200 MB/s; higher levels cost two to three times as much for a few per cent."""


def cut_entries(entries: Mapping[str, str]) -> dict[str, bytes]:
    """The parts by name, in order; none where the entries are small enough for the snapshot."""
    size_bytes = len(wire.encode(entries))
    if size_bytes <= INLINE_BYTES:
        return {}
    aimed_at_bytes = (
        PART_BYTES * 4 // 5
    )  # entries differ in length: most parts of as many entries stay below PART_BYTES
    per_part = math.ceil(len(entries) / math.ceil(size_bytes / aimed_at_bytes))
    items = iter(entries.items())
    return dict(part for some in iter(lambda: list(islice(items, per_part)), []) for part in _parts_of(some))


def _parts_of(items: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    content = wire.encode(dict(items))
    if len(content) > PART_BYTES and len(items) > 1:
        middle = len(items) // 2
        yield from _parts_of(items[:middle])
        yield from _parts_of(items[middle:])
    else:
        # The name is of the content and not of its compressed form: another zlib must not make another configuration.
        yield _name_of(content), zlib.compress(content, _ZLIB_LEVEL)


def read_part(name: str, value: bytes) -> dict[str, str]:
    """The entries of the part. Raises wire.Malformed, also where the value is not what the name says, or wire.UnknownVersion."""
    try:
        content = zlib.decompress(value)
    except zlib.error as error:
        raise wire.Malformed(f"part {name}: {error}") from None
    if _name_of(content) != name:
        raise wire.Malformed(f"part {name} is something else")
    return wire.decode(content, dict[str, str])


def _name_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_NAME_DIGITS]
