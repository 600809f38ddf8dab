"""Reads the hash files of Berkeley DB that makemap, newaliases and postmap write (`table NAME db:/path.db`), whole, at compile time.

Never writes one, and never calls the library: no maintained binding installs on a bare machine, and a reader of one access method is
small. Everything in the file is distrusted: each offset, length and page number is checked, each page is visited at most once. Called
by the compiler. Formats: Berkeley DB 4.3 to 6 (hash versions 8 to 10), either byte order. OpenSMTPD: table_db.c.
"""

import struct
from collections.abc import Generator, Iterator
from pathlib import Path

from smtpfleet.config.tables.bad_file import BadTableFile

HASH_MAGIC = 0x061561
BTREE_MAGIC = 0x053162
QUEUE_MAGIC = 0x042253
"""DB_HASHMAGIC, DB_BTREEMAGIC, DB_QAMMAGIC."""
HASH_VERSIONS = range(8, 11)
"""8: Berkeley DB 4.3; 9: 4.6 to 5.3, with sorted pages; 10: 6.x. Their pages differ in nothing that is read here."""
PAGE_SIZES_BYTES = frozenset(1 << bits for bits in range(9, 17))
"""DB_MIN_PGSIZE and DB_MAX_PGSIZE."""

_META_BYTES = 512
_PAGE_HEAD_BYTES = 26
_SPARES_AT = 96
_SPARES = 32
_HASH_META = 8
_META_CHECKSUM = 0x01
_META_PARTITIONED = 0x06
_HASH_SUBDATABASES = 0x02
_UNUSED_PAGE, _UNSORTED_PAGE, _OVERFLOW_PAGE, _SORTED_PAGE = 0, 2, 7, 13
_INLINE_ITEM, _OVERFLOW_ITEM = 1, 3
_SET_VALUE = "<set>"
"""What `makemap -t set` stores for every key."""
_ALIASES_MARK = ("@", "@")
"""Sendmail and Postfix put this pair into aliases.db to say that it is complete."""


class _Corrupt(Exception):
    """The file breaks the format; the text says how."""


