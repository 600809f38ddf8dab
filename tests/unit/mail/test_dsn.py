"""Bounces, read back with Python's email package as a mail program would."""

import email
import email.policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpfleet.contracts.status import S554_EXPIRED, Status
from smtpfleet.mail.dsn import BounceRecipient, build_bounce, duration_text

ORIGINAL = b"From: s@peer.test\r\nSubject: hello\r\n\r\n.body\r\n"
NO_USER = BounceRecipient(
    dest="nobody@far.test",
    status=Status(550, "5.1.1", "No such user"),
    orcpt="rfc822;info@example.test",
    remote="mx.far.test",
    last_try_text="Mon, 2 Nov 2026 12:00:05 +0000 (UTC)",
)
EXPIRED = BounceRecipient(dest="slow@far.test", status=S554_EXPIRED)
DEFAULTS: dict[str, Any] = {
    "kind": "failed",
    "smtpname": "mx.example.test",
    "sender": "s@peer.test",
    "msgid": "00000000deadbeef",
    "created_text": "Mon, 2 Nov 2026 12:00:00 +0000 (UTC)",
    "recipients": [NO_USER, EXPIRED],
    "original": ORIGINAL,
    "return_full": False,
    "date_text": "Mon, 2 Nov 2026 12:01:00 +0000 (UTC)",
    "boundary": "b0b0.1",
}


def bounce(**changes: Any) -> tuple[bytes, EmailMessage, list[EmailMessage]]:
    """The octets, the message read back, and its parts; it is well-formed and in CRLF lines of a fit length."""
    octets = build_bounce(**DEFAULTS | changes)
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r")
    assert [part.defects for part in message.walk()] == [[] for _ in message.walk()]
    return octets, message, [part for part in message.iter_parts() if isinstance(part, EmailMessage)]


def blocks(report: EmailMessage) -> list[dict[str, str]]:
    """The report's blocks as the email package sees them: per message first, then per recipient."""
    return [dict(block.items()) for block in report.iter_parts()]


def test_the_message_around_it() -> None:
    _, message, parts = bounce()
    assert message["From"] == "Mailer Daemon <MAILER-DAEMON@mx.example.test>"
    assert message["To"] == "s@peer.test"
    assert message["Subject"] == "Delivery status notification: error"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["MIME-Version"] == "1.0"
    assert message["Message-ID"] == "<b0b0.1.00000000deadbeef@mx.example.test>"
    assert message["Date"].datetime.isoformat() == "2026-11-02T12:01:00+00:00"
    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def test_the_part_a_person_reads() -> None:
    _, _, parts = bounce()
    text = parts[0].get_content()
    assert "nobody@far.test: mx.far.test said: 550 5.1.1 No such user" in text
    assert "slow@far.test: 554 5.4.7 Envelope expired" in text
    assert "could not be delivered" in text


def test_the_part_a_program_reads() -> None:
    _, _, parts = bounce(envid="QQ314159")
    assert blocks(parts[1]) == [
        {
            "Original-Envelope-Id": "QQ314159",
            "Reporting-MTA": "dns; mx.example.test",
            "Arrival-Date": "Mon, 2 Nov 2026 12:00:00 +0000 (UTC)",
        },
        {
            "Original-Recipient": "rfc822;info@example.test",
            "Final-Recipient": "rfc822; nobody@far.test",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.far.test",
            "Diagnostic-Code": "smtp; 550 5.1.1 No such user",
            "Last-Attempt-Date": "Mon, 2 Nov 2026 12:00:05 +0000 (UTC)",
        },
        {
            "Final-Recipient": "rfc822; slow@far.test",
            "Action": "failed",
            "Status": "5.4.7",
            "Diagnostic-Code": "X-smtpfleet; 554 5.4.7 Envelope expired",
        },
    ]


def test_addresses_beyond_ascii_are_spelled_in_it() -> None:
    # RFC 6533 §3, RFC 6857 §3.2.
    recipient = BounceRecipient(dest="jürgen@far.test", status=S554_EXPIRED, orcpt="utf-8;grüße@example.test")
    octets, message, parts = bounce(recipients=[recipient], sender="søren@peer.test")
    assert octets.isascii()
    (block,) = blocks(parts[1])[1:]
    assert block["Final-Recipient"] == r"utf-8; j\x{FC}rgen@far.test"
    assert block["Original-Recipient"] == r"utf-8;gr\x{FC}\x{DF}e@example.test"
    assert message["To"].addresses == () and message["To"].groups[0].display_name == "sender of the message"


