"""The reader of BDAT: its argument, and content in chunks against a model, whole and in pieces.

An octet in front as in content; then the octets of all chunks. Where they are cut into chunks is drawn from them.
"""

import re
from collections.abc import Sequence

from smtpfleet.contracts.status import Status
from smtpfleet.mail.dots import LINE_LIMIT_BYTES
from smtpfleet.smtp_in.bdat import ChunkReader, parse_bdat
from smtpfleet.smtp_in.data import BLOCK_BYTES
from tests.fuzz.content import WORDS as CONTENT_WORDS
from tests.fuzz.cuts import cut, grown

WORDS: Sequence[bytes] = (
    *CONTENT_WORDS,
    b"0",
    b"1",
    b"12345678901234567890",
    b"123456789012345678901",
    b" LAST",
    b"\tlast",
    b"-1",
    b"0x1",
)
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")


def check(data: bytes) -> None:
    """One argument, one message."""
    _check_argument(data)
    mends, limit_bytes = bool(data[:1] and data[0] & 1), (data[:1] or b"\0")[0] // 2 * 64 or 1_000_000
    raw = grown(data[1:])
    expected = _expected(raw, limit_bytes, mends)
    for salt in range(3):
        chunks = cut(raw, salt) if salt else [raw]
        assert _read(chunks, limit_bytes, mends, salt) == expected


def _check_argument(arg: bytes) -> None:
    parsed = parse_bdat(arg)
    if isinstance(parsed, Status):
        assert parsed.code == 501
        return
    size, is_last = parsed
    words = arg.split()
    assert words[0].isdigit() and len(words[0]) <= 20 and int(words[0]) == size
    assert is_last == (len(words) == 2) and [word.upper() for word in words[1:]] in ([], [b"LAST"])


def _read(chunks: list[bytes], limit_bytes: int, mends: bool, salt: int) -> bytes | None:
    """What is kept after all chunks, None where it is refused. The session ends a message at the first chunk that is refused."""
    reader = ChunkReader(limit_bytes, mends_line_ends=mends)
    for number, chunk in enumerate(chunks, 1):
        is_last = number == len(chunks)
        reader.begin(len(chunk), is_last=is_last)
        for piece in cut(chunk, salt + 7):
            assert not reader.is_chunk_complete
            assert reader.feed(piece) == len(piece)
            assert reader.memory_bytes <= limit_bytes * 2 + BLOCK_BYTES
        assert reader.is_chunk_complete and reader.is_complete is is_last
        assert reader.feed(b"NOOP\r\n") == 0
        if reader.refusal is not None:
            assert reader.memory_bytes == 0
            return None
    if not chunks:
        reader.begin(0, is_last=True)
    assert reader.is_complete
    return reader.peek()


def _expected(raw: bytes, limit_bytes: int, mends: bool) -> bytes | None:
    if len(raw) > limit_bytes or raw.endswith(b"\r"):
        return None
    lines = raw.split(b"\n" if mends else b"\r\n")
    if any(len(line.removesuffix(b"\r")) > LINE_LIMIT_BYTES for line in lines):
        return None
    content = re.sub(rb"(?<!\r)\n", b"\r\n", raw) if mends else raw
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    return None if _BARE.search(content) else content


def seeds() -> Sequence[bytes]:
    """Arguments, and messages."""
    bodies = (
        b"Subject: x\r\n\r\ntext\r\n",
        b"no end",
        b".\r\n.\r\n",
        b"a\nb",
        b"\xfe\xff\xffx\r\n",
        b"\xfe\xff\xff\r\n",
        b"",
    )
    return [b"12 LAST", b"0", *(bytes([settings]) + body for body in bodies for settings in (0, 1, 2, 9))]
