"""Replies as they come off the wire: whole, in pieces, and wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mta.reply import LINE_LIMIT_BYTES, REPLY_LIMIT_BYTES, Reply, ReplyReader

GOOD = [
    pytest.param(b"250 Ok\r\n", [Reply(250, "Ok")], id="one line"),
    pytest.param(b"250\r\n", [Reply(250, "")], id="code alone (RFC 5321 4.2.1)"),
    pytest.param(b"250-a\r\n250-b\r\n250 c\r\n", [Reply(250, "a\nb\nc")], id="several lines are one reply"),
    pytest.param(
        b"250 a\r\n550 5.1.1 b\r\n354 c\r\n", [Reply(250, "a"), Reply(550, "5.1.1 b"), Reply(354, "c")], id="group"
    ),
    pytest.param(b"250 Ok\n", [Reply(250, "Ok")], id="bare LF ends a line, as OpenSMTPD reads it"),
    pytest.param(b"550-a\r\n250 b\r\n", [Reply(250, "a\nb")], id="the last line's code counts"),
    pytest.param("250 grüß\r\n".encode(), [Reply(250, "grüß")], id="UTF-8 text"),
    pytest.param(b"250 \xff\r\n", [Reply(250, "\ufffd")], id="other bytes are replaced"),
]
BAD = [
    pytest.param(b"hello\r\n", "reply code out of range", id="no code"),
    pytest.param(b"2\r\n", "line too short", id="too short"),
    pytest.param(b"\r\n", "line too short", id="empty line"),
    pytest.param(b"199 x\r\n", "reply code out of range", id="1xx"),
    pytest.param(b"600 x\r\n", "reply code out of range", id="6xx"),
    pytest.param(b"250x\r\n", "reply code out of range", id="no blank after the code"),
    pytest.param("٢٥٠ x\r\n".encode(), "reply code out of range", id="digits of another script"),
    pytest.param(b"250 a\x00b\r\n", "non-printable character in reply", id="NUL"),
    pytest.param(b"250 a\rb\r\n", "non-printable character in reply", id="bare CR"),
    pytest.param(b"250 a\x1b[2J\r\n", "non-printable character in reply", id="terminal escape"),
    pytest.param(b"250 " + b"x" * LINE_LIMIT_BYTES + b"\r\n", "line too long", id="long line"),
    pytest.param(b"x" * (LINE_LIMIT_BYTES + 2), "line too long", id="long line without an end"),
    pytest.param(b"250-xxxxxxxxxx\r\n" * (REPLY_LIMIT_BYTES // 14 + 1), "reply too long", id="endless continuation"),
]


@pytest.mark.parametrize(("data", "replies"), GOOD)
def test_reads_whole_and_byte_by_byte(data: bytes, replies: list[Reply]) -> None:
    whole, slow = ReplyReader(), ReplyReader()
    assert whole.feed(data) == replies
    assert [reply for n in range(len(data)) for reply in slow.feed(data[n : n + 1])] == replies
    assert (whole.fault, slow.fault) == ("", "")
    assert whole.is_between_replies


@pytest.mark.parametrize(("data", "fault"), BAD)
def test_refuses(data: bytes, fault: str) -> None:
    reader = ReplyReader()
    assert reader.feed(b"250 before\r\n" + data) == [Reply(250, "before")]
    assert reader.fault == fault
    assert reader.feed(b"250 after\r\n") == []


def test_a_line_at_the_limit_is_read() -> None:
    assert ReplyReader().feed(b"250 " + b"x" * (LINE_LIMIT_BYTES - 4) + b"\r\n")[0].text == "x" * (LINE_LIMIT_BYTES - 4)


def test_half_a_reply_is_seen() -> None:
    reader = ReplyReader()
    assert reader.feed(b"250-a\r\n") == []
    assert not reader.is_between_replies


@given(st.binary(max_size=400), st.integers(1, 7))
def test_pieces_never_change_the_meaning(data: bytes, step: int) -> None:
    whole, pieces = ReplyReader(), ReplyReader()
    expected = whole.feed(data)
    assert [r for n in range(0, len(data), step) for r in pieces.feed(data[n : n + step])] == expected
    assert pieces.fault == whole.fault
    assert all(200 <= reply.code <= 599 for reply in expected)
