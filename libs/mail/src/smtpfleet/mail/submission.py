"""What a submitted message lacks and gets from us: Date, Message-ID, domains of addresses, no Bcc; a From as the sender may have it.

Owns header edits only: every line it does not change stays as it is, byte for byte, folding included; the body is never looked at. The
cost is linear in the header, and bounded where it is per address: a list longer than anybody's is left as it is from there on. Pure: the
caller brings date, id and names. Called by smtp-in for listeners of submission (RFC 6409 §8). OpenSMTPD 7.8: smtp_session.c
smtp_filter_dataline, header_domain_append_callback (which leaves alone what does not fit its buffer), header_masquerade_callback.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from smtpfleet.mail.headers import header_block

EDITS_LIMIT = 1000
"""Addresses changed in one message: as many as it may have recipients (OpenSMTPD SMTPD_MAXRCPT there). What a header can grow by."""
TOKENS_LIMIT = 16_000
"""Tokens of addresses looked at in one message: a thousand with names of three words are 11,000. Some 15 ms of the event loop. Chosen."""

# The next field that may have to change; what stands before it is passed over in one search. Only for a header block: whole lines, each a
# field's first or a fold.
_FIELD = re.compile(
    rb"(?:(?!(?:from|to|cc|bcc|date|message-id)[ \t]*+:)[^\r\n]*+\r\n)*+"
    rb"((from|to|cc|bcc|date|message-id)[ \t]*+:[^\r\n]*+\r\n(?:[ \t][^\r\n]*+\r\n)*+)",
    re.IGNORECASE,
)
# What a list of addresses is made of (RFC 5322 §3.2, §3.4): quoted strings, comments (nested ones are followed by hand), blanks with
# folds, delimiters, and runs of everything else.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\[^\r\n])*+"|\\[^\r\n]|[ \t\r\n]++|[(),:;<>]|[^"\\ \t\r\n(),:;<>]++|["\\]')


class _Word(NamedTuple):
    """A token that may be part of an address, with its place in the field."""

    text: bytes
    start: int
    end: int


class _Editor:
    """Edits the address fields of one message, as long as the limits allow."""

    __slots__ = ("_edits_left", "_has_from", "_replacement", "_suffix", "_tokens_left")

    def __init__(self, suffix: bytes, replacement: bytes) -> None:
        """suffix: put after each address that has no domain, b"" for nothing. replacement: of each address in From, b"" for none."""
        self._suffix = suffix
        self._replacement = replacement
        self._has_from = False
        self._edits_left = EDITS_LIMIT
        self._tokens_left = TOKENS_LIMIT

    def edited(self, name: bytes, field: bytes) -> bytes:
        """The field; `name` in lower case."""
        replacement = self._replacement if name == b"from" else b""
        pieces: list[bytes] = []
        at = 0
        if not self._is_spent:
            for begin, end, text in self._edits(field, replacement):
                pieces += (field[at:begin], text)
                at = end
        if replacement and (self._is_spent or not pieces):
            return self._without_its_value(field)
        self._has_from = self._has_from or bool(replacement)
        return b"".join((*pieces, field[at:])) if pieces else field

    def _without_its_value(self, field: bytes) -> bytes:
        """From as the sender may have it, whatever it said: no length and no bad syntax gets another past us. One that has it is enough
        (RFC 5322 §3.6) where so many follow that edits are used up: they say nothing."""
        self._edits_left -= 1
        value = b"" if self._has_from and self._edits_left < 0 else b" " + self._replacement
        self._has_from = True
        return field[: field.index(b":") + 1] + value + b"\r\n"

    @property
    def _is_spent(self) -> bool:
        return self._tokens_left < 0 or self._edits_left < 0

    def _edits(self, field: bytes, replacement: bytes) -> Iterator[tuple[int, int, bytes]]:
        for words in self._addresses(field):
            if replacement:
                edit = (words[0].start, words[-1].end, replacement)
            elif self._suffix and len(words) == 1 and b"@" not in words[0].text:
                edit = (words[0].end, words[0].end, self._suffix)
            else:
                continue
            self._edits_left -= 1
            if self._edits_left < 0:
                return
            yield edit

    def _addresses(self, field: bytes) -> Iterator[list[_Word]]:
        """The words of each address of a list: what is in angle brackets, or all there is where there are none. Whatever is no address
        by its shape (a name alone of several words, empty brackets, a group's name) is left out."""
        outside: list[_Word] = []
        inside: list[_Word] | None = None
        found: list[_Word] = []
        for word in self._words(field):
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
        if address and not self._is_spent:
            yield address

    def _words(self, field: bytes) -> Iterator[_Word]:
        """Tokens without blanks and comments; none behind a quote that is not closed, nor more than are left."""
        depth = 0
        for found in _TOKEN.finditer(field, field.index(b":") + 1):
            self._tokens_left -= 1
            if self._tokens_left < 0:
                return
            token = found[0]
            if token in (b'"', b"\\"):
                return
            if token == b"(":
                depth += 1
            elif token == b")":
                depth = max(0, depth - 1)
            elif not depth and not token[:1].isspace():
                yield _Word(token, found.start(), found.end())


def _is_adjacent(words: list[_Word]) -> bool:
    """Whether the words are one address and not a name of several: nothing stands between them."""
    return all(one.end == next_one.start for one, next_one in pairwise(words))


def _fields(block: bytes) -> Iterator[re.Match[bytes]]:
    """Those that may have to change."""
    # Not finditer, which would try behind every octet of a header that has none of them.
    found = _FIELD.match(block)
    while found is not None:
        yield found
        found = _FIELD.match(block, found.end())


def complete_message(
    content: bytes, *, hostname: str, date_text: str, message_id: str, from_address: str = ""
) -> bytes:
    """`content` (CRLF lines, or its beginning with the whole header) with what it lacked.

    hostname: completes addresses without a domain. message_id: the left side of one to be. from_address: what From must name, "" for
    whatever it names.
    """
    block = header_block(content)
    editor = _Editor(b"@" + hostname.encode("ascii"), from_address.encode())
    pieces: list[bytes] = []
    names: set[bytes] = set()
    at = 0
    for found in _fields(block):
        name = found[2].lower()
        names.add(name)
        if name in (b"date", b"message-id"):
            continue
        pieces.append(block[at : found.start(1)])
        at = found.end()
        if name != b"bcc":
            pieces.append(editor.edited(name, found[1]))
    pieces.append(block[at:])
    if b"date" not in names:
        pieces.append(f"Date: {date_text}\r\n".encode("ascii"))
    if b"message-id" not in names:
        pieces.append(f"Message-ID: <{message_id}@{hostname}>\r\n".encode("ascii"))
    body = content[len(block) :]
    if not body.startswith(b"\r\n") and (body or not block):
        pieces.append(b"\r\n")  # text that is no header begins the body; so it does in an empty message
    return b"".join((*pieces, body))


def replace_from(content: bytes, from_address: str) -> bytes:
    """`content` with From naming `from_address` and nothing else changed."""
    block = header_block(content)
    editor = _Editor(b"", from_address.encode())
    pieces: list[bytes] = []
    at = 0
    for found in _fields(block):
        if found[2].lower() == b"from":
            pieces += (block[at : found.start(1)], editor.edited(b"from", found[1]))
            at = found.end()
    return b"".join((*pieces, content[at:])) if pieces else content
