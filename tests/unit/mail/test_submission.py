"""Submission fixes: what is added, completed and dropped, and that nothing else changes by a byte."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.mail.submission import EDITS_LIMIT, TOKENS_LIMIT, complete_message, replace_from

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
            DATE + ID + b"hi there\r\nTo: a\r\n",
            DATE + ID + b"\r\nhi there\r\nTo: a\r\n",
            id="a header without its blank line",
        ),
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


BOMBS = {
    "addresses without a domain": (b"To: ", b"a,"),
    "addresses with a domain": (b"To: ", b"a@b,"),
    "one name of many words": (b"Cc: ", b"a "),
    "delimiters": (b"To: ", b","),
    "brackets": (b"To: ", b"<"),
    "backslashes in a quote": (b'To: "', b"\\"),
    "fields of addresses": (b"", b"To:a\r\n"),
    "fields with a From": (b"", b"From:a\r\n"),
    "fields to go": (b"", b"Bcc:a\r\n"),
    "fields to stay": (b"", b"X:a\r\n"),
    "fields that nearly must change": (b"", b"Tom:a\r\n"),
    "folds": (b"To: ", b"\r\n a"),
}


@pytest.mark.parametrize(("head", "piece"), BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("from_address", ["", "bob@b.test"])
def test_the_cost_of_a_header_is_linear(head: bytes, piece: bytes, from_address: str) -> None:
    def seconds(size_bytes: int) -> float:
        content = head + piece * (size_bytes // len(piece)) + b"x:\r\n\r\n"
        taken = []
        for _ in range(3):
            began_s = time.process_time()
            result = completed(content, from_address)
            taken.append(time.process_time() - began_s)
            assert len(result) <= len(content) + EDITS_LIMIT * 10 + 100
        return min(taken)

    # Eight times as much takes eight times as long; sixty-four times where a step looks at the whole. The first of it is warming up.
    assert seconds(490_000) < 20 * (seconds(61_250) + 0.0005)


def test_a_list_longer_than_anybodys_is_left_as_it_is_from_there_on() -> None:
    value = b",".join([b"a"] * (EDITS_LIMIT + 5))
    content = completed(DATE + ID + b"To: " + value + b"\r\nCc: b\r\n\r\n")
    assert content.count(b"a@mx.test,") == EDITS_LIMIT and content.endswith(b",a,a,a,a,a\r\nCc: b\r\n\r\n")


def test_where_the_tokens_end_nothing_is_cut_in_two() -> None:
    # The name's first word is the last token looked at.
    value = b"x@y.test," * (TOKENS_LIMIT // 2 - 1) + b" The Root <root@b.test>"
    content = DATE + ID + b"To: " + value + b"\r\n\r\n"
    assert completed(content) == content


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"boss@c.test," * TOKENS_LIMIT + b"boss@c.test", id="too many addresses"),
        pytest.param(b'"open <boss@c.test>', id="a quote that is not closed"),
        pytest.param(b"The Boss", id="no address"),
    ],
)
def test_no_from_gets_past_a_masquerade(value: bytes) -> None:
    content = (
        b"To: "
        + b"a@b.test," * TOKENS_LIMIT
        + b"\r\nFrom: "
        + value
        + b"\r\nFROM: boss\r\nSubject: boss\r\n\r\nboss\r\n"
    )
    for result in (replace_from(content, "bob@b.test"), completed(content, "bob@b.test")):
        head = result.partition(b"\r\n\r\n")[0].split(b"\r\n")
        assert b"Subject: boss" in head
        assert next(line for line in head if line.lower().startswith(b"from:")) == b"From: bob@b.test"
        assert not [line for line in head if b"boss" in line and not line.startswith(b"Subject")]
