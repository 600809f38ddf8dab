"""The reader of DATA: against a model of six lines, whole and in pieces, with and without mending of line ends.

An octet in front says what the listener has: odd mends bare LF, the rest of it, times 64, is the limit in octets (0: a million).
"""

import re
from collections.abc import Sequence

from smtpfleet.mail.dots import LINE_LIMIT_BYTES, stuff, unstuff
from smtpfleet.smtp_in.data import BLOCK_BYTES, DataReader
from tests.fuzz.cuts import cut, grown

WORDS: Sequence[bytes] = (
    b"\r\n", b"\r", b"\n", b".", b"..", b"\r\n.\r\n", b"\r\n.", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\0", b"\xff", b"Subject: x\r\n\r\n",
    b"\xfe\xff\xff", b"\xfe\xff\xfe", b"\xfe\xff\xf0", b"\xfe\x00\xff", b"x", b"\0\1", b"\3", b"\2",
)  # fmt: skip
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\0")
_BARE_LF = re.compile(rb"(?<!\r)\n")


def check(data: bytes) -> None:
    """One message and what follows it."""
    mends, limit_bytes = bool(data[:1] and data[0] & 1), (data[:1] or b"\0")[0] // 2 * 64 or 1_000_000
    raw = grown(data[1:])
    whole = _read([raw], limit_bytes, mends)
    for salt in range(2):
        assert _read(cut(raw, salt), limit_bytes, mends) == whole
    assert whole == _expected(raw, limit_bytes, mends)
    assert unstuff(stuff(raw)) == raw


Reading = tuple[int, bytes | None]
"""How many octets belong to the content, -1 while its end has not come; what is kept, None where it is refused or not complete."""


def _read(pieces: list[bytes], limit_bytes: int, mends: bool) -> Reading:
    reader, taken = DataReader(limit_bytes, mends_line_ends=mends), 0
    for piece in pieces:
        taken += reader.feed(piece)
        assert reader.memory_bytes <= limit_bytes * 2 + BLOCK_BYTES + len(piece) + 16
        if reader.refusal is not None:
            assert reader.held_bytes == 0
        if reader.is_complete:
            return taken, None if reader.refusal is not None else reader.peek()
    return -1, None


def _expected(raw: bytes, limit_bytes: int, mends: bool) -> Reading:
    at = (b"\r\n" + raw).find(b"\r\n.\r\n")
    if at < 0:
        return -1, None
    content = re.sub(rb"(\A|\r\n)\.", rb"\1", raw[:at])
    lines = content.split(b"\n" if mends else b"\r\n")
    if at > limit_bytes or any(len(line.removesuffix(b"\r")) > LINE_LIMIT_BYTES for line in lines):
        return at + 3, None
    if mends:
        content = _BARE_LF.sub(b"\r\n", content)
    return at + 3, None if _BARE.search(content) else content


def seeds() -> Sequence[bytes]:
    """Messages of every kind."""
    bodies = (
        b"Subject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n",
        b"..\r\n.x\r\n.\r\n",
        b".\r\n",
        b"a\nb\n.\nc\r\n.\r\n",
        b"\xfe\xff\xff\r\n.\r\n",
    )
    return [bytes([settings]) + body for body in bodies for settings in (0, 1, 2, 9)]
