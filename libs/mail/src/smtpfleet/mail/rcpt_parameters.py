"""Parameters of RCPT: NOTIFY and ORCPT (RFC 3461 §4.1, §4.2; RFC 6533 §3 for the address type utf-8).

Owns what values are well formed; what they lead to is decided by queue (who is told of what) and mta (what is passed on). Called by
grammar. OpenSMTPD 7.8: smtp_session.c smtp_check_rcpt_to.
"""

import re

from msgspec import Struct

from smtpfleet.contracts.envelope import DsnNotify
from smtpfleet.contracts.status import Status
from smtpfleet.mail.parameters import bad_parameter, read_parameters
from smtpfleet.mail.xtext import decode_unitext, decode_xtext

ORCPT_LIMIT = 500
"""RFC 3461 §4.2, in its encoded form."""

_KNOWN_WITH_DSN = frozenset({b"NOTIFY", b"ORCPT"})
_KNOWN: frozenset[bytes] = frozenset()
_NOTIFY_WORDS = {b"SUCCESS": DsnNotify.SUCCESS, b"FAILURE": DsnNotify.FAILURE, b"DELAY": DsnNotify.DELAY}
_is_address_type = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*").fullmatch


class RcptArgs(Struct, frozen=True):
    """RCPT, understood.

    rcpt: `user@domain`, or `postmaster` in any case without a domain (RFC 5321 §4.1.1.3). dsn_notify: DsnNotify bits, 0 for none.
    dsn_orcpt: `type;xtext` as given, "" for none.
    """

    rcpt: str
    dsn_notify: int = 0
    dsn_orcpt: str = ""


def rcpt_args(rcpt: str, rest: bytes, *, has_dsn: bool, is_utf8: bool) -> RcptArgs | Status:
    """`rest` is what follows the path. A Status is the refusal."""
    words = read_parameters(rest, _KNOWN_WITH_DSN if has_dsn else _KNOWN)
    if isinstance(words, Status):
        return words
    notify, orcpt = 0, ""
    for name, value in words.items():
        if name == b"NOTIFY":
            known = _notify_of(value or b"")
            if known is None:
                return bad_parameter(name)
            notify = known
        else:
            text = _text_of(value or b"", is_utf8=is_utf8)
            if text is None or decode_orcpt(text) is None:
                return bad_parameter(name)
            orcpt = text
    return RcptArgs(rcpt, notify, orcpt)


def _notify_of(value: bytes) -> int | None:
    value = value.upper()
    if value == b"NEVER":  # RFC 3461 §4.1: alone or not at all
        return int(DsnNotify.NEVER)
    notify = 0
    for word in value.split(b","):
        bit = _NOTIFY_WORDS.get(word)
        if bit is None or notify & bit:
            return None
        notify |= bit
    return notify


def _text_of(value: bytes, *, is_utf8: bool) -> str | None:
    if len(value) > ORCPT_LIMIT or not (is_utf8 or value.isascii()):
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def decode_orcpt(text: str) -> str | None:
    """`type;address` with the address as its sender knows it, or None where it is no ORCPT. Of a type we do not know it stays xtext."""
    kind, semicolon, address = text.partition(";")
    if not semicolon or not address or not _is_address_type(kind):
        return None
    decoded = decode_unitext(address) if kind.lower() == "utf-8" else decode_xtext(address)
    return None if decoded is None else f"{kind};{decoded}"
