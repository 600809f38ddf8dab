"""Format strings of delivery targets: `~/` and `%{rcpt.user[0:2]:lowercase|strip}`.

Owns the substitution (reference 1.7) and what keeps a value from a peer harmless in a path: no slash, no wildcard, no climbing with
`..`. Never touches the file system and never builds a shell command. Called by mda for each envelope.
OpenSMTPD: lka_session.c lka_expand_format, lka_expand_token.
"""

import re

from smtpfleet.contracts.envelope import Envelope
from smtpfleet.mail.address import SUBADDRESS_DELIMITER, split_address

RESULT_LIMIT = 1024
"""Longest result (OpenSMTPD EXPAND_BUFFER)."""
OFFSET_LIMIT = 1024
"""Offsets go from minus this to this (OpenSMTPD)."""

_TOKEN = re.compile(r"%%|%\{([^{}]*)\}")
_TOKEN_PARTS = re.compile(
    r"([A-Za-z.]+)(?:\[(?:(-?[0-9]{1,5})|(-?[0-9]{1,5})?:(-?[0-9]{1,5})?)\])?(?::(.+))?", re.DOTALL
).fullmatch
_WILDCARDS = str.maketrans("*?", "::")


class FormatError(ValueError):
    """The text cannot be expanded for this envelope; the delivery is to be tried later, when the operator has mended the format."""


def expand_format(text: str, *, envelope: Envelope, home: str, username: str) -> str:
    """`text` with all tokens replaced. Raises FormatError for an unknown token or modifier, a bad range, or an empty value."""
    values = _values(envelope, home, username)
    result = _TOKEN.sub(lambda found: "%" if found.group(1) is None else _expand_token(found.group(1), values), text)
    if result.startswith("~/") and text.startswith("~/"):
        result = f"{home}/{result[2:]}"
    if len(result) > RESULT_LIMIT:
        raise FormatError(f"{text}: longer than {RESULT_LIMIT}")
    # Single characters of a quoted local part can meet to form `..`, which no format of the operator's asked for.
    if result.split("/").count("..") > f"{home}/{text}".split("/").count(".."):
        raise FormatError(f"{text}: the address would climb out of its folder")
    return result


def _values(envelope: Envelope, home: str, username: str) -> dict[str, str]:
    values = {"user.username": username, "user.directory": home}
    for name, address in (("sender", envelope.sender), ("rcpt", envelope.rcpt), ("dest", envelope.dest)):
        mailbox = split_address(address)
        values |= {name: address, f"{name}.user": mailbox.user, f"{name}.domain": mailbox.domain}
    return values


def _expand_token(token: str, values: dict[str, str]) -> str:
    found = _TOKEN_PARTS(token)
    name = found.group(1).lower() if found else ""
    if found is None or name not in values:
        raise FormatError(f"unknown format token: {token}")
    value = values[name]
    if name != "user.directory":
        value = value.replace("/", ":")
    value = _modify(value, found.group(5))
    single, begin, end = found.group(2, 3, 4)
    if single is not None:
        value = _slice(token, value, int(single), None)
    elif begin is not None or end is not None:
        value = _slice(token, value, int(begin or 0), int(end) if end is not None else OFFSET_LIMIT)
    if not value:
        raise FormatError(f"format token is empty: {token}")
    return value


def _modify(value: str, modifiers: str | None) -> str:
    is_raw = False
    for modifier in modifiers.lower().split("|") if modifiers is not None else ():
        match modifier:
            case "lowercase":
                value = value.lower()
            case "uppercase":
                value = value.upper()
            case "strip":
                value = _strip_tag(value)
            case "raw":
                is_raw = True
            case _:
                raise FormatError(f"unknown format modifier: {modifier}")
    return value if is_raw else value.translate(_WILDCARDS)


def _strip_tag(value: str) -> str:
    user, at, domain = value.rpartition("@")
    if not at:
        user, domain = domain, ""
    return user.partition(SUBADDRESS_DELIMITER)[0] + at + domain


def _slice(token: str, value: str, begin: int, end: int | None) -> str:
    """From begin to end, both included; end None is begin alone. A negative begin counts from the end; a negative end is that
    much less than the last position, so `[0:-4]` of example.org is example."""
    length = len(value)
    if max(abs(begin), abs(end or 0)) > OFFSET_LIMIT or begin >= length:
        raise FormatError(f"format range out of bounds: {token}")
    if begin < 0:
        begin += length
    if end is None:
        end = begin
    elif end < 0:
        end += length - 1
    if begin < 0 or end < begin:
        raise FormatError(f"format range out of bounds: {token}")
    return value[begin : end + 1]
