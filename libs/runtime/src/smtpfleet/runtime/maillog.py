"""The one writer of log lines: a fact about mail per line, key first, then what happened, then name=value.

OpenSMTPD's form (log lines of 6.x and later): `KEY smtp message msgid=… size=…`. KEY is a session id, msgid or evpid, so a message is
followed across roles with grep. Lines are buffered for one turn of the event loop, because at thousands of messages a second a write
per line is a measurable part of the cost; a line of level error is written at once.
"""

import asyncio
import re
import sys
import time
from typing import TextIO

_LEVELS = {"info": 0, "warning": 1, "error": 2}
_PLAIN = re.compile(r"[\x21\x23-\x3c\x3e-\x7e]+")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\"\\]")
# A fleet's log shippers cut lines near 16 KiB; a field longer than this is hostile or a mistake.
_FIELD_LIMIT = 1000


def _escape(found: re.Match[str]) -> str:
    char = found.group()
    return "\\" + char if char in '"\\' else f"\\x{ord(char):02x}"


def quote(value: object) -> str:
    """A field's value: bare where it is one printable word without quotes or `=`, else in double quotes with escapes."""
    text = str(value)
    if _PLAIN.fullmatch(text) and len(text) <= _FIELD_LIMIT:
        return text
    return '"' + _UNPRINTABLE.sub(_escape, text[:_FIELD_LIMIT]) + '"'


class MailLog:
    """Log of one replica of one role."""

    def __init__(self, role: str, *, level: str = "info", stream: TextIO | None = None) -> None:
        self._role = role
        self._threshold = _LEVELS[level]
        self._stream = stream or sys.stderr
        self._lines: list[str] = []
        self._second = -1
        self._stamp = ""

    def fact(self, key: str, what: str, **fields: object) -> None:
        """A fact about a session, message or envelope, such as `fact(session, "smtp connected", address=…)`."""
        if self._threshold == 0:
            self._write(f"{key} {what}", fields)

    def line(self, text: str) -> None:
        """A fact already formatted and quoted, for the hot paths; the caller vouches for its form."""
        if self._threshold == 0:
            self._append(text)

    def lines(self, texts: list[str]) -> None:
        """As line, for several at the same instant."""
        if self._threshold == 0:
            stamp = self._stamped()
            self._keep([f"{stamp}{text}\n" for text in texts])

    def info(self, text: str, **fields: object) -> None:
        """Something an operator may want to know about this process."""
        if self._threshold == 0:
            self._write(f"info: {text}", fields)

    def warning(self, text: str, **fields: object) -> None:
        """Something an operator should look at."""
        if self._threshold <= 1:
            self._write(f"warn: {text}", fields)

    def error(self, text: str, **fields: object) -> None:
        """Something that is broken until an operator acts."""
        self._write(f"error: {text}", fields)
        self.flush()

    def _write(self, head: str, fields: dict[str, object]) -> None:
        if fields:
            head += "".join([f" {name}={quote(value)}" for name, value in fields.items()])
        self._append(head)

    def _append(self, text: str) -> None:
        self._keep([f"{self._stamped()}{text}\n"])

    def _stamped(self) -> str:
        """What a line begins with now."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z {self._role} "

    def _keep(self, lines: list[str]) -> None:
        """Lines are written together at the end of this turn of the loop."""
        is_first = not self._lines
        self._lines += lines
        if is_first:
            try:
                asyncio.get_running_loop().call_soon(self.flush)
            except RuntimeError:  # before or after the loop: nobody would flush later
                self.flush()

    def flush(self) -> None:
        """Write what is buffered. A log that cannot be written must not stop the mail: such lines are dropped."""
        lines, self._lines = self._lines, []
        if lines:
            try:
                self._stream.write("".join(lines))
                self._stream.flush()
            except OSError:
                return
