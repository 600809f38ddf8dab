"""What a submitted message lacks and gets from us: Date, Message-ID, domains of addresses, no Bcc; a From as the sender may have it.

Owns header edits only: every line it does not change stays as it is, byte for byte, folding included; the body is never looked at. Pure:
the caller brings date, id and names. Called by smtp-in for listeners of submission (RFC 6409 §8). OpenSMTPD 7.8: smtp_session.c
smtp_filter_dataline, header_domain_append_callback, header_masquerade_callback.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from smtpfleet.mail.headers import header_block

_FIELD = re.compile(rb"([!-9;-~]++)[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+")
_WITH_ADDRESSES = frozenset({b"from", b"to", b"cc"})
# What a list of addresses is made of (RFC 5322 §3.2, §3.4): quoted strings, comments (nested ones are followed by hand), blanks with
# folds, delimiters, and runs of everything else.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\[^\r\n])*+"|\\[^\r\n]|[ \t\r\n]++|[(),:;<>]|[^"\\ \t\r\n(),:;<>]++|["\\]')


@dataclass(frozen=True, slots=True)
class _Word:
    """A token that may be part of an address, with its place in the value."""

    text: bytes
    start: int
    end: int


def complete_message(
    content: bytes, *, hostname: str, date_text: str, message_id: str, from_address: str = ""
) -> bytes:
    """`content` (CRLF lines, or its beginning with the whole header) with what it lacked.

    hostname: completes addresses without a domain. message_id: the left side of one to be. from_address: what From must name, "" for
    whatever it names.
    """
    block = header_block(content)
    fields: list[bytes] = []
    names: set[bytes] = set()
    for found in _FIELD.finditer(block):
        name = found[1].lower()
        names.add(name)
        if name == b"bcc":
            continue
        field = found[0]
        if name in _WITH_ADDRESSES:
            replacement = from_address.encode() if name == b"from" else b""
            field = _completed(field, b"@" + hostname.encode("ascii"), replacement)
        fields.append(field)
    if b"date" not in names:
        fields.append(f"Date: {date_text}\r\n".encode("ascii"))
    if b"message-id" not in names:
        fields.append(f"Message-ID: <{message_id}@{hostname}>\r\n".encode("ascii"))
    body = content[len(block) :]
    # Text without any header is a body whose blank line is missing.
    gap = b"" if block or body.startswith(b"\r\n") else b"\r\n"
    return b"".join(fields) + gap + body


def replace_from(content: bytes, from_address: str) -> bytes:
    """`content` with From naming `from_address` and nothing else changed."""
    block = header_block(content)
    fields = [
        _completed(found[0], b"", from_address.encode()) if found[1].lower() == b"from" else found[0]
        for found in _FIELD.finditer(block)
    ]
    return b"".join(fields) + content[len(block) :]


def _completed(field: bytes, suffix: bytes, replacement: bytes) -> bytes:
    """The field with `suffix` after each address that has no domain; or with `replacement` for each address, where it is given."""
    start = field.index(b":") + 1
    value = field[start:]
    # In one pass: a list may have some hundred thousand addresses, and the event loop waits for it.
    pieces: list[bytes] = []
    at = 0
    for words in _addresses(value):
        address = b"".join([word.text for word in words])
        if replacement:
            pieces += (value[at : words[0].start], replacement)
            at = words[-1].end
        elif b"@" not in address and len(words) == 1:
            pieces += (value[at : words[0].end], suffix)
            at = words[0].end
    pieces.append(value[at:])
    return field[:start] + b"".join(pieces)


def _addresses(value: bytes) -> Iterator[list[_Word]]:
    """The words of each address of a list: what is in angle brackets, or all there is where there are none. Whatever is no address by
    its shape (a name alone of several words, empty brackets, a group's name) is left out."""
    outside: list[_Word] = []
    inside: list[_Word] | None = None
    found: list[_Word] = []
    for word in _words(value):
        if word.text == b"<":
            inside = []
        elif word.text == b">":
            found, inside = inside or [], None
            outside = []
        elif word.text in (b",", b";", b":") and inside is None:
            address = found or (outside if _is_adjacent(outside) else [])
            if address and word.text != b":":
                yield address
            outside, found = [], []
        elif inside is not None:
            inside.append(word)
        else:
            outside.append(word)
    address = found or (outside if inside is None and _is_adjacent(outside) else [])
    if address:
        yield address


def _is_adjacent(words: list[_Word]) -> bool:
    """Whether the words are one address and not a name of several: nothing stands between them."""
    return all(one.end == next_one.start for one, next_one in pairwise(words))


def _words(value: bytes) -> Iterator[_Word]:
    """Tokens without blanks and comments; none behind a quote that is not closed."""
    depth = 0
    for found in _TOKEN.finditer(value):
        token = found[0]
        if token in (b'"', b"\\"):
            return
        if token == b"(":
            depth += 1
        elif token == b")":
            depth = max(0, depth - 1)
        elif not depth and not token[:1].isspace():
            yield _Word(token, found.start(), found.end())
