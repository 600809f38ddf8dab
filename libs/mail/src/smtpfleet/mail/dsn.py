"""The message that tells a sender what became of his mail: a multipart/report of RFC 3462 and RFC 3464.

Owns its text and structure, for failed, delayed, delivered and relayed recipients. Decides nothing: whether a bounce is due, and that none is ever sent for
a bounce, is queue's business. Everything taken from peers is reduced to one line of ASCII before it is written. Called by queue.
OpenSMTPD: bounce.c (5.4.1 sends plain text, 7.8 multipart/mixed).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smtpfleet.contracts.status import Status
from smtpfleet.mail.headers import header_block
from smtpfleet.mail.xtext import encode_unitext

FOLD_AT = 76
"""Lines are folded at the last blank before this (RFC 5322 §2.1.1 recommends 78)."""

_NOT_PRINTABLE = re.compile(r"[^ -~]+")
_SUBJECTS = {"failed": "error", "delayed": "warning", "delivered": "delivered", "relayed": "relayed"}
_SUCCESS_TEXTS = {
    "delivered": ["    Your message has been delivered to these recipients:"],
    "relayed": [
        "    Your message has been handed to the mail servers of these recipients,",
        "    which do not report whether it was delivered:",
    ],
}
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BounceRecipient:
    """One recipient of the bounced message, dates as text.

    dest: where it was going. status: of the last attempt. orcpt: ORCPT as the sender gave it, `type;address`, or "".
    remote: MTA that gave the status, "" where we did ourselves. last_try_text: "" before the first attempt.
    retry_until_text: when we give up, for a delayed recipient.
    """

    dest: str
    status: Status
    orcpt: str = ""
    remote: str = ""
    last_try_text: str = ""
    retry_until_text: str = ""


def build_bounce(
    *,
    kind: str,
    smtpname: str,
    sender: str,
    msgid: str,
    created_text: str,
    recipients: Sequence[BounceRecipient],
    original: bytes,
    return_full: bool,
    date_text: str,
    boundary: str,
    envid: str = "",
    delayed_s: int = 0,
    kept_s: int = 0,
) -> bytes:
    """The whole bounce, CRLF line ends.

    kind: failed, delayed, delivered or relayed. sender: of the original, to whom this goes. boundary: unique per bounce, letters, digits and dots; also
    the left side of the Message-ID. original: content from its beginning; its header alone is enough unless return_full.
    delayed_s, kept_s: for a delayed message, how long it has waited at least and how long it stays queued at most.
    """
    returned_type, returned = (
        ("message/rfc822", original) if return_full else ("text/rfc822-headers", header_block(original))
    )
    encoding = [] if returned.isascii() else ["Content-Transfer-Encoding: 8bit"]
    notice = _lines(_notice(kind, recipients, delayed_s, kept_s))
    report = _lines(_report(kind, smtpname, envid, created_text, recipients))
    separator = boundary
    while separator.encode() in returned or separator.encode() in notice + report:
        separator += "="
    head = [
        f"Subject: Delivery status notification: {_SUBJECTS[kind]}",
        f"From: Mailer Daemon <MAILER-DAEMON@{_plain(smtpname)}>",
        # An ASCII header cannot name an address beyond it; an empty group can stand there (RFC 6857 §3.2).
        f"To: <{_plain(sender)}>" if sender.isascii() else "To: sender of the message:;",
        f"Date: {_plain(date_text)}",
        f"Message-ID: <{boundary}.{msgid}@{_plain(smtpname)}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{separator}"',
        *encoding,
        "",
        "This is a delivery status notification in MIME format.",
    ]
    parts = [
        _part(["Content-Type: text/plain; charset=us-ascii", "Content-Description: Notification"], notice),
        _part(["Content-Type: message/delivery-status", "Content-Description: Delivery report"], report),
    ]
    if returned:
        what = "Message" if return_full else "Message headers"
        parts.append(_part([f"Content-Type: {returned_type}", f"Content-Description: {what}", *encoding], returned))
    delimiter = b"\r\n--" + separator.encode()
    return _lines(head) + b"".join(delimiter + b"\r\n" + part for part in parts) + delimiter + b"--\r\n"


def _notice(kind: str, recipients: Sequence[BounceRecipient], delayed_s: int, kept_s: int) -> list[str]:
    """The part a person reads."""
    lines = ["    Hi!", "", "    This is the mail system. Please do not reply to this message."]
    if kind == "failed":
        lines += [
            "",
            "    Your message could not be delivered to these recipients,",
            "    and it will not be tried again:",
            "",
        ]
    elif kind != "delayed":
        lines += ["", *_SUCCESS_TEXTS[kind], ""]
    else:
        lines += [
            "",
            f"    Your message has been waiting for more than {duration_text(delayed_s)}",
            "    for these recipients:",
            "",
        ]
    for recipient in recipients:
        status = f"{recipient.remote} said: {recipient.status.line}" if recipient.remote else recipient.status.line
        lines += _folded(f"{_in_ascii(recipient.dest)}: {status}", "    ")
    if kind == "delayed":
        lines += [
            "",
            "    This is only a warning. The message stays in the queue for up to",
            f"    {duration_text(kept_s)} and will be tried again. There is no need to send it again.",
        ]
    return [*lines, "", "    Below are a report for programs, and what you sent."]


def _report(
    kind: str, smtpname: str, envid: str, created_text: str, recipients: Iterable[BounceRecipient]
) -> list[str]:
    """The part a program reads: a block for the message, then one for each recipient (RFC 3464 §2.2, §2.3)."""
    fields = [("Original-Envelope-Id", envid), ("Reporting-MTA", f"dns; {smtpname}"), ("Arrival-Date", created_text)]
    lines = _fields(fields)
    for recipient in recipients:
        status = recipient.status
        # smtp is for what a remote MTA said; our own verdicts have a type of their own (RFC 3464 §2.3.6).
        diagnostic = f"{'smtp' if recipient.remote else 'X-smtpfleet'}; {status.line}"
        lines += ["", *_fields([
            ("Original-Recipient", _in_ascii(recipient.orcpt)),
            ("Final-Recipient", f"{'rfc822' if recipient.dest.isascii() else 'utf-8'}; {_in_ascii(recipient.dest)}"),
            ("Action", kind),
            ("Status", status.esc_or_default),
            ("Remote-MTA", f"dns; {recipient.remote}" if recipient.remote else ""),
            ("Diagnostic-Code", diagnostic),
            ("Last-Attempt-Date", recipient.last_try_text),
            ("Will-Retry-Until", recipient.retry_until_text if kind == "delayed" else ""),
        ])]  # fmt: skip
    return lines


def _fields(fields: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, value in fields if value for line in _folded(f"{name}: {value}", "    ")]


def _folded(text: str, indent: str) -> list[str]:
    """`text` as one printable line, cut at blanks; a word that is longer than a line stays whole."""
    lines: list[str] = []
    line = ""
    for word in _plain(text).split():
        if line.strip() and len(line) + 1 + len(word) > FOLD_AT:
            lines.append(line)
            line = indent + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def _in_ascii(address: str) -> str:
    """An address as message/delivery-status may have it (RFC 6533 §3)."""
    return address if address.isascii() else encode_unitext(address)


def _plain(text: str) -> str:
    """ASCII without controls: a peer's words cannot begin a header of ours."""
    return _NOT_PRINTABLE.sub("?", text)


def _part(header: list[str], body: bytes) -> bytes:
    return _lines([*header, ""]) + body


def _lines(lines: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def duration_text(seconds: int) -> str:
    """`4 hours`: the largest unit that fits, truncated (OpenSMTPD bounce.c bounce_duration)."""
    for size, name in _UNITS:
        if seconds >= size or size == 1:
            count = seconds // size
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    raise AssertionError("the last unit always fits")
