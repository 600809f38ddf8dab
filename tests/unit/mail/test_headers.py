"""Header block, hop count and the Delivered-To check."""

import pytest

from smtpfleet.mail.headers import HOP_LIMIT, count_received, has_delivered_to, header_block, separate_body


@pytest.mark.parametrize(
    ("content", "block"),
    [
        pytest.param(b"A: b\r\nC: d\r\n\r\nbody\r\n", b"A: b\r\nC: d\r\n", id="up to the blank line"),
        pytest.param(b"A: b\r\n c\r\n\td\r\n\r\nx: y\r\n", b"A: b\r\n c\r\n\td\r\n", id="folded"),
        pytest.param(b"A: b\r\n", b"A: b\r\n", id="no body"),
        pytest.param(b"\r\nA: b\r\n", b"", id="no header"),
        pytest.param(b"hello\r\nA: b\r\n", b"", id="a body without a header"),
        pytest.param(b"A: b\r\nhello\r\nC: d\r\n", b"A: b\r\n", id="a line that is no header ends it"),
        pytest.param(b"A : b\r\n\r\n", b"A : b\r\n", id="blanks before the colon"),
        pytest.param(b"A: \xff\r\n\r\n", b"A: \xff\r\n", id="8 bit"),
        pytest.param(b"A: b", b"", id="a line without its end"),
        pytest.param(b"", b"", id="empty"),
    ],
)
def test_header_block(content: bytes, block: bytes) -> None:
    assert header_block(content) == block


@pytest.mark.parametrize(
    ("content", "count"),
    [
        pytest.param(b"Subject: x\r\n\r\n", 0, id="none"),
        pytest.param(b"Received: a\r\nRECEIVED: b\r\n\r\n", 2, id="any letter case"),
        pytest.param(b"Received: a\r\n\tReceived: b\r\n\r\n", 1, id="not in a folded line"),
        pytest.param(b"Received: a\r\n\r\nReceived: b\r\n", 1, id="not in the body"),
        pytest.param(b"X-Received: a\r\nReceived-SPF: b\r\n\r\n", 0, id="not other headers"),
        pytest.param(b"Received : a\r\nX: y\r\nreceived\t :b\r\n\r\n", 2, id="blanks before the colon"),
        pytest.param(b"Received: a\r\n" * HOP_LIMIT + b"\r\n", HOP_LIMIT, id="as many as make a loop"),
    ],
)
def test_count_received(content: bytes, count: int) -> None:
    assert count_received(content) == count


@pytest.mark.parametrize(
    ("content", "is_loop"),
    [
        pytest.param(b"Delivered-To: a@b.test\r\n\r\n", True, id="named"),
        pytest.param(b"X: y\r\ndelivered-to:  A@B.Test \r\n\r\n", True, id="letter case and blanks"),
        pytest.param(b"Delivered-To: <a@b.test>\r\n\r\n", True, id="in brackets"),
        pytest.param(b"Delivered-To: c@d.test\r\nDelivered-To: a@b.test\r\n\r\n", True, id="the second one"),
        pytest.param(b"Delivered-To : a@b.test\r\n\r\n", True, id="a blank before the colon"),
        pytest.param(b"X: y\r\n delivered-to: a@b.test\r\n\r\n", False, id="in a fold"),
        pytest.param(b"Delivered-To: aa@b.test\r\n\r\n", False, id="another"),
        pytest.param(b"Delivered-To: a@b.test.example\r\n\r\n", False, id="a longer one"),
        pytest.param(b"X: y\r\n\r\nDelivered-To: a@b.test\r\n", False, id="in the body"),
        pytest.param(b"X-Delivered-To: a@b.test\r\n\r\n", False, id="another header"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_has_delivered_to(content: bytes, is_loop: bool) -> None:
    assert has_delivered_to(content, "a@b.test") is is_loop


@pytest.mark.parametrize(
    ("content", "separated"),
    [
        pytest.param(b"text\r\n", b"\r\ntext\r\n", id="text at once"),
        pytest.param(b"A: b\r\ntext\r\nC: d\r\n", b"A: b\r\n\r\ntext\r\nC: d\r\n", id="text behind a header"),
        pytest.param(b" text\r\n", b"\r\n text\r\n", id="a fold of nothing"),
        pytest.param(b"http://a.test/ b\r\n", b"http://a.test/ b\r\n", id="what looks like a field is one"),
        pytest.param(b"A: b\r\n\r\ntext\r\n", b"A: b\r\n\r\ntext\r\n", id="as it should be"),
        pytest.param(b"\r\ntext\r\n", b"\r\ntext\r\n", id="no header"),
        pytest.param(b"A: b\r\n", b"A: b\r\n", id="no body"),
        pytest.param(b"", b"", id="empty"),
        pytest.param(
            b"From a@b Mon Jan 1\r\nA: b\r\n\r\nc\r\n", b"X-Mailbox-Line: From a@b Mon Jan 1\r\nA: b\r\n\r\nc\r\n", id="a line of a mailbox",
        ),
        pytest.param(b">From a@b\r\ntext\r\n", b"X-Mailbox-Line: >From a@b\r\n\r\ntext\r\n", id="a line of a mailbox, quoted, and text"),
        pytest.param(b"A: b\r\nFrom a\r\n", b"A: b\r\n\r\nFrom a\r\n", id="one further down is text"),
    ],
)  # fmt: skip
def test_text_that_is_no_header_begins_the_body(content: bytes, separated: bytes) -> None:
    assert separate_body(content, header_block(content)) == separated
    assert separate_body(separated, header_block(separated)) is separated