def read_db(path: Path) -> dict[str, str] | BadTableFile:
    """The entries of the file at `path`, or what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return BadTableFile(error.strerror or type(error).__name__)
    return parse_db(data)


def parse_db(data: bytes) -> dict[str, str] | BadTableFile:
    """The entries in `data`, keys in lower case; the value is "" in a set."""
    try:
        return _HashFile(data).entries()
    except _Corrupt as fault:
        return BadTableFile(str(fault))


class _HashFile:
    """One file in memory."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _META_BYTES:
            raise _Corrupt("no Berkeley DB file: it is too short")
        self._data = data
        self._order = _byte_order(data)
        version, self._page_bytes = self._u32(16), self._u32(20)
        if version not in HASH_VERSIONS:
            raise _Corrupt(f"hash version {version} is not known; known are {HASH_VERSIONS[0]} to {HASH_VERSIONS[-1]}")
        if self._page_bytes not in PAGE_SIZES_BYTES or len(data) % self._page_bytes:
            raise _Corrupt("damaged: the size of its pages is impossible")
        self._page_count = len(data) // self._page_bytes
        if data[25] != _HASH_META:
            raise _Corrupt("damaged: it does not begin with the page that describes a hash")
        if data[24] or data[26] & (_META_CHECKSUM | _META_PARTITIONED) or self._u32(48) & _HASH_SUBDATABASES:
            raise _Corrupt("encrypted, checksummed, partitioned or with databases inside: makemap makes plain files")
        self._last_bucket = self._u32(72)
        if self._last_bucket >= self._page_count:
            raise _Corrupt("damaged: it has more buckets than pages")
        self._spares = struct.unpack_from(f"{self._order}{_SPARES}I", data, _SPARES_AT)
        self._seen: set[int] = set()

    def entries(self) -> dict[str, str]:
        """All pairs, as text."""
        found: dict[str, str] = {}
        for raw_key, raw_value in self._pairs():
            key, value = _text(raw_key), _text(raw_value)
            if (key, value) != _ALIASES_MARK:
                found[key.lower()] = "" if value == _SET_VALUE else value
        return found

    def _pairs(self) -> Iterator[tuple[bytes, bytes]]:
        """By bucket; a bucket is a chain of pages."""
        for bucket in range(self._last_bucket + 1):
            # The buckets of one doubling are adjacent; spares[n] says where the n-th doubling begins (BUCKET_TO_PAGE).
            doubling = bucket.bit_length()
            if doubling >= _SPARES:
                raise _Corrupt("damaged: it has more buckets than a hash can")
            number = bucket + self._spares[doubling]
            is_first = True
            while is_first or number:
                start = self._visit(number)
                number = yield from self._pairs_of_page(start)
                is_first = False

    def _visit(self, number: int) -> int:
        """Where page `number` begins. Seen twice, it is part of a loop or of two buckets."""
        if not 0 < number < self._page_count:
            raise _Corrupt("damaged: it refers to a page that is not there")
        if number in self._seen:
            raise _Corrupt("damaged: it refers to a page twice")
        self._seen.add(number)
        return number * self._page_bytes

    def _pairs_of_page(self, start: int) -> Generator[tuple[bytes, bytes], None, int]:
        """The pairs of the page; its generator returns the number of the next one, 0 for none."""
        kind, count = self._data[start + 25], self._u16(start + 20)
        if kind == _UNUSED_PAGE and count == 0:
            return 0  # a bucket nothing was ever put into
        if kind not in (_UNSORTED_PAGE, _SORTED_PAGE) or self._u32(start + 8) != start // self._page_bytes:
            raise _Corrupt("damaged: a page of a bucket is something else")
        floor = _PAGE_HEAD_BYTES + 2 * count
        if count % 2 or floor > self._page_bytes:
            raise _Corrupt("damaged: a page has an impossible number of items")
        items: list[bytes] = []
        end = self._page_bytes
        for index in range(count):
            # Items grow from the end of the page downwards, offsets from its head upwards.
            offset = self._u16(start + _PAGE_HEAD_BYTES + 2 * index)
            if not floor <= offset < end:
                raise _Corrupt("damaged: an item lies outside its page")
            items.append(self._item(self._data[start + offset : start + end]))
            end = offset
        yield from zip(items[::2], items[1::2], strict=True)
        return self._u32(start + 16)

    def _item(self, item: bytes) -> bytes:
        """Its content, from this page or from a chain of its own."""
        if item[0] == _INLINE_ITEM:
            return item[1:]
        if item[0] != _OVERFLOW_ITEM or len(item) != 12:
            raise _Corrupt("a key with several values, or damaged: makemap writes one value per key")
        number, length_bytes = struct.unpack_from(f"{self._order}II", item, 4)
        parts: list[bytes] = []
        while number:
            start = self._visit(number)
            part_bytes = self._u16(start + 22)
            if self._data[start + 25] != _OVERFLOW_PAGE or part_bytes > self._page_bytes - _PAGE_HEAD_BYTES:
                raise _Corrupt("damaged: a page of a long item is something else")
            parts.append(self._data[start + _PAGE_HEAD_BYTES : start + _PAGE_HEAD_BYTES + part_bytes])
            number = self._u32(start + 16)
        content = b"".join(parts)
        if len(content) != length_bytes:
            raise _Corrupt("damaged: a long item has another length than it says")
        return content

    def _u16(self, at: int) -> int:
        value: int = struct.unpack_from(f"{self._order}H", self._data, at)[0]
        return value

    def _u32(self, at: int) -> int:
        value: int = struct.unpack_from(f"{self._order}I", self._data, at)[0]
        return value


def _byte_order(data: bytes) -> str:
    """How numbers in the file are written, by its magic number."""
    for order in "<>":
        (magic,) = struct.unpack_from(f"{order}I", data, 12)
        if magic == HASH_MAGIC:
            return order
        if magic in (BTREE_MAGIC, QUEUE_MAGIC):
            raise _Corrupt("a Berkeley DB file, but no hash; make it with `makemap -d hash`")
        if struct.unpack_from(f"{order}I", data)[0] == HASH_MAGIC:
            raise _Corrupt("the format of Berkeley DB 1.85, which BSD systems write; give the text it was made from")
    raise _Corrupt("no Berkeley DB file")


def _text(item: bytes) -> str:
    """makemap and postmap store the NUL that ends a string of C, sendmail's makemap does not."""
    try:
        text = item.removesuffix(b"\0").decode()
    except UnicodeDecodeError:
        raise _Corrupt("a key or value is not UTF-8") from None
    if "\0" in text:
        raise _Corrupt("a key or value has a NUL byte")
    return text
