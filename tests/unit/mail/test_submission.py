"""Submission fixes: what is added, completed and dropped, and that nothing else changes by a byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.submission import complete_message

DATE = b"Date: Mon, 2 Nov 2026 12:00:00 +0000 (UTC)\r\n"
ID = b"Message-ID: <0123@mx.test>\r\n"


def completed(content: bytes, from_address: str = "") -> bytes:
    return complete_message(
        content, hostname="mx.test", date_text=DATE[6:-2].decode(), message_id="0123", from_address=from_address
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"Subject: x\r\n\r\nhi\r\n", b"Subject: x\r\n" + DATE + ID + b"\r\nhi\r\n", id="both are added"),
        pytest.param(DATE + ID + b"\r\nhi\r\n", DATE + ID + b"\r\nhi\r\n", id="both are there"),
        pytest.param(b"DATE: x\r\nmessage-id: y\r\n\r\n", b"DATE: x\r\nmessage-id: y\r\n\r\n", id="in any letter case"),
        pytest.param(b"", DATE + ID + b"\r\n", id="an empty message"),
        pytest.param(b"\r\nhi\r\n", DATE + ID + b"\r\nhi\r\n", id="no header"),
        pytest.param(b"hi there\r\n", DATE + ID + b"\r\nhi there\r\n", id="no header and no blank line"),
        pytest.param(b"Subject: x\r\n", b"Subject: x\r\n" + DATE + ID, id="no body"),
        pytest.param(
            DATE + ID + b"Bcc: a@b.test,\r\n c@d.test\r\nbcc : e\r\nTo: a@b.test\r\n\r\nBcc: stays\r\n",
            DATE + ID + b"To: a@b.test\r\n\r\nBcc: stays\r\n",
            id="Bcc goes with its folds, not from the body",
        ),
    ],
)
def test_fields(content: bytes, expected: bytes) -> None:
    assert completed(content) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"root", b"root@mx.test", id="a user"),
        pytest.param(b"a@b.test", b"a@b.test", id="an address"),
        pytest.param(b"root, a@b.test ,bob", b"root@mx.test, a@b.test ,bob@mx.test", id="a list"),
        pytest.param(b"The Root <root>", b"The Root <root@mx.test>", id="a name and brackets"),
        pytest.param(
            b'"Root, the" < root >', b'"Root, the" < root@mx.test >', id="a comma in quotes, blanks in brackets"
        ),
        pytest.param(b"root (the, one)", b"root@mx.test (the, one)", id="a comma in a comment"),
        pytest.param(b"(a (b) c) root", b"(a (b) c) root@mx.test", id="a comment in a comment"),
        pytest.param(b"friends: bob, a@b.test;, root", b"friends: bob@mx.test, a@b.test;, root@mx.test", id="a group"),
        pytest.param(b"undisclosed-recipients:;", b"undisclosed-recipients:;", id="an empty group"),
        pytest.param(b"The Root", b"The Root", id="words that are no address"),
        pytest.param(b"Root <>", b"Root <>", id="empty brackets"),
        pytest.param(b'"john doe"', b'"john doe"@mx.test', id="a quoted local part"),
        pytest.param(b'"a@b"', b'"a@b"', id="a quoted at sign is left alone"),
        pytest.param(b"bob,\r\n\tjoe", b"bob@mx.test,\r\n\tjoe@mx.test", id="a folded list"),
        pytest.param(b"root <root", b"root <root", id="an open bracket"),
        pytest.param(b'bob, "open', b'bob@mx.test, "open', id="an open quote"),
        pytest.param(b"", b"", id="nothing"),
        pytest.param(b"<@relay.test:bob@b.test>", b"<@relay.test:bob@b.test>", id="a route"),
    ],
)
@pytest.mark.parametrize("name", [b"To", b"CC", b"From"])
def test_addresses_without_a_domain(name: bytes, value: bytes, expected: bytes) -> None:
    head = DATE + ID + name + b": "
    assert completed(head + value + b"\r\n\r\n") == head + expected + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"root", b"bob@b.test", id="a user"),
        pytest.param(b"Root <root@c.test>", b"Root <bob@b.test>", id="the name stays"),
        pytest.param(b'"x" (y) < z@c.test > (w)', b'"x" (y) < bob@b.test > (w)', id="comments and blanks stay"),
    ],
)
def test_masquerade(value: bytes, expected: bytes) -> None:
    head = DATE + ID + b"To: root@c.test\r\nFrom: "
    assert completed(head + value + b"\r\n\r\n", "bob@b.test") == head + expected + b"\r\n\r\n"


@given(st.lists(st.sampled_from([b"To: ", b"From:", b"Bcc: x", b"a", b"<", b">", b'"', b"\\", b"(", b")", b",", b";", b":", b"@", b" ", b"\r\n", b"\r\n ", b"\r\n\r\n", b"\xff"]), max_size=40).map(b"".join))  # fmt: skip
def test_it_ends_adds_no_bare_line_end_and_is_done_once(content: bytes) -> None:
    once = completed(content)
    assert b"\n" not in once.replace(b"\r\n", b"") and b"\r" not in once.replace(b"\r\n", b"")
    assert completed(once) == once
