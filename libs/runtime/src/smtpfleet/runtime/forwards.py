"""What users' `.forward` files said a moment ago: asked of mda over the bus, remembered for two seconds.

Owns the memory and its bounds, never what is in a file. RCPT asks for every local user, so an address in steady use costs one request
per two seconds and not one per message, and requests for one user at the same time are one. While mda is away, what it last said stays
good for some minutes: a roll-out of mda must not turn mail away. Used by questions and smtp-in. OpenSMTPD: IMSG_PARENT_FORWARD_OPEN.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from smtpfleet.contracts.commands import ForwardQuery, ForwardReply
from smtpfleet.contracts.subjects import MDA_FORWARD_READ
from smtpfleet.contracts.wire import Malformed, RemoteFault, UnknownVersion
from smtpfleet.runtime import metrics
from smtpfleet.runtime.asking import Requester
from smtpfleet.runtime.bus import BusUnavailable

FRESH_S = 2.0
"""How long an answer counts: a user who edits his `.forward` sees it work at once. Chosen."""
STALE_S = 300.0
"""How long it counts while mda does not answer: longer than a roll-out takes. Chosen."""
REMEMBERED_LIMIT = 20_000
"""Users remembered, a few hundred bytes each; when full, all are forgotten. Chosen."""
ASK_WITHIN_S = 5.0
"""How long mda may take: a stat on a file server that is not hung. Chosen."""

RETRY_S = 0.5
"""Between questions while no mda is there: one that is being started again is back in a second or two. Chosen."""

_asked = metrics.counter("forward_queries", "Users whose .forward was asked for, by how it ended", ("result",))
NO_ANSWER = (BusUnavailable, RemoteFault, UnknownVersion, Malformed)


@dataclass(frozen=True, slots=True)
class KnownForward:
    """A reply of mda; fresh_until, by the clock of Forwards."""

    reply: ForwardReply
    fresh_until: float


class Forwards:
    """The `.forward` files of all users, as mda sees them. patience_s: how long a question is repeated while no mda is there."""

    def __init__(
        self,
        bus: Requester,
        clock: Callable[[], float],
        *,
        remembered_limit: int = REMEMBERED_LIMIT,
        patience_s: float = ASK_WITHIN_S,
    ) -> None:
        self._patience_s = patience_s
        self._bus = bus
        self._clock = clock
        self._remembered_limit = remembered_limit
        self._known: dict[ForwardQuery, KnownForward] = {}
        self._asking: dict[ForwardQuery, asyncio.Task[ForwardReply]] = {}

    def known(self, query: ForwardQuery) -> KnownForward | None:
        """What may be used without asking."""
        known = self._known.get(query)
        return known if known is not None and self._clock() < known.fresh_until else None

    async def ask(self, query: ForwardQuery) -> ForwardReply:
        """The forward, from memory or mda; `temporary` where mda does not answer and has not said anything lately. Never raises."""
        known = self.known(query)
        if known is not None:
            return known.reply
        asking = self._asking.get(query)
        if asking is None:
            # A task of its own: whoever asked first may give up, the others still want the answer.
            asking = self._asking[query] = asyncio.ensure_future(self._request(query))
            asking.add_done_callback(lambda _: self._asking.pop(query, None))
        return await asyncio.shield(asking)

    async def _request(self, query: ForwardQuery) -> ForwardReply:
        gives_up_at = asyncio.get_running_loop().time() + self._patience_s
        while True:
            try:
                reply: ForwardReply = await self._bus.request(MDA_FORWARD_READ, query, timeout_s=ASK_WITHIN_S)
                break
            except NO_ANSWER as error:
                known = self._known.get(query)
                if known is not None and self._clock() < known.fresh_until - FRESH_S + STALE_S:
                    _asked.labels("stale").inc()
                    return known.reply
                # Nobody serves it, which is known at once: worth another try within the time that a slow answer would have.
                if asyncio.get_running_loop().time() + RETRY_S >= gives_up_at:
                    _asked.labels("unanswered").inc()
                    return ForwardReply("temporary", "", f"mda does not answer: {error}")
            await asyncio.sleep(RETRY_S)
        _asked.labels(reply.result).inc()
        # A failure is asked for again at once: it is to end as soon as its cause does.
        if reply.result != "temporary":
            if len(self._known) >= self._remembered_limit:
                self._known.clear()
            self._known[query] = KnownForward(reply, self._clock() + FRESH_S)
        return reply
