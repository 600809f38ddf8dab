"""Parameters of MAIL: SIZE (RFC 1870), BODY (RFC 6152, 3030), AUTH (RFC 4954), RET and ENVID (RFC 3461), SMTPUTF8 (RFC 6531).

Owns what values are well formed; whether a size fits or a sender may be used is decided by smtp-in. BINARYMIME is refused: what is not
made of lines could not be relayed to a peer without it. Called by grammar. OpenSMTPD: smtp_session.c smtp_check_mail_from.
"""

import re

from msgspec import Struct

from smtpfleet.contracts.status import Status
from smtpfleet.mail.parameters import bad_parameter, read_parameters
from smtpfleet.mail.xtext import decode_xtext

ENVID_LIMIT = 100
"""RFC 3461 §4.4, in its encoded form."""
AUTH_LIMIT = 500
"""RFC 4954 §5 adds 500 octets to the line for it."""

_KNOWN = frozenset({b"SIZE", b"BODY", b"AUTH", b"SMTPUTF8"})
_KNOWN_WITH_DSN = _KNOWN | {b"RET", b"ENVID"}
# RFC 1870 §3: up to twenty digits.
_size_value = re.compile(rb"[0-9]{1,20}").fullmatch
_BODY_VALUES = {b"7BIT": "7BIT", b"8BITMIME": "8BITMIME"}
_RET_VALUES = (b"FULL", b"HDRS")


class MailArgs(Struct, frozen=True):
    """MAIL, understood.

    sender: "" for the null path. size_bytes: as declared, 0 for none. body: 7BIT, 8BITMIME or "" for none.
    dsn_ret: FULL, HDRS or "". dsn_envid: xtext as given, "" for none. auth: who the peer says has submitted it, decoded, "" for none
    or `<>`. is_utf8: SMTPUTF8 was asked for.
    """

    sender: str
    size_bytes: int = 0
    body: str = ""
    dsn_ret: str = ""
    dsn_envid: str = ""
    auth: str = ""
    is_utf8: bool = False


def mail_args(sender: str, rest: bytes, *, has_dsn: bool) -> MailArgs | Status:
    """`rest` is what follows the path. A Status is the refusal."""
    words = read_parameters(rest, _KNOWN_WITH_DSN if has_dsn else _KNOWN)
    if isinstance(words, Status):
        return words
    size_bytes, body, dsn_ret, dsn_envid, auth = 0, "", "", "", ""
    for name, value in words.items():
        if name == b"SMTPUTF8":
            if value is not None:
                return bad_parameter(name)
            continue
        if value is None:
            return bad_parameter(name)
        if name == b"SIZE" and _size_value(value):
            size_bytes = int(value)
        elif name == b"BODY" and value.upper() in _BODY_VALUES:
            body = _BODY_VALUES[value.upper()]
        elif name == b"RET" and value.upper() in _RET_VALUES:
            dsn_ret = value.decode("ascii").upper()
        elif name == b"ENVID" and _xtext_of(value, ENVID_LIMIT) is not None:
            dsn_envid = value.decode("ascii")
        elif name == b"AUTH" and (identity := _xtext_of(value, AUTH_LIMIT)) is not None:
            auth = "" if identity == "<>" else identity
        else:
            return bad_parameter(name)
    return MailArgs(sender, size_bytes, body, dsn_ret, dsn_envid, auth, b"SMTPUTF8" in words)


def _xtext_of(value: bytes, limit: int) -> str | None:
    if len(value) > limit or not value.isascii():
        return None
    return decode_xtext(value.decode("ascii"))
