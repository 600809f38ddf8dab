"""The lines of a mailbox file: the `From ` line that begins a message, and the quoting of lines that look like one.

Pure; pieces may be cut anywhere. Used by mailbox.py. Convention: mbox(5) with `>` before `From ` and nothing more, as mail.local and
delivery_file.c write it.
"""

import time

_FROM = b"From "


def from_line(name: str, now_s: float) -> bytes:
    """The first line of a message. UTC: what reads it knows no zone."""
    return f"From {name} {time.asctime(time.gmtime(now_s))}\n".encode(errors="surrogateescape")


class FromQuoting:
    """Quotes one message with LF line ends, piece by piece."""

    def __init__(self) -> None:
        self._held = b""
        self._is_at_line_start = True
        self._last = b"\n"

    def take(self, piece: bytes) -> bytes:
        """The piece as it is to be written; up to four bytes may be held back, for they may begin a `From `."""
        data = self._held + piece
        line = data[data.rfind(b"\n") + 1 :]
        is_whole_line = len(line) < len(data) or self._is_at_line_start
        self._held = line if is_whole_line and len(line) < len(_FROM) and _FROM.startswith(line) else b""
        return self._quote(data[: len(data) - len(self._held)])

    def end(self) -> bytes:
        """The rest, and a blank line; a last line that was not ended is."""
        rest = self._quote(self._held)
        self._held = b""
        return rest + (b"\n" if self._last == b"\n" else b"\n\n")

    def _quote(self, data: bytes) -> bytes:
        if not data:
            return data
        quoted = data.replace(b"\n" + _FROM, b"\n>" + _FROM) if b"\n" + _FROM in data else data
        if self._is_at_line_start and data.startswith(_FROM):
            quoted = b">" + quoted
        self._last = data[-1:]
        self._is_at_line_start = self._last == b"\n"
        return quoted
