"""A peer's replies as they come off the wire: bytes in, whole replies out, and the word for what is wrong with the rest.

Owns the strict reading of RFC 5321 §4.2 (line length, code range, control characters, size of a whole reply). Never knows which
command a reply belongs to and never waits. Called by client.py for every piece received. OpenSMTPD: mta_session.c:mta_io, reference 7.7.
"""

import re
from typing import NamedTuple

LINE_LIMIT_BYTES = 2047
"""Longest reply line without its line end (OpenSMTPD: LINE_MAX of its line buffer, reference 7.7; RFC 5321 §4.5.3.1.5 has 512)."""
REPLY_LIMIT_BYTES = 32 * 1024
"""Longest reply of several lines (aiosmtplib's bound; a real EHLO reply is a few hundred bytes)."""

# A blank that folds into the text is harmless, so a tab passes; every other control character is an attempt at something.
_LINE = re.compile(rb"([0-9]{3})([ -]|$)([^\x00-\x08\x0a-\x1f\x7f]*)")
_UNPRINTABLE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Reply(NamedTuple):
    """One reply. text: of all lines, joined by LF; bytes that are no UTF-8 are replaced."""

    code: int
    text: str

    @property
    def last_line(self) -> str:
        """What becomes the status: the text of the last line (as OpenSMTPD; the lines before it repeat the enhanced code)."""
        return self.text.rpartition("\n")[2]


class ReplyReader:
    """Replies of one connection. `fault` is "" until the peer breaks the rules; nothing is read after that."""

    def __init__(self) -> None:
        self.fault = ""
        self._rest = b""
        self._text: list[bytes] = []
        self._text_bytes = 0

    @property
    def is_between_replies(self) -> bool:
        """Whether everything received was part of a whole reply."""
        return not self._rest and not self._text

    def feed(self, data: bytes) -> list[Reply]:
        """The replies that `data` completes, in order; those before a fault are good."""
        replies: list[Reply] = []
        if self.fault:
            return replies
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            reply = self._read_line(line[:-1] if line.endswith(b"\r") else line)
            if self.fault:
                return replies
            if reply is not None:
                replies.append(reply)
        if len(self._rest) > LINE_LIMIT_BYTES + 1:
            self.fault = "line too long"
        return replies

    def _read_line(self, line: bytes) -> Reply | None:
        found = _LINE.fullmatch(line)
        if found is None or len(line) > LINE_LIMIT_BYTES:
            self.fault = _fault_of(line)
            return None
        code = int(found[1])
        if not 200 <= code <= 599:
            self.fault = "reply code out of range"
            return None
        if found[2] == b"-":
            self._text_bytes += len(line)
            if self._text_bytes > REPLY_LIMIT_BYTES:
                self.fault = "reply too long"
            self._text.append(found[3])
            return None
        if self._text:
            # Peers exist whose lines differ in code; the last one counts, as in OpenSMTPD and Postfix.
            text = b"\n".join([*self._text, found[3]])
            self._text = []
            self._text_bytes = 0
        else:
            text = found[3]
        return Reply(code, text.decode("utf-8", "replace"))


def _fault_of(line: bytes) -> str:
    """Why a line is no reply line, in OpenSMTPD's words."""
    if len(line) > LINE_LIMIT_BYTES:
        return "line too long"
    if _UNPRINTABLE.search(line):
        return "non-printable character in reply"
    if len(line) < 3:
        return "line too short"
    return "reply code out of range"