def test_a_warning() -> None:
    waiting = BounceRecipient(
        dest="slow@far.test",
        status=Status(451, "", "try later"),
        remote="mx.far.test",
        retry_until_text="Fri, 6 Nov 2026 12:00:00 +0000 (UTC)",
    )
    _, message, parts = bounce(kind="delayed", recipients=[waiting], delayed_s=14400, kept_s=345600)
    assert message["Subject"] == "Delivery status notification: warning"
    text = " ".join(parts[0].get_content().split())
    assert "more than 4 hours" in text and "up to 4 days" in text and "no need to send it again" in text
    assert blocks(parts[1])[1] == {
        "Final-Recipient": "rfc822; slow@far.test",
        "Action": "delayed",
        "Status": "4.0.0",
        "Remote-MTA": "dns; mx.far.test",
        "Diagnostic-Code": "smtp; 451 try later",
        "Will-Retry-Until": "Fri, 6 Nov 2026 12:00:00 +0000 (UTC)",
    }


def test_headers_alone_are_returned() -> None:
    octets, _, parts = bounce()
    assert parts[2].get_payload() == "From: s@peer.test\r\nSubject: hello\r\n"
    assert b".body" not in octets


def test_the_whole_message_is_returned() -> None:
    octets, _, parts = bounce(return_full=True)
    assert parts[2].get_content_type() == "message/rfc822"
    inner = parts[2].get_content()
    assert inner["Subject"] == "hello" and inner.get_content() == ".body\r\n"
    assert ORIGINAL in octets


def test_seven_bit_originals_need_no_transfer_encoding() -> None:
    octets, message, parts = bounce()
    assert octets.isascii()
    assert message["Content-Transfer-Encoding"] is None
    assert parts[2]["Content-Transfer-Encoding"] is None


def test_eight_bit_headers_are_declared_where_they_are_and_around() -> None:
    octets, message, parts = bounce(original="Subject: grün\r\n\r\nbody\r\n".encode())
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert [part["Content-Transfer-Encoding"] for part in parts] == [None, None, "8bit"]
    assert "Subject: grün\r\n".encode() in octets


def test_an_eight_bit_body_that_is_not_returned_changes_nothing() -> None:
    octets, message, _ = bounce(original=ORIGINAL + b"\xff\r\n")
    assert octets.isascii() and message["Content-Transfer-Encoding"] is None


def test_an_original_without_a_header_leaves_the_part_out() -> None:
    _, _, parts = bounce(original=b"no header\r\n")
    assert [part.get_content_type() for part in parts] == ["text/plain", "message/delivery-status"]


def test_an_original_that_holds_the_boundary_gets_another() -> None:
    original = b"Subject: x\r\n\r\n--b0b0.1\r\n--b0b0.1--\r\n"
    octets, _, parts = bounce(original=original, return_full=True)
    assert len(parts) == 3 and original in octets


def test_long_diagnostics_are_folded_and_read_back_whole() -> None:
    status = Status(550, "5.7.1", " ".join(["reason"] * 70))
    octets, _, parts = bounce(recipients=[BounceRecipient(dest="a@far.test", status=status, remote="mx.far.test")])
    assert max(len(line) for line in octets.split(b"\r\n")) <= 78
    code = blocks(parts[1])[1]["Diagnostic-Code"]
    assert " ".join(code.split()) == f"smtp; {status.line}"


@given(st.text(max_size=60), st.text(max_size=40), st.text(max_size=40))
def test_a_peer_s_words_never_make_a_line_of_their_own(text: str, remote: str, orcpt: str) -> None:
    hostile = BounceRecipient(dest="a@far.test", status=Status(550, "5.0.0", text), remote=remote, orcpt=orcpt)
    octets, message, parts = bounce(recipients=[hostile], original=b"")
    assert octets.isascii() and len(parts) == 2
    assert len(blocks(parts[1])) == 2
    assert message["Subject"] == "Delivery status notification: error"
    assert set(blocks(parts[1])[1]) <= {"Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"}  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (3599, "59 minutes"),
        (3600, "1 hour"),
        (14400, "4 hours"),
        (86400, "1 day"),
        (345600, "4 days"),
    ],
)
def test_duration_text(seconds: int, text: str) -> None:
    assert duration_text(seconds) == text
