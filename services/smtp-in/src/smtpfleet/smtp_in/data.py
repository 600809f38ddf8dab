"""Reads the content of one message after DATA: finds its end, refuses what must not be stored, undoes dot-stuffing.

The end is CRLF . CRLF and nothing else, however the bytes are split (RFC 5321 §4.1.1.4; the look-alikes with a bare CR or LF are how
messages are smuggled). A message that is too big or faulty is read to that same end and thrown away on the way, so that its rest is
never taken for commands. Pure; called by session. OpenSMTPD: smtp_session.c smtp_dataline.
"""

from smtpfleet.contracts.status import Status
from smtpfleet.mail.dots import BARE_LF, LINE_LIMIT_BYTES, content_fault, mend_line_ends, unstuff
from smtpfleet.smtp_in.reply import S554_TOO_BIG, refuse_content

BLOCK_BYTES = 64 * 1024
"""Complete lines are checked and moved on once this much is undecided; chosen: larger than most messages, small per session."""

_LINE_END = b"\r\n"
_NO_LINE_END = b"\n\n"
"""Stands where undecided bytes follow a bare LF, so that no dot behind it is at the beginning of a line."""
_DOT_LINE = b"\r\n."
_END_OF_DATA = b"\r\n.\r\n"


class DataReader:
    """One message's content. `feed` until `is_complete`; `refusal` says why the message is not taken, if so.

    Undecided bytes always begin with the CRLF before them, the one that ended the DATA command at first: so one search finds the end
    of an empty message, too.
    """

    __slots__ = (
        "_blocks",
        "_has_dot_lines",
        "_limit_bytes",
        "_mends",
        "_passed_bytes",
        "_undecided",
        "held_bytes",
        "is_complete",
        "refusal",
    )

    def __init__(self, limit_bytes: int, *, mends_line_ends: bool = False) -> None:
        """mends_line_ends: a bare LF becomes CRLF; else the message is refused for it."""
        self._limit_bytes = limit_bytes
        self._mends = mends_line_ends
        self._undecided = _LINE_END
        self._passed_bytes = 0
        self._blocks: list[bytes] = []
        self._has_dot_lines = False
        self.held_bytes = 0
        self.is_complete = False
        self.refusal: Status | None = None

    def feed(self, data: bytes) -> int:
        """Takes `data`; returns how many of its bytes belong to the content and its end. The rest are commands."""
        before = len(self._undecided)
        raw = self._undecided + data
        # The first line that begins with a dot is the end in most messages: one search tells that, and that there is nothing to unstuff.
        at = raw.find(_DOT_LINE, max(0, before - 4))
        if at >= 0 and not raw.startswith(_END_OF_DATA, at):
            self._has_dot_lines = True
            at = raw.find(_END_OF_DATA, at)
        if at < 0:
            self._undecided = raw
            if len(raw) > BLOCK_BYTES or self.refusal is not None:
                self._pass_lines()
            return len(data)
        self.is_complete = True
        self._undecided = b""
        # The limit counts raw bytes with their stuffed dots, as OpenSMTPD 7.8 does.
        if self._passed_bytes + at > self._limit_bytes:
            self._refuse(S554_TOO_BIG)
        self._keep(raw[2 : at + 2], is_at_line_start=raw.startswith(_LINE_END))
        return at + len(_END_OF_DATA) - before

    def _pass_lines(self) -> None:
        """Decides on the complete lines at hand; leaves the last, incomplete one with the CRLF before it."""
        raw = self._undecided
        if self._passed_bytes + len(raw) - 4 > self._limit_bytes:  # CRLF in front, perhaps `.CR` of the end behind
            self._refuse(S554_TOO_BIG)
        if self.refusal is not None:
            self._passed_bytes += len(raw) - 4
            self._undecided = raw[-4:]
            return
        at = raw.rfind(_LINE_END)
        bare_at = raw.rfind(b"\n", at + 2) if self._mends else -1
        if bare_at > 1:
            self._keep(raw[2 : bare_at + 1], is_at_line_start=raw.startswith(_LINE_END))
            self._passed_bytes += bare_at - 1
            self._undecided = _NO_LINE_END + raw[bare_at + 1 :]
        elif at > 0:
            self._keep(raw[2 : at + 2], is_at_line_start=raw.startswith(_LINE_END))
            self._passed_bytes += at
            self._undecided = raw[at:]
        if len(self._undecided) - 2 > LINE_LIMIT_BYTES + 2:  # a stuffed dot and the CR of its end may be there
            self._refuse(refuse_content("line too long"))

    def _keep(self, block: bytes, *, is_at_line_start: bool = True) -> None:
        """Complete lines become content, unless something is wrong with them."""
        if self.refusal is not None:
            return
        if self._has_dot_lines and block:
            block = unstuff(block, is_at_line_start=is_at_line_start)
        fault = content_fault(block)  # the dot that is gone does not count for a line's length (RFC 5321 §4.5.3.1.6)
        if fault == BARE_LF and self._mends:
            block = mend_line_ends(block)
            fault = content_fault(block)
        if fault is not None:
            self._refuse(refuse_content(fault))
        elif block:
            self._blocks.append(block)
            self.held_bytes += len(block)

    def refuse(self, status: Status) -> None:
        """The caller wants none of this message: its rest is read and thrown away."""
        self._refuse(status)

    def _refuse(self, status: Status) -> None:
        if self.refusal is None:
            self.refusal = status
            self._blocks.clear()
            self.held_bytes = 0

    @property
    def memory_bytes(self) -> int:
        """What this message costs us now."""
        return self.held_bytes + len(self._undecided)

    @property
    def received_bytes(self) -> int:
        """How much of this message has come, dots and all."""
        return self._passed_bytes + len(self._undecided)

    def replace(self, content: bytes) -> None:
        """`content` instead of what is held."""
        self._blocks = [content]
        self.held_bytes = len(content)

    def prepend(self, header: bytes) -> None:
        """Puts `header` in front of what is held."""
        self._blocks.insert(0, header)
        self.held_bytes += len(header)

    def take(self, at_most_bytes: int) -> bytes:
        """Removes and returns up to so many bytes from the front of what is held."""
        held = b"".join(self._blocks) if len(self._blocks) != 1 else self._blocks[0]
        self._blocks.clear()
        self.held_bytes = max(0, len(held) - at_most_bytes)
        if self.held_bytes:
            self._blocks.append(held[at_most_bytes:])
            return held[:at_most_bytes]
        return held

    def peek(self) -> bytes:
        """All that is held, and goes on being held."""
        if len(self._blocks) > 1:
            self._blocks = [b"".join(self._blocks)]
        return self._blocks[0] if self._blocks else b""
