"""Asks config to rewrite senders and to lead SRS addresses back, because only config has the keys.

Every failure (no bus, no answer in time, no key) is SrsUnavailable, which is temporary: mail is neither sent unrewritten nor refused for
good. Nothing is kept: a change of keys counts at once. Used by mta, and through questions by smtp-in and queue. OpenSMTPD: srs.c.
"""

from typing import Any, Protocol

from msgspec import Struct

from smtpfleet.contracts import wire
from smtpfleet.contracts.srs import SENDERS_BATCH, SrsRestoreQuery, SrsRestoreReply, SrsRewriteQuery, SrsRewriteReply
from smtpfleet.contracts.subjects import CONFIG_SRS_RESTORE, CONFIG_SRS_REWRITE, Subject
from smtpfleet.runtime.bus import BusUnavailable

REQUEST_S = 5.0
"""For one reply, which costs config microseconds. Chosen: as long as other questions may take."""


class SrsUnavailable(Exception):
    """config cannot say it now; the text is for the log."""


class Asking(Protocol):
    """The part of runtime.bus.Bus that is used here."""

    async def request(self, subject: Subject, payload: Struct, *, timeout_s: float = 10.0) -> Any:
        """The reply. Raises BusUnavailable or wire.RemoteFault."""


class SrsClient:
    """One role's view of SRS. NATS lets each role ask only what is its own to ask."""

    def __init__(self, bus: Asking) -> None:
        self._bus = bus

    async def rewrite(self, senders: list[tuple[str, str]]) -> list[str | None]:
        """mta alone: each (sender, domain) as an address in the domain, None where that would be too long. Raises SrsUnavailable."""
        rewritten: list[str | None] = []
        for at in range(0, len(senders), SENDERS_BATCH):
            query = SrsRewriteQuery(senders[at : at + SENDERS_BATCH])
            reply: SrsRewriteReply = await self._request(CONFIG_SRS_REWRITE, query)
            if reply.error or len(reply.senders) != len(query.senders):
                raise SrsUnavailable(reply.error or "the answer does not fit the question")
            rewritten += reply.senders
        return rewritten

    async def restore(self, query: SrsRestoreQuery) -> SrsRestoreReply:
        """smtp-in and queue: whom an SRS address stands for, or why nobody. Raises SrsUnavailable."""
        reply: SrsRestoreReply = await self._request(CONFIG_SRS_RESTORE, query)
        if reply.error:
            raise SrsUnavailable(reply.error)
        return reply

    async def _request(self, subject: Subject, query: Struct) -> Any:
        try:
            return await self._bus.request(subject, query, timeout_s=REQUEST_S)
        except (BusUnavailable, wire.RemoteFault, wire.UnknownVersion, wire.Malformed) as error:
            raise SrsUnavailable(f"srs: {error}") from None
