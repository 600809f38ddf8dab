"""Permits for connections that hold for the fleet: asked of scheduler in batches, and what we hold repeated so that it does not expire.

Theory. Callers counts what this process has; scheduler adds up what all replicas have told it and says how many of those that wait may
come in. One request is under way at a time and takes along whatever has gathered, so a flood costs requests by the hundred, not by the
connection. Counts are absolute and repeated every REPEAT_S: a lost, doubled or late request is put right by the next. Without an answer we
go by our own counts and do not ask again for AWAY_S, so that no banner waits for a scheduler that is away. Built by app, called by server.
"""

import asyncio
from collections.abc import Callable

from smtpfleet.contracts.callers import CALLER_BATCH, AdmitCallers, AdmitReply, CallerCount, CallerVerdict
from smtpfleet.contracts.status import Status
from smtpfleet.contracts.subjects import SCHEDULER_CALLER_ADMIT
from smtpfleet.contracts.wire import Malformed, RemoteFault, UnknownVersion
from smtpfleet.runtime import metrics
from smtpfleet.runtime.asking import Requester
from smtpfleet.runtime.bus import BusUnavailable
from smtpfleet.smtp_in.callers import Caller, Callers

ANSWER_WITHIN_S = 2.0
"""How long a banner may wait for scheduler; a peer waits 300 s (RFC 5321 §4.5.3.2.1). Chosen."""
AWAY_S = 5.0
"""How long scheduler is not asked after it has not answered. Chosen."""
REPORT_S = 0.25
"""How soon connections that have gone are reported; recipients are at once. Chosen."""
REPEAT_S = 15.0
"""How often everything held is repeated; scheduler forgets it after 45 s (scheduler.callers.HOLD_MS)."""

_asked = metrics.counter("smtp_admissions", "Connections that waited for a permit of the fleet, by answer", ("answer",))

Resume = Callable[[Status | None], None]


class _Entry:
    """One address in a batch, and who waits for its verdict."""

    __slots__ = ("caller", "resumes", "said_open")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.resumes: list[tuple[Caller, Resume]] = []
        self.said_open = 0

    def count(self) -> CallerCount:
        """What is said of the address now. Recipients are said once: if the answer is lost they may be counted or not."""
        address, network = self.caller.address, self.caller.network
        self.said_open = address.permitted_count
        rcpts, address.unreported_rcpts = address.unreported_rcpts, 0
        return CallerCount(
            address.name, network.name, self.said_open, network.permitted_count, len(self.resumes), rcpts
        )


class Admissions:
    """The way of this process's connections to permits. replica: the name under which they are held."""

    def __init__(self, bus: Requester, callers: Callers, replica: str, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._callers = callers
        self._replica = replica
        self._clock = clock
        self._waiting: list[tuple[Caller, Resume]] = []
        self._changed: dict[str, Caller] = {}
        self._held: dict[str, Caller] = {}
        self._away_until_s = 0.0
        self._has_work = asyncio.Event()
        callers.on_change = self._on_change

    def ask(self, caller: Caller, resume: Resume) -> bool:
        """Asks for a permit; `resume` hears None or the refusal, later and exactly once. False: there is no limit, or nobody to ask."""
        if not self._callers.limits_connections:
            return False
        if self._clock() < self._away_until_s:
            _asked.labels("unasked").inc()
            self._on_change(caller)
            return False
        caller.address.asking_count += 1
        caller.network.asking_count += 1
        self._waiting.append((caller, resume))
        self._has_work.set()
        return True

    def _on_change(self, caller: Caller) -> None:
        if self._callers.limits_connections or caller.address.unreported_rcpts:
            self._changed[caller.address.name] = caller
        if caller.address.unreported_rcpts:
            self._has_work.set()

    async def run(self) -> None:
        """Asks and reports; runs for the life of the process."""
        loop = asyncio.get_running_loop()
        report_at, repeat_at = loop.time() + REPORT_S, loop.time() + REPEAT_S
        while True:
            try:
                async with asyncio.timeout_at(report_at):
                    await self._has_work.wait()
            except TimeoutError:
                report_at = loop.time() + REPORT_S
                if loop.time() >= repeat_at:
                    repeat_at = loop.time() + REPEAT_S
                    self._changed.update(self._held)
            self._has_work.clear()
            await self.flush(with_reports=not self._waiting)

    async def flush(self, *, with_reports: bool = True) -> None:
        """Sends what has gathered, batch by batch. Reports alone do not wake up: they go with the next question or tick."""
        while self._waiting or (with_reports and self._changed):
            if self._clock() < self._away_until_s:
                if not self._waiting:
                    return  # reports keep till scheduler is back
                self._give_up(self._batch())
                continue
            await self._send(self._batch())

    def _batch(self) -> dict[str, _Entry]:
        entries: dict[str, _Entry] = {}
        taken = 0
        for caller, resume in self._waiting:
            name = caller.address.name
            if name not in entries:
                if len(entries) == CALLER_BATCH:
                    break
                entries[name] = _Entry(caller)
            entries[name].resumes.append((caller, resume))
            taken += 1
        del self._waiting[:taken]
        while self._changed and len(entries) < CALLER_BATCH:
            name, caller = self._changed.popitem()
            entries.setdefault(name, _Entry(caller))
        return entries

    async def _send(self, entries: dict[str, _Entry]) -> None:
        # Addresses that are said again while this is under way go with the next request.
        request = AdmitCallers(self._replica, [entry.count() for entry in entries.values()])
        try:
            reply = await self._bus.request(SCHEDULER_CALLER_ADMIT, request, timeout_s=ANSWER_WITHIN_S)
        except (BusUnavailable, RemoteFault, UnknownVersion, Malformed):
            self._away_until_s = self._clock() + AWAY_S
            self._give_up(entries)
            return
        assert isinstance(reply, AdmitReply)
        if len(reply.verdicts) != len(entries):
            self._give_up(entries)
            return
        for entry, verdict in zip(entries.values(), reply.verdicts, strict=True):
            self._conclude(entry, verdict)

    def _conclude(self, entry: _Entry, verdict: CallerVerdict) -> None:
        self._callers.note_verdict(entry.caller, verdict)
        for number, (caller, resume) in enumerate(entry.resumes):
            self._end_asking(caller)
            is_admitted = number < verdict.admitted
            _asked.labels("admitted" if is_admitted else "refused").inc()
            if is_admitted:
                resume(None)
            else:
                caller.leave()  # the connection lasts as long as its 421 takes, and holds nothing
                resume(self._callers.turn_away_one(verdict.limit))
        address = entry.caller.address
        if address.permitted_count:
            self._held[address.name] = entry.caller
        else:
            self._held.pop(address.name, None)
        if address.permitted_count != entry.said_open + verdict.admitted:
            self._changed[address.name] = entry.caller  # somebody came or left meanwhile
        elif not address.unreported_rcpts:
            self._changed.pop(address.name, None)

    def _give_up(self, entries: dict[str, _Entry]) -> None:
        """Scheduler is away: by our own counts they may come in. What was to be reported is, later."""
        for name, entry in entries.items():
            for caller, resume in entry.resumes:
                self._end_asking(caller)
                _asked.labels("unanswered").inc()
                resume(None)
            self._changed[name] = entry.caller

    def _end_asking(self, caller: Caller) -> None:
        caller.address.asking_count -= 1
        caller.network.asking_count -= 1
