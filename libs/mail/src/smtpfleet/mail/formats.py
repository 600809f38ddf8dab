"""Format strings of delivery targets: `~/` and `%{rcpt.user[0:2]:lowercase|strip}`.

Owns the substitution (reference 1.7) and what keeps a value from a peer harmless in a path: no slash, no wildcard, no climbing with
`..`. Never touches the file system and never builds a shell command. Called by mda for each envelope, by walk to know at RCPT whether mda
can, and by config for formats that no envelope fits.
OpenSMTPD: lka_session.c lka_expand_format, lka_expand_token.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from smtpfleet.mail.address import SUBADDRESS_DELIMITER, split_address, without_tag

RESULT_LIMIT = 1024
"""Longest result (OpenSMTPD EXPAND_BUFFER)."""
OFFSET_LIMIT = 1024
"""Offsets go from minus this to this (OpenSMTPD)."""

_TOKEN = re.compile(r"%%|%\{([^{}]*)\}")
_TOKEN_PARTS = re.compile(
    r"([A-Za-z.]+)(?:\[(?:(-?[0-9]{1,5})|(-?[0-9]{1,5})?:(-?[0-9]{1,5})?)\])?(?::(.+))?", re.DOTALL
).fullmatch
_CLASSIC_UNSAFE = str.maketrans("*?", "::")
_MODERN_UNSAFE = str.maketrans(dict.fromkeys("!#$%&'*?`{|}~", ":"))
"""What becomes `:` unless the format says raw (5.4.1 lka_expand_token; 7.8 MAILADDR_ESCAPE)."""
_MAILER_DAEMON = "MAILER-DAEMON"
"""What %{mbox.from} is for the null sender (7.8 mda_variables.c)."""


_NAMES = (
    "user.username",
    "user.directory",
    *(f"{who}{part}" for who in ("sender", "rcpt", "dest") for part in ("", ".user", ".domain")),
)
_MODERN_NAME = "mbox.from"
_MODIFIERS = ("lowercase", "uppercase", "strip", "raw")


class Addresses(Protocol):
    """What of an envelope a format can name."""

    @property
    def sender(self) -> str: ...
    @property
    def rcpt(self) -> str: ...
    @property
    def dest(self) -> str: ...


class FormatError(ValueError):
    """The text cannot be expanded for this envelope; the delivery is to be tried later, when the operator has mended the format."""


def expand_format(
    text: str,
    *,
    envelope: Addresses,
    home: str,
    username: str,
    is_modern: bool = False,
    delimiter: str = SUBADDRESS_DELIMITER,
) -> str:
    """`text` with all tokens replaced. Raises FormatError for an unknown token or modifier, a bad range, or, in the classic form, an
    empty value. What the result is used for is not known here: a shell needs more care than the modern form takes."""
    values = _values(envelope, home, username, is_modern=is_modern)
    rules = _Rules(_MODERN_UNSAFE if is_modern else _CLASSIC_UNSAFE, delimiter, may_be_empty=is_modern)
    result = _TOKEN.sub(
        lambda found: "%" if found.group(1) is None else _expand_token(found.group(1), values, rules), text
    )
    if result.startswith("~/") and text.startswith("~/"):
        result = f"{home}/{result[2:]}"
    if len(result) > RESULT_LIMIT:
        raise FormatError(f"{text}: longer than {RESULT_LIMIT}")
    # Single characters of a quoted local part can meet to form `..`, which no format of the operator's asked for.
    if result.split("/").count("..") > f"{home}/{text}".split("/").count(".."):
        raise FormatError(f"{text}: the address would climb out of its folder")
    return result


@dataclass(frozen=True, slots=True)
class _Rules:
    """How values are treated in one of the two languages."""

    unsafe: dict[int, str] | dict[int, int]
    delimiter: str
    may_be_empty: bool


def _values(envelope: Addresses, home: str, username: str, *, is_modern: bool) -> dict[str, str]:
    values = {"user.username": username, "user.directory": home}
    for name, address in (("sender", envelope.sender), ("rcpt", envelope.rcpt), ("dest", envelope.dest)):
        mailbox = split_address(address)
        values |= {name: address, f"{name}.user": mailbox.user, f"{name}.domain": mailbox.domain}
    if is_modern:
        values["mbox.from"] = envelope.sender or _MAILER_DAEMON
    return values


def format_fault(text: str, *, is_modern: bool = False) -> str:
    """Why `text` can be expanded for no envelope at all, "" where it can for some."""
    for found in _TOKEN.finditer(text):
        if found.group(1) is None:
            continue
        try:
            token = _parse_token(found.group(1))
        except FormatError as error:
            return str(error)
        if token.name == _MODERN_NAME and not is_modern:
            return f"unknown format token: {token.text}"
        if token.end is not None and 0 <= token.end < (token.begin or 0):
            return f"format range out of bounds: {token.text}"
    return ""


@dataclass(frozen=True, slots=True)
class _Token:
    """`name[begin:end]:modifiers`, or `name[single]`; None for what is not there."""

    text: str
    name: str
    single: int | None
    begin: int | None
    end: int | None
    modifiers: tuple[str, ...]


def _parse_token(text: str) -> _Token:
    found = _TOKEN_PARTS(text)
    name = found.group(1).lower() if found else ""
    if found is None or name not in (*_NAMES, _MODERN_NAME):
        raise FormatError(f"unknown format token: {text}")
    single, begin, end = (None if digits is None else int(digits) for digits in found.group(2, 3, 4))
    if max(abs(number or 0) for number in (single, begin, end)) > OFFSET_LIMIT:
        raise FormatError(f"format range out of bounds: {text}")
    modifiers = tuple(found.group(5).lower().split("|")) if found.group(5) is not None else ()
    for modifier in modifiers:
        if modifier not in _MODIFIERS:
            raise FormatError(f"unknown format modifier: {modifier}")
    return _Token(text, name, single, begin, end, modifiers)


def _expand_token(text: str, values: dict[str, str], rules: _Rules) -> str:
    token = _parse_token(text)
    if token.name not in values:
        raise FormatError(f"unknown format token: {text}")
    value = values[token.name]
    # 7.8 leaves slashes alone; a peer's address must not choose folders, so here they go in both forms.
    if token.name != "user.directory":
        value = value.replace("/", ":")
    value = _modify(value, token.modifiers, rules)
    if not value and rules.may_be_empty:
        return ""
    if token.single is not None:
        value = _slice(text, value, token.single, None)
    elif token.begin is not None or token.end is not None:
        value = _slice(text, value, token.begin or 0, token.end if token.end is not None else OFFSET_LIMIT)
    if not value:
        raise FormatError(f"format token is empty: {text}")
    return value


def _modify(value: str, modifiers: tuple[str, ...], rules: _Rules) -> str:
    for modifier in modifiers:
        match modifier:
            case "lowercase":
                value = value.lower()
            case "uppercase":
                value = value.upper()
            case "strip":
                value = _without_tag(value, rules.delimiter)
    return value if "raw" in modifiers else value.translate(rules.unsafe)


def _without_tag(value: str, delimiter: str) -> str:
    user, at, domain = value.rpartition("@")
    # The `@` of a local part alone stands in quotes.
    if not at or domain.endswith('"'):
        return without_tag(value, delimiter)
    return without_tag(user, delimiter) + at + domain


def _slice(token: str, value: str, begin: int, end: int | None) -> str:
    """From begin to end, both included; end None is begin alone. A negative begin counts from the end; a negative end is that
    much less than the last position, so `[0:-4]` of example.org is example."""
    length = len(value)
    if begin >= length:
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
