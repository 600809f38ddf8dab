"""The reader of BDAT: however content is cut into chunks and packets, the same message comes out, or the same refusal."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.commands import CHUNK_BYTES, INLINE_CONTENT_LIMIT_BYTES
from smtpfleet.contracts.configuration import DEFAULT_LIMITS
from smtpfleet.contracts.status import Status
from smtpfleet.mail.dots import content_fault
from smtpfleet.smtp_in.bdat import ChunkReader, parse_bdat
from smtpfleet.smtp_in.connections import SWEEP_EVERY_S
from tests.support.smtp_stage import Stage

LIMIT_BYTES = 1_000_000
HELLO = b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\n"

_CONTENT = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"x" * 70, b"\0", b"\r\n.\r\n", b"text"]), max_size=12).map(b"".join)  # fmt: skip


def read(
    chunks: list[bytes], packet_bytes: int, limit_bytes: int = LIMIT_BYTES, *, mends_line_ends: bool = False
) -> ChunkReader:
    """The chunks, each fed in packets, with foreign octets behind each that must not be taken."""
    reader = ChunkReader(limit_bytes, mends_line_ends=mends_line_ends)
    for number, chunk in enumerate(chunks, 1):
        reader.begin(len(chunk), is_last=number == len(chunks))
        at = 0
        while at < len(chunk):
            packet = chunk[at : at + packet_bytes]
            assert reader.feed(packet + b"NOOP\r\n" * (at + len(packet) == len(chunk))) == len(packet)
            at += len(packet)
        assert reader.is_chunk_complete and reader.is_complete is (number == len(chunks))
    return reader


@given(_CONTENT, st.lists(st.integers(0, 200), max_size=5), st.integers(1, 50), st.booleans())
def test_cuts_do_not_matter(content: bytes, cuts: list[int], packet_bytes: int, mends_line_ends: bool) -> None:
    edges = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[a:b] for a, b in pairwise(edges)]
    reader = read(pieces, packet_bytes, mends_line_ends=mends_line_ends)
    if mends_line_ends:
        content = re.sub(rb"(?<!\r)\n", b"\r\n", content)
    whole = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    fault = "bare CR" if content.endswith(b"\r") else None
    fault = content_fault(whole) or fault
    if fault is None:
        assert reader.refusal is None and reader.peek() == whole
    else:
        assert reader.refusal is not None and reader.refusal.text.startswith("Message refused: ")
        assert reader.held_bytes == 0 and reader.memory_bytes == 0


@pytest.mark.parametrize("sizes", [[101], [50, 51], [100, 1], [0, 101]])
def test_the_limit_is_for_all_chunks_together(sizes: list[int]) -> None:
    reader = read([b"x" * size for size in sizes], 7, limit_bytes=100)
    assert reader.refusal is not None and reader.refusal.code == 552
    assert read([b"x" * 98 + b"\r\n"], 7, limit_bytes=100).refusal is None


def test_a_refused_chunk_is_not_kept() -> None:
    reader = ChunkReader(100)
    reader.begin(10**19, is_last=False)
    for _ in range(100):
        reader.feed(b"x" * 65536)
        assert reader.memory_bytes == 0


@given(st.binary(max_size=40))
def test_no_argument_breaks_the_parser(arg: bytes) -> None:
    parsed = parse_bdat(arg)
    assert isinstance(parsed, Status) or 0 <= parsed[0] < 10**20


async def test_a_large_message_in_chunks_goes_ahead_to_queue(stage: Stage) -> None:
    line = b"x" * 98 + b"\r\n"
    body = line * ((INLINE_CONTENT_LIMIT_BYTES + CHUNK_BYTES) // 100)
    client = stage.connect()
    client.feed(HELLO)
    for at in range(0, len(body), 100_001):
        chunk = body[at : at + 100_001]
        last = b" LAST" if at + 100_001 >= len(body) else b""
        client.feed(b"BDAT %d%s\r\n%s" % (len(chunk), last, chunk))
    await stage.settle()
    assert b"Message accepted for delivery" in client.written, client.written[-300:]
    assert stage.queue.messages[0].chunk_count > 2
    assert stage.queue.contents[0].endswith(b"\r\n" + body)
    assert stage.server.memory.held_bytes == 0


async def test_octets_that_do_not_come_hold_a_session_for_its_timeout_only(stage: Stage) -> None:
    client = stage.connect()
    client.feed(HELLO + b"BDAT 1000000 LAST\r\n")
    for _ in range(DEFAULT_LIMITS.session_timeout_s // SWEEP_EVERY_S + 1):
        client.feed(b"x")  # an octet every few seconds is no progress
        client.protocol.tick()
    assert client.is_aborted
    await stage.until(lambda: not stage.server.connections)
    assert stage.server.memory.held_bytes == 0
