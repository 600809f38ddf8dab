"""The arguments of MAIL and RCPT: path and parameters of RFC 5321 §4.1.2, with SIZE (RFC 1870) and BODY (RFC 6152).

Owns what is syntactically fine and the refusal of what is not; decides nothing about limits, relaying or recipients. Called by
smtp-in once per command. OpenSMTPD: smtp_session.c smtp_parse_mail_args, smtp_parse_rcpt_args, smtp_mailaddr.
"""

import re

from msgspec import Struct

from smtpfleet.contracts.status import Status
from smtpfleet.mail.address import is_valid_domain, parse_mailbox

S501_MAIL_SYNTAX = Status(501, "5.5.2", "Syntax: MAIL FROM:<address>")
S501_RCPT_SYNTAX = Status(501, "5.5.2", "Syntax: RCPT TO:<address>")
S553_SENDER_SYNTAX = Status(553, "5.1.7", "Sender address syntax error")
S501_RECIPIENT_SYNTAX = Status(501, "5.1.3", "Recipient address syntax error")
S553_NOT_ASCII = Status(553, "5.6.7", "Internationalized addresses are not supported")

PARAMETER_ECHO_LIMIT = 40
"""How much of an unknown parameter's name a refusal repeats; chosen, no source."""

# Printable octets outside quotes, or a quoted string; what is between the brackets is judged by address.
_PATH = rb'<((?:[^<>"\x00-\x1f\x7f]++|"(?:[^"\\\x00-\x1f\x7f]++|\\[\x20-\x7e])*+")*+)>'
_REST = rb"(?:[ \t]++(.*+))?"
_mail_argument = re.compile(rb"from:[ \t]*+" + _PATH + _REST, re.IGNORECASE | re.DOTALL).fullmatch
_rcpt_argument = re.compile(rb"to:[ \t]*+" + _PATH + _REST, re.IGNORECASE | re.DOTALL).fullmatch
# RFC 5321 §4.1.2 esmtp-param.
_parameter = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~]+))?").fullmatch
# RFC 1870 §3: up to twenty digits.
_size_value = re.compile(rb"[0-9]{1,20}").fullmatch
_BODY_VALUES = {b"7BIT": "7BIT", b"8BITMIME": "8BITMIME"}


class MailArgs(Struct, frozen=True):
    """MAIL, understood. sender: "" for the null path. size_bytes: as declared, 0 for none. body: 7BIT, 8BITMIME or "" for none."""

    sender: str
    size_bytes: int = 0
    body: str = ""


class RcptArgs(Struct, frozen=True):
    """RCPT, understood. rcpt: `user@domain`, or `postmaster` in any case without a domain (RFC 5321 §4.1.1.3)."""

    rcpt: str


def parse_mail_from(arg: bytes) -> MailArgs | Status:
    """`arg` is the line after `MAIL ` without its line end: `FROM:<a@b.example> SIZE=10`. A Status is the refusal."""
    found = _mail_argument(arg)
    if found is None:
        return _mail_fault(arg)
    path, rest = found.groups()
    try:
        text = path.decode("ascii")
    except UnicodeDecodeError:
        return S553_NOT_ASCII
    sender = _address_in(text) if text else ""
    if sender is None:
        return S553_SENDER_SYNTAX
    return _mail_parameters(sender, rest) if rest else MailArgs(sender)


def parse_rcpt_to(arg: bytes) -> RcptArgs | Status:
    """`arg` is the line after `RCPT ` without its line end: `TO:<a@b.example>`. A Status is the refusal."""
    found = _rcpt_argument(arg)
    if found is None:
        return S501_RECIPIENT_SYNTAX if arg[:3].upper() == b"TO:" else S501_RCPT_SYNTAX
    path, rest = found.groups()
    try:
        text = path.decode("ascii")
    except UnicodeDecodeError:
        return S553_NOT_ASCII
    rcpt = _address_in(text)
    if rcpt is None:
        if text.lower() != "postmaster":
            return S501_RECIPIENT_SYNTAX
        rcpt = text
    if rest and (words := rest.split()):
        return _refuse_parameter(words[0])
    return RcptArgs(rcpt)


def _mail_fault(arg: bytes) -> Status:
    return S553_SENDER_SYNTAX if arg[:5].upper() == b"FROM:" else S501_MAIL_SYNTAX


def _address_in(path: str) -> str | None:
    """The address of a path that is not empty, in canonical form; a source route is checked and dropped (RFC 5321 §4.1.1.3)."""
    if path.startswith("@"):
        route, colon, path = path.partition(":")
        if not colon or not all(hop.startswith("@") and is_valid_domain(hop[1:]) for hop in route.split(",")):
            return None
    mailbox = parse_mailbox(path)
    return None if mailbox is None else mailbox.text


def _mail_parameters(sender: str, rest: bytes) -> MailArgs | Status:
    size_bytes, body = 0, ""
    seen: set[bytes] = set()
    for word in rest.split():
        found = _parameter(word)
        if found is None:
            return _refuse_parameter(word)
        name, value = found.group(1).upper(), found.group(2)
        if name in seen:
            return _bad_parameter(name)
        seen.add(name)
        if name == b"SIZE":
            if value is None or not _size_value(value):
                return _bad_parameter(name)
            size_bytes = int(value)
        elif name == b"BODY":
            known = _BODY_VALUES.get(value.upper()) if value else None
            if known is None:
                return _bad_parameter(name)
            body = known
        elif name == b"AUTH":
            # RFC 4954 §5: a server may ignore it; OpenSMTPD does.
            if value is None:
                return _bad_parameter(name)
        else:
            return _refuse_parameter(word)
    return MailArgs(sender, size_bytes, body)


def _bad_parameter(name: bytes) -> Status:
    return Status(501, "5.5.4", f"Invalid value of option {name.decode('ascii')}")


def _refuse_parameter(word: bytes) -> Status:
    """RFC 5321 §4.1.1.11: 555. Only a well-formed name is repeated, so nothing of the peer's choice enters log or reply."""
    found = _parameter(word)
    if found is None:
        return Status(501, "5.5.4", "Option syntax error")
    return Status(555, "5.5.4", f"Unsupported option {found.group(1)[:PARAMETER_ECHO_LIMIT].decode('ascii').upper()}")
