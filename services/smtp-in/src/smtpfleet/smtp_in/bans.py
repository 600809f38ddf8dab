"""The bans of the fleet as this process knows them: told by scheduler at once, read anew every LIST_S.

A mirror; begins and ends no ban. While scheduler is away what is known goes on to hold until it runs out, and `is_fresh` says that new bans
may be missing. Asked by callers and failures; built by app.
"""

import asyncio
from collections.abc import Callable

from smtpfleet.contracts.callers import Ban, BanKind, BansChanged, BansQuery, BansReply
from smtpfleet.contracts.subjects import SCHEDULER_BAN_LIST
from smtpfleet.contracts.wire import Malformed, RemoteFault, UnknownVersion
from smtpfleet.runtime import metrics
from smtpfleet.runtime.asking import Requester
from smtpfleet.runtime.bus import BusUnavailable

LIST_S = 10.0
"""How often the list is read: how late a ban or its end is known whose announcement was lost. Chosen; one small read."""
FIRST_LIST_S = 1.0
ANSWER_WITHIN_S = 2.0

_banned = metrics.gauge("smtp_bans", "Bans this process knows of")


class Bans:
    """Who is banned. clock: monotonic seconds."""

    def __init__(self, bus: Requester, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._clock = clock
        self._until_s: dict[tuple[BanKind, str], float] = {}
        self._fresh_until_s = float("-inf")
        self._change_count = 0
        self.on_lifted: Callable[[BanKind, str], None] = lambda kind, name: None

    @property
    def is_fresh(self) -> bool:
        """Whether scheduler has lately said who is banned."""
        return self._clock() < self._fresh_until_s

    def holds(self, kind: BanKind, name: str) -> bool:
        """Whether there is such a ban now."""
        until_s = self._until_s.get((kind, name))
        return until_s is not None and until_s > self._clock()

    def on_changed(self, changed: BansChanged) -> None:
        """Bans have begun or were lifted."""
        self._change_count += 1
        for ban in changed.begun:
            self._keep(ban)
        for lifted in changed.lifted:
            self._until_s.pop((lifted.kind, lifted.name), None)
            self.on_lifted(lifted.kind, lifted.name)

    def _keep(self, ban: Ban) -> None:
        self._until_s[ban.kind, ban.name] = self._clock() + ban.ends_in_ms / 1000

    async def follow(self) -> None:
        """Reads the list again and again; runs for the life of the process."""
        while True:
            is_read = await self.read()
            await asyncio.sleep(LIST_S if is_read else FIRST_LIST_S)

    async def read(self) -> bool:
        """Takes the list over; False where it cannot be had now, or something changed while it was on its way."""
        changes = self._change_count
        try:
            reply = await self._bus.request(SCHEDULER_BAN_LIST, BansQuery(), timeout_s=ANSWER_WITHIN_S)
        except (BusUnavailable, RemoteFault, UnknownVersion, Malformed):
            return False
        assert isinstance(reply, BansReply)
        if changes != self._change_count:
            return False
        self._until_s.clear()
        for ban in reply.bans:
            self._keep(ban)
        self._fresh_until_s = self._clock() + 3 * LIST_S
        _banned.set(len(self._until_s))
        return True
