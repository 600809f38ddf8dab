"""The payloads of the two questions about SRS, which config answers because the keys never leave it.

mta has senders of forwarded mail rewritten; smtp-in and queue have an address that config once signed led back to the sender. Which subject
carries which is in subjects.py. OpenSMTPD: srs.c, which each of its processes calls for itself.
"""

from msgspec import Struct

SENDERS_BATCH = 100
"""Most senders of one question: the envelopes of one message in one lease (commands.CLAIM_BATCH)."""


class SrsRewriteQuery(Struct, frozen=True, array_like=True):
    """Rewrite these senders. Each is a sender, never null, and the domain its message was for before it was forwarded."""

    senders: list[tuple[str, str]]


class SrsRewriteReply(Struct, frozen=True, array_like=True):
    """error: why nothing can be signed now, "" if it could: then senders has one entry per sender of the question, None where the
    rewritten address would be longer than mail allows."""

    error: str
    senders: list[str | None]


class SrsRestoreQuery(Struct, frozen=True, array_like=True):
    """Whom does this SRS0 or SRS1 address stand for? address: a recipient as it was given."""

    address: str


class SrsRestoreReply(Struct, frozen=True, array_like=True):
    """error: why it cannot be said now, "" if it can. sender: the address behind it; "" where it is none that we gave out and that is still
    good: then fault says why, for the log."""

    error: str
    sender: str
    fault: str
