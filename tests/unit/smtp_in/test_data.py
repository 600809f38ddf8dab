"""The content reader: its end however the bytes are split, its limit, its memory."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpfleet.mail.dots import LINE_LIMIT_BYTES, stuff
from smtpfleet.smtp_in.data import BLOCK_BYTES, DataReader
from smtpfleet.smtp_in.reply import S554_TOO_BIG

END = b".\r\n"


def read(
    pieces: list[bytes], limit_bytes: int = 1_000_000, *, mends_line_ends: bool = False
) -> tuple[DataReader, bytes]:
    """Feeds pieces until the end; returns the reader and what was left over."""
    reader = DataReader(limit_bytes, mends_line_ends=mends_line_ends)
    for number, piece in enumerate(pieces):
        taken = reader.feed(piece)
        if reader.is_complete:
            return reader, piece[taken:] + b"".join(pieces[number + 1 :])
        assert taken == len(piece)
    return reader, b""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(bounds)]


LINES = st.lists(
    st.one_of(st.sampled_from([b"", b".", b"..", b".x", b"x."]), st.binary(max_size=20)), max_size=12
).map(lambda lines: [line.translate(None, b"\r\n\0") for line in lines])  # fmt: skip


@given(lines=LINES, places=st.lists(st.integers(0, 400), max_size=12))
def test_any_content_survives_any_split(lines: list[bytes], places: list[int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    reader, rest = read(cut(stuff(content) + END + b"NOOP\r\n", places))
    assert reader.is_complete and reader.refusal is None
    assert reader.peek() == content
    assert rest == b"NOOP\r\n"


@settings(max_examples=300)
@given(
    data=st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"]), max_size=30).map(b"".join),
    places=st.lists(st.integers(0, 40)),
)
def test_splits_change_nothing_about_line_ends(data: bytes, places: list[int]) -> None:
    data += b"\r\n.\r\n"
    whole, rest = read([data])
    split, split_rest = read(cut(data, places))
    assert (split.refusal, split.peek(), split_rest) == (whole.refusal, whole.peek(), rest)
    end = 3 if data.startswith(END) else data.find(b"\r\n.\r\n") + 5
    assert rest == data[end:]


@settings(max_examples=300)
@given(
    data=st.lists(st.sampled_from([b"\r\n", b"\n", b".", b"a", b"\r"]), max_size=30).map(b"".join),
    places=st.lists(st.integers(0, 40)),
)
def test_a_bare_lf_may_be_mended_and_never_ends_the_content(data: bytes, places: list[int]) -> None:
    data += b"\r\n.\r\n"
    reader, rest = read(cut(data, places), mends_line_ends=True)
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    assert rest == data[end + 3 :]
    raw = data[:end]
    if re.search(rb"\r(?!\n)", raw):
        assert reader.refusal is not None and reader.refusal.text == "Message refused: bare CR"
    else:
        unstuffed = re.sub(rb"(?:\A|(?<=\r\n))\.", b"", raw)
        assert reader.peek() == re.sub(rb"(?<!\r)\n", b"\r\n", unstuffed)


def test_many_lines_that_end_in_lf_are_mended_as_they_come() -> None:
    line = b"." + b"x" * 98 + b"\n"
    reader = DataReader(10_000_000, mends_line_ends=True)
    for _ in range(50):
        reader.feed(line * 1000)
        assert reader.memory_bytes - reader.held_bytes <= BLOCK_BYTES + len(line) * 1000
    reader.feed(b"\r\n.\r\n")
    assert reader.is_complete and reader.refusal is None
    assert reader.peek() == line[1:-1] + b"\r\n" + (line[:-1] + b"\r\n") * 49_999 + b"\r\n"


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000, 70_000, 1_000_000])
@pytest.mark.parametrize(("size_bytes", "is_refused"), [(200_000, False), (200_002, True), (500_000, True)])
def test_the_limit_counts_raw_bytes(piece_bytes: int, size_bytes: int, is_refused: bool) -> None:
    data = (b"x" * 98 + b"\r\n") * (size_bytes // 100) + b"\r\n" * (size_bytes % 100 // 2) + END
    pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
    reader, _ = read([b"", *pieces], limit_bytes=200_000)
    assert reader.is_complete
    assert reader.refusal == (S554_TOO_BIG if is_refused else None)
    assert len(reader.peek()) == (0 if is_refused else size_bytes)


def test_the_end_is_found_across_the_place_where_swallowing_began() -> None:
    for overhang in range(8):
        reader = DataReader(100)
        data = b"x" * (BLOCK_BYTES + 90 - overhang) + b"\r\n.\r\nNOOP\r\n"
        taken = reader.feed(data[: BLOCK_BYTES + 92 - overhang])
        taken += sum(reader.feed(bytes([byte])) for byte in data[taken:] if not reader.is_complete)
        assert reader.is_complete and reader.refusal is S554_TOO_BIG
        assert data[taken:] == b"NOOP\r\n"


@pytest.mark.parametrize("piece_bytes", [1000, 100_000])
def test_a_line_without_end_is_not_held(piece_bytes: int) -> None:
    reader = DataReader(10_000_000)
    for _ in range(2_000_000 // piece_bytes):
        reader.feed(b"x" * piece_bytes)
        assert len(reader._undecided) <= BLOCK_BYTES + piece_bytes + 4
    reader.feed(b"\r\n.\r\n")
    assert reader.is_complete and reader.refusal is not None
    assert "line too long" in reader.refusal.text


def test_taking_from_the_front_leaves_the_rest() -> None:
    reader, _ = read([b"0123456789\r\n" + END])
    reader.prepend(b"head\r\n")
    assert reader.held_bytes == 18
    assert [reader.take(8), reader.take(8), reader.take(8), reader.take(8)] == [
        b"head\r\n01",
        b"23456789",
        b"\r\n",
        b"",
    ]
    assert reader.held_bytes == 0


def test_lines_that_end_in_lf_behind_one_that_ends_in_crlf_are_lines() -> None:
    """Found by fuzzing: a header with CRLF and a long body with LF was refused for its one long line, unless it came in one piece."""
    content = b"Subject: x\r\n\r\n" + b"line\n" * (BLOCK_BYTES // 4)
    whole = content + b"\r\n.\r\n"
    pieces = [whole[at : at + 1000] for at in range(0, len(whole), 1000)]
    reader, _ = read(pieces, mends_line_ends=True)
    assert reader.is_complete and reader.refusal is None
    assert reader.peek() == content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n"


@pytest.mark.parametrize("mends_line_ends", [False, True])
@pytest.mark.parametrize("begin", [b"", b"a\r\n"])
@pytest.mark.parametrize("step", [1 << 20, 4096, 65536])
def test_a_stuffed_dot_does_not_count_for_the_length_of_a_line(mends_line_ends: bool, begin: bytes, step: int) -> None:
    """Found by fuzzing: it counted for one reader of two."""
    for length, is_fine in ((LINE_LIMIT_BYTES, True), (LINE_LIMIT_BYTES + 1, False)):
        whole = begin + b".." + b"x" * (length - 1) + b"\r\n.\r\n"
        pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
        reader, _ = read(pieces, mends_line_ends=mends_line_ends)
        assert reader.is_complete and (reader.refusal is None) is is_fine
