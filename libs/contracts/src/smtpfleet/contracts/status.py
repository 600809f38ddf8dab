"""A reply to an SMTP command, ours or a peer's: code, enhanced code and text, classified once.

RFC 5321 §4.2 (reply codes), RFC 3463 (enhanced codes). Constants carry their number in the name; a test compares the two.
Nothing here says why a condition arose; that is the business of whoever chooses the status.
"""

import re
from enum import StrEnum

from msgspec import Struct

_REPLY_ESC = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

# What we keep of a peer's text; RFC 5321 §4.5.3.1.5 allows 512 octets for a whole reply line.
STATUS_TEXT_LIMIT = 500


class StatusClass(StrEnum):
    """What a status means for the envelope it belongs to."""

    OK = "ok"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"


class Status(Struct, frozen=True, array_like=True):
    """One SMTP status.

    code: three digits, 200 to 599.
    esc: enhanced code such as `5.1.1`, or "" where the peer gave none.
    text: one line without control characters, at most 500 characters.
    """

    code: int
    esc: str
    text: str

    @property
    def status_class(self) -> StatusClass:
        """2xx and 3xx are ok, 5xx is permanent, everything else temporary (OpenSMTPD mta_session.c)."""
        if 200 <= self.code < 400:
            return StatusClass.OK
        return StatusClass.PERMANENT if 500 <= self.code < 600 else StatusClass.TEMPORARY

    @property
    def line(self) -> str:
        """The status as on the wire, without CRLF: `550 5.1.1 No such user`."""
        return f"{self.code} {self.esc} {self.text}" if self.esc else f"{self.code} {self.text}"

    @property
    def esc_or_default(self) -> str:
        """The enhanced code, or `X.0.0` of the status's class where the peer gave none (RFC 3463 §3.1)."""
        return self.esc or f"{self.code // 100 if 200 <= self.code < 600 else 4}.0.0"


def status_from_reply(code: int, text: str) -> Status:
    """A peer's reply as a Status: enhanced code split off, control characters folded to blanks, text cut to the limit."""
    clean = _CONTROL.sub(" ", text).strip()
    found = _REPLY_ESC.match(clean)
    if found is None:
        return Status(code, "", clean[:STATUS_TEXT_LIMIT])
    return Status(code, found.group(1), clean[found.end() :][:STATUS_TEXT_LIMIT])


S421_SHUTTING_DOWN = Status(421, "4.3.2", "Service shutting down")
S451_LOCAL_ERROR = Status(451, "4.3.0", "Temporary failure")
S452_STORE_FULL = Status(452, "4.3.1", "Insufficient system storage")
S554_EXPIRED = Status(554, "5.4.7", "Envelope expired")
S554_LOOP_DETECTED = Status(554, "5.4.6", "Loop detected")
